//! What this server is, who the others are, and whether all is well.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Asked, Refusal};
use crate::admin::json::Json;
use crate::admin::{Sources, facts, recorder, words};
use crate::config::{Role, ServerSpec};
use crate::ensemble::Status;
use crate::pipeline::{Service, wall_clock_ms};

fn ms(duration: Duration) -> Json {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .into()
}

pub(super) fn overview(asked: &Asked) -> Result<Json, Refusal> {
    let sources = &asked.sources;
    let status = sources.ensemble.status();
    let is_ensemble = sources.core.settings.is_ensemble();
    let (open_files, max_files) = facts::file_descriptors();
    let vitals = Vitals {
        server: sources.core.settings.server.0,
        service: sources.core.service(),
        is_ensemble,
        open_files,
        max_files,
        outstanding: sources.core.counters.outstanding.load(Ordering::Relaxed),
        outstanding_max: sources.core.settings.outstanding_max,
        slow_fsyncs: recorder::counter("meerkat_slow_fsyncs"),
    };
    let health = health(&vitals, &status)
        .into_iter()
        .map(|(level, text)| Json::object([("level", level.into()), ("text", text.into())]));
    let members = match is_ensemble {
        true => members(sources, &status),
        false => Json::list([]),
    };
    Ok(Json::object([
        ("now_ms", wall_clock_ms().into()),
        ("server", server(sources, open_files, max_files)),
        ("is_ensemble", is_ensemble.into()),
        ("leader", leader(&status).map_or(Json::Null, Json::from)),
        ("last_leader", status.leader.map_or(Json::Null, Json::from)),
        ("in_touch", is_in_touch(&status).into()),
        ("term", status.term.into()),
        ("out_of_touch_ms", ms(status.out_of_touch)),
        ("members", members),
        ("log", log(sources, &status)),
        ("latencies", latencies()),
        ("health", Json::list(health)),
    ]))
}

/// Whether this server hears of the quorum, by its leader or as the leader.
fn is_in_touch(status: &Status) -> bool {
    status.out_of_touch <= facts::IN_TOUCH
}

/// Who leads, as far as this server knows: a leader that is not heard of any more may be none.
fn leader(status: &Status) -> Option<u64> {
    status.leader.filter(|_| is_in_touch(status))
}

/// Since when a member has not been heard, when that is too long.
enum Silence {
    Always,
    For(Duration),
}

/// Nobody but the leader hears of all.
fn silence(status: &Status, own: u64, member: u64) -> Option<Silence> {
    if !status.is_leader || member == own {
        return None;
    }
    match status.heard.iter().find(|(id, _)| *id == member) {
        None => Some(Silence::Always),
        Some((_, ago)) => (*ago > facts::IN_TOUCH).then_some(Silence::For(*ago)),
    }
}

