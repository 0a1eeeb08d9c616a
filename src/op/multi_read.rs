//! multiRead: several getData and getChildren under one guard.

use bytes::BytesMut;
use jute::proto::{MultiHeader, MultiOp, MultiRequest, perms};
use jute::{Encode as _, ErrorCode, OpCode, Reader};

use super::children::put_names;
use super::multi::is_well_formed;
use super::{Look, Seen};
use crate::tree::NodeId;

/// A failing operation yields an error record and the others still run. Watch flags are ignored.
///
/// # Errors
/// `MARSHALLING_ERROR` for a body that is no record or holds writes.
pub(super) fn multi_read(
    look: &Look<'_>,
    body: &[u8],
    out: &mut BytesMut,
    seen: &mut Seen<'_>,
) -> Result<(), ErrorCode> {
    let request: MultiRequest<'_> = Reader::new(body)
        .read()
        .map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    if !request.ops.iter().all(is_well_formed) {
        return Err(ErrorCode::MARSHALLING_ERROR);
    }
    for op in &request.ops {
        let found = match op {
            MultiOp::GetData(request) => readable(look, request.path.as_deref()),
            MultiOp::GetChildren(request) => readable(look, request.path.as_deref()),
            _ => Err(ErrorCode::MARSHALLING_ERROR),
        };
        let header = |op: OpCode, code: ErrorCode| MultiHeader {
            op: op.0,
            done: false,
            err: code.0,
        };
        match (op, found) {
            (MultiOp::GetData(_), Ok(id)) => {
                header(OpCode::GET_DATA, ErrorCode::OK).encode(out);
                look.tree.data(id).encode(out);
                look.tree.stat(id).encode(out);
            }
            (_, Ok(id)) => {
                header(OpCode::GET_CHILDREN, ErrorCode::OK).encode(out);
                put_names(look, id, out);
            }
            (_, Err(ErrorCode::MARSHALLING_ERROR)) => {
                // A write or a null path: upstream sends the results so far under an error header.
                MultiHeader::END.encode(out);
                seen.keeps_body = true;
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            (_, Err(code)) => {
                header(OpCode::ERROR, code).encode(out);
                code.0.encode(out);
            }
        }
    }
    MultiHeader::END.encode(out);
    Ok(())
}

fn readable(look: &Look<'_>, path: Option<&str>) -> Result<NodeId, ErrorCode> {
    let id = look.find(path)?;
    look.check_acl(id, perms::READ)?;
    Ok(id)
}
