//! Taking back the changes of a failed multi.

use super::node::Node;
use super::{AclId, DataTree, NodeId, StatsTrack};
use crate::collections::HashMap;

/// How to take back one change.
#[derive(Debug)]
pub(super) enum Undo {
    Created(NodeId, ParentBefore),
    Deleted(NodeId, Box<Node>, ParentBefore),
    ContentSet(NodeId, Content),
    AclSet {
        id: NodeId,
        acl: AclId,
        aversion: i32,
    },
    QuotaAdded(Box<str>),
    QuotaRemoved(Box<str>),
}

/// What a write of data changes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) data: Option<Box<[u8]>>,
    pub(super) mzxid: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ParentBefore {
    pub(super) created_children: i32,
    pub(super) pzxid: i64,
}

/// Changes of an open multi, newest last.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) undo: Vec<Undo>,
    /// Totals under a quota as they stood before the multi: it is judged by those
    /// (`ZooKeeperServer.checkQuota` looks at applied state only).
    pub(super) quota_stats: HashMap<NodeId, StatsTrack>,
}

impl DataTree {
    /// From here on changes can be taken back.
    pub fn begin(&mut self) {
        assert!(self.journal.is_none(), "multis do not nest");
        self.journal = Some(Journal::default());
    }

    /// Keeps what was changed since [`Self::begin`].
    pub fn commit(&mut self) {
        let journal = self.journal.take().expect("begun");
        for undo in journal.undo {
            match undo {
                Undo::Deleted(id, node, _) => {
                    self.acls.release(node.acl);
                    self.slab.free(id);
                }
                Undo::AclSet { acl, .. } => self.acls.release(acl),
                Undo::Created(..)
                | Undo::ContentSet(..)
                | Undo::QuotaAdded(_)
                | Undo::QuotaRemoved(_) => {}
            }
        }
    }

    /// Takes back what was changed since [`Self::begin`], newest first.
    pub fn rollback(&mut self) {
        let journal = self.journal.take().expect("begun");
        for undo in journal.undo.into_iter().rev() {
            match undo {
                Undo::Created(id, before) => {
                    self.keep_image(id);
                    let node = self.detach(id);
                    self.acls.release(node.acl);
                    self.slab.free(id);
                    self.restore_parent(node.parent, before);
                }
                Undo::Deleted(id, node, before) => {
                    let parent = node.parent;
                    self.attach(Some(id), *node);
                    self.restore_parent(parent, before);
                }
                Undo::ContentSet(id, content) => {
                    self.replace_content(id, content);
                }
                Undo::AclSet { id, acl, aversion } => {
                    let newer = self.slab.node(id).acl;
                    self.update_links(id, |node| {
                        node.acl = acl;
                        node.aversion = aversion;
                    });
                    self.acls.release(newer);
                }
                Undo::QuotaAdded(path) => self.quota_paths.remove(&path),
                Undo::QuotaRemoved(path) => self.quota_paths.insert(&path),
            }
        }
    }

    pub(super) fn record(&mut self, undo: Undo) {
        if let Some(journal) = &mut self.journal {
            journal.undo.push(undo);
        }
    }
}
