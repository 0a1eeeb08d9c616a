//! What one session's writes must have made of the tree.
//!
//! Each session writes below a root of its own, so its writes alone decide what is there: after a
//! crash its part of the tree must be what some prefix of its requests leads to, and the prefix
//! must hold all that were acknowledged. Two places are shared: items in a queue, told apart by
//! their data, and a counter. They are written in the same multis as the session's own nodes, so
//! one prefix must explain all of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use jute::ErrorCode;

use crate::tree::{Tree, Znode, acl, acl_words};

pub(crate) const QUEUE: &str = "/crash/queue";
/// Sequential nodes in the queue begin so.
pub(crate) const QUEUE_ITEM: &str = "/crash/queue/item-";
pub(crate) const COUNTER: &str = "/crash/counter";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CreateKind {
    pub(crate) ephemeral: bool,
    pub(crate) sequential: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// `path` is without the suffix of a sequential node.
    Create {
        path: String,
        kind: CreateKind,
        data: Option<Bytes>,
        /// See [`acl`].
        reader: u32,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    One(Step),
    /// The one change that cannot be part of a multi.
    SetAcl {
        path: String,
        reader: u32,
        version: i32,
    },
    Multi(Vec<Step>),
}

/// What the reply to a step must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The path; `None` in the queue, where other sessions draw numbers too.
    Created(Option<String>),
    /// The new version; `None` for the counter, which other sessions set too.
    Set(Option<i32>),
    /// The new version of the ACL.
    AclSet(i32),
    /// Deleted or checked: nothing to say.
    Done,
    Failed(ErrorCode),
}

/// What the reply said that could not be foretold.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) zxid: i64,
    /// Full paths of the queue items that the request created, in order.
    pub(crate) items: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    data: Option<Bytes>,
    version: i32,
    reader: u32,
    acl_version: i32,
    ephemeral: bool,
    children: i32,
    /// Children ever created: the next sequential suffix.
    created_below: i32,
    /// `None` where the write was never acknowledged; the tree's word is taken then, once.
    czxid: Option<i64>,
    mzxid: Option<i64>,
    pzxid: Option<i64>,
}

/// What a writer must know of a node to write to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnNode<'a> {
    pub(crate) path: &'a str,
    pub(crate) version: i32,
    pub(crate) acl_version: i32,
    pub(crate) children: i32,
    pub(crate) ephemeral: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    root: String,
    session_id: i64,
    nodes: BTreeMap<String, Node>,
    /// This session's items in the queue by data; the path once it is known.
    queue: BTreeMap<Bytes, Option<String>>,
    /// Times this session has set the counter.
    pub(crate) counted: i32,
    /// Data of its last set, and the zxid when known.
    pub(crate) last_count: Option<(Bytes, Option<i64>)>,
}

impl Model {
    /// The session's root exists and has no data.
    pub(crate) fn new(root: String, session_id: i64) -> Self {
        let nodes = BTreeMap::from([(root.clone(), Node::default())]);
        Self {
            root,
            session_id,
            nodes,
            queue: BTreeMap::new(),
            counted: 0,
            last_count: None,
        }
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Own nodes but the root.
    pub(crate) fn own_nodes(&self) -> impl Iterator<Item = OwnNode<'_>> {
        self.nodes.iter().skip(1).map(|(path, node)| OwnNode {
            path,
            version: node.version,
            acl_version: node.acl_version,
            children: node.children,
            ephemeral: node.ephemeral,
        })
    }

    /// The oldest queue item whose name is known, and how many items there are in all.
    pub(crate) fn oldest_item(&self) -> (Option<&str>, usize) {
        let known = self.queue.values().flatten().min();
        (known.map(String::as_str), self.queue.len())
    }

    pub(crate) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Queue items that an acknowledged request created got these names.
    pub(crate) fn name_items(&mut self, op: &Op, ack: &Ack) {
        for (tag, name) in item_tags(op).zip(&ack.items) {
            if let Some(slot) = self.queue.get_mut(tag) {
                *slot = Some(name.clone());
            }
        }
    }

