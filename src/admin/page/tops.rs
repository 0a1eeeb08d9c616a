//! The largest: paths by what they hold, clients by what they ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jute::proto::perms;

use super::select::Best;
use super::walk::{Way, look_and_pause, walk};
use super::{Asked, Refusal};
use crate::admin::json::{Fields, Json, fields};
use crate::pipeline::{Conn, ConnStats};
use crate::tree::{NodeId, StatsTrack};
use crate::types::SessionId;

/// Entries of one list.
const TOP_MAX: usize = 20;

/// Znodes that one answer looks at.
const WALK_ZNODES_MAX: usize = 5_000_000;

/// Subtrees that are added up.
const SUBTREES_MAX: usize = 10_000;

/// Whoever asks again so soon, with the same identities, gets the same answer: a walk over a large tree
/// takes seconds.
const SAME_ANSWER: Duration = Duration::from_secs(10);

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
    let key = asked.asker.identities().to_vec();
    let kept = asked.caches.tops.get_young(&key, SAME_ANSWER);
    let (mut found, made) = kept.unwrap_or_else(|| {
        let found = (look_at_paths(asked), Instant::now());
        asked.caches.tops.put(key, found.clone());
        found
    });
    let age_ms = u64::try_from(made.elapsed().as_millis()).unwrap_or(u64::MAX);
    found.push(("age_ms".to_owned(), age_ms.into()));
    Ok(Json::Object(found))
}

fn look_at_paths(asked: &Asked) -> Fields {
    let (mut children, mut bytes) = (Best::new(TOP_MAX), Best::new(TOP_MAX));
    let mut subtrees: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    // Parents that the asker may not read.
    let mut hidden = 0_usize;
    let core = &asked.sources.core;
    let may_list = core.look(|state| asked.asker.may(state, NodeId::ROOT, perms::READ));
    let znodes_max = if may_list { WALK_ZNODES_MAX } else { 0 };
    let walked = walk(core, "/", znodes_max, |seen| {
        let tree = &seen.state.tree;
        let child_count = tree.child_count(seen.id);
        let data_bytes = tree.data(seen.id).map_or(0, <[u8]>::len);
        children.offer(child_count as u64, || seen.path());
        bytes.offer(data_bytes as u64, || seen.path());
        let top = subtree(seen.parent, seen.name);
        if !subtrees.contains_key(top) && subtrees.len() < SUBTREES_MAX {
            subtrees.insert(top.to_owned(), (0, 0));
        }
        if let Some((znodes, bytes)) = subtrees.get_mut(top) {
            *znodes += 1;
            *bytes += data_bytes as u64;
        }
        let is_open = child_count == 0 || asked.asker.may(seen.state, seen.id, perms::READ);
        hidden += usize::from(!is_open);
        if is_open { Way::Below } else { Way::Beside }
    });
    let unfinished: BTreeSet<&str> = walked
        .unfinished
        .iter()
        .map(|path| subtree(path, ""))
        .collect();
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
            ("is_cut", unfinished.contains(&*name).into()),
        ])
    });
    let watched = look_and_pause(|| {
        core.look_at_watches(|table| {
            let mut best = Best::new(TOP_MAX);
            for (path, count) in table.paths() {
                best.offer(count as u64, || path.to_owned());
            }
            best
        })
    });
    fields([
        ("looked_at", walked.znodes.into()),
        ("is_cut", (!walked.unfinished.is_empty()).into()),
        ("hidden", hidden.into()),
        ("subtrees", Json::list(largest)),
        ("children", list(children)),
        ("bytes", list(bytes)),
        ("watches", list(watched)),
        ("quotas", quotas(asked)),
    ])
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
    let core = &asked.sources.core;
    let may_list = core.look(|state| {
        let root = state.tree.find(QUOTA_ROOT);
        root.is_some_and(|id| asked.asker.may(state, id, perms::READ))
    });
    let znodes_max = if may_list { WALK_ZNODES_MAX } else { 0 };
    walk(core, QUOTA_ROOT, znodes_max, |seen| {
        let which = [LIMITS, STATS].iter().position(|name| *name == seen.name);
        let path = seen.parent.strip_prefix(QUOTA_ROOT);
        let may_read = asked.asker.may(seen.state, seen.id, perms::READ);
        if let (true, Some(which), Some(path)) = (may_read, which, path)
            && (found.len() < SUBTREES_MAX || found.contains_key(path))
        {
            let both = found.entry(path.to_owned()).or_default();
            both[which] = StatsTrack::parse(seen.state.tree.data(seen.id));
        }
        if may_read { Way::Below } else { Way::Beside }
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
