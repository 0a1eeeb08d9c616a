//! Sessions and what they hold.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;

use super::select::First;
use super::walk::{SLICE_ZNODES, look_and_pause};
use super::{Asked, Refusal};
use crate::admin::facts;
use crate::admin::json::{Fields, Json, fields};
use crate::admin::words::short_name;
use crate::collections::HashMap;
use crate::pipeline::{Conn, Core, wall_clock_ms};
use crate::state::State;
use crate::tree::NodeId;
use crate::types::SessionId;
use crate::watch::WatchTable;

/// Sessions in one answer.
const SESSIONS_MAX: usize = 500;
const SESSIONS_DEFAULT: usize = 100;

/// Ephemerals, and watches, of one session in one answer.
const HELD_MAX: usize = 500;

/// The server that has given a session its id.
fn server_of(session: SessionId) -> Json {
    i32::from(session.0.to_be_bytes()[0]).into()
}

fn parse(text: &str) -> Result<SessionId, Refusal> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let id = u64::from_str_radix(digits, 16);
    id.map(|id| SessionId(id.cast_signed()))
        .map_err(|_| Refusal::bad(format!("Not a session's id: {text}")))
}

/// Connections with a session, by session.
fn connected(core: &Core) -> HashMap<SessionId, Arc<Conn>> {
    let all = core.connections().into_iter();
    let with_session = all.map(|conn| (conn.session(), conn));
    with_session.filter(|(id, _)| *id != SessionId(0)).collect()
}

/// What is known of a connection to this server.
pub(super) fn connection(core: &Core, conn: &Conn) -> Fields {
    let stats = conn.stats();
    let average_us = stats.sum_latency_us.checked_div(stats.answered);
    let watched = core.look_at_watches(|table| table.watched_count(conn.id));
    let last_op = stats.last_op.map_or(Json::Null, |op| short_name(op).into());
    let silent_ms = match stats.last_response_ms {
        0 => Json::Null,
        last_ms => (wall_clock_ms() - last_ms).max(0).into(),
    };
    fields([
        ("address", conn.peer.to_string().into()),
        ("established_ms", conn.established_ms.into()),
        ("requests", stats.received.into()),
        ("sent", stats.sent.into()),
        ("queued", conn.in_flight().into()),
        ("outbox_bytes", conn.outbox_len().into()),
        ("last_operation", last_op),
        ("last_answer_ago_ms", silent_ms),
        ("average_us", average_us.unwrap_or(0).into()),
        ("max_us", stats.max_latency_us.into()),
        ("watched_paths", watched.into()),
    ])
}

/// How long a session has been silent: its connection here knows it, and who decides about sessions
/// does.
fn heard_ago_ms(asked: &Asked, session: SessionId, conn: Option<&Arc<Conn>>) -> Json {
    let core = &asked.sources.core;
    let role = facts::role(&asked.sources);
    let decides = matches!(role, Some(facts::STANDALONE | facts::LEADER));
    let lease = conn.and_then(|conn| conn.lease());
    let lease = lease.or_else(|| {
        let tracked = || core.look_at_tracker(|tracker| tracker.lease(session).cloned());
        decides.then(tracked).flatten()
    });
    lease.map_or(Json::Null, |lease| {
        (core.lease_now_ms() - lease.heard_ms()).max(0).into()
    })
}

fn brief(asked: &Asked, state: &State, id: SessionId, conn: Option<&Arc<Conn>>) -> Fields {
    let record = state.sessions.get(id);
    let lease_ms = conn.and_then(|conn| conn.lease());
    let timeout_ms = match (lease_ms, record) {
        (Some(lease), _) => lease.timeout_ms().into(),
        (None, Some(session)) => session.timeout_ms.into(),
        (None, None) => Json::Null,
    };
    let connection = conn.map_or(Json::Null, |conn| {
        Json::Object(connection(&asked.sources.core, conn))
    });
    fields([
        ("id", id.to_string().into()),
        ("server", server_of(id)),
        ("is_local", record.is_none().into()),
        ("timeout_ms", timeout_ms),
        ("heard_ago_ms", heard_ago_ms(asked, id, conn)),
        ("ephemerals", state.tree.ephemeral_count_of(id).into()),
        ("connection", connection),
    ])
}

/// Which sessions are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    All,
    Here,
    Holders,
}

/// The ids of many sessions are gathered again after so long.
const SAME_IDS: Duration = Duration::from_secs(3);

pub(super) fn count(asked: &Asked) -> usize {
    let core = &asked.sources.core;
    let known = core.look(|state| state.sessions.len());
    known.max(core.connection_count())
}

