//! What reads show is what writes have made.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Answer, Ask, BAD_VERSION, Body, Change, Connection, Facts, GUESTS, History, NO_NODE, Request,
    Rule, Session, Stat, Violation, all, parent, report, told,
};

pub(super) fn check(history: &History, facts: &Facts, found: &mut Vec<Violation>) {
    let authors: HashMap<u64, (&Session, &Connection, &Request)> = all(history)
        .filter_map(|whole| match &whole.2.ask {
            Ask::Set { value, .. } | Ask::Create { value, .. } => Some((*value, whole)),
            _ => None,
        })
        .collect();
    let mut versions = Versions::default();
    for (session, connection, request) in all(history) {
        let Some(answer) = &request.answer else {
            continue;
        };
        let now = || told(session, connection, request);
        match (&request.ask, &answer.outcome) {
            (Ask::Get { path, .. }, Ok(Body::Data(value, stat))) => {
                written_by(path, *value, stat, answer, &authors, &now, found);
                up_to_date(path, stat, answer, facts, &now, found);
                versions.learn(path, stat, Some(*value), &now, found);
            }
            (Ask::Exists { path, .. }, Ok(Body::Stat(stat))) => {
                up_to_date(path, stat, answer, facts, &now, found);
                versions.learn(path, stat, None, &now, found);
            }
            (Ask::Get { path, .. } | Ask::Exists { path, .. }, Err(NO_NODE)) => {
                absent(path, answer, facts, &now, found);
            }
            (
                Ask::Set {
                    path,
                    value,
                    expected,
                },
                Ok(Body::Stat(stat)),
            ) => {
                if stat.mzxid != answer.zxid || (*expected >= 0 && stat.version != expected + 1) {
                    report(found, Rule::WrongData, now());
                }
                versions.learn(path, stat, Some(*value), &now, found);
            }
            _ => {}
        }
    }
    refusals(history, &versions, found);
    at_the_end(history, facts, &mut versions, found);
    counted(history, &versions, found);
}

/// The value is that of a write that may have made this stat.
fn written_by(
    path: &str,
    value: u64,
    stat: &Stat,
    answer: &Answer,
    authors: &HashMap<u64, (&Session, &Connection, &Request)>,
    now: &dyn Fn() -> String,
    found: &mut Vec<Violation>,
) {
    let Some((session, connection, author)) = authors.get(&value) else {
        let text = format!("{}\nshows {value}, which nobody has written", now());
        report(found, Rule::WrongData, text);
        return;
    };
    let possible = match &author.answer {
        // Sequential creates are not read by this road.
        _ if author.ask.path() != Some(path) => false,
        _ if author.sent > answer.at => false,
        Some(Answer { outcome, zxid, .. }) => outcome.is_ok() && *zxid == stat.mzxid,
        None => true,
    };
    if !possible {
        let author = told(session, connection, author);
        let text = format!("{}\nshows what came from {author}", now());
        report(found, Rule::WrongData, text);
    }
}

/// Nothing is known that happened between what is shown and the reply's zxid.
fn up_to_date(
    path: &str,
    stat: &Stat,
    answer: &Answer,
    facts: &Facts,
    now: &dyn Fn() -> String,
    found: &mut Vec<Violation>,
) {
    if let Some((zxid, change)) = facts.next_change(path, stat.mzxid)
        && zxid <= answer.zxid
    {
        let text = format!("{}\nthough {path} was {change:?} at {zxid:#x}", now());
        report(found, Rule::WrongData, text);
    }
}

/// A znode that is absent has not been created, or may have been deleted.
fn absent(
    path: &str,
    answer: &Answer,
    facts: &Facts,
    now: &dyn Fn() -> String,
    found: &mut Vec<Violation>,
) {
    let Some((zxid, Change::Created | Change::Set)) = facts.last_change(path, answer.zxid) else {
        return;
    };
    // The state may be newer than the reply's zxid.
    let deleted_later = facts
        .changes
        .get(path)
        .is_some_and(|changes| changes.range(zxid..).any(|(_, c)| *c == Change::Deleted));
    let maybe_deleted = facts
        .open_deletes
        .get(path)
        .is_some_and(|sent| *sent <= answer.at);
    if !deleted_later && !maybe_deleted && parent(path) != GUESTS {
        let text = format!("{}\nthough {path} was there at {zxid:#x}", now());
        report(found, Rule::WrongData, text);
    }
}

/// mzxid and, when it was read, value of a znode's versions.
type Known = BTreeMap<i32, (i64, Option<u64>)>;

/// All that is known about the versions of each incarnation of each znode.
#[derive(Default)]
struct Versions {
    /// By path and czxid.
    known: HashMap<(String, i64), Known>,
    /// Where each value was seen.
    values: HashMap<u64, i64>,
}