fn server(sources: &Sources, open_files: u64, max_files: u64) -> Json {
    let (core, config) = (&sources.core, &sources.config);
    let counters = &core.counters;
    let latency = counters.latency.summary();
    let watches = core.look_at_watches(|table| table.summary());
    let (zxid, tree, sessions) = core.look(|state| {
        let tree = &state.tree;
        let figures = [
            ("znodes", (tree.node_count() + 1).into()),
            ("ephemerals", tree.ephemeral_count().into()),
            ("data_bytes", tree.data_bytes().into()),
            ("path_bytes", tree.path_bytes().into()),
        ];
        (state.zxid(), figures, state.sessions.len())
    });
    let serves = match core.service() {
        Service::Nobody => "nobody",
        Service::ReadOnly => "read-only",
        Service::Everybody => "everybody",
    };
    let load = |counter: &std::sync::atomic::AtomicU64| Json::from(counter.load(Ordering::Relaxed));
    let average_us = latency.sum_us.checked_div(latency.count).unwrap_or(0);
    Json::object([
        ("id", core.settings.server.0.into()),
        ("version", crate::VERSION_LINE.into()),
        ("role", facts::role(sources).map_or(Json::Null, Json::from)),
        ("serves", serves.into()),
        ("started_ms", core.started_ms.into()),
        ("uptime_ms", facts::uptime_ms(core.started).into()),
        ("zxid", zxid.to_string().into()),
        ("epoch", zxid.epoch().into()),
        ("tree", Json::object(tree)),
        ("sessions", sessions.into()),
        (
            "local_sessions",
            core.look_at_locals(|locals| locals.len()).into(),
        ),
        ("connections", core.connection_count().into()),
        ("watches", watches.watches.into()),
        ("watched_paths", watches.paths.into()),
        ("outstanding", load(&counters.outstanding)),
        ("received", load(&counters.packets_received)),
        ("sent", load(&counters.packets_sent)),
        ("latency_count", latency.count.into()),
        ("latency_sum_us", latency.sum_us.into()),
        ("latency_average_us", average_us.into()),
        ("latency_max_us", latency.max_us.into()),
        ("sessions_expired", load(&counters.sessions_expired)),
        ("open_files", open_files.into()),
        ("max_files", max_files.into()),
        ("data_dir_bytes", words::dir_bytes(&config.data_dir).into()),
        // Nothing when it is the same.
        (
            "log_dir_bytes",
            match config.data_log_dir == config.data_dir {
                true => Json::Null,
                false => words::dir_bytes(&config.data_log_dir).into(),
            },
        ),
        ("tick_ms", core.settings.tick_ms.into()),
        ("command_url", config.admin.command_url.as_str().into()),
    ])
}

/// The others as their lines have them, and what this server knows of each.
fn members(sources: &Sources, status: &Status) -> Json {
    let own = sources.core.settings.server.0;
    let list = status.members.iter().map(|member| {
        let spec = ServerSpec::parse_line(&format!("server.{}={}", member.id, member.spec));
        let role = spec.as_ref().map(|spec| spec.role);
        let is_observer = role == Some(Role::Observer);
        let role = match () {
            () if leader(status) == Some(member.id) => facts::LEADER,
            () if is_observer => facts::OBSERVER,
            () => facts::FOLLOWER,
        };
        let address = spec.as_ref().and_then(|spec| {
            let address = spec.addresses.first()?;
            Some(format!("{}:{}", address.host, address.quorum_port))
        });
        let client = spec.and_then(|spec| Some(spec.client?.to_string()));
        let is_self = member.id == own;
        let heard = status.heard.iter().find(|(id, _)| *id == member.id);
        let matched = match (is_self, status.is_leader) {
            (true, _) => Some(status.applied_index),
            (false, true) => {
                let found = status.matched.iter().find(|(id, _)| *id == member.id);
                found.map(|(_, index)| *index)
            }
            (false, false) => None,
        };
        // Nobody but the leader hears of all.
        let behind = matched.map(|index| status.last_index.saturating_sub(index));
        Json::object([
            ("id", member.id.into()),
            ("is_self", is_self.into()),
            ("role", role.into()),
            (
                "is_silent",
                silence(status, own, member.id).is_some().into(),
            ),
            ("votes", member.is_voter.into()),
            ("address", address.map_or(Json::Null, Json::Text)),
            ("client_address", client.map_or(Json::Null, Json::Text)),
            (
                "heard_ago_ms",
                heard.map_or(Json::Null, |(_, ago)| ms(*ago)),
            ),
            ("behind", behind.map_or(Json::Null, Json::from)),
        ])
    });
    Json::list(list)
}

fn log(sources: &Sources, status: &Status) -> Json {
    let cut = sources.core.last_snapshot();
    Json::object([
        ("last_index", status.last_index.into()),
        ("applied_index", status.applied_index.into()),
        (
            "snapshot_index",
            status.snapshot_index.map_or(Json::Null, Json::from),
        ),
        (
            "bytes_since_snapshot",
            status.log_bytes_since_snapshot.into(),
        ),
        (
            "snapshot_zxid",
            cut.map_or(Json::Null, |cut| cut.zxid.to_string().into()),
        ),
        (
            "snapshot_made_ms",
            cut.filter(|cut| cut.made_ms > 0)
                .map_or(Json::Null, |cut| cut.made_ms.into()),
        ),
    ])
}

