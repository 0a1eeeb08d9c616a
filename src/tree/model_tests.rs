//! Random operations on the tree and on a plain map of paths, which agree after every step.
//!
//! The model keeps nothing twice: children, tables, totals of bytes and quotas are all found by
//! looking at every path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jute::proto::perms;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct ModelNode {
    data: Option<Vec<u8>>,
    acl: Vec<AclEntry>,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    owner: i64,
    version: i32,
    created_children: i32,
    aversion: i32,
}

#[derive(Debug, Clone, PartialEq)]
struct Model {
    nodes: BTreeMap<String, ModelNode>,
}

fn open_acl() -> Vec<AclEntry> {
    vec![AclEntry::new(perms::ALL, "world", "anyone")]
}

/// Of the root too, which has none.
fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

fn join(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}

impl Model {
    fn new() -> Self {
        let node = |acl, aversion| ModelNode {
            data: Some(Vec::new()),
            acl,
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            owner: 0,
            version: 0,
            created_children: 0,
            aversion,
        };
        let read_only = vec![AclEntry::new(perms::READ, "world", "anyone")];
        let nodes = [
            ("/", node(open_acl(), 0)),
            ("/zookeeper", node(open_acl(), 0)),
            ("/zookeeper/quota", node(open_acl(), 0)),
            ("/zookeeper/config", node(read_only, -1)),
        ];
        Self {
            nodes: nodes.map(|(path, node)| (path.to_owned(), node)).into(),
        }
    }

    fn children(&self, path: &str) -> BTreeSet<String> {
        let below = |child: &&String| *child != "/" && parent_of(child) == path;
        self.nodes.keys().filter(below).cloned().collect()
    }

    /// `path` and all below it.
    fn at_and_below(&self, path: &str) -> impl Iterator<Item = &ModelNode> {
        let prefix = join(path, "");
        self.nodes
            .iter()
            .filter(move |(other, _)| *other == path || other.starts_with(&prefix))
            .map(|(_, node)| node)
    }

    fn len_of(&self, path: &str) -> i64 {
        let data = self.nodes[path].data.as_ref();
        data.map_or(0, |data| data.len() as i64)
    }

    fn create(&mut self, path: &str, node: ModelNode) {
        let zxid = node.czxid;
        self.nodes.insert(path.to_owned(), node);
        let parent = self.nodes.get_mut(parent_of(path)).expect("checked");
        if parent.created_children < i32::MAX {
            parent.created_children += 1;
            parent.pzxid = zxid;
        }
        // Counted before the totals of a new quota overwrite what the client gave.
        let given = self.len_of(path);
        if let Some(subject) = path
            .strip_prefix("/zookeeper/quota")
            .and_then(|path| path.strip_suffix("/zookeeper_stats"))
        {
            let exists = self.nodes.contains_key(subject);
            let counted = exists.then(|| {
                let all = self.at_and_below(subject);
                all.fold((0, 0), |(count, bytes), node| {
                    (count + 1, bytes + node.data.as_ref().map_or(0, Vec::len))
                })
            });
            let (count, bytes) = counted.unwrap_or_default();
            let text = format!("count={count},bytes={bytes}");
            self.nodes.get_mut(path).expect("just created").data = Some(text.into());
        }
        self.count(path, 1, given);
    }

    fn delete(&mut self, path: &str, zxid: i64) {
        let len = self.len_of(path);
        self.nodes.remove(path);
        self.nodes.get_mut(parent_of(path)).expect("checked").pzxid = zxid;
        self.count(path, -1, -len);
    }

    fn set_data(&mut self, path: &str, data: Option<Vec<u8>>, zxid: i64, time_ms: i64) {
        let before = self.len_of(path);
        let node = self.nodes.get_mut(path).expect("checked");
        node.data = data;
        node.mzxid = zxid;
        node.mtime = time_ms;
        node.version = node.version.wrapping_add(1);
        self.count(path, 0, self.len_of(path) - before);
    }

    fn limits_of(subject: &str) -> String {
        format!("/zookeeper/quota{subject}/zookeeper_limits")
    }

    fn stats_of(subject: &str) -> String {
        format!("/zookeeper/quota{subject}/zookeeper_stats")
    }

