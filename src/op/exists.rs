//! exists.

use bytes::BytesMut;
use jute::proto::{ExistsRequest, perms};
use jute::{Encode as _, ErrorCode};

use super::{Interest, Look, Seen};
use crate::watch::Modes;

/// # Errors
/// First match wins: `BAD_ARGUMENTS` (NUL in the path), `NO_AUTH`, `NO_NODE`. The last one
/// registers the watch all the same: that is how clients wait for a znode to appear.
pub(super) fn exists<'r>(
    look: &Look<'_>,
    request: ExistsRequest<'r>,
    out: &mut BytesMut,
    seen: &mut Seen<'r>,
) -> Result<(), ErrorCode> {
    let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    if path.contains('\0') {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    let id = look.tree.find(&path);
    if let Some(id) = id {
        look.check_acl(id, perms::READ)?;
    }
    if request.watch {
        seen.interests.push(Interest::Add(path, Modes::DATA));
    }
    look.tree.stat(id.ok_or(ErrorCode::NO_NODE)?).encode(out);
    Ok(())
}