    /// Applies the request and tells what the reply must say, one outcome for each step.
    pub(crate) fn apply(&mut self, op: &Op, zxid: Option<i64>) -> Vec<Outcome> {
        match op {
            Op::One(step) => vec![self.step(step, zxid).unwrap_or_else(Outcome::Failed)],
            Op::SetAcl {
                path,
                reader,
                version,
            } => {
                vec![
                    self.set_acl(path, *reader, *version)
                        .unwrap_or_else(Outcome::Failed),
                ]
            }
            Op::Multi(steps) => {
                let before = self.clone();
                let mut outcomes = Vec::with_capacity(steps.len());
                for (at, step) in steps.iter().enumerate() {
                    match self.step(step, zxid) {
                        Ok(outcome) => outcomes.push(outcome),
                        Err(code) => {
                            *self = before;
                            outcomes = vec![Outcome::Failed(ErrorCode::OK); at];
                            outcomes.push(Outcome::Failed(code));
                            let skipped = Outcome::Failed(ErrorCode::RUNTIME_INCONSISTENCY);
                            outcomes.resize(steps.len(), skipped);
                            break;
                        }
                    }
                }
                outcomes
            }
        }
    }

    fn step(&mut self, step: &Step, zxid: Option<i64>) -> Result<Outcome, ErrorCode> {
        match step {
            Step::Create { path, data, .. } if path == QUEUE_ITEM => {
                self.queue.insert(data.clone().unwrap_or_default(), None);
                Ok(Outcome::Created(None))
            }
            Step::Create {
                path,
                kind,
                data,
                reader,
            } => {
                let parent = self
                    .nodes
                    .get_mut(parent_of(path))
                    .ok_or(ErrorCode::NO_NODE)?;
                let path = match kind.sequential {
                    true => format!("{path}{:010}", parent.created_below),
                    false => path.clone(),
                };
                if self.nodes.contains_key(&path) {
                    return Err(ErrorCode::NODE_EXISTS);
                }
                self.parent_changes(&path, 1, zxid);
                let node = Node {
                    data: data.clone(),
                    reader: *reader,
                    ephemeral: kind.ephemeral,
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ..Node::default()
                };
                self.nodes.insert(path.clone(), node);
                Ok(Outcome::Created(Some(path)))
            }
            Step::SetData { path, data, .. } if path == COUNTER => {
                self.counted += 1;
                self.last_count = Some((data.clone().unwrap_or_default(), zxid));
                Ok(Outcome::Set(None))
            }
            Step::SetData {
                path,
                data,
                version,
            } => {
                let node = self.versioned(path, *version)?;
                node.data = data.clone();
                node.version += 1;
                node.mzxid = zxid;
                Ok(Outcome::Set(Some(node.version)))
            }
            Step::Delete { path, .. } if path.starts_with(QUEUE_ITEM) => {
                let items = self.queue.len();
                self.queue.retain(|_, name| name.as_ref() != Some(path));
                if self.queue.len() < items {
                    Ok(Outcome::Done)
                } else {
                    Err(ErrorCode::NO_NODE)
                }
            }
            Step::Delete { path, version } => {
                if self.versioned(path, *version)?.children > 0 {
                    return Err(ErrorCode::NOT_EMPTY);
                }
                self.nodes.remove(path);
                self.parent_changes(path, -1, zxid);
                Ok(Outcome::Done)
            }
            Step::Check { path, version } => self.versioned(path, *version).map(|_| Outcome::Done),
        }
    }