    /// The deepest path at or above `path` with limits.
    fn subject(&self, path: &str) -> Option<String> {
        let mut subject = path;
        while subject != "/" {
            if self.nodes.contains_key(&Self::limits_of(subject)) {
                return Some(subject.to_owned()).filter(|subject| subject != "/zookeeper");
            }
            subject = parent_of(subject);
        }
        None
    }

    fn track(&self, path: &str) -> Option<StatsTrack> {
        StatsTrack::parse(self.nodes[path].data.as_deref())
    }

    fn count(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(stats) = self.subject(path).map(|subject| Self::stats_of(&subject)) else {
            return;
        };
        if !self.nodes.contains_key(&stats) {
            return;
        }
        let mut track = self.track(&stats).unwrap_or(StatsTrack {
            count: 0,
            bytes: 0,
            count_hard_limit: -1,
            bytes_hard_limit: -1,
        });
        track.count += count;
        track.bytes += bytes;
        let node = self.nodes.get_mut(&stats).expect("just seen");
        node.data = Some(track.to_text().into());
    }

    fn verdict(&self, path: &str, count: i64, bytes: i64) -> QuotaVerdict {
        let Some(subject) = self.subject(path) else {
            return QuotaVerdict::Allowed;
        };
        let stats = Self::stats_of(&subject);
        if !self.nodes.contains_key(&stats) {
            return QuotaVerdict::Allowed;
        }
        let limits = self.track(&Self::limits_of(&subject));
        match (limits, self.track(&stats)) {
            (Some(limits), Some(current)) if limits.forbids(current, count, bytes) => {
                QuotaVerdict::Exceeded
            }
            (Some(_), Some(_)) => QuotaVerdict::Allowed,
            _ => QuotaVerdict::Unreadable,
        }
    }

