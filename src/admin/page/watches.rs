//! Watches of this server's connections, by path or by session.

use std::time::Duration;

use super::select::First;
use super::walk::{SLICE_ZNODES, look_and_pause};
use super::{Asked, Refusal};
use crate::admin::json::Json;
use crate::collections::HashMap;
use crate::types::{ConnId, SessionId};

/// Paths, or sessions, in one answer.
const ENTRIES_MAX: usize = 500;
const ENTRIES_DEFAULT: usize = 100;

/// Sessions that one path shows, and paths that one session shows.
const SHOWN_MAX: usize = 10;

/// An answer about many watches is given again for so long: they stand in no order, and cannot be
/// looked at bit by bit.
const SAME_ANSWER: Duration = Duration::from_secs(3);

/// What is asked: order, where to begin, what to find, how many.
pub(super) type Wanted = (String, String, String, usize);

pub(super) fn count(asked: &Asked) -> usize {
    let summary = asked.sources.core.look_at_watches(|table| table.summary());
    summary.paths.max(summary.connections)
}

/// `watches[?by=path|session][&after=...][&find=TEXT][&limit=N]`.
pub(super) fn watches(asked: &Asked) -> Result<Json, Refusal> {
    let parameters = &asked.parameters;
    let limit: usize = parameters.number("limit", ENTRIES_DEFAULT)?;
    let limit = limit.min(ENTRIES_MAX);
    let (after, wanted) = (
        parameters.get("after").unwrap_or_default(),
        parameters.get("find").unwrap_or_default(),
    );
    let by = parameters.get("by").unwrap_or("path");
    let key: Wanted = (by.to_owned(), after.to_owned(), wanted.to_owned(), limit);
    let is_large = count(asked) > SLICE_ZNODES;
    if is_large && let Some(kept) = asked.caches.watches.get_young(&key, SAME_ANSWER) {
        return Ok(kept);
    }
    let core = &asked.sources.core;
    let connections = core.connections();
    let sessions: HashMap<ConnId, SessionId> = connections
        .iter()
        .map(|conn| (conn.id, conn.session()))
        .collect();
    let summary = core.look_at_watches(|table| table.summary());
    let (name, (entries, more)) = match by {
        "path" => {
            let look = || by_path(asked, &sessions, after, wanted, limit);
            ("paths", look_and_pause(look))
        }
        "session" => {
            let look = || by_session(asked, &sessions, after, limit);
            ("sessions", look_and_pause(look))
        }
        other => return Err(Refusal::bad(format!("by: {other}"))),
    };
    let found = Json::object([
        ("watching_connections", summary.connections.into()),
        ("watched_paths", summary.paths.into()),
        ("watches", summary.watches.into()),
        (name, entries),
        ("more", more.into()),
    ]);
    if is_large {
        asked.caches.watches.put(key, found.clone());
    }
    Ok(found)
}

fn by_path(
    asked: &Asked,
    sessions: &HashMap<ConnId, SessionId>,
    after: &str,
    wanted: &str,
    limit: usize,
) -> (Json, usize) {
    asked.sources.core.look_at_watches(|table| {
        let mut first = First::new(limit);
        for (path, count) in table.paths() {
            if path > after && path.contains(wanted) {
                first.offer((path, count));
            }
        }
        let (paths, more) = first.finish();
        let entries = paths.into_iter().map(|(path, count)| {
            let mut shown = First::new(SHOWN_MAX);
            table.for_each_watcher(path, |conn, modes| {
                if let Some(session) = sessions.get(&conn) {
                    let kinds: Vec<_> = modes.names().collect();
                    shown.offer((session.0.cast_unsigned(), kinds));
                }
            });
            let shown = shown.finish().0.into_iter().map(|(session, kinds)| {
                Json::object([
                    (
                        "session",
                        SessionId(session.cast_signed()).to_string().into(),
                    ),
                    ("kinds", Json::list(kinds.into_iter().map(Json::from))),
                ])
            });
            Json::object([
                ("path", path.into()),
                ("count", count.into()),
                ("watchers", Json::list(shown)),
            ])
        });
        (Json::list(entries), more)
    })
}

fn by_session(
    asked: &Asked,
    sessions: &HashMap<ConnId, SessionId>,
    after: &str,
    limit: usize,
) -> (Json, usize) {
    let after = u64::from_str_radix(after.trim_start_matches("0x"), 16).unwrap_or(0);
    asked.sources.core.look_at_watches(|table| {
        let mut first = First::new(limit);
        for (conn, count) in table.connections() {
            let session = sessions.get(&conn).map_or(0, |id| id.0.cast_unsigned());
            if session > after {
                first.offer((session, conn, count));
            }
        }
        let (found, more) = first.finish();
        let entries = found.into_iter().map(|(session, conn, count)| {
            let mut shown = First::new(SHOWN_MAX);
            table.watched_by(conn).for_each(|path| shown.offer(path));
            let paths = shown.finish().0.into_iter().map(Json::from);
            Json::object([
                (
                    "session",
                    SessionId(session.cast_signed()).to_string().into(),
                ),
                ("count", count.into()),
                ("paths", Json::list(paths)),
            ])
        });
        (Json::list(entries), more)
    })
}
