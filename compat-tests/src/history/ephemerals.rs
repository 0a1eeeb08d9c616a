//! Ephemerals live as long as their session, and a session as long as it is used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::{
    Answer, Ask, Body, Connection, CreateKind, End, Frame, GUESTS, History, Moment, NO_NODE,
    Request, Rule, Session, Violation, report, told,
};

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    for session in &history.sessions {
        expired_late_enough(session, history, found);
    }
    let guests = guests(history);
    for session in &history.sessions {
        for connection in &session.connections {
            observe(session, connection, &guests, history, found);
        }
    }
    at_the_end(history, &guests, found);
}

/// An ephemeral that was created, with all that says how long it must or may live.
struct Guest<'a> {
    path: &'a str,
    session: &'a Session,
    czxid: i64,
    created: Moment,
    /// A delete was sent.
    delete_sent: Option<Moment>,
    /// Gone from this zxid on: its delete or its session's close was acknowledged.
    gone: Option<i64>,
    /// The session was closed by its client, which sent this at.
    close_sent: Option<Moment>,
    /// zxids and moments of sending of the session's acknowledged writes, by zxid.
    writes: Rc<BTreeMap<i64, Moment>>,
}

fn guests(history: &History) -> HashMap<&str, Guest<'_>> {
    let mut guests = HashMap::new();
    for session in &history.sessions {
        let mut writes = BTreeMap::new();
        let mut closed = None;
        let mut close_sent = None;
        let mut deletes: HashMap<&str, (Moment, Option<i64>)> = HashMap::new();
        for request in session.requests() {
            let zxid = request.success().map(|(answer, _)| answer.zxid);
            if let Some(zxid) = zxid.filter(|_| request.is_write()) {
                writes.insert(zxid, request.sent);
            }
            match &request.ask {
                Ask::Close => {
                    close_sent = Some(request.sent);
                    closed = zxid;
                }
                Ask::Delete { path } => {
                    let (_, done) = deletes.entry(path).or_insert((request.sent, None));
                    *done = done.or(zxid);
                }
                _ => {}
            }
        }
        let writes = Rc::new(writes);
        for request in session.requests() {
            let Ask::Create {
                path,
                kind: CreateKind::Ephemeral,
                ..
            } = &request.ask
            else {
                continue;
            };
            let Some((answer, _)) = request.success() else {
                continue;
            };
            let delete = deletes.get(path.as_str());
            let guest = Guest {
                path,
                session,
                czxid: answer.zxid,
                created: answer.at,
                delete_sent: delete.map(|(sent, _)| *sent),
                gone: delete.and_then(|(_, done)| *done).or(closed),
                close_sent,
                writes: Rc::clone(&writes),
            };
            guests.insert(path.as_str(), guest);
        }
    }
    guests
}

/// A write that was acknowledged reached the leader after it was sent, so the session had its whole
/// time-out from then on.
fn expired_late_enough(session: &Session, history: &History, found: &mut Vec<Violation>) {
    let End::Expired { at } = session.end else {
        return;
    };
    let last = session
        .requests()
        .filter(|request| request.is_write() && request.success().is_some())
        .last();
    if let Some(last) = last
        && at.saturating_sub(last.sent) + history.slack < session.timeout
    {
        let text = format!(
            "client {}, session {:#x} with a time-out of {:?} was refused at {:.4} s, but {last}",
            session.client,
            session.id,
            session.timeout,
            at.as_secs_f64()
        );
        report(found, Rule::SessionLost, text);
    }
}

/// One connection's looks at ephemerals.
fn observe(
    session: &Session,
    connection: &Connection,
    guests: &HashMap<&str, Guest<'_>>,
    history: &History,
    found: &mut Vec<Violation>,
) {
    // A state is not newer than what the next reply says.
    let mut bound = i64::MAX;
    let mut bounds = vec![i64::MAX; connection.requests.len()];
    for frame in connection.frames.iter().rev() {
        if let Frame::Answer(index) = frame
            && let Some(answer) = &connection.requests[*index].answer
            && answer.zxid > 0
        {
            bounds[*index] = bound;
            bound = answer.zxid;
        }
    }
    let mut sync_sent = None;
    for frame in &connection.frames {
        let Frame::Answer(index) = frame else {
            continue;
        };
        let request = &connection.requests[*index];
        let Some(answer) = &request.answer else {
            continue;
        };
        let look = Look {
            told: &|| told(session, connection, request),
            own: session,
            request,
            answer,
            not_newer_than: bounds[*index],
            sync_sent,
        };
        match (&request.ask, &answer.outcome) {
            (Ask::Sync, Ok(_)) => sync_sent = Some(request.sent),
            (Ask::Children { path, .. }, Ok(Body::Children(names, _))) if path == GUESTS => {
                let names: HashSet<&str> = names.iter().map(String::as_str).collect();
                for guest in guests.values() {
                    let name = guest.path.rsplit('/').next().unwrap_or_default();
                    look.at(guest, names.contains(name), history, found);
                }
            }
            (Ask::Get { path, .. } | Ask::Exists { path, .. }, outcome) => {
                let there = match outcome {
                    Ok(_) => true,
                    Err(NO_NODE) => false,
                    Err(_) => continue,
                };
                if let Some(guest) = guests.get(path.as_str()) {
                    look.at(guest, there, history, found);
                }
            }
            _ => {}
        }
    }
}