    /// Everything that can be asked of the tree says what the map says.
    fn check(&self, tree: &DataTree) -> Result<(), TestCaseError> {
        let (mut path_bytes, mut data_bytes) = (0, 0);
        let mut ephemerals = BTreeMap::<i64, BTreeSet<String>>::new();
        let mut reapable = BTreeSet::new();
        for (path, node) in &self.nodes {
            let id = tree.find(path);
            prop_assert!(id.is_some(), "{path} is missing");
            let Some(id) = id else { continue };
            let children = self.children(path);
            let owner = match node.owner {
                0 => Owner::Persistent,
                i64::MIN => Owner::Container,
                raw if tree.extended_types() && raw >> 56 == -1 => {
                    Owner::Ttl(raw & ((1 << 40) - 1))
                }
                raw => Owner::Session(SessionId(raw)),
            };
            let mut ephemeral_owner = 0;
            match owner {
                Owner::Persistent => {}
                Owner::Session(session) => {
                    ephemeral_owner = session.0;
                    let owned = ephemerals.entry(session.0).or_default();
                    owned.insert(path.clone());
                }
                Owner::Container | Owner::Ttl(_) => {
                    if children.is_empty() {
                        reapable.insert(path.clone());
                    }
                }
            }
            let stat = Stat {
                czxid: node.czxid,
                mzxid: node.mzxid,
                ctime: node.ctime,
                mtime: node.mtime,
                version: node.version,
                cversion: node
                    .created_children
                    .wrapping_mul(2)
                    .wrapping_sub(children.len() as i32),
                aversion: node.aversion,
                ephemeral_owner,
                data_length: self.len_of(path) as i32,
                num_children: children.len() as i32,
                pzxid: node.pzxid,
            };
            prop_assert_eq!(tree.stat(id), stat, "stat of {}", path);
            prop_assert_eq!(tree.data(id), node.data.as_deref(), "data of {}", path);
            prop_assert_eq!(&**tree.acl(id), &*node.acl, "acl of {}", path);
            prop_assert_eq!(tree.owner(id), owner, "owner of {}", path);
            prop_assert_eq!(tree.created_children(id), node.created_children);
            prop_assert_eq!(tree.child_count(id), children.len());
            prop_assert_eq!(tree.descendants(id), self.at_and_below(path).count() - 1);
            prop_assert_eq!(&tree.path_of(id), path);
            prop_assert_eq!(tree.path_of(tree.parent(id)), parent_of(path));
            let subject = tree.quota_paths.deepest(path).map(str::to_owned);
            prop_assert_eq!(subject, self.subject(path), "quota of {}", path);
            let names: Vec<_> = tree.children(id).map(|name| join(path, name)).collect();
            prop_assert_eq!(names.len(), children.len(), "children of {}", path);
            prop_assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), children);
            path_bytes += if path == "/" { 0 } else { path.len() as u64 };
            data_bytes += self.len_of(path) as u64;
        }
        prop_assert_eq!(tree.node_count(), self.nodes.len());
        prop_assert_eq!(tree.path_bytes(), path_bytes);
        prop_assert_eq!(tree.data_bytes(), data_bytes);
        let paths = |ids: &mut dyn Iterator<Item = NodeId>| -> BTreeSet<String> {
            ids.map(|id| tree.path_of(id)).collect()
        };
        prop_assert_eq!(paths(&mut tree.reapable()), reapable);
        let owned: BTreeMap<_, _> = tree
            .ephemeral_owners()
            .map(|(session, ids)| (session.0, paths(&mut ids.iter().copied())))
            .collect();
        prop_assert_eq!(&owned, &ephemerals);
        for (session, expected) in &ephemerals {
            let found = paths(&mut tree.ephemerals(SessionId(*session)));
            prop_assert_eq!(&found, expected);
        }
        prop_assert_eq!(tree.check(), Ok(()));
        Ok(())
    }

    /// Each list once, and none that nothing uses any more.
    fn check_acls(&self, tree: &DataTree) -> Result<(), TestCaseError> {
        let kept: HashMap<Vec<AclEntry>, AclId> = tree
            .acls
            .used()
            .map(|(id, list)| (list.to_vec(), id))
            .collect();
        let mut used: BTreeSet<AclId> = self.nodes.values().map(|node| kept[&node.acl]).collect();
        used.extend([AclTable::OPEN, AclTable::READ_ONLY]);
        prop_assert_eq!(kept.into_values().collect::<BTreeSet<_>>(), used);
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Op {
    Create {
        parent: Index,
        name: &'static str,
        sequential: bool,
        new: New,
    },
    /// The next znode that is missing on the way to a quota of the picked one.
    Quota {
        subject: Index,
        name: &'static str,
        new: New,
    },
    Delete(Index),
    SetData(Index, Option<Vec<u8>>),
    SetAcl(Index, usize),
    Ask(Index, i64, i64),
    /// The counter of sequential names stands right in front of its end.
    NearlyFull(Index),
    ExtendedTypes(bool),
    Begin,
    Commit,
    Rollback,
}

#[derive(Debug, Clone)]
struct New {
    data: Option<Vec<u8>>,
    acl: usize,
    owner: Owner,
}

const LISTS: usize = 4;

fn list(number: usize) -> Vec<AclEntry> {
    match number {
        0 => open_acl(),
        1 => vec![AclEntry::new(perms::READ, "world", "anyone")],
        2 => vec![AclEntry::new(perms::ALL, "digest", "u:h")],
        _ => vec![
            AclEntry::new(perms::ALL, "ip", "127.0.0.1"),
            AclEntry::new(perms::READ, "digest", "u:h"),
        ],
    }
}

fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    let text = select(vec![
        "count=3,bytes=20=;byteHardLimit=10;countHardLimit=2",
        "count=-1,bytes=-1=;countHardLimit=3",
        "count=1,bytes=2",
        "count=x",
        ",",
    ]);
    prop_oneof![
        Just(None),
        Just(Some(Vec::new())),
        vec(any::<u8>(), 1..12).prop_map(Some),
        text.prop_map(|text| Some(text.into())),
    ]
}

fn new() -> impl Strategy<Value = New> {
    let owner = prop_oneof![
        4 => Just(Owner::Persistent),
        2 => (1i64..4).prop_map(|id| Owner::Session(SessionId(id))),
        1 => Just(Owner::Container),
        1 => (1i64..100).prop_map(Owner::Ttl),
    ];
    (data(), 0..LISTS, owner).prop_map(|(data, acl, owner)| New { data, acl, owner })
}

