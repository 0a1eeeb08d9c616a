//! Armed watches fire once, for the first change, before newer data.
//!
//! What is armed follows from what the client has received: the server keeps reply and event in the
//! order in which the watch was set and has fired. An armed watch remembers up to which zxid its
//! client knows the znode. The first change behind that must be told before any reply whose zxid is
//! not lower than the change's.

use std::collections::{HashMap, HashSet};

use super::{
    Answer, Ask, Body, Change, Connection, Event, Facts, Frame, History, NO_NODE, Request, Rule,
    Session, Violation, event_kind, report, told,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Table {
    Data,
    Child,
}

type Key = (Table, String);

struct Armed {
    /// The client knows the znode as of this zxid.
    after: i64,
    /// Armed by exists on a znode that was not there.
    absent: bool,
    by: String,
}

pub(super) fn check(history: &History, facts: &Facts, found: &mut Vec<Violation>) {
    for session in &history.sessions {
        Watcher {
            session,
            facts,
            armed: HashMap::new(),
            overdue: HashSet::new(),
            found,
        }
        .run();
    }
}

struct Watcher<'a> {
    session: &'a Session,
    facts: &'a Facts,
    armed: HashMap<Key, Armed>,
    /// Missing so far; when they come they are late.
    overdue: HashSet<Key>,
    found: &'a mut Vec<Violation>,
}