    fn set_acl(&mut self, path: &str, reader: u32, version: i32) -> Result<Outcome, ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NO_NODE)?;
        if version != -1 && version != node.acl_version {
            return Err(ErrorCode::BAD_VERSION);
        }
        node.reader = reader;
        node.acl_version += 1;
        Ok(Outcome::AclSet(node.acl_version))
    }

    fn versioned(&mut self, path: &str, version: i32) -> Result<&mut Node, ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NO_NODE)?;
        if version == -1 || version == node.version {
            Ok(node)
        } else {
            Err(ErrorCode::BAD_VERSION)
        }
    }

    fn parent_changes(&mut self, path: &str, children: i32, zxid: Option<i64>) {
        if let Some(parent) = self.nodes.get_mut(parent_of(path)) {
            parent.children += children;
            parent.created_below += children.max(0);
            parent.pzxid = zxid;
        }
    }

    /// Fails with the first difference between this session's part of the tree and the model.
    pub(crate) fn compare(&self, tree: &Tree) -> Result<()> {
        for (path, node) in &self.nodes {
            let found = tree
                .get(path)
                .with_context(|| format!("{path} is missing"))?;
            self.compare_node(node, found)
                .with_context(|| format!("{path} differs: {found:?}"))?;
        }
        let below = format!("{}/", self.root);
        for (path, _) in tree.below(&below) {
            ensure!(self.nodes.contains_key(path), "{path} should not be there");
        }
        let items = self.items_in(tree);
        for (tag, name) in &self.queue {
            let tag_text = String::from_utf8_lossy(tag);
            let found = items
                .get(tag)
                .with_context(|| format!("queue item {tag_text} is missing"))?;
            ensure!(
                name.as_ref().is_none_or(|name| name == found),
                "queue item {tag_text} was acknowledged as {name:?} and is {found}"
            );
        }
        for (tag, path) in &items {
            ensure!(
                self.queue.contains_key(tag),
                "queue item {path} should not be there"
            );
        }
        Ok(())
    }

    fn compare_node(&self, node: &Node, found: &Znode) -> Result<()> {
        let stat = &found.stat;
        let owner = if node.ephemeral { self.session_id } else { 0 };
        ensure!(found.data == node.data, "data should be {:?}", node.data);
        ensure!(
            stat.version == node.version,
            "version should be {}",
            node.version
        );
        ensure!(stat.ephemeral_owner == owner, "owner should be {owner:#x}");
        ensure!(
            stat.num_children == node.children,
            "children should be {}",
            node.children
        );
        let acl = acl_words(&acl(node.reader));
        ensure!(found.acl == acl, "ACL should be {acl:?}");
        let aversion = node.acl_version;
        ensure!(
            stat.aversion == aversion,
            "ACL version should be {aversion}"
        );
        let cversion = 2 * node.created_below - node.children;
        ensure!(stat.cversion == cversion, "cversion should be {cversion}");
        let len = node.data.as_ref().map_or(0, Bytes::len);
        ensure!(
            i32::try_from(len)? == stat.data_length,
            "data length should be {len}"
        );
        let zxids = [
            ("czxid", node.czxid, stat.czxid),
            ("mzxid", node.mzxid, stat.mzxid),
            ("pzxid", node.pzxid, stat.pzxid),
        ];
        for (name, expected, actual) in zxids {
            ensure!(
                expected.is_none_or(|zxid| zxid == actual),
                "{name} should be {expected:x?}, is {actual:#x}"
            );
        }
        Ok(())
    }

    /// Takes over from the tree what no reply has told: zxids and queue names of writes that were
    /// applied but not acknowledged. Only after [`Self::compare`].
    pub(crate) fn adopt(&mut self, tree: &Tree) {
        for (path, node) in &mut self.nodes {
            if let Some(found) = tree.get(path) {
                node.czxid = Some(found.stat.czxid);
                node.mzxid = Some(found.stat.mzxid);
                node.pzxid = Some(found.stat.pzxid);
            }
        }
        for (tag, path) in self.items_in(tree) {
            self.queue.insert(tag, Some(path));
        }
        if let (Some((tag, zxid)), Some(counter)) = (&mut self.last_count, tree.get(COUNTER))
            && counter.data.as_ref() == Some(tag)
        {
            *zxid = Some(counter.stat.mzxid);
        }
    }

    /// This session's items in the tree's queue, by data.
    fn items_in(&self, tree: &Tree) -> BTreeMap<Bytes, String> {
        let own = tag_prefix(&self.root);
        let items = tree.below(QUEUE_ITEM).filter_map(|(path, znode)| {
            let tag = znode.data.as_ref()?;
            tag.starts_with(own.as_bytes())
                .then(|| (tag.clone(), path.to_owned()))
        });
        items.collect()
    }
}

/// Data of this session's items and counts begins so.
pub(crate) fn tag_prefix(root: &str) -> String {
    format!("{root} ")
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn item_tags(op: &Op) -> impl Iterator<Item = &Bytes> {
    let steps = match op {
        Op::One(step) => std::slice::from_ref(step),
        Op::SetAcl { .. } => &[],
        Op::Multi(steps) => steps,
    };
    steps.iter().filter_map(|step| match step {
        Step::Create {
            path,
            data: Some(tag),
            ..
        } if path == QUEUE_ITEM => Some(tag),
        _ => None,
    })
}
