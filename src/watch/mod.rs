//! Watches of this server's connections.
//!
//! A registration belongs to a connection, not to a session, and is a set: the same watch twice is
//! one. Upstream keeps two tables, data and child; here one entry holds both as [`Modes`] bits.
//! This module finds who must be told. It does not know what a connection is, nor who may read.
//! Upstream: `WatchManager.java`, `WatchStats.java`.
//!
//! Invariant: a watcher stands in a path's set if and only if the path stands in the watcher's.

use std::sync::Arc;

use crate::collections::{HashMap, HashSet};
use crate::tree::path::ancestors;
use crate::types::ConnId;

/// How a connection watches one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes(u8);

impl Modes {
    pub const DATA: Self = Self(1);
    pub const CHILD: Self = Self(2);
    pub const DATA_PERSISTENT: Self = Self(4);
    pub const CHILD_PERSISTENT: Self = Self(8);
    /// Data and existence of the path and everything below it.
    pub const RECURSIVE: Self = Self(16);
    /// addWatch mode 0.
    pub const PERSISTENT: Self = Self(4 | 8);
    pub const ALL: Self = Self(31);
    /// What stands in upstream's data table.
    pub const ANY_DATA: Self = Self(1 | 4 | 16);

    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// In words, for people.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [
            (Self::DATA, "data"),
            (Self::CHILD, "children"),
            (Self::PERSISTENT, "persistent"),
            (Self::RECURSIVE, "recursive"),
        ];
        let these = all
            .into_iter()
            .filter(move |(mode, _)| self.intersects(*mode));
        these.map(|(_, name)| name)
    }

    fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Who watches one path. Nearly always a few; a set when there are many.
#[derive(Debug)]
enum Watchers {
    Few(Vec<(ConnId, Modes)>),
    Many(HashMap<ConnId, Modes>),
}

const FEW_MAX: usize = 16;

impl Watchers {
    fn get(&self, conn: ConnId) -> Modes {
        match self {
            Self::Few(list) => list
                .iter()
                .find(|(id, _)| *id == conn)
                .map(|(_, modes)| *modes)
                .unwrap_or_default(),
            Self::Many(map) => map.get(&conn).copied().unwrap_or_default(),
        }
    }

    fn set(&mut self, conn: ConnId, modes: Modes) {
        match self {
            Self::Few(list) => {
                let at = list.iter().position(|(id, _)| *id == conn);
                match (at, modes.is_empty()) {
                    (Some(at), true) => {
                        list.swap_remove(at);
                    }
                    (Some(at), false) => list[at].1 = modes,
                    (None, true) => {}
                    (None, false) if list.len() < FEW_MAX => list.push((conn, modes)),
                    (None, false) => {
                        let mut map: HashMap<_, _> = list.drain(..).collect();
                        map.insert(conn, modes);
                        *self = Self::Many(map);
                    }
                }
            }
            Self::Many(map) if modes.is_empty() => {
                map.remove(&conn);
            }
            Self::Many(map) => {
                map.insert(conn, modes);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(map) => map.len(),
        }
    }

    fn for_each(&self, mut visit: impl FnMut(ConnId, Modes)) {
        match self {
            Self::Few(list) => list.iter().for_each(|&(conn, modes)| visit(conn, modes)),
            Self::Many(map) => map.iter().for_each(|(&conn, &modes)| visit(conn, modes)),
        }
    }
}

/// Totals for `wchs` and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchSummary {
    pub connections: usize,
    pub paths: usize,
    pub watches: usize,
}

#[derive(Debug, Default)]
pub struct WatchTable {
    by_path: HashMap<Arc<str>, Watchers>,
    by_conn: HashMap<ConnId, HashSet<Arc<str>>>,
    /// Recursive registrations; ancestors are looked at only when there are some.
    recursive: usize,
    watches: usize,
}

