//! Replies in order, zxids that never fall, and the barrier.

use std::collections::HashMap;

use super::{Ask, Body, Frame, History, Moment, Request, Rule, Session, Violation};
use super::{all, report, told};

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    for session in &history.sessions {
        replies_in_order(session, found);
        never_back(session, found);
        writes_in_order(session, found);
    }
    one_order(history, found);
    barrier(history, found);
}

/// A connection's answers come in the order of its requests, and none is left out. Pings may
/// overtake: they are not the application's.
fn replies_in_order(session: &Session, found: &mut Vec<Violation>) {
    for connection in &session.connections {
        let asked = (0..connection.requests.len())
            .filter(|index| connection.requests[*index].ask != Ask::Ping);
        let answered = connection.frames.iter().filter_map(|frame| match frame {
            Frame::Answer(index) if connection.requests[*index].ask != Ask::Ping => Some(*index),
            _ => None,
        });
        if let Some((due, came)) = asked.zip(answered).find(|(due, came)| due != came) {
            let text = format!(
                "due was {}\nbut there came {}",
                told(session, connection, &connection.requests[due]),
                connection.requests[came]
            );
            report(found, Rule::ReorderedSession, text);
        }
        for frame in &connection.frames {
            if let Frame::Stray { xid } = frame {
                let text = told(session, connection, &format!("a reply with xid {xid}"));
                report(found, Rule::ReorderedSession, text);
            }
        }
    }
}

/// What a session has seen stays seen, on whatever server it is.
fn never_back(session: &Session, found: &mut Vec<Violation>) {
    let mut seen: i64 = 0;
    let mut seen_in = String::new();
    for connection in &session.connections {
        for frame in &connection.frames {
            let Frame::Answer(index) = frame else {
                continue;
            };
            let request = &connection.requests[*index];
            let Some(answer) = request.answer.as_ref().filter(|answer| answer.zxid > 0) else {
                continue;
            };
            if answer.zxid < seen {
                let now = told(session, connection, request);
                let text = format!("{now}\nafter {seen_in}, which shows {seen:#x}");
                report(found, Rule::WentBack, text);
                return;
            }
            // The state behind a read may be newer than the reply's zxid says.
            let shown = match &answer.outcome {
                Ok(Body::Data(_, stat) | Body::Stat(stat)) => stat.mzxid,
                Ok(Body::Children(_, stat)) => stat.pzxid.max(stat.mzxid),
                _ => 0,
            };
            let now = answer.zxid.max(shown);
            // Clients do not count pings, so the next server is not told of them.
            if now > seen && request.ask != Ask::Ping {
                seen = now;
                seen_in = told(session, connection, request);
            }
        }
    }
}

/// The acknowledged writes of a session have the order in which they were sent.
fn writes_in_order(session: &Session, found: &mut Vec<Violation>) {
    let mut last: Option<(i64, &Request)> = None;
    for request in session.requests() {
        let Some((answer, _)) = request.success().filter(|_| request.is_write()) else {
            continue;
        };
        if let Some((zxid, earlier)) = last
            && answer.zxid <= zxid
        {
            let text = format!("session {:#x}: {earlier}\nbut then {request}", session.id);
            report(found, Rule::ReorderedSession, text);
        }
        last = Some((answer.zxid, request));
    }
}

/// Writes have one order: no zxid twice, and who was answered before another was sent comes first.
fn one_order(history: &History, found: &mut Vec<Violation>) {
    let mut writes: Vec<_> = all(history)
        .filter(|(_, _, request)| request.is_write())
        .filter_map(|(session, connection, request)| {
            let (answer, _) = request.success()?;
            Some((session, connection, request, answer))
        })
        .collect();
    let mut by_zxid = HashMap::new();
    for (session, connection, request, answer) in &writes {
        let now = told(session, connection, request);
        if let Some(other) = by_zxid.insert(answer.zxid, (session, connection, request)) {
            let other = told(other.0, other.1, other.2);
            report(found, Rule::WriteOrder, format!("{other}\nand {now}"));
        }
    }
    let mut ends = writes.clone();
    ends.sort_by_key(|(_, _, _, answer)| answer.at);
    writes.sort_by_key(|(_, _, request, _)| request.sent);
    let mut ends = ends.into_iter().peekable();
    let mut highest: Option<(&Session, &super::Connection, &Request, i64)> = None;
    for (session, connection, request, answer) in writes {
        while let Some(end) = ends.next_if(|end| end.3.at < request.sent) {
            if highest.is_none_or(|(.., zxid)| zxid < end.3.zxid) {
                highest = Some((end.0, end.1, end.2, end.3.zxid));
            }
        }
        if let Some((other_session, other_connection, other, zxid)) = highest
            && answer.zxid < zxid
        {
            let earlier = told(other_session, other_connection, other);
            let now = told(session, connection, request);
            report(
                found,
                Rule::WriteOrder,
                format!("{earlier}\nand then {now}"),
            );
        }
    }
}

/// What anybody had been told before a sync was sent, is in everything that its session sees after
/// the sync was answered.
fn barrier(history: &History, found: &mut Vec<Violation>) {
    // By the moment: the highest zxid that anybody had been told, and in which answer.
    let mut told_by: Vec<(Moment, i64, usize)> = Vec::new();
    let everything: Vec<_> = all(history).collect();
    for (index, (_, _, request)) in everything.iter().enumerate() {
        if let Some(answer) = &request.answer
            && answer.zxid > 0
            && answer.outcome.is_ok()
        {
            told_by.push((answer.at, answer.zxid, index));
        }
    }
    told_by.sort_by_key(|(at, ..)| *at);
    for at in 1..told_by.len() {
        let (_, highest, index) = told_by[at - 1];
        if highest > told_by[at].1 {
            told_by[at].1 = highest;
            told_by[at].2 = index;
        }
    }
    for session in &history.sessions {
        for connection in &session.connections {
            let mut floor: Option<(i64, usize, &Request)> = None;
            for frame in &connection.frames {
                let Frame::Answer(index) = frame else {
                    continue;
                };
                let request = &connection.requests[*index];
                let Some((answer, _)) = request.success() else {
                    continue;
                };
                if let Some((zxid, by, sync)) = floor
                    && answer.zxid > 0
                    && answer.zxid < zxid
                    && request.ask != Ask::Ping
                {
                    let now = told(session, connection, request);
                    let (other_session, other_connection, other) = everything[by];
                    let earlier = told(other_session, other_connection, other);
                    let text = format!("{earlier}\nthen {sync}\nthen {now}");
                    report(found, Rule::StaleAfterSync, text);
                    floor = None;
                }
                if request.ask == Ask::Sync {
                    let before = told_by.partition_point(|(at, ..)| *at < request.sent);
                    if let Some((_, zxid, by)) = before.checked_sub(1).map(|last| told_by[last]) {
                        floor = Some((zxid, by, request));
                    }
                }
            }
        }
    }
}
