//! The largest: paths by what they hold, clients by what they ask.

use std::collections::{BTreeMap, VecDeque};

use jute::proto::perms;

use super::select::Best;
use super::{Asked, Refusal};
use crate::admin::json::Json;
use crate::pipeline::{Conn, ConnStats};
use crate::tree::StatsTrack;
use crate::types::SessionId;

/// Entries of one list.
const TOP_MAX: usize = 20;

/// Znodes that one answer looks at.
const WALK_ZNODES_MAX: usize = 200_000;

/// Znodes that are looked at before writes get their turn again. The children of one znode are
/// looked at together, as getChildren does.
const LOOK_ZNODES: usize = 2000;

/// Parents that wait to be looked at.
const WAITING_MAX: usize = 100_000;

/// Subtrees that are added up.
const SUBTREES_MAX: usize = 10_000;

/// What a walk has seen of one znode.
struct Seen<'a> {
    parent: &'a str,
    name: &'a str,
    children: usize,
    bytes: usize,
    data: &'a [u8],
}

impl Seen<'_> {
    fn path(&self) -> String {
        join(self.parent, self.name)
    }
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}

/// How far a walk came.
#[derive(Default)]
struct Walked {
    znodes: usize,
    /// Parents that the asker may not read.
    hidden: usize,
    is_cut: bool,
}