fn op() -> impl Strategy<Value = Op> {
    let name = select(vec!["a", "b", "ab", "c"]);
    let quota = select(vec!["zookeeper_limits", "zookeeper_stats"]);
    prop_oneof![
        8 => (any::<Index>(), name, any::<bool>(), new()).prop_map(
            |(parent, name, sequential, new)| Op::Create { parent, name, sequential, new }
        ),
        6 => (any::<Index>(), quota, new())
            .prop_map(|(subject, name, new)| Op::Quota { subject, name, new }),
        5 => any::<Index>().prop_map(Op::Delete),
        4 => (any::<Index>(), data()).prop_map(|(at, data)| Op::SetData(at, data)),
        3 => (any::<Index>(), 0..LISTS).prop_map(|(at, acl)| Op::SetAcl(at, acl)),
        3 => (any::<Index>(), -1i64..3, -5i64..12).prop_map(|(at, n, b)| Op::Ask(at, n, b)),
        1 => any::<Index>().prop_map(Op::NearlyFull),
        1 => any::<bool>().prop_map(Op::ExtendedTypes),
        3 => Just(Op::Begin),
        2 => Just(Op::Commit),
        3 => Just(Op::Rollback),
    ]
}

/// A change with everything that the tree needs to make it.
#[derive(Debug, Clone)]
enum Change {
    Create(String, New),
    Delete(String),
    SetData(String, Option<Vec<u8>>),
    SetAcl(String, usize),
}

fn change_tree(tree: &mut DataTree, change: &Change, zxid: i64) {
    let time_ms = zxid * 10;
    match change {
        Change::Create(path, new) => {
            let acl = tree.acls().acquire(&list(new.acl));
            let id = tree.create(
                path,
                NewNode {
                    data: new.data.as_deref(),
                    acl,
                    owner: new.owner,
                    zxid: Zxid(zxid),
                    time_ms,
                },
            );
            assert_eq!(tree.find(path), Some(id));
        }
        Change::Delete(path) => {
            let id = tree.find(path).expect("in the model");
            tree.delete(id, Zxid(zxid));
            assert_eq!(tree.find(path), None);
        }
        Change::SetData(path, data) => {
            let id = tree.find(path).expect("in the model");
            tree.set_data(id, data.as_deref(), Zxid(zxid), time_ms);
        }
        Change::SetAcl(path, acl) => {
            let id = tree.find(path).expect("in the model");
            let acl = tree.acls().acquire(&list(*acl));
            tree.set_acl(id, acl);
        }
    }
}

fn change_model(model: &mut Model, change: &Change, zxid: i64) {
    let time_ms = zxid * 10;
    match change {
        Change::Create(path, new) => {
            let node = ModelNode {
                data: new.data.clone(),
                acl: list(new.acl),
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                ctime: time_ms,
                mtime: time_ms,
                owner: new.owner.to_raw(),
                version: 0,
                created_children: 0,
                aversion: 0,
            };
            model.create(path, node);
        }
        Change::Delete(path) => model.delete(path, zxid),
        Change::SetData(path, data) => model.set_data(path, data.clone(), zxid, time_ms),
        Change::SetAcl(path, acl) => {
            let node = model.nodes.get_mut(path).expect("picked from it");
            node.acl = list(*acl);
            node.aversion += 1;
        }
    }
}

/// What is to happen to an open multi.
struct Multi {
    before: Model,
    digest: u64,
    changes: Vec<(Change, i64)>,
}

struct World {
    tree: DataTree,
    model: Model,
    /// Sees what was committed only, and no journal: an equal tree with another history.
    twin: DataTree,
    multi: Option<Multi>,
    zxid: i64,
    /// All states so far, by digest.
    seen: HashMap<u64, Model>,
}

impl World {
    fn new() -> Self {
        Self {
            tree: DataTree::new(),
            model: Model::new(),
            twin: DataTree::new(),
            multi: None,
            zxid: 0,
            seen: HashMap::new(),
        }
    }

    fn pick(&self, index: Index) -> String {
        let at = index.index(self.model.nodes.len());
        let path = self.model.nodes.keys().nth(at);
        path.expect("below the length").clone()
    }