impl WatchTable {
    /// Adds `modes` to what `conn` watches at `path`.
    pub fn add(&mut self, conn: ConnId, path: &str, modes: Modes) {
        let key = match self.by_path.get_key_value(path) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(path),
        };
        let watchers = self
            .by_path
            .entry(Arc::clone(&key))
            .or_insert_with(|| Watchers::Few(Vec::new()));
        let before = watchers.get(conn);
        let mut after = before;
        after.insert(modes);
        watchers.set(conn, after);
        self.count(before, after);
        self.by_conn.entry(conn).or_default().insert(key);
    }

    /// What `conn` watches at `path`.
    #[must_use]
    pub fn modes(&self, conn: ConnId, path: &str) -> Modes {
        self.by_path
            .get(path)
            .map(|watchers| watchers.get(conn))
            .unwrap_or_default()
    }

    /// Takes `modes` away; false when `conn` had none of them at `path`.
    pub fn remove(&mut self, conn: ConnId, path: &str, modes: Modes) -> bool {
        let before = self.modes(conn, path);
        if !before.intersects(modes) {
            return false;
        }
        let mut after = before;
        after.remove(modes);
        self.set(conn, path, before, after);
        true
    }

    /// Forgets a connection that has closed.
    pub fn remove_connection(&mut self, conn: ConnId) {
        for path in self.by_conn.remove(&conn).unwrap_or_default() {
            let before = self.modes(conn, &path);
            self.set(conn, &path, before, Modes::default());
        }
    }

    fn set(&mut self, conn: ConnId, path: &str, before: Modes, after: Modes) {
        self.count(before, after);
        if let Some(watchers) = self.by_path.get_mut(path) {
            watchers.set(conn, after);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
        }
        if after.is_empty()
            && let Some(paths) = self.by_conn.get_mut(&conn)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    fn count(&mut self, before: Modes, after: Modes) {
        let recursive = |modes: Modes| usize::from(modes.intersects(Modes::RECURSIVE));
        self.recursive = self.recursive + recursive(after) - recursive(before);
        self.watches = self.watches + table_entries(after) - table_entries(before);
    }

    /// Collects each connection once that must hear of a change to `path`, and uses up its one-shot
    /// watch. Connections in `heard` already are not collected again, but their one-shots are used
    /// up all the same.
    fn trigger(&mut self, path: &str, table: Table, heard: &mut Vec<ConnId>) {
        if self.watches == 0 {
            return;
        }
        let first = heard.len();
        let (one_shot, persistent) = match table {
            Table::Data => (
                Modes::DATA,
                Modes(Modes::DATA_PERSISTENT.0 | Modes::RECURSIVE.0),
            ),
            Table::Child => (Modes::CHILD, Modes::CHILD_PERSISTENT),
        };
        let mut used_up = Vec::new();
        if let Some(watchers) = self.by_path.get(path) {
            let suppressed: HashSet<ConnId> = heard.iter().copied().collect();
            let mut found = Vec::new();
            watchers.for_each(|conn, modes| {
                if modes.intersects(one_shot) {
                    used_up.push((conn, modes));
                }
                if modes.intersects(one_shot) || modes.intersects(persistent) {
                    found.push(conn);
                }
            });
            for conn in found {
                if !suppressed.contains(&conn) {
                    heard.push(conn);
                }
            }
        }
        for (conn, before) in used_up {
            let mut after = before;
            after.remove(one_shot);
            self.set(conn, path, before, after);
        }
        if self.recursive > 0 && matches!(table, Table::Data) {
            let at_path: HashSet<ConnId> = heard[first..].iter().copied().collect();
            let mut above = HashSet::default();
            for ancestor in ancestors(path).skip(1) {
                if let Some(watchers) = self.by_path.get(ancestor) {
                    watchers.for_each(|conn, modes| {
                        if modes.intersects(Modes::RECURSIVE)
                            && !at_path.contains(&conn)
                            && above.insert(conn)
                        {
                            heard.push(conn);
                        }
                    });
                }
            }
        }
    }

    /// Who hears NodeCreated or NodeDataChanged of `path`.
    pub fn data_changed(&mut self, path: &str) -> Vec<ConnId> {
        let mut heard = Vec::new();
        self.trigger(path, Table::Data, &mut heard);
        heard
    }

    /// Who hears NodeDeleted of `path`: those with a data watch or a child watch, each once.
    pub fn deleted(&mut self, path: &str) -> Vec<ConnId> {
        let mut heard = Vec::new();
        self.trigger(path, Table::Data, &mut heard);
        self.trigger(path, Table::Child, &mut heard);
        heard
    }

    /// Who hears NodeChildrenChanged of `path`.
    pub fn children_changed(&mut self, path: &str) -> Vec<ConnId> {
        let mut heard = Vec::new();
        self.trigger(path, Table::Child, &mut heard);
        heard
    }

    /// Visits each path that a connection watches for data or existence, itself or recursively.
    pub fn for_each_data_watch(&self, mut visit: impl FnMut(&str, ConnId)) {
        for (path, watchers) in &self.by_path {
            watchers.for_each(|conn, modes| {
                if modes.intersects(Modes::ANY_DATA) {
                    visit(path, conn);
                }
            });
        }
    }

    /// Watched paths, each with how many connections watch it.
    pub fn paths(&self) -> impl Iterator<Item = (&str, usize)> {
        let paths = self.by_path.iter();
        paths.map(|(path, watchers)| (&**path, watchers.len()))
    }

    /// Visits whoever watches a path itself.
    pub fn for_each_watcher(&self, path: &str, visit: impl FnMut(ConnId, Modes)) {
        if let Some(watchers) = self.by_path.get(path) {
            watchers.for_each(visit);
        }
    }

    /// Watching connections, each with how many paths it watches.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, usize)> {
        self.by_conn
            .iter()
            .map(|(conn, paths)| (*conn, paths.len()))
    }

    /// The paths that a connection watches.
    pub fn watched_by(&self, conn: ConnId) -> impl Iterator<Item = &str> {
        let paths = self.by_conn.get(&conn).into_iter().flatten();
        paths.map(|path| &**path)
    }

    /// How many paths a connection watches.
    #[must_use]
    pub fn watched_count(&self, conn: ConnId) -> usize {
        self.by_conn.get(&conn).map_or(0, HashSet::len)
    }

    #[must_use]
    pub fn summary(&self) -> WatchSummary {
        WatchSummary {
            connections: self.by_conn.len(),
            paths: self.by_path.len(),
            watches: self.watches,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Table {
    Data,
    Child,
}

/// In how many of upstream's two tables these modes stand: its counts add up both.
fn table_entries(modes: Modes) -> usize {
    let child = Modes(Modes::CHILD.0 | Modes::CHILD_PERSISTENT.0);
    usize::from(modes.intersects(Modes::ANY_DATA)) + usize::from(modes.intersects(child))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    #[test]
    fn watches_are_listed_by_path_and_by_connection() {
        let mut table = WatchTable::default();
        table.add(A, "/x", Modes::DATA);
        table.add(A, "/x", Modes::CHILD);
        table.add(B, "/x", Modes::RECURSIVE);
        assert_eq!(table.paths().collect::<Vec<_>>(), [("/x", 2)]);
        let mut watchers = Vec::new();
        table.for_each_watcher("/x", |conn, modes| {
            watchers.push((conn, modes.names().collect::<Vec<_>>()));
        });
        watchers.sort_by_key(|(conn, _)| conn.0);
        assert_eq!(
            watchers,
            [(A, vec!["data", "children"]), (B, vec!["recursive"])]
        );
        assert_eq!(table.watched_by(B).collect::<Vec<_>>(), ["/x"]);
        table.remove_connection(B);
        assert_eq!(table.connections().collect::<Vec<_>>(), [(A, 1)]);
    }

    #[test]
    fn one_shots_fire_once() {
        let mut table = WatchTable::default();
        table.add(A, "/x", Modes::DATA);
        table.add(A, "/x", Modes::DATA);
        assert_eq!(table.data_changed("/x"), [A]);
        assert_eq!(table.data_changed("/x"), []);
        assert_eq!(table.summary(), WatchSummary::default());
    }

    #[test]
    fn deletion_is_told_once_and_uses_up_both_kinds() {
        let mut table = WatchTable::default();
        table.add(A, "/x", Modes::DATA);
        table.add(A, "/x", Modes::CHILD);
        table.add(B, "/x", Modes::CHILD);
        assert_eq!(table.deleted("/x"), [A, B]);
        assert_eq!(table.summary(), WatchSummary::default());
    }

    #[test]
    fn a_one_shot_beside_a_persistent_watch_goes_alone() {
        let mut table = WatchTable::default();
        table.add(A, "/x", Modes::DATA);
        table.add(A, "/x", Modes::PERSISTENT);
        assert_eq!(table.data_changed("/x"), [A]);
        assert_eq!(table.modes(A, "/x"), Modes::PERSISTENT);
        assert_eq!(table.children_changed("/x"), [A]);
    }

    #[test]
    fn recursive_watches_see_everything_below_but_no_children_events() {
        let mut table = WatchTable::default();
        table.add(A, "/", Modes::RECURSIVE);
        table.add(A, "/x", Modes::RECURSIVE);
        table.add(A, "/x/y", Modes::DATA);
        assert_eq!(
            table.data_changed("/x/y"),
            [A],
            "told once for all its watches"
        );
        assert_eq!(table.children_changed("/x"), []);
        assert_eq!(table.deleted("/x"), [A]);
    }

    #[test]
    fn a_closed_connection_leaves_nothing_behind() {
        let mut table = WatchTable::default();
        for n in 0..40 {
            table.add(ConnId(n), "/x", Modes::ALL);
            table.add(ConnId(n), &format!("/{n}"), Modes::CHILD);
        }
        for n in 0..40 {
            table.remove_connection(ConnId(n));
        }
        assert_eq!(table.summary(), WatchSummary::default());
        assert_eq!(table.recursive, 0);
        assert!(!table.remove(A, "/x", Modes::ALL));
    }
}