/// Visits what is below `top` and the asker may read. Writes go on meanwhile: this is no snapshot.
fn walk(asked: &Asked, top: &str, mut visit: impl FnMut(&Seen<'_>)) -> Walked {
    let mut walked = Walked::default();
    let mut waiting = VecDeque::from([top.to_owned()]);
    while !waiting.is_empty() && !walked.is_cut {
        asked.sources.core.look(|state| {
            let tree = &state.tree;
            let begin = walked.znodes;
            while walked.znodes - begin < LOOK_ZNODES {
                let Some(parent) = waiting.pop_front() else {
                    return;
                };
                let Some(id) = tree.find(&parent) else {
                    continue;
                };
                if !asked.asker.may(state, id, perms::READ) {
                    walked.hidden += 1;
                    continue;
                }
                for (child, name) in tree.children_by_id(id) {
                    if walked.znodes >= WALK_ZNODES_MAX {
                        walked.is_cut = true;
                        return;
                    }
                    walked.znodes += 1;
                    let data = match asked.asker.may(state, child, perms::READ) {
                        true => tree.data(child).unwrap_or_default(),
                        false => &[],
                    };
                    let seen = Seen {
                        parent: &parent,
                        name,
                        children: tree.child_count(child),
                        bytes: tree.data(child).map_or(0, <[u8]>::len),
                        data,
                    };
                    visit(&seen);
                    if seen.children > 0 {
                        match waiting.len() < WAITING_MAX {
                            true => waiting.push_back(seen.path()),
                            false => walked.is_cut = true,
                        }
                    }
                }
            }
        });
    }
    walked
}

fn list(best: Best) -> Json {
    let entries = best.finish().into_iter();
    Json::list(
        entries.map(|(value, path)| Json::object([("path", path.into()), ("value", value.into())])),
    )
}

/// The first component of what stands below `parent`.
fn subtree<'a>(parent: &'a str, name: &'a str) -> &'a str {
    let first = parent[1..].split('/').next().unwrap_or_default();
    if first.is_empty() { name } else { first }
}

/// `top/paths`: by children, data, subtree, watches and use of quotas.
pub(super) fn paths(asked: &Asked) -> Result<Json, Refusal> {
    let (mut children, mut bytes) = (Best::new(TOP_MAX), Best::new(TOP_MAX));
    let mut subtrees: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let walked = walk(asked, "/", |seen| {
        children.offer(seen.children as u64, || seen.path());
        bytes.offer(seen.bytes as u64, || seen.path());
        let top = subtree(seen.parent, seen.name);
        if !subtrees.contains_key(top) && subtrees.len() < SUBTREES_MAX {
            subtrees.insert(top.to_owned(), (0, 0));
        }
        if let Some((znodes, bytes)) = subtrees.get_mut(top) {
            *znodes += 1;
            *bytes += seen.bytes as u64;
        }
    });
    let mut largest = Best::new(TOP_MAX);
    for (name, (znodes, _)) in &subtrees {
        largest.offer(*znodes, || name.clone());
    }
    let largest = largest.finish().into_iter().map(|(znodes, name)| {
        let bytes = subtrees.get(&name).map_or(0, |(_, bytes)| *bytes);
        Json::object([
            ("path", format!("/{name}").into()),
            ("znodes", znodes.into()),
            ("bytes", bytes.into()),
        ])
    });
    let watched = asked.sources.core.look_at_watches(|table| {
        let mut best = Best::new(TOP_MAX);
        for (path, count) in table.paths() {
            best.offer(count as u64, || path.to_owned());
        }
        best
    });
    Ok(Json::object([
        ("looked_at", walked.znodes.into()),
        ("is_cut", walked.is_cut.into()),
        ("hidden", walked.hidden.into()),
        ("subtrees", Json::list(largest)),
        ("children", list(children)),
        ("bytes", list(bytes)),
        ("watches", list(watched)),
        ("quotas", quotas(asked)),
    ]))
}

/// Below it each path with a quota stands again.
const QUOTA_ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// How much of a limit is used, in thousandths.
fn used(used: i64, limits: [i64; 2]) -> u64 {
    let limit = limits.into_iter().filter(|limit| *limit > 0).min();
    let share = limit.map(|limit| used.max(0).saturating_mul(1000) / limit);
    share.map_or(0, i64::unsigned_abs)
}

/// Limits and use of the paths with a quota, those nearest to their limits first.
fn quotas(asked: &Asked) -> Json {
    let mut found: BTreeMap<String, [Option<StatsTrack>; 2]> = BTreeMap::new();
    walk(asked, QUOTA_ROOT, |seen| {
        let which = [LIMITS, STATS].iter().position(|name| *name == seen.name);
        let path = seen.parent.strip_prefix(QUOTA_ROOT);
        if let (Some(which), Some(path)) = (which, path)
            && (found.len() < SUBTREES_MAX || found.contains_key(path))
        {
            let both = found.entry(path.to_owned()).or_default();
            both[which] = StatsTrack::parse(Some(seen.data));
        }
    });
    let quotas = found.into_iter().filter_map(|(path, both)| {
        let [Some(limits), Some(stats)] = both else {
            return None;
        };
        let worst = used(stats.count, [limits.count, limits.count_hard_limit])
            .max(used(stats.bytes, [limits.bytes, limits.bytes_hard_limit]));
        Some((worst, path, limits, stats))
    });
    let mut quotas: Vec<_> = quotas.collect();
    quotas.sort_by(|a, b| (b.0, &a.1).cmp(&(a.0, &b.1)));
    let shown = quotas.into_iter().take(TOP_MAX);
    let limit = |limit: i64| match limit {
        -1 => Json::Null,
        limit => limit.into(),
    };
    Json::list(shown.map(|(worst, path, limits, stats)| {
        Json::object([
            ("path", path.into()),
            ("used_thousandths", worst.into()),
            ("count", stats.count.into()),
            ("bytes", stats.bytes.into()),
            ("count_limit", limit(limits.count)),
            ("bytes_limit", limit(limits.bytes)),
            ("count_hard_limit", limit(limits.count_hard_limit)),
            ("bytes_hard_limit", limit(limits.bytes_hard_limit)),
        ])
    }))
}

/// Clients in one answer.
const CLIENTS_MAX: usize = 50;

fn average_us(stats: &ConnStats) -> u64 {
    let average = stats.sum_latency_us.checked_div(stats.answered);
    average.unwrap_or(0)
}

/// `top/clients[?order=requests|queued|average|max|outbox]`.
pub(super) fn clients(asked: &Asked) -> Result<Json, Refusal> {
    let core = &asked.sources.core;
    let order = asked.parameters.get("order").unwrap_or("requests");
    let value: fn(&Conn, &ConnStats) -> u64 = match order {
        "requests" => |_, stats| stats.received,
        "queued" => |conn, _| conn.in_flight() as u64,
        "average" => |_, stats| average_us(stats),
        "max" => |_, stats| stats.max_latency_us,
        "outbox" => |conn, _| conn.outbox_len() as u64,
        other => return Err(Refusal::bad(format!("order: {other}"))),
    };
    let connections = core.connections().into_iter();
    let mut all: Vec<_> = connections
        .map(|conn| (value(&conn, &conn.stats()), conn))
        .collect();
    all.sort_by_key(|(value, conn)| (std::cmp::Reverse(*value), conn.id.0));
    let more = all.len().saturating_sub(CLIENTS_MAX);
    let shown = all.iter().take(CLIENTS_MAX).map(|(_, conn)| {
        let session = match conn.session() {
            SessionId(0) => Json::Null,
            session => session.to_string().into(),
        };
        let mut client = super::sessions::connection(core, conn);
        client.push(("session".to_owned(), session));
        Json::Object(client)
    });
    Ok(Json::object([
        ("order", order.into()),
        ("clients", Json::list(shown)),
        ("more", more.into()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_the_subtree_below_the_root() {
        assert_eq!(subtree("/", "a"), "a");
        assert_eq!(subtree("/a", "b"), "a");
        assert_eq!(subtree("/a/b", "c"), "a");
    }

    #[test]
    fn the_nearest_limit_counts() {
        assert_eq!(used(50, [100, -1]), 500);
        assert_eq!(used(50, [-1, 40]), 1250);
        assert_eq!(used(50, [100, 200]), 500);
        assert_eq!(used(50, [-1, -1]), 0);
    }
}