struct Look<'a> {
    told: &'a dyn Fn() -> String,
    own: &'a Session,
    request: &'a Request,
    answer: &'a Answer,
    not_newer_than: i64,
    /// When the last sync that was answered before was sent.
    sync_sent: Option<Moment>,
}

impl Look<'_> {
    fn at(&self, guest: &Guest<'_>, there: bool, history: &History, found: &mut Vec<Violation>) {
        let problem = if there {
            self.outlives(guest)
        } else {
            self.gone_early(guest, history)
        };
        if let Some(why) = problem {
            let rule = match there {
                true => Rule::EphemeralOutlives,
                false => Rule::EphemeralGone,
            };
            let told = (self.told)();
            report(found, rule, format!("{told}\n{}: {why}", guest.path));
        }
    }

    fn outlives(&self, guest: &Guest<'_>) -> Option<String> {
        if let Some(gone) = guest.gone
            && self.answer.zxid >= gone
        {
            return Some(format!("it was deleted or its session closed at {gone:#x}"));
        }
        let End::Expired { at } = guest.session.end else {
            return None;
        };
        let barred = self.sync_sent.is_some_and(|sent| sent > at);
        barred.then(|| format!("its session was refused at {:.4} s", at.as_secs_f64()))
    }

    fn gone_early(&self, guest: &Guest<'_>, history: &History) -> Option<String> {
        let seen_created = self.answer.zxid >= guest.czxid
            // A session sees its own.
            || (std::ptr::eq(self.own, guest.session) && self.request.sent > guest.created);
        let told_to_go = |sent: Option<Moment>| sent.is_some_and(|sent| sent <= self.answer.at);
        if !seen_created || told_to_go(guest.delete_sent) || told_to_go(guest.close_sent) {
            return None;
        }
        // Alive at a zxid that is not lower than the state's.
        if let Some((zxid, _)) = guest
            .writes
            .range(self.not_newer_than.saturating_add(1)..)
            .next_back()
        {
            return Some(format!("its session still wrote {zxid:#x}"));
        }
        let last = guest
            .writes
            .values()
            .filter(|sent| **sent <= self.answer.at);
        let last = last.max()?;
        let silent = self.answer.at.saturating_sub(*last);
        (silent + history.slack < guest.session.timeout).then(|| {
            let (last, timeout) = (last.as_secs_f64(), guest.session.timeout);
            format!("its session has a time-out of {timeout:?} and wrote at {last:.4} s")
        })
    }
}

/// In the end there are the ephemerals of the sessions in use, and no others.
fn at_the_end(history: &History, guests: &HashMap<&str, Guest<'_>>, found: &mut Vec<Violation>) {
    let Some(tree) = history.trees.first() else {
        return;
    };
    let alive: HashSet<i64> = history
        .sessions
        .iter()
        .filter(|session| session.end == End::Alive)
        .map(|session| session.id)
        .collect();
    for (path, (_, stat)) in &tree.znodes {
        if stat.owner != 0 && !alive.contains(&stat.owner) {
            let text = format!("{path} of session {:#x} is there in the end", stat.owner);
            report(found, Rule::EphemeralOutlives, text);
        }
        if let Some(gone) = guests.get(path.as_str()).and_then(|guest| guest.gone) {
            let text = format!("{path} is there in the end, but was deleted at {gone:#x}");
            report(found, Rule::EphemeralOutlives, text);
        }
    }
    for guest in guests.values() {
        let must = guest.session.end == End::Alive && guest.delete_sent.is_none();
        if must && !tree.znodes.contains_key(guest.path) {
            let (path, id) = (guest.path, guest.session.id);
            let text =
                format!("{path} of session {id:#x}, which is in use, is not there in the end");
            report(found, Rule::EphemeralGone, text);
        }
    }
}
