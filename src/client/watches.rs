//! Which watches a session holds, so that a new connection can arm them again
//! (`ZKWatchManager.java`).
//!
//! **Invariant:** changed in the order of the server's stream, by the driver: a watch is entered
//! with the reply that armed it and leaves with the event that used it up. Paths are the client's.

use std::collections::BTreeSet;

use jute::proto::event_type;

/// Kinds of watches, as `setWatches2` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchKind {
    Data,
    /// For a node that was not there.
    Exist,
    Child,
    Persistent,
    PersistentRecursive,
}

const KINDS: [WatchKind; 5] = [
    WatchKind::Data,
    WatchKind::Exist,
    WatchKind::Child,
    WatchKind::Persistent,
    WatchKind::PersistentRecursive,
];

/// What a caller of removeWatches hears of, as upstream groups it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Child,
    Data,
    Persistent,
}

/// Paths by kind.
#[derive(Debug, Default)]
pub(super) struct Watches {
    paths: [BTreeSet<String>; KINDS.len()],
}

impl Watches {
    pub(super) fn add(&mut self, kind: WatchKind, path: &str) {
        self.paths[kind as usize].insert(path.to_owned());
    }

    pub(super) fn of(&self, kind: WatchKind) -> impl Iterator<Item = &str> {
        self.paths[kind as usize].iter().map(String::as_str)
    }

    fn remove(&mut self, kind: WatchKind, path: &str) -> bool {
        self.paths[kind as usize].remove(path)
    }

    fn has(&self, kind: WatchKind, path: &str) -> bool {
        self.paths[kind as usize].contains(path)
    }

    pub(super) fn has_any(&self, kinds: &[WatchKind], path: &str) -> bool {
        kinds.iter().any(|kind| self.has(*kind, path))
    }

    /// Uses up the watches that an event fires; false when nobody here waits for it.
    pub(super) fn fire(&mut self, event_kind: i32, path: &str) -> bool {
        let once: &[WatchKind] = match event_kind {
            event_type::NODE_CREATED | event_type::NODE_DATA_CHANGED => {
                &[WatchKind::Data, WatchKind::Exist]
            }
            event_type::NODE_CHILDREN_CHANGED => &[WatchKind::Child],
            event_type::NODE_DELETED => &[WatchKind::Data, WatchKind::Exist, WatchKind::Child],
            _ => &[],
        };
        let mut wanted = self.has(WatchKind::Persistent, path);
        for kind in once {
            wanted |= self.remove(*kind, path);
        }
        // A child event below comes from another watch; recursive ones do not promise it.
        wanted
            || (event_kind != event_type::NODE_CHILDREN_CHANGED
                && ancestors(path).any(|above| self.has(WatchKind::PersistentRecursive, above)))
    }

    /// Forgets the watches of `kinds` at a path, and says which there were.
    pub(super) fn forget(&mut self, kinds: &[WatchKind], path: &str) -> Vec<Removed> {
        let mut removed = Vec::new();
        for kind in kinds {
            let group = match kind {
                WatchKind::Child => Removed::Child,
                WatchKind::Data | WatchKind::Exist => Removed::Data,
                WatchKind::Persistent | WatchKind::PersistentRecursive => Removed::Persistent,
            };
            if self.remove(*kind, path) && !removed.contains(&group) {
                removed.push(group);
            }
        }
        removed
    }
}

/// The path and all above it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rfind('/') {
        Some(0) if path.len() > 1 => Some("/"),
        Some(slash) if slash > 0 => Some(&path[..slash]),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shot_watches_fire_once_and_persistent_ones_stay() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Data, "/a");
        watches.add(WatchKind::Child, "/a");
        assert!(watches.fire(event_type::NODE_DATA_CHANGED, "/a"));
        assert!(!watches.fire(event_type::NODE_DATA_CHANGED, "/a"));
        assert!(watches.fire(event_type::NODE_DELETED, "/a"));
        assert_eq!(watches.of(WatchKind::Child).count(), 0);
        watches.add(WatchKind::Persistent, "/a");
        assert!(watches.fire(event_type::NODE_DATA_CHANGED, "/a"));
        assert!(watches.fire(event_type::NODE_CHILDREN_CHANGED, "/a"));
        assert!(!watches.fire(event_type::NODE_DATA_CHANGED, "/a/b"));
    }

    #[test]
    fn recursive_watches_hear_of_all_below_but_of_no_children_lists() {
        let mut watches = Watches::default();
        watches.add(WatchKind::PersistentRecursive, "/a");
        assert!(watches.fire(event_type::NODE_CREATED, "/a/b/c"));
        assert!(watches.fire(event_type::NODE_DELETED, "/a"));
        assert!(!watches.fire(event_type::NODE_CHILDREN_CHANGED, "/a"));
        assert!(!watches.fire(event_type::NODE_CREATED, "/ab"));
        let mut root = Watches::default();
        root.add(WatchKind::PersistentRecursive, "/");
        assert!(root.fire(event_type::NODE_CREATED, "/a/b"));
    }

    #[test]
    fn forgetting_tells_what_was_there() {
        let mut watches = Watches::default();
        watches.add(WatchKind::Exist, "/a");
        watches.add(WatchKind::Data, "/a");
        assert_eq!(watches.forget(&KINDS, "/a"), [Removed::Data]);
        assert_eq!(watches.forget(&KINDS, "/a"), []);
    }
}