/// Durations worth a look, with their names for people.
const LATENCIES: [(&str, &str); 5] = [
    ("readlatency", "read"),
    ("updatelatency", "write"),
    ("fsynctime", "fsync"),
    ("propagation_latency", "propagation to this server"),
    ("commit_propagation_latency", "commit from the leader"),
];

fn latencies() -> Json {
    let all = recorder::summaries();
    let shown = LATENCIES.iter().filter_map(|(name, title)| {
        let (_, summary) = all
            .iter()
            .find(|(series, _)| series.name == *name && series.label.is_none())?;
        let measured = summary.measured();
        let [median, p99] = summary.quantiles([0.5, 0.99]);
        (measured.count > 0).then(|| {
            Json::object([
                ("name", (*name).into()),
                ("title", (*title).into()),
                ("count", measured.count.into()),
                ("average_ms", Json::Double(measured.average())),
                ("median_ms", Json::Double(median)),
                // The quantile is the middle of a range of values.
                ("p99_ms", Json::Double(p99.min(measured.max))),
                ("max_ms", Json::Double(measured.max)),
            ])
        })
    });
    Json::list(shown)
}

/// What tells how a server feels.
struct Vitals {
    server: u64,
    service: Service,
    is_ensemble: bool,
    open_files: u64,
    max_files: u64,
    outstanding: u64,
    outstanding_max: u64,
    slow_fsyncs: u64,
}

/// Entries that a member may lack before it is worth a word.
const BEHIND_MAX: u64 = 10_000;

const BAD: &str = "bad";
const WARN: &str = "warn";
const OK: &str = "ok";

