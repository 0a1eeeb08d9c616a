//! getData and setData.

use bytes::BytesMut;
use jute::proto::{GetDataRequest, SetDataRequest, perms};
use jute::{Encode as _, ErrorCode};

use super::create::check_quota;
use super::{Apply, ChangeKind, Flags, Interest, Look, Reply, Seen, check_version};
use crate::tree::path;
use crate::watch::Modes;

/// # Errors
/// First match wins: `NO_NODE`, `NO_AUTH`. A watch is registered on success only.
pub(super) fn get_data<'r>(
    look: &Look<'_>,
    request: GetDataRequest<'r>,
    out: &mut BytesMut,
    seen: &mut Seen<'r>,
) -> Result<(), ErrorCode> {
    let id = look.find(request.path.as_deref())?;
    look.check_acl(id, perms::READ)?;
    look.tree.data(id).encode(out);
    look.tree.stat(id).encode(out);
    if let (true, Some(path)) = (request.watch, request.path) {
        seen.interests.push(Interest::Add(path, Modes::DATA));
    }
    Ok(())
}

/// # Errors
/// First match wins: `BAD_ARGUMENTS` (path), `NO_NODE`, `NO_AUTH`, `QUOTA_EXCEEDED`,
/// `BAD_VERSION`.
pub(super) fn set_data(
    tx: &mut Apply<'_>,
    request: &SetDataRequest<'_>,
) -> Result<Reply, ErrorCode> {
    tx.check_session()?;
    let path = valid_path(request.path.as_deref())?;
    let id = tx.find(path)?;
    tx.check_acl(id, perms::WRITE)?;
    if tx.flags.contains(Flags::ENFORCE_QUOTA) {
        let bytes =
            |data: Option<&[u8]>| i64::try_from(data.map_or(0, <[u8]>::len)).unwrap_or(i64::MAX);
        let diff = bytes(request.data) - bytes(tx.tree.data(id));
        check_quota(tx.tree.quota_forbids(path, 0, diff))?;
    }
    check_version(tx.tree.stat(id).version, request.version)?;
    tx.tree.set_data(id, request.data, tx.zxid, tx.time_ms);
    tx.changed(ChangeKind::DataChanged, id, path.into());
    Ok(Reply::Stat(tx.tree.stat(id)))
}

/// # Errors
/// `BAD_ARGUMENTS` for a path that cannot name a znode, null included.
pub(super) fn valid_path(path: Option<&str>) -> Result<&str, ErrorCode> {
    path.filter(|path| path::is_valid(path))
        .ok_or(ErrorCode::BAD_ARGUMENTS)
}