impl Watcher<'_> {
    fn run(mut self) {
        for connection in &self.session.connections {
            // Another connection has no watches but those that it sets again.
            let again: HashSet<Key> = connection.requests.iter().flat_map(rearmed).collect();
            self.armed.retain(|key, _| again.contains(key));
            self.overdue.clear();
            let mut rearming = !again.is_empty();
            let mut highest = 0;
            for frame in &connection.frames {
                match frame {
                    Frame::Answer(index) => {
                        let request = &connection.requests[*index];
                        let Some(answer) = &request.answer else {
                            continue;
                        };
                        if matches!(request.ask, Ask::SetWatches { .. }) {
                            self.settle(answer.zxid, connection, request);
                            rearming = false;
                        } else if !rearming {
                            self.due(answer.zxid, connection, request);
                        }
                        highest = highest.max(answer.zxid);
                        self.arm(connection, request, answer);
                    }
                    Frame::Event(event) => self.fire(event, highest, rearming, connection),
                    Frame::Stray { .. } => {}
                }
            }
        }
    }

    /// Whatever changed up to this zxid must have been told.
    fn due(&mut self, zxid: i64, connection: &Connection, request: &Request) {
        let facts = self.facts;
        let late: Vec<Key> = self
            .armed
            .iter()
            .filter(|(key, armed)| next(facts, key, armed.after).is_some_and(|at| at <= zxid))
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            self.miss(key, connection, request);
        }
    }

    fn miss(&mut self, key: Key, connection: &Connection, request: &Request) {
        let Some(armed) = self.armed.remove(&key) else {
            return;
        };
        let change = next(self.facts, &key, armed.after).unwrap_or_default();
        let text = format!(
            "{}\narmed {:?} {}, which changed at {change:#x}; no event came before {}",
            armed.by,
            key.0,
            key.1,
            told(self.session, connection, request)
        );
        report(self.found, Rule::MissingEvent, text);
        self.overdue.insert(key);
    }

    /// setWatches tells what has changed, and arms the rest as it is now.
    fn settle(&mut self, zxid: i64, connection: &Connection, request: &Request) {
        let facts = self.facts;
        let mut missing = Vec::new();
        for (key, armed) in &mut self.armed {
            let changed = if armed.absent {
                // It may have come and gone, which is not told.
                let last = facts.last_change(&key.1, zxid);
                matches!(last, Some((at, Change::Created | Change::Set)) if at > armed.after)
                    && !facts.open_deletes.contains_key(&key.1)
            } else {
                next(facts, key, armed.after).is_some_and(|at| at <= zxid)
            };
            if changed {
                missing.push(key.clone());
            } else if armed.absent {
                armed.after = armed.after.max(zxid);
            }
        }
        for key in missing {
            self.miss(key, connection, request);
        }
    }

    fn arm(&mut self, connection: &Connection, request: &Request, answer: &Answer) {
        if !request.ask.watches() {
            return;
        }
        let (after, absent) = match (&request.ask, &answer.outcome) {
            (Ask::Get { .. }, Ok(Body::Data(_, stat)))
            | (Ask::Exists { .. }, Ok(Body::Stat(stat))) => (stat.mzxid, false),
            (Ask::Exists { .. }, Err(NO_NODE)) => (answer.zxid, true),
            (Ask::Children { .. }, Ok(Body::Children(_, stat))) => (stat.pzxid, false),
            _ => return,
        };
        let table = match &request.ask {
            Ask::Children { .. } => Table::Child,
            _ => Table::Data,
        };
        let path = request.ask.path().unwrap_or_default().to_owned();
        let armed = Armed {
            after,
            absent,
            by: told(self.session, connection, request),
        };
        self.armed.insert((table, path), armed);
    }

    fn fire(&mut self, event: &Event, highest: i64, rearming: bool, connection: &Connection) {
        let table = match event.kind {
            event_kind::CHILDREN => Table::Child,
            _ => Table::Data,
        };
        let key = (table, event.path.clone());
        let now = told(self.session, connection, &format!("{event:x?}"));
        let Some(armed) = self.armed.remove(&key) else {
            let rule = match self.overdue.remove(&key) {
                true => Rule::LateEvent,
                false => Rule::InventedEvent,
            };
            report(self.found, rule, now);
            return;
        };
        let text = |why: &str| format!("{}\nthen {now}\n{why}", armed.by);
        if event.zxid > 0 && event.zxid <= highest {
            let why = format!("though {highest:#x} was shown before");
            report(self.found, Rule::LateEvent, text(&why));
            return;
        }
        let first = next(self.facts, &key, armed.after);
        let problem = if event.zxid < 0 {
            // Made by setWatches, from what was different.
            if !rearming {
                Some("without a zxid, though no watches were being set again".to_owned())
            } else if first.is_none() && !self.possible(&key, event) {
                Some("though nothing has changed".to_owned())
            } else {
                None
            }
        } else if first.is_some_and(|first| first < event.zxid) && !(armed.absent && rearming) {
            let first = first.unwrap_or_default();
            let text = text(&format!("but the first change was at {first:#x}"));
            report(self.found, Rule::MissingEvent, text);
            return;
        } else if event.zxid <= armed.after {
            Some("which its client had seen already".to_owned())
        } else if first != Some(event.zxid) && !self.possible(&key, event) {
            Some("though nothing has changed".to_owned())
        } else if let Some(kind) = self.kind_at(&key, event.zxid)
            && kind != event.kind
        {
            Some(format!("but the change was of kind {kind}"))
        } else {
            None
        };
        if let Some(problem) = problem {
            let text = text(&problem);
            report(self.found, Rule::InventedEvent, text);
        }
    }

    /// Something may have happened of which no client has had an answer.
    fn possible(&self, key: &Key, event: &Event) -> bool {
        let open = match key.0 {
            Table::Data => &self.facts.open,
            Table::Child => &self.facts.open_children,
        };
        open.get(&key.1).is_some_and(|sent| *sent <= event.at)
    }

    fn kind_at(&self, key: &Key, zxid: i64) -> Option<i32> {
        if key.0 == Table::Child {
            return None;
        }
        let change = self.facts.changes.get(&key.1)?.get(&zxid)?;
        Some(match change {
            Change::Created => event_kind::CREATED,
            Change::Set => event_kind::CHANGED,
            Change::Deleted => event_kind::DELETED,
        })
    }
}

/// The first change that is known behind a zxid.
fn next(facts: &Facts, key: &Key, after: i64) -> Option<i64> {
    match key.0 {
        Table::Data => facts.next_change(&key.1, after).map(|(zxid, _)| zxid),
        Table::Child => facts.next_child_change(&key.1, after),
    }
}

fn rearmed(request: &Request) -> Vec<Key> {
    let Ask::SetWatches { data, exist, child } = &request.ask else {
        return Vec::new();
    };
    let in_table = |table, paths: &[String]| -> Vec<Key> {
        paths.iter().map(|path| (table, path.clone())).collect()
    };
    let mut keys = in_table(Table::Data, data);
    keys.extend(in_table(Table::Data, exist));
    keys.extend(in_table(Table::Child, child));
    keys
}
