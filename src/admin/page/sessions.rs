//! Sessions and what they hold.

use std::sync::Arc;

use axum::http::StatusCode;

use super::select::First;
use super::{Asked, Refusal};
use crate::admin::facts;
use crate::admin::json::{Fields, Json, fields};
use crate::admin::words::short_name;
use crate::collections::HashMap;
use crate::pipeline::{Conn, Core, wall_clock_ms};
use crate::state::State;
use crate::types::SessionId;

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
    let watched = core.look_at_watches(|table| table.watched_by(conn.id).count());
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
        ("ephemerals", state.tree.ephemerals(id).count().into()),
        ("connection", connection),
    ])
}

/// `sessions[?after=ID][&only=here|holders][&limit=N]`: in the order of their ids.
pub(super) fn sessions(asked: &Asked) -> Result<Json, Refusal> {
    let core = &asked.sources.core;
    let limit = asked.parameters.number("limit", SESSIONS_DEFAULT)?;
    let after = asked.parameters.get("after").map(parse).transpose()?;
    let only = asked.parameters.get("only").unwrap_or("all");
    if !["all", "here", "holders"].contains(&only) {
        return Err(Refusal::bad(format!("only: {only}")));
    }
    let connected = connected(core);
    let (listed, more, total) = core.look(|state| {
        let mut first = First::new(limit.min(SESSIONS_MAX));
        let mut total = 0_usize;
        // Those that only this server knows have their connection here.
        let locals = connected.keys().copied();
        let locals = locals.filter(|id| !state.sessions.contains(*id));
        for id in state.sessions.iter().map(|(id, _)| id).chain(locals) {
            total += 1;
            let is_wanted = match only {
                "here" => connected.contains_key(&id),
                "holders" => state.tree.ephemerals(id).next().is_some(),
                _ => true,
            };
            let order = id.0.cast_unsigned();
            if is_wanted && after.is_none_or(|after| order > after.0.cast_unsigned()) {
                first.offer(order);
            }
        }
        let (listed, more) = first.finish();
        let listed: Vec<_> = listed
            .into_iter()
            .map(|id| {
                let id = SessionId(id.cast_signed());
                Json::Object(brief(asked, state, id, connected.get(&id)))
            })
            .collect();
        (listed, more, total)
    });
    Ok(Json::object([
        ("total", total.into()),
        ("connected", connected.len().into()),
        ("sessions", Json::List(listed)),
        ("more", more.into()),
    ]))
}

/// `session?id=ID`: one session, with its ephemerals and watches.
pub(super) fn session(asked: &Asked) -> Result<Json, Refusal> {
    let core = &asked.sources.core;
    let text = asked.parameters.get("id").unwrap_or_default();
    let id = parse(text)?;
    let conn = connected(core).remove(&id);
    let (mut all, ephemerals, more) = core
        .look(|state| {
            if !state.sessions.contains(id) && conn.is_none() {
                return None;
            }
            let mut first = First::new(HELD_MAX);
            for node in state.tree.ephemerals(id) {
                first.offer(state.tree.path_of(node));
            }
            let (paths, more) = first.finish();
            Some((brief(asked, state, id, conn.as_ref()), paths, more))
        })
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("No session: {text}")))?;
    let (watches, more_watches) = core.look_at_watches(|table| {
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
    });
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
