//! What clients saw, and which of it must not be.
//!
//! Everything of a run happens in one order, so that "before" is a number. Registers are znodes that
//! are only ever set: the version that a set is told is its place among all sets of that znode.

use std::collections::{BTreeMap, BTreeSet};

/// When something happened: how many things had before.
pub(super) type Moment = u64;

/// Something that a client asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// To set a register.
    Set { register: u64, value: String },
    /// To read a register behind a sync.
    ReadLatest { register: u64 },
    /// To read a register.
    Read { register: u64 },
}

/// How that went.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// The version after a set, or that was read, with its value.
    Version { version: i32, value: String },
    /// Nobody knows.
    Nothing,
}

#[derive(Debug, Clone)]
struct Operation {
    client: u64,
    asked: Asked,
    begun: Moment,
    /// None while it is under way or was given up.
    ended: Option<(Moment, i32, String)>,
}

/// A znode that belongs to a session.
#[derive(Debug, Clone)]
pub(super) struct Ephemeral {
    pub path: String,
    pub session: i64,
}

#[derive(Debug, Default)]
pub(super) struct History {
    next: Moment,
    operations: Vec<Operation>,
    pub ephemerals: Vec<Ephemeral>,
    /// Znodes that one client has asked for one right behind the other; none is ever deleted.
    pub pairs: Vec<[String; 2]>,
    /// Since when nothing disturbs the servers, in ms.
    pub calm_since: Option<u64>,
    /// Sessions that were ended by their client, and told so.
    pub closed: BTreeSet<i64>,
    /// What clients found by themselves.
    violations: Vec<String>,
    trace: u64,
    /// Sessions that expired.
    pub expired: u64,
    pub reconnects: u64,
}

/// A place in the history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(usize);

impl History {
    fn tick(&mut self) -> Moment {
        self.next += 1;
        self.next
    }

    /// Adds something to what two runs of a seed must have in common.
    pub(super) fn trace(&mut self, what: &str) {
        for byte in what.bytes() {
            // FNV-1a.
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.trace
    }

    pub(super) fn begin(&mut self, client: u64, asked: Asked) -> Ticket {
        let begun = self.tick();
        self.operations.push(Operation {
            client,
            asked,
            begun,
            ended: None,
        });
        Ticket(self.operations.len() - 1)
    }

    pub(super) fn end(&mut self, Ticket(place): Ticket, seen: Seen) {
        let ended = self.tick();
        self.trace(&format!("{} {place} {seen:?}", super::world::now_ms()));
        if let Seen::Version { version, value } = seen {
            self.operations[place].ended = Some((ended, version, value));
        }
    }

    pub(super) fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(super) fn answered(&self) -> usize {
        let answered = self.operations.iter().filter(|op| op.ended.is_some());
        answered.count()
    }

    /// Everything that must not be.
    pub(super) fn check(&self) -> Vec<String> {
        let mut found = self.violations.clone();
        let registers: BTreeSet<u64> = self.operations.iter().map(Operation::register).collect();
        for register in registers {
            self.check_register(register, &mut found);
        }
        found
    }

    fn check_register(&self, register: u64, found: &mut Vec<String>) {
        let operations = || {
            let of = |op: &&Operation| op.register() == register;
            self.operations.iter().filter(of)
        };
        let asked: BTreeMap<&str, &Operation> = operations()
            .filter_map(|op| match &op.asked {
                Asked::Set { value, .. } => Some((value.as_str(), op)),
                _ => None,
            })
            .collect();
        // Each version has one value and each value one version.
        let mut by_version: BTreeMap<i32, &str> = BTreeMap::new();
        let mut by_value: BTreeMap<&str, i32> = BTreeMap::new();
        for op in operations() {
            let Some((ended, version, value)) = &op.ended else {
                continue;
            };
            let one = *by_version.entry(*version).or_insert(value);
            if one != value {
                found.push(format!(
                    "register {register}: version {version} is both {one} and {value}"
                ));
            }
            let other = *by_value.entry(value).or_insert(*version);
            if other != *version {
                found.push(format!(
                    "register {register}: {value} was written twice, as {other} and {version}"
                ));
            }
            let from_future = asked
                .get(value.as_str())
                .is_none_or(|set| set.begun > *ended);
            if *version > 0 && from_future {
                found.push(format!("register {register}: nobody had written {value}"));
            }
        }
        self.check_order(register, found);
    }

    /// Versions must not go back: for those who ask for the latest and for sets as time passes, for
    /// each client from one answer to the next.
    fn check_order(&self, register: u64, found: &mut Vec<String>) {
        let mut moments: Vec<(Moment, bool, &Operation)> = Vec::new();
        for op in self
            .operations
            .iter()
            .filter(|op| op.register() == register)
        {
            moments.push((op.begun, false, op));
            if let Some((ended, _, _)) = &op.ended {
                moments.push((*ended, true, op));
            }
        }
        moments.sort_by_key(|(moment, _, _)| *moment);
        let mut latest = 0;
        let mut by_client: BTreeMap<u64, i32> = BTreeMap::new();
        let mut known_at: BTreeMap<Moment, i32> = BTreeMap::new();
        for (moment, is_end, op) in moments {
            if !is_end {
                known_at.insert(moment, latest);
                continue;
            }
            let Some((_, version, _)) = &op.ended else {
                continue;
            };
            let known = known_at.get(&op.begun).copied().unwrap_or(0);
            let least = match op.asked {
                Asked::Set { .. } => known + 1,
                Asked::ReadLatest { .. } => known,
                Asked::Read { .. } => 0,
            };
            if *version < least {
                found.push(format!(
                    "register {register}: {op:?} came to version {version}, but {known} was known when it began"
                ));
            }
            let own = by_client.entry(op.client).or_default();
            if *version < *own {
                found.push(format!(
                    "register {register}: client {} went back from version {own} to {version}",
                    op.client
                ));
            }
            *own = *version;
            latest = latest.max(*version);
        }
    }
}

impl Operation {
    fn register(&self) -> u64 {
        match self.asked {
            Asked::Set { register, .. }
            | Asked::ReadLatest { register }
            | Asked::Read { register } => register,
        }
    }
}