/// What somebody must look at, and what should be looked at; one line when there is nothing.
fn health(vitals: &Vitals, status: &Status) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    match vitals.service {
        Service::Everybody => {}
        Service::ReadOnly => all.push((
            BAD,
            "No majority: this server answers reads only, and what it shows may be old.".to_owned(),
        )),
        Service::Nobody if status.is_leader && is_in_touch(status) => all.push((
            WARN,
            "This leader serves no clients, as leaderServes=no has it.".to_owned(),
        )),
        Service::Nobody => all.push((BAD, "No majority: this server serves nobody.".to_owned())),
    }
    if vitals.is_ensemble && leader(status).is_none() {
        let last = status.leader.filter(|id| *id != vitals.server);
        let last = last.map(|id| format!(" The last one was server {id}."));
        let last = last.unwrap_or_default();
        all.push((BAD, format!("No leader is known.{last}")));
    }
    if status.is_leader {
        let others = status.members.iter().map(|member| member.id);
        for id in others.filter(|id| *id != vitals.server) {
            let matched = status.matched.iter().find(|(matched, _)| *matched == id);
            let behind = matched.map_or(0, |(_, index)| status.last_index.saturating_sub(*index));
            let text = match silence(status, vitals.server, id) {
                Some(Silence::Always) => format!("Server {id} has not answered yet."),
                Some(Silence::For(ago)) => {
                    format!("Server {id} has not answered for {} s.", ago.as_secs())
                }
                None if behind > BEHIND_MAX => {
                    format!("Server {id} lacks {behind} log entries.")
                }
                None => continue,
            };
            all.push((WARN, text));
        }
    }
    let queue = status.last_index.saturating_sub(status.applied_index);
    if queue > BEHIND_MAX {
        all.push((
            WARN,
            format!("{queue} log entries wait to be applied here."),
        ));
    }
    if vitals.max_files > 0
        && vitals.open_files.saturating_mul(10) > vitals.max_files.saturating_mul(8)
    {
        let (open, max) = (vitals.open_files, vitals.max_files);
        all.push((WARN, format!("{open} of {max} file descriptors are open.")));
    }
    if vitals.outstanding >= vitals.outstanding_max {
        let count = vitals.outstanding;
        all.push((
            WARN,
            format!("{count} requests are outstanding: clients are held up."),
        ));
    }
    if vitals.slow_fsyncs > 0 {
        let count = vitals.slow_fsyncs;
        all.push((
            WARN,
            format!("{count} slow fsyncs since the start or the last reset."),
        ));
    }
    if all.is_empty() {
        let text = match leader(status).filter(|_| vitals.is_ensemble && !status.is_leader) {
            None => "All is well as far as this server can see.".to_owned(),
            // It hears its leader and nobody else.
            Some(id) => format!(
                "This server is fine. How the others are, the page of the leader (server {id}) tells."
            ),
        };
        all.push((OK, text));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::Member;

    fn leader_of_three() -> (Vitals, Status) {
        let vitals = Vitals {
            server: 1,
            service: Service::Everybody,
            is_ensemble: true,
            open_files: 10,
            max_files: 1000,
            outstanding: 0,
            outstanding_max: 1000,
            slow_fsyncs: 0,
        };
        let member = |id| Member {
            id,
            is_voter: true,
            spec: String::new(),
        };
        let status = Status {
            is_leader: true,
            is_voter: true,
            leader: Some(1),
            members: [1, 2, 3].map(member).into(),
            heard: [2, 3].map(|id| (id, Duration::ZERO)).into(),
            matched: [1, 2, 3].map(|id| (id, 20_000)).into(),
            is_lost: false,
            out_of_touch: Duration::ZERO,
            term: 1,
            last_index: 20_000,
            applied_index: 20_000,
            snapshot_index: None,
            log_bytes_since_snapshot: 0,
        };
        (vitals, status)
    }

    fn check(change: impl FnOnce(&mut Vitals, &mut Status), level: &str, text: &str) {
        let (mut vitals, mut status) = leader_of_three();
        change(&mut vitals, &mut status);
        let found = health(&vitals, &status);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, level);
        assert!(found[0].1.contains(text), "{found:?}");
    }

    #[test]
    fn health_names_what_is_wrong() {
        check(|_, _| {}, OK, "well");
        check(
            |vitals, status| {
                vitals.service = Service::Nobody;
                status.is_leader = false;
            },
            BAD,
            "nobody",
        );
        check(
            |vitals, _| vitals.service = Service::Nobody,
            WARN,
            "leaderServes=no",
        );
        check(
            |vitals, _| vitals.service = Service::ReadOnly,
            BAD,
            "reads only",
        );
        check(|_, status| status.leader = None, BAD, "No leader");
        check(
            |_, status| status.out_of_touch = Duration::from_secs(9),
            BAD,
            "No leader",
        );
        check(
            |vitals, status| {
                vitals.server = 2;
                status.is_leader = false;
                status.out_of_touch = Duration::from_secs(9);
            },
            BAD,
            "The last one was server 1",
        );
        check(
            |vitals, status| {
                vitals.server = 2;
                status.is_leader = false;
            },
            OK,
            "This server is fine. How the others are, the page of the leader (server 1) tells.",
        );
        check(|_, status| status.heard.truncate(1), WARN, "Server 3");
        let silent = Duration::from_secs(9);
        check(
            |_, status| status.heard[0].1 = silent,
            WARN,
            "Server 2 has not answered for 9 s",
        );
        check(
            |_, status| status.matched[1].1 = 0,
            WARN,
            "Server 2 lacks 20000",
        );
        check(
            |_, status| status.applied_index = 0,
            WARN,
            "wait to be applied",
        );
        check(|vitals, _| vitals.open_files = 900, WARN, "900 of 1000");
        check(|vitals, _| vitals.outstanding = 1000, WARN, "outstanding");
        check(|vitals, _| vitals.slow_fsyncs = 2, WARN, "2 slow");
    }
}
