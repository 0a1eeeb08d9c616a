//! ZooKeeper's image of a tree to our state, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use jute::proto::txn::StatPersisted;

use crate::auth::Schemes;
use crate::session::{Session, SessionTable};
use crate::state::{LogPosition, State};
use crate::tree::build::{Builder, KeptNode};
use crate::tree::{AclEntry, NodeId};
use crate::types::{SessionId, Zxid};
use crate::upstream::image::{Image, ImageNode, ListRef};
use crate::upstream::password;

/// The list of a znode whose own was lost: nobody may do anything with it, but for the super user.
fn nobodys() -> [AclEntry; 1] {
    [AclEntry::new(0, "world", "anyone")]
}

/// Our state from what ZooKeeper has left. Sessions get the passwords that ZooKeeper gave them.
///
/// # Errors
/// A sentence: what is no tree.
pub(super) fn state_of(
    image: &Image,
    extended_types: bool,
    schemes: Arc<Schemes>,
    zxid: Zxid,
    position: LogPosition,
) -> Result<State, String> {
    let nobodys = nobodys();
    let mut nodes = image.nodes();
    let (_, root) = nodes.next().ok_or("there is no root")?;
    let mut builder = Builder::new(extended_types, &kept(root, &nobodys));
    for (path, node) in nodes {
        builder.add(path, &kept(node, &nobodys))?;
    }
    let mut sessions = SessionTable::default();
    for (id, timeout_ms) in &image.sessions {
        let session = Session {
            timeout_ms: *timeout_ms,
            password: password::of_session(*id),
            attach: 0,
        };
        sessions.insert(SessionId(*id), session);
    }
    let tree = builder.finish();
    Ok(State::founded(schemes, tree, sessions, zxid, position))
}

fn kept<'a>(node: &'a ImageNode, nobodys: &'a [AclEntry]) -> KeptNode<'a> {
    let stat = &node.stat;
    KeptNode {
        data: node.data.as_deref(),
        acl: match &node.acl {
            ListRef::Known(list) => list,
            ListRef::Unknown(_) => nobodys,
        },
        owner: stat.ephemeral_owner,
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        created_children: stat.cversion,
        aversion: stat.aversion,
    }
}

/// What ZooKeeper is to start with, as of `zxid`.
pub(super) fn image_of(state: &State, zxid: Zxid) -> Image {
    let tree = &state.tree;
    let mut image = Image::bare(zxid.0, tree.extended_types());
    image.sessions = state
        .sessions
        .iter()
        .map(|(id, session)| (id.0, session.timeout_ms))
        .collect::<BTreeMap<_, _>>();
    let mut stack = vec![(NodeId::ROOT, String::new())];
    while let Some((id, path)) = stack.pop() {
        for (child, name) in tree.children_by_id(id) {
            stack.push((child, format!("{path}/{name}")));
        }
        let stat = tree.stat(id);
        let node = ImageNode {
            data: tree.data(id).map(Into::into),
            acl: ListRef::Known(image.known(tree.acl(id))),
            stat: StatPersisted {
                czxid: stat.czxid,
                mzxid: stat.mzxid,
                ctime: stat.ctime,
                mtime: stat.mtime,
                version: stat.version,
                cversion: tree.created_children(id),
                aversion: stat.aversion,
                ephemeral_owner: tree.owner(id).to_raw(),
                pzxid: stat.pzxid,
            },
        };
        // Parents come off the stack before their children.
        image.place(path, node);
    }
    image
}
