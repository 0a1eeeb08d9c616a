//! A frozen cut, copied while random changes go on, is the tree of its moment.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::freeze::Loader;
use super::{AclEntry, AclTable, DataTree, NewNode, Owner, path};
use crate::types::{SessionId, Zxid};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Znode {
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

type Dump = BTreeMap<String, Znode>;

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

fn dump(tree: &DataTree) -> Dump {
    let mut model = Dump::new();
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
        let node = Znode {
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

/// Performs a step if it applies to the tree as it is.
fn perform(tree: &mut DataTree, step: &Step, zxid: i64, time_ms: i64) {
    let zxid = Zxid(zxid);
    match step {
        Step::Create {
            path,
            data,
            acl,
            owner: number,
        } => {
            let has_parent = tree.find(path::parent_for_clients(path)).is_some();
            if has_parent && tree.find(path).is_none() {
                let acl = tree.acls().acquire(&acl_list(*acl));
                let owner = owner(*number);
                tree.create(
                    path,
                    NewNode {
                        data: data.as_deref(),
                        acl,
                        owner,
                        zxid,
                        time_ms,
                    },
                );
            }
        }
        Step::Delete { path } => {
            if let Some(id) = tree.find(path)
                && tree.child_count(id) == 0
            {
                tree.delete(id, zxid);
            }
        }
        Step::SetData { path, data } => {
            if let Some(id) = tree.find(path) {
                tree.set_data(id, data.as_deref(), zxid, time_ms);
            }
        }
        Step::SetAcl { path, acl } => {
            if let Some(id) = tree.find(path) {
                let acl = tree.acls().acquire(&acl_list(*acl));
                tree.set_acl(id, acl);
            }
        }
        Step::Begin | Step::Commit | Step::Rollback | Step::Copy => {}
    }
}

/// A cut that is being copied: the lists, digest and model of its moment, and what was copied.
struct Cut {
    acls: Vec<(super::AclId, Vec<AclEntry>)>,
    slots: u32,
    digest: u64,
    model: Dump,
    copied: Vec<u8>,
}

impl Cut {
    fn begin(tree: &mut DataTree) -> Self {
        let model = dump(tree);
        let tables = tree.freeze();
        assert_eq!(tables.node_count, model.len());
        let acls = tables
            .acls
            .iter()
            .map(|(id, list)| (*id, list.to_vec()))
            .collect();
        Self {
            acls,
            slots: tables.slots,
            digest: tables.digest,
            model: model.clone(),
            copied: Vec::new(),
        }
    }

    /// Copies the rest and compares.
    fn finish(mut self, tree: &mut DataTree) {
        while tree.copy_chunk(&mut self.copied) {}
        drop(tree.thaw());
        let mut loader = Loader::new(true, self.slots, self.acls);
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
    fn a_cut_is_the_tree_of_its_moment(steps in vec(step(), 1..80)) {
        let mut tree = fresh_tree();
        let mut in_multi = false;
        let mut cut: Option<Cut> = None;
        for (number, step) in steps.iter().enumerate() {
            let zxid = i64::try_from(number).expect("small") + 1;
            match step {
                Step::Begin if !in_multi => {
                    tree.begin();
                    in_multi = true;
                }
                Step::Commit if in_multi => {
                    tree.commit();
                    in_multi = false;
                }
                Step::Rollback if in_multi => {
                    tree.rollback();
                    in_multi = false;
                }
                // Between two changes only: a multi is one.
                Step::Copy if !in_multi => match cut.take() {
                    None => cut = Some(Cut::begin(&mut tree)),
                    Some(cut) => cut.finish(&mut tree),
                },
                step => perform(&mut tree, step, zxid, zxid * 10),
            }
        }
        if in_multi {
            tree.commit();
        }
        if let Some(cut) = cut {
            cut.finish(&mut tree);
        }
        prop_assert_eq!(tree.check(), Ok(()));
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
    let mut cut = Cut::begin(&mut tree);
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

/// A slab as large as a damaged id would take all memory there is.
#[test]
fn a_slot_beyond_the_end_is_refused() {
    let mut tree = fresh_tree();
    let mut cut = Cut::begin(&mut tree);
    while tree.copy_chunk(&mut cut.copied) {}
    cut.copied[..4].copy_from_slice(&0xffff_0000_u32.to_be_bytes());
    let mut loader = Loader::new(true, cut.slots, cut.acls);
    let refused = loader.add(&cut.copied).expect_err("no such slot");
    assert!(refused.contains("slot"), "{refused}");
}
