//! Sequential creates: each once, in order, without a gap.

use std::collections::HashMap;

use super::{Ask, Body, CreateKind, History, QUEUE, Request, Rule, Session, Stat, Violation};
use super::{all, parent, report, told};

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    // All trees are the same, or another rule speaks.
    let Some(tree) = history.trees.first() else {
        return;
    };
    let mut items: HashMap<u64, Vec<(&str, &Stat)>> = HashMap::new();
    for (path, (value, stat)) in &tree.znodes {
        if parent(path) == QUEUE {
            items.entry(*value).or_default().push((path, stat));
        }
    }
    for (session, connection, request) in all(history) {
        let Some(value) = queued(request) else {
            continue;
        };
        let now = || told(session, connection, request);
        let places = items.remove(&value).unwrap_or_default();
        if places.len() > 1 {
            report(
                found,
                Rule::WriteTwice,
                format!("{}\nis in the end {places:?}", now()),
            );
        }
        let place = places.first();
        match request.answer.as_ref().map(|answer| &answer.outcome) {
            Some(Ok(Body::Created(path, stat))) => match place {
                None => report(
                    found,
                    Rule::LostWrite,
                    format!("{}\nis not there in the end", now()),
                ),
                Some((name, last)) if name != path || last.czxid != stat.czxid => report(
                    found,
                    Rule::WrongData,
                    format!("{}\nis in the end {name} {last:?}", now()),
                ),
                Some(_) => {}
            },
            Some(Err(_)) if place.is_some() => report(
                found,
                Rule::WrongData,
                format!("{}\nis in the end {places:?}", now()),
            ),
            _ => {}
        }
    }
    for (value, places) in &items {
        let text = format!("nobody has created {value}, in the end {places:?}");
        report(found, Rule::WrongData, text);
    }
    counters(tree.znodes.iter(), found);
    let czxids: HashMap<u64, i64> = tree
        .znodes
        .iter()
        .filter(|(path, _)| parent(path) == QUEUE)
        .map(|(_, (value, stat))| (*value, stat.czxid))
        .collect();
    for session in &history.sessions {
        no_gap(session, &czxids, found);
    }
}

fn queued(request: &Request) -> Option<u64> {
    match &request.ask {
        Ask::Create {
            value,
            kind: CreateKind::Sequential,
            ..
        } => Some(*value),
        _ => None,
    }
}

/// Names count in the order of creation.
fn counters<'a>(
    znodes: impl Iterator<Item = (&'a String, &'a (u64, Stat))>,
    found: &mut Vec<Violation>,
) {
    let mut items: Vec<(i64, &String)> = znodes
        .filter(|(path, _)| parent(path) == QUEUE)
        .map(|(path, (_, stat))| (stat.czxid, path))
        .collect();
    items.sort();
    // The counter is a suffix of ten digits behind prefixes that differ.
    let counter = |path: &str| path.get(path.len().saturating_sub(10)..).map(str::to_owned);
    for pair in items.windows(2) {
        if counter(pair[0].1) >= counter(pair[1].1) {
            let text = format!("{} comes after {}", pair[0].1, pair[1].1);
            report(found, Rule::WriteOrder, text);
        }
    }
}

/// Of a connection's creates a prefix is applied, in the order of sending; a later connection's
/// come later.
fn no_gap(session: &Session, czxids: &HashMap<u64, i64>, found: &mut Vec<Violation>) {
    let mut last: Option<(i64, &Request)> = None;
    for connection in &session.connections {
        let mut hole: Option<&Request> = None;
        for request in &connection.requests {
            let Some(value) = queued(request) else {
                continue;
            };
            if matches!(&request.answer, Some(answer) if answer.outcome.is_err()) {
                continue;
            }
            let Some(czxid) = czxids.get(&value) else {
                hole = hole.or(Some(request));
                continue;
            };
            let now = told(session, connection, request);
            if let Some(hole) = hole {
                let text = format!("{now}\nis there, but before it {hole}\nis not");
                report(found, Rule::ReorderedSession, text);
                return;
            }
            if let Some((earlier, other)) = last
                && earlier > *czxid
            {
                let text =
                    format!("{now}\nwas created at {czxid:#x}, but {other}\nat {earlier:#x}");
                report(found, Rule::ReorderedSession, text);
                return;
            }
            last = Some((*czxid, request));
        }
    }
}
