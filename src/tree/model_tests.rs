//! The tree against a naive model: a map from path to everything, changed by the same random
//! operations. After each step results, the full dump, the digest of an equal tree and the tree's
//! own invariants agree; and a frozen cut, read while changes go on, is the tree of that moment.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::freeze::Loader;
use super::{AclEntry, AclTable, DataTree, NewNode, Owner, path};
use crate::types::{SessionId, Zxid};

#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelNode {
    data: Option<Vec<u8>>,
    acl: Vec<AclEntry>,
    owner: Owner,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    created_children: i32,
    aversion: i32,
}

type Model = BTreeMap<String, ModelNode>;

#[derive(Debug, Clone)]
enum Step {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        acl: u8,
        owner: u8,
    },
    Delete {
        path: String,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
    },
    SetAcl {
        path: String,
        acl: u8,
    },
    Begin,
    Commit,
    Rollback,
    /// Starts a cut, or copies some more of the one that was started.
    Copy,
}

/// Few names, so that operations meet.
fn some_path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| {
        names
            .iter()
            .fold(String::new(), |path, name| path + "/" + name)
    })
}

fn some_data() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(vec(any::<u8>(), 0..5))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (some_path(), some_data(), 0..4u8, 0..5u8)
            .prop_map(|(path, data, acl, owner)| Step::Create { path, data, acl, owner }),
        4 => some_path().prop_map(|path| Step::Delete { path }),
        2 => (some_path(), some_data()).prop_map(|(path, data)| Step::SetData { path, data }),
        1 => (some_path(), 0..4u8).prop_map(|(path, acl)| Step::SetAcl { path, acl }),
        1 => Just(Step::Begin),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Copy),
    ]
}

fn acl_list(number: u8) -> Vec<AclEntry> {
    match number {
        0 => vec![AclEntry::new(31, "world", "anyone")],
        1 => vec![AclEntry::new(1, "world", "anyone")],
        number => vec![AclEntry::new(i32::from(number), "ip", "10.0.0.1")],
    }
}

fn owner(number: u8) -> Owner {
    match number {
        0 | 1 => Owner::Persistent,
        2 => Owner::Session(SessionId(7)),
        3 => Owner::Container,
        _ => Owner::Ttl(1000),
    }
}

fn dump(tree: &DataTree) -> Model {
    let mut model = Model::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        let id = tree
            .find(&path)
            .expect("a listed child is found by its path");
        let stat = tree.stat(id);
        for child in tree.children(id) {
            let parent = if path == "/" { "" } else { &path };
            paths.push(format!("{parent}/{child}"));
        }
        assert_eq!(tree.path_of(id), path);
        let node = ModelNode {
            data: tree.data(id).map(<[u8]>::to_vec),
            acl: tree.acl(id).to_vec(),
            owner: tree.owner(id),
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            pzxid: stat.pzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            created_children: tree.created_children(id),
            aversion: stat.aversion,
        };
        model.insert(path, node);
    }
    model
}

fn fresh_tree() -> DataTree {
    let mut tree = DataTree::new();
    tree.set_extended_types(true);
    tree
}

/// What the model makes of a step; false when it does not apply.
fn model_step(model: &mut Model, step: &Step, zxid: i64, time_ms: i64) -> bool {
    let parent_of = |path: &str| path::parent_for_clients(path).to_owned();
    match step {
        Step::Create {
            path,
            data,
            acl,
            owner: number,
        } => {
            if model.contains_key(path) || !model.contains_key(&parent_of(path)) {
                return false;
            }
            let node = ModelNode {
                data: data.clone(),
                acl: acl_list(*acl),
                owner: owner(*number),
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                ctime: time_ms,
                mtime: time_ms,
                version: 0,
                created_children: 0,
                aversion: 0,
            };
            model.insert(path.clone(), node);
            let parent = model.get_mut(&parent_of(path)).expect("checked");
            parent.created_children += 1;
            parent.pzxid = zxid;
        }
        Step::Delete { path } => {
            let below = format!("{path}/");
            if !model.contains_key(path) || model.keys().any(|other| other.starts_with(&below)) {
                return false;
            }
            model.remove(path);
            model
                .get_mut(&parent_of(path))
                .expect("a parent outlives its children")
                .pzxid = zxid;
        }
        Step::SetData { path, data } => {
            let Some(node) = model.get_mut(path) else {
                return false;
            };
            node.data.clone_from(data);
            node.mzxid = zxid;
            node.mtime = time_ms;
            node.version += 1;
        }
        Step::SetAcl { path, acl } => {
            let Some(node) = model.get_mut(path) else {
                return false;
            };
            node.acl = acl_list(*acl);
            node.aversion += 1;
        }
        Step::Begin | Step::Commit | Step::Rollback | Step::Copy => {}
    }
    true
}