    /// The change that an operation stands for, unless a caller would refuse it.
    fn change_of(&self, op: Op) -> Option<Change> {
        match op {
            Op::Create {
                parent,
                name,
                sequential,
                new,
            } => {
                let parent = self.pick(parent);
                let mut path = join(&parent, name);
                if sequential {
                    let id = self.tree.find(&parent).expect("in the model");
                    let counter = self.tree.created_children(id);
                    assert_eq!(counter, self.model.nodes[&parent].created_children);
                    path += &format!("{counter:010}");
                }
                let is_free = !self.model.nodes.contains_key(&path);
                assert_eq!(self.tree.find(&path).is_none(), is_free);
                is_free.then_some(Change::Create(path, new))
            }
            Op::Quota { subject, name, new } => {
                let target = format!("/zookeeper/quota{}", join(&self.pick(subject), name));
                let mut missing = target.as_str();
                if self.model.nodes.contains_key(missing) {
                    return None;
                }
                while !self.model.nodes.contains_key(parent_of(missing)) {
                    missing = parent_of(missing);
                }
                Some(Change::Create(missing.to_owned(), new))
            }
            Op::Delete(at) => {
                let path = self.pick(at);
                let may = !UNDELETABLE.contains(&&*path) && self.model.children(&path).is_empty();
                may.then_some(Change::Delete(path))
            }
            Op::SetData(at, data) => Some(Change::SetData(self.pick(at), data)),
            Op::SetAcl(at, acl) => Some(Change::SetAcl(self.pick(at), acl)),
            _ => None,
        }
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Begin if self.multi.is_none() => {
                self.tree.begin();
                self.multi = Some(Multi {
                    before: self.model.clone(),
                    digest: self.tree.digest(),
                    changes: Vec::new(),
                });
            }
            Op::Commit => {
                if let Some(multi) = self.multi.take() {
                    self.tree.commit();
                    for (change, zxid) in multi.changes {
                        change_tree(&mut self.twin, &change, zxid);
                    }
                }
            }
            Op::Rollback => {
                if let Some(multi) = self.multi.take() {
                    self.tree.rollback();
                    self.model = multi.before;
                    prop_assert_eq!(self.tree.digest(), multi.digest);
                }
            }
            Op::Ask(at, count, bytes) => {
                let path = self.pick(at);
                // A multi is judged by what stood there before it; one that changes the quota
                // itself is left out.
                let judge = match &self.multi {
                    None => &self.model,
                    Some(multi) => &multi.before,
                };
                let touches_quota = self.multi.as_ref().is_some_and(|multi| {
                    multi.changes.iter().any(|(change, _)| {
                        let (Change::Create(path, _)
                        | Change::Delete(path)
                        | Change::SetData(path, _)
                        | Change::SetAcl(path, _)) = change;
                        path.starts_with("/zookeeper/quota")
                    })
                });
                if !touches_quota {
                    prop_assert_eq!(
                        self.tree.quota_forbids(&path, count, bytes),
                        judge.verdict(&path, count, bytes),
                        "{} grows by {} and {} bytes",
                        path,
                        count,
                        bytes
                    );
                }
            }
            Op::NearlyFull(at) if self.multi.is_none() => {
                let path = self.pick(at);
                for tree in [&mut self.tree, &mut self.twin] {
                    let id = tree.find(&path).expect("in the model");
                    tree.update_links(id, |node| node.created_children = i32::MAX - 1);
                }
                let node = self.model.nodes.get_mut(&path).expect("picked from it");
                node.created_children = i32::MAX - 1;
            }
            // An entry's flags hold for whole multis.
            Op::ExtendedTypes(on) if self.multi.is_none() => {
                self.tree.set_extended_types(on);
                self.twin.set_extended_types(on);
            }
            Op::Begin | Op::NearlyFull(_) | Op::ExtendedTypes(_) => {}
            op => {
                if let Some(change) = self.change_of(op) {
                    // All of a multi has one zxid.
                    if self
                        .multi
                        .as_ref()
                        .is_none_or(|multi| multi.changes.is_empty())
                    {
                        self.zxid += 1;
                    }
                    change_tree(&mut self.tree, &change, self.zxid);
                    change_model(&mut self.model, &change, self.zxid);
                    match &mut self.multi {
                        Some(multi) => multi.changes.push((change, self.zxid)),
                        None => change_tree(&mut self.twin, &change, self.zxid),
                    }
                }
            }
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        self.model.check(&self.tree)?;
        if self.multi.is_none() {
            self.model.check_acls(&self.tree)?;
            prop_assert_eq!(self.tree.digest(), self.twin.digest());
        }
        let model = self.model.clone();
        let seen = self.seen.entry(self.tree.digest()).or_insert(model);
        prop_assert_eq!(&*seen, &self.model, "two trees with one digest");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_agrees_with_a_map_of_paths(ops in vec(op(), 1..80)) {
        let mut world = World::new();
        world.check()?;
        for op in ops {
            world.run(op)?;
        }
        world.run(Op::Rollback)?;
        world.model.check(&world.twin)?;
    }
}