/// `sessions[?after=ID][&only=here|holders][&limit=N]`: in the order of their ids.
pub(super) fn sessions(asked: &Asked) -> Result<Json, Refusal> {
    let core = &asked.sources.core;
    let limit: usize = asked.parameters.number("limit", SESSIONS_DEFAULT)?;
    let limit = limit.min(SESSIONS_MAX);
    let after = asked.parameters.get("after").map(parse).transpose()?;
    let only = match asked.parameters.get("only").unwrap_or("all") {
        "all" => Only::All,
        "here" => Only::Here,
        "holders" => Only::Holders,
        other => return Err(Refusal::bad(format!("only: {other}"))),
    };
    let connected = connected(core);
    let ids = ids(asked, only, &connected);
    let begin = after.map_or(0, |after| {
        let after = after.0.cast_unsigned();
        ids.partition_point(|id| *id <= after)
    });
    let shown = &ids[begin..ids.len().min(begin + limit)];
    let show = |state: &State| {
        let listed = shown.iter().filter_map(|id| {
            let id = SessionId(id.cast_signed());
            let conn = connected.get(&id);
            // It may have ended since the ids were gathered.
            let is_there = conn.is_some() || state.sessions.contains(id);
            is_there.then(|| Json::Object(brief(asked, state, id, conn)))
        });
        // Those that only this server knows have their connection here.
        let locals = connected.keys();
        let locals = locals.filter(|id| !state.sessions.contains(**id)).count();
        (listed.collect(), state.sessions.len() + locals)
    };
    let (listed, total) = look_and_pause(|| core.look(show));
    Ok(Json::object([
        ("total", total.into()),
        ("connected", connected.len().into()),
        ("sessions", Json::List(listed)),
        ("more", (ids.len() - begin - shown.len()).into()),
    ]))
}

/// The ids of sessions, in order.
fn ids(asked: &Asked, only: Only, connected: &HashMap<SessionId, Arc<Conn>>) -> Arc<[u64]> {
    let is_large = count(asked) > SLICE_ZNODES;
    if is_large && let Some(kept) = asked.caches.sessions.get_young(&only, SAME_IDS) {
        return kept;
    }
    let known = |state: &State| -> Vec<SessionId> {
        match only {
            Only::All => state.sessions.iter().map(|(id, _)| id).collect(),
            Only::Here => Vec::new(),
            Only::Holders => state.tree.ephemeral_owners().map(|(id, _)| id).collect(),
        }
    };
    let mut all = look_and_pause(|| asked.sources.core.look(known));
    if only != Only::Holders {
        all.extend(connected.keys().copied());
    }
    let mut all: Vec<u64> = all.into_iter().map(|id| id.0.cast_unsigned()).collect();
    all.sort_unstable();
    all.dedup();
    let all: Arc<[u64]> = all.into();
    if is_large {
        asked.caches.sessions.put(only, Arc::clone(&all));
    }
    all
}

/// What the session that is asked for holds.
pub(super) fn held(asked: &Asked) -> usize {
    let id = parse(asked.parameters.get("id").unwrap_or_default());
    let id = id.unwrap_or(SessionId(0));
    let core = &asked.sources.core;
    let ephemerals = core.look(|state| state.tree.ephemeral_count_of(id));
    ephemerals.max(core.connection_count())
}

/// The paths of a session's ephemerals in their order, and how many more there are. Writes get their
/// turn between them.
fn ephemerals(core: &Core, session: SessionId) -> (Vec<String>, usize) {
    let mut first = First::new(HELD_MAX);
    let mut from = Some(NodeId::ROOT);
    while let Some(begin) = from {
        let (paths, next) = look_and_pause(|| facts::ephemerals_slice(core, session, begin));
        paths.into_iter().for_each(|path| first.offer(path));
        from = next;
    }
    first.finish()
}

/// `session?id=ID`: one session, with its ephemerals and watches.
pub(super) fn session(asked: &Asked) -> Result<Json, Refusal> {
    let core = &asked.sources.core;
    let text = asked.parameters.get("id").unwrap_or_default();
    let id = parse(text)?;
    let conn = connected(core).remove(&id);
    let mut all = core
        .look(|state| {
            let is_there = state.sessions.contains(id) || conn.is_some();
            is_there.then(|| brief(asked, state, id, conn.as_ref()))
        })
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("No session: {text}")))?;
    let (ephemerals, more) = ephemerals(core, id);
    let watches = |table: &WatchTable| {
        let mut first = First::new(HELD_MAX);
        if let Some(conn) = &conn {
            for path in table.watched_by(conn.id) {
                first.offer(path);
            }
        }
        let (paths, more) = first.finish();
        let watches = paths.into_iter().map(|path| {
            let modes = conn.as_ref().map(|conn| table.modes(conn.id, path));
            let kinds = modes.into_iter().flat_map(|modes| modes.names());
            let kinds = Json::list(kinds.map(Json::from));
            Json::object([("path", path.into()), ("kinds", kinds)])
        });
        (Json::list(watches), more)
    };
    let (watches, more_watches) = look_and_pause(|| core.look_at_watches(watches));
    let ephemerals = ephemerals.into_iter().map(Json::Text);
    all.extend(fields([
        ("ephemeral_paths", Json::list(ephemerals)),
        ("more_ephemerals", more.into()),
        ("watches", watches),
        ("more_watches", more_watches.into()),
    ]));
    Ok(Json::Object(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in [1, 0x0100_0000_0000_0001, -2] {
            let id = SessionId(id);
            assert_eq!(parse(&id.to_string()), Ok(id));
        }
        assert!(parse("").is_err());
        assert!(parse("0xg").is_err());
    }
}
