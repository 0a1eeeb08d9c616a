//! Looks at many znodes, some at a time: writes get their turn in between, and more of it the longer
//! such a look held them up.
//!
//! What changes meanwhile is seen or not, so a walk is no snapshot. It keeps its place by the znodes
//! that it has seen last: new siblings come in front of them and nothing moves, so whatever stands
//! behind one that is still there has not been seen yet.

use std::time::{Duration, Instant};

use crate::pipeline::Core;
use crate::state::State;
use crate::tree::{DataTree, NodeId};

/// Znodes that are looked at before writes get their turn again.
pub(super) const SLICE_ZNODES: usize = 1000;

/// A look that has held up writes is followed by a pause that is so many times as long.
const PAUSE_FACTOR: u32 = 3;

/// Seen siblings that tell where a walk was; when all of them are deleted in one pause it has lost its
/// place.
const MARKS: usize = 16;

/// Levels below the top that are gone down.
const LEVELS_MAX: usize = 1000;

/// Parents of which it is said that not all of their children were seen.
const UNFINISHED_MAX: usize = 1000;

/// Looks, and lets writes go on for a while before the next look.
pub(super) fn look_and_pause<T>(look: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let found = look();
    pause_after(begun.elapsed());
    found
}

fn pause_after(held: Duration) {
    std::thread::sleep(held.saturating_mul(PAUSE_FACTOR));
}

pub(super) fn join(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}

/// One znode on the way.
pub(super) struct Seen<'a> {
    pub(super) state: &'a State,
    pub(super) id: NodeId,
    pub(super) parent: &'a str,
    pub(super) name: &'a str,
}

impl Seen<'_> {
    pub(super) fn path(&self) -> String {
        join(self.parent, self.name)
    }
}

/// Where a walk goes on behind a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Below,
    Beside,
}

/// How far a walk came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    pub(super) znodes: usize,
    /// Parents of which some children may not have been seen.
    pub(super) unfinished: Vec<String>,
}

impl Walked {
    fn leave_unfinished(&mut self, parent: &str) {
        if self.unfinished.len() < UNFINISHED_MAX {
            self.unfinished.push(parent.to_owned());
        }
    }
}

/// A znode that was seen, to be known again: ids are used again, with another czxid.
struct Mark {
    id: NodeId,
    czxid: i64,
    name: String,
}

impl Mark {
    fn of(tree: &DataTree, id: NodeId) -> Self {
        Self {
            id,
            czxid: tree.stat(id).czxid,
            name: tree.name(id).to_owned(),
        }
    }

    fn is_at(&self, tree: &DataTree, parent: &str) -> bool {
        tree.find(&join(parent, &self.name)) == Some(self.id)
            && tree.stat(self.id).czxid == self.czxid
    }
}

/// The children of one parent on the way.
struct Level {
    /// How much of the walk's path is the parent's.
    parent_len: usize,
    /// The child that was seen last; none before the first.
    current: Option<NodeId>,
    /// While nobody looks: the child that was seen last, and those that were seen before it.
    marks: Vec<Mark>,
}

struct Walk {
    path: String,
    levels: Vec<Level>,
    walked: Walked,
}

