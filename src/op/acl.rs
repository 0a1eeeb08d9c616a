//! getACL and setACL.

use bytes::{BufMut as _, BytesMut};
use jute::proto::{GetAclRequest, SetAclRequest, perms};
use jute::{Encode as _, ErrorCode, put_str};

use super::data::valid_path;
use super::{Apply, Look, Reply, check_version};

/// Ids of the scheme digest are masked for callers without ADMIN, lest their hashes be tried
/// offline.
///
/// # Errors
/// First match wins: `NO_NODE`, `NO_AUTH` (neither READ nor ADMIN).
pub(super) fn get_acl(
    look: &Look<'_>,
    request: &GetAclRequest<'_>,
    out: &mut BytesMut,
) -> Result<(), ErrorCode> {
    let id = look.find(request.path.as_deref())?;
    look.check_acl(id, perms::READ | perms::ADMIN)?;
    let masked = !look.may(id, perms::ADMIN);
    let list = look.tree.acl(id);
    out.put_i32(i32::try_from(list.len()).unwrap_or(i32::MAX));
    for entry in list.iter() {
        out.put_i32(entry.perms);
        put_str(&entry.scheme, out);
        match entry.id.split_once(':') {
            Some((user, _)) if masked && &*entry.scheme == "digest" => {
                put_str(&format!("{user}:x"), out);
            }
            _ => put_str(&entry.id, out),
        }
    }
    look.tree.stat(id).encode(out);
    Ok(())
}

/// # Errors
/// First match wins: `BAD_ARGUMENTS` (path), `INVALID_ACL`, `NO_NODE`, `NO_AUTH`, `BAD_VERSION`
/// (against aversion).
pub(super) fn set_acl(tx: &mut Apply<'_>, request: &SetAclRequest<'_>) -> Result<Reply, ErrorCode> {
    tx.check_session()?;
    let path = valid_path(request.path.as_deref())?;
    let list = tx.schemes.fix_up(request.acl.as_deref(), tx.identities)?;
    let id = tx.find(path)?;
    tx.check_acl(id, perms::ADMIN)?;
    check_version(tx.tree.stat(id).aversion, request.version)?;
    let acl = tx.tree.acls().acquire(&list);
    tx.tree.set_acl(id, acl);
    Ok(Reply::Stat(tx.tree.stat(id)))
}
