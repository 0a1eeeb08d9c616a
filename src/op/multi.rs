//! multi: all or nothing, under one zxid.

use jute::proto::{MultiOp, MultiRequest, MultiResult};
use jute::{ErrorCode, OpCode, Reader};

use super::create::{CreateMode, New};
use super::{Apply, Reply, check, create, data, delete};

/// Each operation sees what those before it did. At the first failure everything is taken back,
/// sequence counters included; no watch fires. The reply then has an error for each operation: 0
/// before the one that failed, its own code, and `RUNTIME_INCONSISTENCY` behind it.
///
/// # Errors
/// `MARSHALLING_ERROR` when the request holds reads or a null path, or a create in it has unknown
/// flags, TTL flags without createTTL, or a null list; or when an operation fails with it.
pub(super) fn multi(tx: &mut Apply<'_>, request: &MultiRequest<'_>) -> Result<Reply, ErrorCode> {
    if !request
        .ops
        .iter()
        .all(|op| is_well_formed(op) && !op.is_read() && path(op).is_some())
    {
        return Err(ErrorCode::MARSHALLING_ERROR);
    }
    tx.tree.begin();
    let mut results = Vec::with_capacity(request.ops.len());
    for op in &request.ops {
        match run(tx, op) {
            Ok(result) => results.push(result),
            Err(code) => {
                tx.tree.rollback();
                tx.changes.clear();
                if code == ErrorCode::MARSHALLING_ERROR {
                    return Err(code);
                }
                let failed_at = results.len();
                let errors = (0..request.ops.len()).map(|at| {
                    MultiResult::Error(match at.cmp(&failed_at) {
                        std::cmp::Ordering::Less => ErrorCode::OK,
                        std::cmp::Ordering::Equal => code,
                        std::cmp::Ordering::Greater => ErrorCode::RUNTIME_INCONSISTENCY,
                    })
                });
                return Ok(Reply::Multi(errors.collect()));
            }
        }
    }
    tx.tree.commit();
    Ok(Reply::Multi(results))
}

/// False for a body that upstream's decoder fails on before it has taken a zxid for it: a create
/// with a null list, which is a null pointer there and not an I/O error like all else.
pub(super) fn is_decodable(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    let mut is_read = None;
    while let Ok(Some(op)) = MultiOp::decode_next(&mut reader) {
        match &op {
            MultiOp::Create(_, request) => match CreateMode::from_flags(request.flags) {
                Some(_) if request.acl.is_none() => return false,
                Some(mode) if !mode.ttl => {}
                _ => return true,
            },
            _ if is_read.is_some_and(|is_read| is_read != op.is_read()) => return true,
            _ => {}
        }
        is_read = Some(op.is_read());
    }
    true
}

/// The path of an operation. Upstream looks at all of them before the first is evaluated
/// (`PrepRequestProcessor.getPendingChanges`), so that a null one fails the whole request.
fn path<'a>(op: &'a MultiOp<'_>) -> Option<&'a str> {
    match op {
        MultiOp::Create(_, request) => request.path.as_deref(),
        MultiOp::CreateTtl(request) => request.path.as_deref(),
        MultiOp::Delete(request) => request.path.as_deref(),
        MultiOp::SetData(request) => request.path.as_deref(),
        MultiOp::Check(request) => request.path.as_deref(),
        MultiOp::GetData(request) => request.path.as_deref(),
        MultiOp::GetChildren(request) => request.path.as_deref(),
    }
}

/// The path of the operation that a quota has forbidden.
pub(super) fn over_quota(body: &[u8], results: &[MultiResult<'_>]) -> Option<String> {
    let is_quota =
        |result: &MultiResult<'_>| *result == MultiResult::Error(ErrorCode::QUOTA_EXCEEDED);
    let at = results.iter().position(is_quota)?;
    let request: MultiRequest<'_> = Reader::new(body).read().ok()?;
    path(request.ops.get(at)?).map(str::to_owned)
}

/// What upstream's decoder refuses beyond the encoding (`MultiOperationRecord`, `CreateOptions`).
pub(super) fn is_well_formed(op: &MultiOp<'_>) -> bool {
    match op {
        MultiOp::Create(_, request) => {
            CreateMode::from_flags(request.flags).is_some_and(|mode| !mode.ttl)
                && request.acl.is_some()
        }
        MultiOp::CreateTtl(_) | MultiOp::Delete(_) | MultiOp::SetData(_) | MultiOp::Check(_) => {
            true
        }
        MultiOp::GetData(_) | MultiOp::GetChildren(_) => true,
    }
}

/// Whether an operation creates an ephemeral.
pub(super) fn creates_ephemeral(op: &MultiOp<'_>) -> bool {
    match op {
        MultiOp::Create(OpCode::CREATE | OpCode::CREATE2, request) => {
            create::is_ephemeral(request.flags)
        }
        MultiOp::CreateTtl(request) => create::is_ephemeral(request.flags),
        _ => false,
    }
}

fn run(tx: &mut Apply<'_>, op: &MultiOp<'_>) -> Result<MultiResult<'static>, ErrorCode> {
    let reply = match op {
        MultiOp::Create(code, request) => {
            tx.check_session()?;
            let is_container = CreateMode::from_flags(request.flags).is_some_and(|m| m.container);
            let code = if is_container {
                OpCode::CREATE_CONTAINER
            } else {
                *code
            };
            create::create(tx, New::plain(code, request))?
        }
        MultiOp::CreateTtl(request) => {
            tx.check_session()?;
            create::create(tx, New::of_multi(request))?
        }
        MultiOp::Delete(request) => {
            delete::delete(tx, request)?;
            return Ok(MultiResult::Delete);
        }
        MultiOp::SetData(request) => data::set_data(tx, request)?,
        MultiOp::Check(request) => {
            check::check(tx, request)?;
            return Ok(MultiResult::Check);
        }
        MultiOp::GetData(_) | MultiOp::GetChildren(_) => return Err(ErrorCode::MARSHALLING_ERROR),
    };
    Ok(match reply {
        Reply::Path(path) => MultiResult::Create {
            path: Some(path.to_string().into()),
        },
        Reply::PathStat(path, stat) => MultiResult::Create2 {
            path: Some(path.to_string().into()),
            stat,
        },
        Reply::Stat(stat) => MultiResult::SetData { stat },
        Reply::Empty
        | Reply::Multi(_)
        | Reply::DataStat(..)
        | Reply::Reconfigure(_)
        | Reply::Session { .. } => {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
    })
}