fn tree_step(tree: &mut DataTree, step: &Step, zxid: i64, time_ms: i64) {
    let zxid = Zxid(zxid);
    match step {
        Step::Create {
            path,
            data,
            acl,
            owner: number,
        } => {
            let acl = tree.acls().acquire(&acl_list(*acl));
            let owner = owner(*number);
            let id = tree.create(
                path,
                NewNode {
                    data: data.as_deref(),
                    acl,
                    owner,
                    zxid,
                    time_ms,
                },
            );
            assert_eq!(tree.find(path), Some(id));
        }
        Step::Delete { path } => {
            let id = tree.find(path).expect("the model has it");
            assert_eq!(tree.child_count(id), 0);
            tree.delete(id, zxid);
            assert_eq!(tree.find(path), None);
        }
        Step::SetData { path, data } => {
            let id = tree.find(path).expect("the model has it");
            tree.set_data(id, data.as_deref(), zxid, time_ms);
        }
        Step::SetAcl { path, acl } => {
            let id = tree.find(path).expect("the model has it");
            let acl = tree.acls().acquire(&acl_list(*acl));
            tree.set_acl(id, acl);
        }
        Step::Begin | Step::Commit | Step::Rollback | Step::Copy => {}
    }
}

/// A cut that is being copied: the lists, digest and model of its moment, and what was copied.
struct Cut {
    acls: Vec<(super::AclId, Vec<AclEntry>)>,
    digest: u64,
    model: Model,
    copied: Vec<u8>,
}

impl Cut {
    fn begin(tree: &mut DataTree, model: &Model) -> Self {
        let tables = tree.freeze();
        assert_eq!(tables.node_count, model.len());
        let acls = tables
            .acls
            .iter()
            .map(|(id, list)| (*id, list.to_vec()))
            .collect();
        Self {
            acls,
            digest: tables.digest,
            model: model.clone(),
            copied: Vec::new(),
        }
    }

    /// Copies the rest and compares.
    fn finish(mut self, tree: &mut DataTree) {
        while tree.copy_chunk(&mut self.copied) {}
        drop(tree.thaw());
        let mut loader = Loader::new(true, self.acls);
        loader.add(&self.copied).expect("we wrote it");
        let loaded = loader.finish(self.digest).expect("the cut is whole");
        loaded
            .check()
            .expect("the loaded tree keeps its invariants");
        assert_eq!(dump(&loaded), self.model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_tree_is_its_model(steps in vec(step(), 1..80)) {
        let mut tree = fresh_tree();
        let mut model = dump(&tree);
        let mut before_multi: Option<Model> = None;
        let mut cut: Option<Cut> = None;
        for (number, step) in steps.iter().enumerate() {
            let zxid = i64::try_from(number).expect("small") + 1;
            let time_ms = zxid * 10;
            match step {
                Step::Begin if before_multi.is_none() => {
                    tree.begin();
                    before_multi = Some(model.clone());
                }
                Step::Commit if before_multi.take().is_some() => tree.commit(),
                Step::Rollback => {
                    if let Some(before) = before_multi.take() {
                        tree.rollback();
                        model = before;
                    }
                }
                Step::Begin | Step::Commit => {}
                Step::Copy if before_multi.is_none() => match &mut cut {
                    None => cut = Some(Cut::begin(&mut tree, &model)),
                    Some(_) => {
                        let cut = cut.take().expect("just seen");
                        cut.finish(&mut tree);
                    }
                },
                Step::Copy => {}
                _ => {
                    if model_step(&mut model, step, zxid, time_ms) {
                        tree_step(&mut tree, step, zxid, time_ms);
                    }
                }
            }
            prop_assert_eq!(tree.check(), Ok(()));
            prop_assert_eq!(&dump(&tree), &model);
        }
        if before_multi.is_some() {
            tree.commit();
        }
        if let Some(cut) = cut {
            cut.finish(&mut tree);
        }
        // A copy of the tree has its digest; releasing every list leaves the two permanent ones.
        let whole = Cut::begin(&mut tree, &model);
        prop_assert_eq!(whole.digest, tree.digest());
        whole.finish(&mut tree);
    }
}

/// The slot walk with a cursor in the middle: more znodes than one chunk, changed on both sides.
#[test]
fn changes_on_both_sides_of_the_walker_leave_the_cut_alone() {
    let mut tree = fresh_tree();
    let put = |tree: &mut DataTree, number: u32, zxid: i64| {
        tree.acls().retain(AclTable::OPEN);
        let new = NewNode {
            data: Some(b"x"),
            acl: AclTable::OPEN,
            owner: Owner::Persistent,
            zxid: Zxid(zxid),
            time_ms: zxid,
        };
        tree.create(&format!("/n{number}"), new);
    };
    let count = 3 * super::freeze::CHUNK_SLOTS;
    for number in 0..count {
        put(&mut tree, number, i64::from(number) + 1);
    }
    let model = dump(&tree);
    let mut cut = Cut::begin(&mut tree, &model);
    let mut zxid = i64::from(count);
    // Between any two chunks: delete, recreate in the freed slots, write, and add at the end.
    for round in 0..3 {
        assert!(tree.copy_chunk(&mut cut.copied));
        for number in (round..count).step_by(7) {
            zxid += 1;
            if let Some(id) = tree.find(&format!("/n{number}")) {
                tree.delete(id, Zxid(zxid));
            }
        }
        for number in 0..200 {
            zxid += 1;
            put(&mut tree, count * (round + 1) + number, zxid);
        }
        for number in (0..count).step_by(5) {
            if let Some(id) = tree.find(&format!("/n{number}")) {
                zxid += 1;
                tree.set_data(id, Some(b"changed"), Zxid(zxid), zxid);
            }
        }
    }
    tree.check().expect("sound");
    cut.finish(&mut tree);
}