impl Versions {
    fn learn(
        &mut self,
        path: &str,
        stat: &Stat,
        value: Option<u64>,
        now: &dyn Fn() -> String,
        found: &mut Vec<Violation>,
    ) {
        let known = self.known.entry((path.to_owned(), stat.czxid)).or_default();
        let entry = known.entry(stat.version).or_insert((stat.mzxid, value));
        let (zxid, other) = *entry;
        if zxid != stat.mzxid || (other.is_some() && value.is_some() && other != value) {
            let text = format!("{}\nbut version {} is of {zxid:#x}", now(), stat.version);
            report(found, Rule::WrongData, text);
        }
        entry.1 = other.or(value);
        let before = known.range(..stat.version).next_back();
        let after = known.range(stat.version + 1..).next();
        if before.is_some_and(|(_, (zxid, _))| *zxid >= stat.mzxid)
            || after.is_some_and(|(_, (zxid, _))| *zxid <= stat.mzxid)
        {
            let text = format!("{}\nbut before and after are {before:x?} {after:x?}", now());
            report(found, Rule::WrongData, text);
        }
        let Some(value) = value else {
            return;
        };
        let place = *self.values.entry(value).or_insert(stat.mzxid);
        if place != stat.mzxid {
            let text = format!("{}\nbut {value} was also written at {place:#x}", now());
            report(found, Rule::WriteTwice, text);
        }
    }
}

/// A write that was refused for its version met another version.
fn refusals(history: &History, versions: &Versions, found: &mut Vec<Violation>) {
    for (session, connection, request) in all(history) {
        let Ask::Set { path, expected, .. } = &request.ask else {
            continue;
        };
        let Some(Answer {
            zxid,
            outcome: Err(BAD_VERSION),
            ..
        }) = &request.answer
        else {
            continue;
        };
        for ((known_path, _), known) in &versions.known {
            if known_path != path {
                continue;
            }
            let (is, was) = (known.get(&(expected + 1)), known.get(expected));
            if let (Some((is, _)), Some((was, _))) = (is, was)
                && was < zxid
                && zxid < is
            {
                let now = told(session, connection, request);
                let text = format!("{now}\nbut it had this version from {was:#x} to {is:#x}");
                report(found, Rule::WrongData, text);
            }
        }
    }
}

/// What was acknowledged is there in the end.
fn at_the_end(
    history: &History,
    facts: &Facts,
    versions: &mut Versions,
    found: &mut Vec<Violation>,
) {
    let Some(tree) = history.trees.first() else {
        return;
    };
    for (path, changes) in &facts.changes {
        if parent(path) == GUESTS {
            continue;
        }
        let Some((zxid, change)) = changes.iter().next_back() else {
            continue;
        };
        let last = tree.znodes.get(path);
        let lost = match (change, last) {
            (Change::Deleted, Some((_, stat))) => stat.czxid < *zxid,
            (Change::Deleted, None) => false,
            (_, Some((_, stat))) => stat.mzxid < *zxid,
            (_, None) => !facts.open_deletes.contains_key(path),
        };
        if lost {
            let text = format!("{path} was {change:?} at {zxid:#x}, in the end it has {last:?}");
            report(found, Rule::LostWrite, text);
        }
    }
    for (path, (value, stat)) in &tree.znodes {
        let now = || format!("{path} in the end: {value} {stat:?}");
        versions.learn(path, stat, Some(*value), &now, found);
    }
}

/// A znode's version counts its writes: those that nobody knows of must be writes of unknown
/// outcome.
fn counted(history: &History, versions: &Versions, found: &mut Vec<Violation>) {
    let mut open: HashMap<&str, usize> = HashMap::new();
    let seen: HashSet<u64> = versions.values.keys().copied().collect();
    for (_, _, request) in all(history) {
        if let Ask::Set { path, value, .. } = &request.ask
            && request.answer.is_none()
            && !seen.contains(value)
        {
            *open.entry(path).or_default() += 1;
        }
    }
    for ((path, _), known) in &versions.known {
        let Some((last, _)) = known.iter().next_back() else {
            continue;
        };
        // Version 0 is of the create.
        let written = usize::try_from(*last).unwrap_or(0);
        let accounted = known.iter().filter(|(version, _)| **version > 0).count();
        let unknown = open.get(path.as_str()).copied().unwrap_or(0);
        if written > accounted + unknown {
            let text = format!(
                "{path} was written {written} times: {accounted} are known, {unknown} more were \
                 asked for"
            );
            report(found, Rule::WriteTwice, text);
        }
    }
}
