//! getChildren, getChildren2 and getAllChildrenNumber.

use bytes::{BufMut as _, BytesMut};
use jute::proto::{GetAllChildrenNumberRequest, GetChildrenRequest, perms};
use jute::{Encode as _, ErrorCode, put_str};

use super::{Interest, Look, Seen};
use crate::tree::NodeId;
use crate::watch::Modes;

/// # Errors
/// First match wins: `NO_NODE`, `NO_AUTH`. A watch is registered on success only.
pub(super) fn get_children<'r>(
    look: &Look<'_>,
    request: GetChildrenRequest<'r>,
    with_stat: bool,
    out: &mut BytesMut,
    seen: &mut Seen<'r>,
) -> Result<(), ErrorCode> {
    let id = look.find(request.path.as_deref())?;
    look.check_acl(id, perms::READ)?;
    put_names(look, id, out);
    if with_stat {
        look.tree.stat(id).encode(out);
    }
    if let (true, Some(path)) = (request.watch, request.path) {
        seen.interests.push(Interest::Add(path, Modes::CHILD));
    }
    Ok(())
}

pub(super) fn put_names(look: &Look<'_>, id: NodeId, out: &mut BytesMut) {
    out.put_i32(i32::try_from(look.tree.child_count(id)).unwrap_or(i32::MAX));
    for name in look.tree.children(id) {
        put_str(name, out);
    }
}

/// # Errors
/// First match wins: `NO_NODE`, `NO_AUTH`.
pub(super) fn get_all_children_number(
    look: &Look<'_>,
    request: &GetAllChildrenNumberRequest<'_>,
    out: &mut BytesMut,
) -> Result<(), ErrorCode> {
    let id = look.find(request.path.as_deref())?;
    look.check_acl(id, perms::READ)?;
    // Upstream keeps the root under two keys, "" and "/", and counts the one when asked for the
    // other's descendants.
    let other_root = usize::from(request.path.as_deref() == Some(""));
    let count = look.tree.descendants(id) + other_root;
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
    Ok(())
}