/// Visits what is below `top`, parents before their children, until there is no more or `znodes_max`
/// were seen. Nothing is below a znode that is not there.
pub(super) fn walk(
    core: &Core,
    top: &str,
    znodes_max: usize,
    visit: impl FnMut(&Seen<'_>) -> Way,
) -> Walked {
    let look = |slice: &mut dyn FnMut(&State)| core.look(slice);
    walk_in_slices(look, top, znodes_max, visit, pause_after)
}

fn walk_in_slices(
    mut look: impl FnMut(&mut dyn FnMut(&State)),
    top: &str,
    znodes_max: usize,
    mut visit: impl FnMut(&Seen<'_>) -> Way,
    mut between: impl FnMut(Duration),
) -> Walked {
    let mut walk = Walk {
        path: top.to_owned(),
        levels: vec![Level {
            parent_len: top.len(),
            current: None,
            marks: Vec::new(),
        }],
        walked: Walked::default(),
    };
    loop {
        let (mut is_over, mut held) = (false, Duration::ZERO);
        look(&mut |state| {
            let begun = Instant::now();
            walk.find_place(&state.tree);
            let until = (walk.walked.znodes + SLICE_ZNODES).min(znodes_max);
            while !is_over && walk.walked.znodes < until {
                is_over = !walk.step(state, &mut visit);
            }
            if !is_over && walk.walked.znodes >= znodes_max {
                walk.stop_here(&state.tree);
                is_over = true;
            }
            if !is_over {
                walk.keep_place(&state.tree);
            }
            held = begun.elapsed();
        });
        if is_over {
            return walk.walked;
        }
        between(held);
    }
}

impl Walk {
    /// The path of the parent whose children are visited.
    fn parent(&self) -> &str {
        &self.path
    }

    /// Visits the next znode; false when there is none.
    fn step(&mut self, state: &State, visit: &mut impl FnMut(&Seen<'_>) -> Way) -> bool {
        let tree = &state.tree;
        while let Some(next) = self.next(tree) {
            let Some(id) = next else {
                self.leave();
                continue;
            };
            if let Some(level) = self.levels.last_mut() {
                level.current = Some(id);
            }
            self.walked.znodes += 1;
            let name = tree.name(id);
            let way = visit(&Seen {
                state,
                id,
                parent: &self.path,
                name,
            });
            if way == Way::Below && tree.child_count(id) > 0 {
                let path = join(&self.path, name);
                match self.levels.len() < LEVELS_MAX {
                    true => {
                        self.path = path;
                        self.levels.push(Level {
                            parent_len: self.path.len(),
                            current: None,
                            marks: Vec::new(),
                        });
                    }
                    false => self.walked.leave_unfinished(&path),
                }
            }
            return true;
        }
        false
    }

    /// The next child on the last level, if it has one; nothing when there is no level.
    fn next(&self, tree: &DataTree) -> Option<Option<NodeId>> {
        let level = self.levels.last()?;
        Some(match level.current {
            Some(id) => tree.next_sibling(id),
            None => tree
                .find(self.parent())
                .and_then(|parent| tree.first_child(parent)),
        })
    }

    /// Goes back to the level above.
    fn leave(&mut self) {
        self.levels.pop();
        if let Some(above) = self.levels.last() {
            self.path.truncate(above.parent_len);
        }
    }

    fn stop_here(&mut self, tree: &DataTree) {
        while let Some(next) = self.next(tree) {
            if next.is_some() {
                let parent = self.path.clone();
                self.walked.leave_unfinished(&parent);
            }
            self.leave();
        }
    }

    fn keep_place(&mut self, tree: &DataTree) {
        let depth = self.levels.len();
        for (at, level) in self.levels.iter_mut().enumerate() {
            // A parent stays where its children are.
            let marks = if at + 1 == depth { MARKS } else { 1 };
            let seen = std::iter::successors(level.current, |id| tree.previous_sibling(*id));
            level.marks = seen.take(marks).map(|id| Mark::of(tree, id)).collect();
        }
    }

    fn find_place(&mut self, tree: &DataTree) {
        let mut whole = 0;
        for (at, level) in self.levels.iter_mut().enumerate() {
            let parent = &self.path[..level.parent_len];
            let marks = &level.marks;
            let found = marks.iter().position(|mark| mark.is_at(tree, parent));
            whole = at + 1;
            match found {
                Some(found) => {
                    level.current = Some(marks[found].id);
                    // What was below the one that has gone, has gone.
                    if found > 0 {
                        break;
                    }
                }
                None if marks.is_empty() => {}
                None => {
                    self.walked.leave_unfinished(parent);
                    whole = at;
                    break;
                }
            }
        }
        self.levels.truncate(whole);
        if let Some(last) = self.levels.last() {
            self.path.truncate(last.parent_len);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::auth::Schemes;
    use crate::tree::{AclTable, NewNode, Owner};
    use crate::types::Zxid;

    const PARENTS: usize = 4;
    const CHILDREN: usize = 700;

    struct Tree(RefCell<State>, RefCell<i64>);

    impl Tree {
        fn new() -> Self {
            let tree = Self(
                RefCell::new(State::new(Arc::new(Schemes::new(Vec::new())))),
                RefCell::new(0),
            );
            tree.create("/top");
            for parent in 0..PARENTS {
                tree.create(&format!("/top/{parent}"));
                for child in 0..CHILDREN {
                    tree.create(&format!("/top/{parent}/{child}"));
                }
            }
            tree
        }

        fn next_zxid(&self) -> Zxid {
            let mut zxid = self.1.borrow_mut();
            *zxid += 1;
            Zxid(*zxid)
        }

        fn create(&self, path: &str) {
            let zxid = self.next_zxid();
            let mut state = self.0.borrow_mut();
            state.tree.acls().retain(AclTable::OPEN);
            state.tree.create(
                path,
                NewNode {
                    data: None,
                    acl: AclTable::OPEN,
                    owner: Owner::Persistent,
                    zxid,
                    time_ms: 0,
                },
            );
        }

        fn delete(&self, path: &str) {
            let zxid = self.next_zxid();
            let mut state = self.0.borrow_mut();
            let id = state.tree.find(path).expect("it is there");
            state.tree.delete(id, zxid);
        }

        /// What a walk saw, each path once; `change` comes between two slices, with the last that
        /// was seen.
        fn walk(&self, max: usize, mut change: impl FnMut(&[String])) -> (Vec<String>, Walked) {
            let seen = RefCell::new(Vec::new());
            let look = |slice: &mut dyn FnMut(&State)| slice(&self.0.borrow());
            let visit = |one: &Seen<'_>| {
                seen.borrow_mut().push(one.path());
                Way::Below
            };
            let walked = walk_in_slices(look, "/top", max, visit, |_| change(&seen.borrow()));
            let seen = seen.into_inner();
            let distinct: BTreeSet<_> = seen.iter().collect();
            assert_eq!(distinct.len(), seen.len(), "something was seen twice");
            assert_eq!(walked.znodes, seen.len());
            (seen, walked)
        }
    }

    const ALL: usize = PARENTS * (CHILDREN + 1);

    #[test]
    fn each_znode_is_seen_once() {
        let tree = Tree::new();
        let mut slices = 1;
        let (seen, walked) = tree.walk(usize::MAX, |_| slices += 1);
        assert_eq!((seen.len(), walked.unfinished), (ALL, Vec::new()));
        assert_eq!(slices, ALL.div_ceil(SLICE_ZNODES));
        assert_eq!(seen[0], format!("/top/{}", PARENTS - 1));
    }

    #[test]
    fn a_walk_goes_on_behind_what_was_deleted_and_beside_what_was_created() {
        let tree = Tree::new();
        let mut deleted = 0;
        let (seen, walked) = tree.walk(usize::MAX, |seen| {
            for path in seen.iter().rev().take(MARKS - 1) {
                // Its id and its name are used again at once, in front of all siblings.
                tree.delete(path);
                tree.create(path);
                deleted += 1;
            }
        });
        assert!(deleted > 0);
        assert_eq!((seen.len(), walked.unfinished), (ALL, Vec::new()));
    }

    #[test]
    fn a_walk_that_lost_its_place_says_so() {
        let tree = Tree::new();
        let mut lost = BTreeSet::new();
        let (seen, walked) = tree.walk(usize::MAX, |seen| {
            for path in seen.iter().rev().take(MARKS) {
                tree.delete(path);
            }
            let last = seen.last().map(String::as_str).unwrap_or_default();
            lost.extend(last.rsplit_once('/').map(|(parent, _)| parent.to_owned()));
        });
        assert!(seen.len() < ALL && !lost.is_empty());
        assert_eq!(BTreeSet::from_iter(walked.unfinished), lost);
    }

    #[test]
    fn a_walk_stops_at_its_limit_and_names_what_it_left() {
        let tree = Tree::new();
        let (seen, walked) = tree.walk(CHILDREN + 3, |_| {});
        assert_eq!(seen.len(), CHILDREN + 3);
        let second = format!("/top/{}", PARENTS - 2);
        assert_eq!(walked.unfinished, [second, "/top".to_owned()]);
    }

    #[test]
    fn nothing_is_below_what_is_not_there() {
        let tree = Tree::new();
        let look = |slice: &mut dyn FnMut(&State)| slice(&tree.0.borrow());
        let walked = walk_in_slices(look, "/none", 10, |_| Way::Below, |_| {});
        assert_eq!(walked, Walked::default());
    }
}
