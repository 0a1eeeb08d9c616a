//! delete, and deleteContainer, which only the server itself may send.

use std::sync::Arc;

use jute::ErrorCode;
use jute::proto::{DeleteRequest, GetAclRequest, perms};

use super::{Apply, ChangeKind, Reply, check_version};
use crate::tree::{NodeId, Owner, UNDELETABLE, path};

/// # Errors
/// First match wins: `BAD_ARGUMENTS` (no slash, NUL, a reserved znode), `NO_NODE` (parent),
/// `NO_AUTH` (on the parent), `NO_NODE`, `BAD_VERSION`, `NOT_EMPTY`.
pub(super) fn delete(tx: &mut Apply<'_>, request: &DeleteRequest<'_>) -> Result<Reply, ErrorCode> {
    tx.check_session()?;
    let path = request
        .path
        .as_deref()
        .ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let parent = tx.find(parent_path(path)?)?;
    tx.check_acl(parent, perms::DELETE)?;
    let id = tx.find(path)?;
    check_version(tx.tree.stat(id).version, request.version)?;
    if tx.tree.child_count(id) > 0 {
        return Err(ErrorCode::NOT_EMPTY);
    }
    remove(tx, id, path.into());
    Ok(Reply::Empty)
}

/// Deletes a container or TTL znode that the reaper has found, if it is still due. Its body is a
/// path alone.
///
/// # Errors
/// `BAD_ARGUMENTS`, `NO_NODE`, `NOT_EMPTY`, `BAD_VERSION` (an ephemeral of a session).
pub(super) fn delete_container(
    tx: &mut Apply<'_>,
    request: &GetAclRequest<'_>,
) -> Result<Reply, ErrorCode> {
    let path = request
        .path
        .as_deref()
        .ok_or(ErrorCode::MARSHALLING_ERROR)?;
    parent_path(path)?;
    let id = tx.find(path)?;
    if tx.tree.child_count(id) > 0 {
        return Err(ErrorCode::NOT_EMPTY);
    }
    match tx.tree.owner(id) {
        Owner::Container | Owner::Ttl(_) => {
            remove(tx, id, path.into());
            Ok(Reply::Empty)
        }
        Owner::Session(_) | Owner::Persistent => Err(ErrorCode::BAD_VERSION),
    }
}

/// Removes a znode without children and lists the change.
pub(super) fn remove(tx: &mut Apply<'_>, id: NodeId, path: Arc<str>) {
    tx.changed(ChangeKind::Deleted, id, path);
    tx.tree.delete(id, tx.zxid);
}

fn parent_path(path: &str) -> Result<&str, ErrorCode> {
    match path::split(path) {
        Some((parent, _)) if !path.contains('\0') && !UNDELETABLE.contains(&path) => Ok(parent),
        _ => Err(ErrorCode::BAD_ARGUMENTS),
    }
}
