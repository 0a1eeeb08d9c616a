//! What operators ask over HTTP, each answered with JSON.
//!
//! Names, aliases and fields are upstream's (`Commands.java`). `snapshot` and `restore` are in
//! [`super::http`]: they are about who asks, and their answers are no JSON.

use std::sync::atomic::Ordering;

use super::facts::{self, Value, average_ms, whole_ms};
use super::json::{Fields, Json, fields};
use super::{Sources, words};
use crate::config::{ServerAddress, ServerSpec};
use crate::ensemble::Member;
use crate::pipeline::Conn;
use crate::types::SessionId;

/// One command: its name, its aliases, whether it needs a server that serves, and its answer.
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) needs_server: bool,
    pub(super) does: Does,
}

pub(super) enum Does {
    /// Tells something, or resets statistics.
    Answer(fn(&Asked<'_>) -> Answer),
    Snapshot,
    Restore,
}

/// A question and where its answer is found.
pub(super) struct Asked<'a> {
    pub(super) sources: &'a Sources,
    /// What stands behind the `?`, in its order.
    pub(super) parameters: &'a [(String, String)],
    /// The configuration file as it was at the start.
    pub(super) initial_configuration: &'a str,
}

/// Fields, and what is wrong when something is.
pub(super) struct Answer {
    pub(super) fields: Fields,
    pub(super) error: Option<String>,
}

impl From<Fields> for Answer {
    fn from(fields: Fields) -> Self {
        Self {
            fields,
            error: None,
        }
    }
}

impl<const N: usize> From<[(&str, Json); N]> for Answer {
    fn from(given: [(&str, Json); N]) -> Self {
        fields(given).into()
    }
}

fn failed(error: impl Into<String>) -> Answer {
    Answer {
        fields: Fields::new(),
        error: Some(error.into()),
    }
}

const fn command(
    name: &'static str,
    aliases: &'static [&'static str],
    needs_server: bool,
    answer: fn(&Asked<'_>) -> Answer,
) -> Command {
    Command {
        name,
        aliases,
        needs_server,
        does: Does::Answer(answer),
    }
}

/// By name.
pub(super) const COMMANDS: [Command; 28] = [
    command("configuration", &["conf", "config"], true, configuration),
    command("connection_stat_reset", &["crst"], true, reset_connections),
    command("connections", &["cons"], true, connections),
    command("dirs", &[], true, dirs),
    command("dump", &[], true, dump),
    command("environment", &["env", "envi"], false, environment),
    command("get_trace_mask", &["gtmk"], false, trace_mask),
    command("hash", &[], true, hash),
    command(
        "initial_configuration",
        &["icfg"],
        true,
        initial_configuration,
    ),
    command("is_read_only", &["isro"], true, is_read_only),
    command("last_snapshot", &["lsnp"], true, last_snapshot),
    command("leader", &["lead"], true, leader),
    command("monitor", &["mntr"], true, monitor),
    command("observer_connection_stat_reset", &["orst"], true, nothing),
    command("observers", &["obsr"], true, observers),
    Command {
        name: "restore",
        aliases: &["rest"],
        needs_server: true,
        does: Does::Restore,
    },
    command("ruok", &[], true, nothing),
    command("server_stats", &["srvr"], true, server_stats),
    command("set_trace_mask", &["stmk"], false, set_trace_mask),
    Command {
        name: "snapshot",
        aliases: &["snap"],
        needs_server: true,
        does: Does::Snapshot,
    },
    command("stat_reset", &["srst"], true, reset_stats),
    command("stats", &["stat"], true, stats),
    command("system_properties", &["sysp"], false, system_properties),
    command("voting_view", &[], true, voting_view),
    command("watch_summary", &["wchs"], true, watch_summary),
    command("watches", &["wchc"], true, watches),
    command("watches_by_path", &["wchp"], true, watches_by_path),
    command("zabstate", &[], false, zab_state),
];

pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| command.name == name || command.aliases.contains(&name))
}

/// Entries of one list; what is beyond is counted and left out.
const LIST_LEN_MAX: usize = 100_000;

/// Puts `list` behind the other fields, and how many entries were left out, if any.
fn put_list(fields: &mut Fields, name: &str, mut list: Vec<Json>, count: usize) {
    list.truncate(LIST_LEN_MAX);
    let left_out = count - list.len();
    fields.push((name.to_owned(), Json::List(list)));
    if left_out > 0 {
        fields.push((format!("{name}_left_out"), left_out.into()));
    }
}

fn nothing(_: &Asked<'_>) -> Answer {
    Fields::new().into()
}

fn configuration(asked: &Asked<'_>) -> Answer {
    let config = &asked.sources.config;
    let listen = config.client_listen.as_ref();
    let dir = |dir: &std::path::Path| Json::Text(dir.display().to_string());
    let ms = |ms: u32| Json::from(i64::from(ms));
    [
        (
            "client_port",
            listen.map_or(-1, |listen| i32::from(listen.port)).into(),
        ),
        ("data_dir", dir(&config.data_dir)),
        ("data_log_dir", dir(&config.data_log_dir)),
        ("tick_time", ms(config.tick_time_ms)),
        ("max_client_cnxns", ms(config.max_client_cnxns)),
        ("min_session_timeout", ms(config.min_session_timeout_ms)),
        ("max_session_timeout", ms(config.max_session_timeout_ms)),
        ("server_id", i32::from(config.my_id.unwrap_or(0)).into()),
        (
            "client_port_listen_backlog",
            config.client_listen_backlog.map_or(-1, i64::from).into(),
        ),
    ]
    .into()
}

fn reset_connections(asked: &Asked<'_>) -> Answer {
    for conn in asked.sources.core.connections() {
        conn.reset_stats();
    }
    Fields::new().into()
}

fn reset_stats(asked: &Asked<'_>) -> Answer {
    facts::reset(asked.sources);
    Fields::new().into()
}

fn brief(conn: &Conn) -> Fields {
    let stats = conn.stats();
    fields([
        ("remote_socket_address", conn.peer.to_string().into()),
        ("interest_ops", 1_i32.into()),
        ("outstanding_requests", conn.in_flight().into()),
        ("packets_received", stats.received.into()),
        ("packets_sent", stats.sent.into()),
    ])
}

fn full(sources: &Sources, conn: &Conn) -> Fields {
    let mut all = brief(conn);
    let (session, stats) = (conn.session(), conn.stats());
    if session == SessionId(0) {
        return all;
    }
    let timeout_ms = conn.lease().map_or(0, |lease| lease.timeout_ms());
    let last_response = stats.last_response_ms - sources.core.started_ms;
    let average_us = stats.sum_latency_us.checked_div(stats.answered);
    all.extend(fields([
        ("session_id", session.0.into()),
        (
            "last_operation",
            stats.last_op.map_or("NA", words::short_name).into(),
        ),
        ("established", conn.established_ms.into()),
        ("session_timeout", timeout_ms.into()),
        ("last_cxid", stats.last_xid.into()),
        ("last_zxid", stats.last_zxid.into()),
        ("last_response_time", last_response.max(0).into()),
        ("last_latency", whole_ms(stats.last_latency_us).into()),
        ("min_latency", whole_ms(stats.min_latency_us).into()),
        ("avg_latency", whole_ms(average_us.unwrap_or(0)).into()),
        ("max_latency", whole_ms(stats.max_latency_us).into()),
    ]));
    all
}

fn put_connections(asked: &Asked<'_>, fields: &mut Fields, shown: fn(&Sources, &Conn) -> Fields) {
    let connections = asked.sources.core.connections();
    let list = connections.iter().take(LIST_LEN_MAX);
    let list = list.map(|conn| Json::Object(shown(asked.sources, conn)));
    put_list(fields, "connections", list.collect(), connections.len());
    fields.push(("secure_connections".to_owned(), Json::list([])));
}

fn connections(asked: &Asked<'_>) -> Answer {
    let mut fields = Fields::new();
    put_connections(asked, &mut fields, full);
    fields.into()
}

fn stats(asked: &Asked<'_>) -> Answer {
    let mut answer = server_stats(asked);
    put_connections(asked, &mut answer.fields, |_, conn| brief(conn));
    answer
}

fn dirs(asked: &Asked<'_>) -> Answer {
    let config = &asked.sources.config;
    [
        ("datadir_size", words::dir_bytes(&config.data_dir).into()),
        ("logdir_size", words::dir_bytes(&config.data_log_dir).into()),
    ]
    .into()
}

/// No more goes into an answer.
struct Full;

fn dump(asked: &Asked<'_>) -> Answer {
    let core = &asked.sources.core;
    let ids = |ids: &mut dyn Iterator<Item = SessionId>| {
        Json::list(ids.take(LIST_LEN_MAX).map(|id| Json::from(id.0)))
    };
    // Only who decides about sessions knows when they end.
    let role = facts::role(asked.sources);
    let decides = matches!(role, Some(facts::STANDALONE | facts::LEADER));
    let by_expiry = core.look_at_tracker(|tracker| {
        let buckets = tracker.buckets().filter(|_| decides);
        buckets
            .map(|(end_ms, sessions)| (end_ms.to_string(), ids(&mut sessions.iter().copied())))
            .collect()
    });
    let (mut left, mut is_all) = (LIST_LEN_MAX, true);
    let mut by_owner = Fields::new();
    for session in facts::owners(core) {
        let mut paths = Vec::new();
        let told = facts::each_ephemeral(core, session, |path| {
            left = left.checked_sub(1).ok_or(Full)?;
            paths.push(Json::Text(path));
            Ok(())
        });
        by_owner.push((session.0.to_string(), Json::List(paths)));
        if let Err(Full) = told {
            is_all = false;
            break;
        }
    }
    let mut answer = whole("session_id_to_ephemeral_paths", by_owner, is_all);
    let by_expiry = (
        "expiry_time_to_session_ids".to_owned(),
        Json::Object(by_expiry),
    );
    answer.fields.insert(0, by_expiry);
    answer
}

fn environment(_: &Asked<'_>) -> Answer {
    let environment = words::environment().into_iter();
    let fields: Fields = environment
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    fields.into()
}

fn trace_mask(_: &Asked<'_>) -> Answer {
    let mask = words::TRACE_MASK.load(Ordering::Relaxed);
    [("tracemask", mask.into())].into()
}

fn set_trace_mask(asked: &Asked<'_>) -> Answer {
    let what = "setTraceMask requires long traceMask argument";
    let given = asked
        .parameters
        .iter()
        .find(|(name, _)| name == "traceMask");
    match given.map(|(_, text)| (text, text.parse::<i64>())) {
        None => failed(what),
        Some((text, Err(_))) => failed(format!("{what}, got {text}")),
        Some((_, Ok(mask))) => {
            words::TRACE_MASK.store(mask, Ordering::Relaxed);
            [("tracemask", mask.into())].into()
        }
    }
}

/// Ours is computed in another way than upstream's two.
const DIGEST_VERSION: i32 = 100;

fn hash(asked: &Asked<'_>) -> Answer {
    let digests = asked.sources.core.logged_digests();
    let digests = digests.into_iter().map(|(zxid, digest)| {
        Json::object([
            ("zxid", zxid.0.into()),
            ("digest", digest.into()),
            ("digest_version", DIGEST_VERSION.into()),
        ])
    });
    [("digests", Json::list(digests))].into()
}

/// The text of the file, for a server without an ensemble; as upstream, nothing for others.
fn initial_configuration(asked: &Asked<'_>) -> Answer {
    let text = if asked.sources.core.settings.is_ensemble() {
        Json::Null
    } else {
        asked.initial_configuration.into()
    };
    [("initial_configuration", text)].into()
}

fn is_read_only(asked: &Asked<'_>) -> Answer {
    let role = facts::role(asked.sources);
    [("read_only", (role == Some(facts::READ_ONLY)).into())].into()
}

fn last_snapshot(asked: &Asked<'_>) -> Answer {
    let cut = asked.sources.core.last_snapshot();
    let (zxid, made_ms) = cut.map_or((0, 0), |cut| (cut.zxid.0, cut.made_ms));
    [
        ("zxid", format!("{zxid:x}").into()),
        ("timestamp", (made_ms / 1000).into()),
    ]
    .into()
}

/// The first address of a member, as its line has it.
fn address_of(member: &Member) -> Option<(String, u16, u16)> {
    let line = format!("server.{}={}", member.id, member.spec);
    let spec = ServerSpec::parse_line(&line)?;
    let address = spec.addresses.into_iter().next()?;
    Some((address.host, address.quorum_port, address.election_port))
}

fn leader(asked: &Asked<'_>) -> Answer {
    let role = facts::role(asked.sources);
    if !matches!(
        role,
        Some(facts::LEADER | facts::FOLLOWER | facts::OBSERVER)
    ) {
        return failed("server is not initialized");
    }
    let status = asked.sources.ensemble.status();
    let leader = status
        .members
        .iter()
        .find(|member| Some(member.id) == status.leader);
    let host = leader.and_then(address_of).map(|(host, ..)| host);
    [
        ("is_leader", status.is_leader.into()),
        (
            "leader_id",
            status.leader.map_or(-1, u64::cast_signed).into(),
        ),
        ("leader_ip", host.unwrap_or_default().into()),
    ]
    .into()
}

fn monitor(asked: &Asked<'_>) -> Answer {
    let sources = asked.sources;
    let mode = facts::role(sources).unwrap_or_default();
    let mut all = fields([
        ("version", crate::VERSION_LINE.into()),
        ("server_state", mode.into()),
    ]);
    for (name, value) in facts::peer_facts(sources, mode) {
        all.push((name.to_owned(), value.into()));
    }
    for (name, value) in facts::monitored(sources) {
        all.push((name, value.into()));
    }
    all.into()
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(value) => Self::Unsigned(value),
            Value::Signed(value) => Self::Signed(value),
            Value::Double(value) => Self::Double((value * 10_000.0).round() / 10_000.0),
        }
    }
}

/// Observers in touch with the leader. No packets wait for one: it fetches the log by itself.
fn observers(asked: &Asked<'_>) -> Answer {
    let status = asked.sources.ensemble.status();
    let core = &asked.sources.core;
    // Known of one that has all that there is.
    let (at, zxid) = core.look(|state| (state.position().index, state.zxid()));
    let last_zxid = |id| {
        let mut matched = status.matched.iter();
        let has_all = matched.any(|(of, index)| *of == id && *index >= at);
        if has_all { zxid.0 } else { -1 }
    };
    let members = status.members.iter().filter(|member| !member.is_voter);
    let in_touch = members.filter(|member| {
        let mut heard = status.heard.iter();
        heard.any(|(id, ago)| *id == member.id && *ago <= facts::IN_TOUCH)
    });
    let list: Vec<_> = in_touch
        .map(|member| {
            let address = address_of(member)
                .map(|(host, port, _)| format!("/{host}:{port}"))
                .unwrap_or_default();
            Json::object([
                ("remote_socket_address", address.into()),
                ("sid", member.id.into()),
                ("established", core.link_begun_ms(member.id).into()),
                ("queued_packets", 0.into()),
                ("queued_packets_size", 0.into()),
                ("packets_received", 0.into()),
                ("packets_sent", 0.into()),
                ("requests", 0.into()),
                ("last_zxid", last_zxid(member.id).into()),
            ])
        })
        .collect();
    [
        ("synced_observers", list.len().into()),
        ("observers", Json::List(list)),
    ]
    .into()
}

/// Last, least and largest size of something.
fn sizes([last, min, max]: [i64; 3]) -> Json {
    Json::object([
        ("last_buffer_size", last.into()),
        ("min_buffer_size", min.into()),
        ("max_buffer_size", max.into()),
    ])
}

fn server_stats(asked: &Asked<'_>) -> Answer {
    let sources = asked.sources;
    let (core, config) = (&sources.core, &sources.config);
    let counters = &core.counters;
    let load = |counter: &std::sync::atomic::AtomicU64| Json::from(counter.load(Ordering::Relaxed));
    let latency = counters.latency.summary();
    let role = facts::role(sources).unwrap_or_default();
    let zxid = core.look(crate::state::State::zxid);
    let responses = sizes(counters.client_responses.get());
    let bean = Json::object([
        ("packets_sent", load(&counters.packets_sent)),
        ("packets_received", load(&counters.packets_received)),
        (
            "fsync_threshold_exceed_count",
            super::recorder::counter("meerkat_slow_fsyncs").into(),
        ),
        ("client_response_stats", responses.clone()),
        ("uptime", facts::uptime_ms(core.started).into()),
        ("provider_null", false.into()),
        ("data_dir_size", words::dir_bytes(&config.data_dir).into()),
        (
            "log_dir_size",
            words::dir_bytes(&config.data_log_dir).into(),
        ),
        ("last_processed_zxid", zxid.0.into()),
        ("outstanding_requests", load(&counters.outstanding)),
        ("server_state", role.into()),
        ("avg_latency", Value::Double(average_ms(latency)).into()),
        ("max_latency", whole_ms(latency.max_us).into()),
        ("min_latency", whole_ms(latency.min_us).into()),
        (
            "num_alive_client_connections",
            core.connection_count().into(),
        ),
        ("auth_failed_count", load(&counters.auth_failed)),
        ("non_mtlsremote_conn_count", 0_u64.into()),
        ("non_mtlslocal_conn_count", 0_u64.into()),
    ]);
    let mut all = fields([
        ("version", crate::VERSION_LINE.into()),
        ("read_only", (role == facts::READ_ONLY).into()),
        ("server_stats", bean),
        ("client_response", responses),
    ]);
    if role == facts::LEADER {
        let proposals = sizes(counters.elections.proposal_sizes.get());
        all.push(("proposal_stats".to_owned(), proposals));
    }
    all.push(("node_count".to_owned(), facts::node_count(core).into()));
    all.into()
}

fn system_properties(asked: &Asked<'_>) -> Answer {
    let properties = &asked.sources.config.system_properties;
    let fields: Fields = properties
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    fields.into()
}

/// Whether this server is one of an ensemble that has its quorum.
fn takes_part(sources: &Sources) -> bool {
    matches!(
        facts::role(sources),
        Some(facts::LEADER | facts::FOLLOWER | facts::OBSERVER)
    )
}

/// Where clients find a server. Its line need not say so: then only the server itself knows.
fn client_address(sources: &Sources, line: &ServerSpec) -> Option<String> {
    let config = &sources.config;
    let is_own = config.my_id.map(u64::from) == Some(line.id);
    let own = config.client_listen.as_ref().filter(|_| is_own);
    line.client.as_ref().or(own).map(ToString::to_string)
}

fn voting_view(asked: &Asked<'_>) -> Answer {
    let status = asked.sources.ensemble.status();
    let takes_part = takes_part(asked.sources);
    let voters = status.members.iter().filter(|m| m.is_voter && takes_part);
    let view = voters
        .filter_map(|member| {
            let line = format!("server.{}={}", member.id, member.spec);
            let spec = ServerSpec::parse_line(&line)?;
            let addresses = |port: fn(&ServerAddress) -> u16| {
                let all = spec.addresses.iter();
                Json::list(all.map(|a| Json::Text(format!("{}:{}", a.host, port(a)))))
            };
            let client = client_address(asked.sources, &spec);
            let shown = Json::object([
                ("server_addresses", addresses(|a| a.quorum_port)),
                ("election_addresses", addresses(|a| a.election_port)),
                ("client_address", client.unwrap_or_default().into()),
                ("learner_type", spec.role.to_string().into()),
            ]);
            Some((member.id.to_string(), shown))
        })
        .collect();
    [("current_config", Json::Object(view))].into()
}

fn watch_summary(asked: &Asked<'_>) -> Answer {
    let [connections, paths, total] = words::data_watch_totals(&asked.sources.core);
    [
        ("num_connections", connections.into()),
        ("num_paths", paths.into()),
        ("num_total_watches", total.into()),
    ]
    .into()
}

fn watches(asked: &Asked<'_>) -> Answer {
    let (by_path, is_all) = words::data_watches(&asked.sources.core);
    let by_session = words::by_session(by_path).into_iter();
    let by_session = by_session.map(|(session, paths)| {
        let paths = paths.into_iter().map(Json::Text);
        (session.0.to_string(), Json::list(paths))
    });
    whole("session_id_to_watched_paths", by_session.collect(), is_all)
}

fn watches_by_path(asked: &Asked<'_>) -> Answer {
    let (by_path, is_all) = words::data_watches(&asked.sources.core);
    let by_path = by_path.into_iter().map(|(path, sessions)| {
        let sessions = sessions.into_iter().map(|session| session.0.into());
        (path, Json::list(sessions))
    });
    whole("path_to_session_ids", by_path.collect(), is_all)
}

/// Says so when that is not everything.
fn whole(name: &str, all: Fields, is_all: bool) -> Answer {
    let mut answer = Answer::from([(name, Json::Object(all))]);
    if !is_all {
        answer
            .fields
            .push(("is_incomplete".to_owned(), true.into()));
    }
    answer
}

/// What upstream's bean tells of an address that has only one form.
fn address_bean(host: &str, port: u16) -> Json {
    let address = Json::Text(format!("{host}:{port}"));
    let one = || Json::list([address.clone()]);
    Json::object([
        ("empty", false.into()),
        ("all_addresses", one()),
        (
            "wildcard_addresses",
            Json::list([format!("0.0.0.0:{port}").into()]),
        ),
        ("all_ports", Json::list([i32::from(port).into()])),
        ("all_host_strings", Json::list([host.into()])),
        ("reachable_address", address.clone()),
        ("all_reachable_addresses", one()),
        ("all_reachable_addresses_or_all", one()),
        ("reachable_or_one", address.clone()),
        ("one", address),
    ])
}

fn zab_state(asked: &Asked<'_>) -> Answer {
    let sources = asked.sources;
    let own = sources.config.own_server();
    let own = own.and_then(|own| Some((own, own.addresses.first()?)));
    // Upstream has nothing to tell while it does not take part, not even of itself.
    let Some((own, address)) = own.filter(|_| takes_part(sources)) else {
        return [("voting", false.into()), ("zabstate", "".into())].into();
    };
    let status = sources.ensemble.status();
    let zxid = sources.core.look(crate::state::State::zxid);
    let client = client_address(sources, own);
    [
        ("myid", own.id.into()),
        ("is_leader", status.is_leader.into()),
        (
            "quorum_address",
            address_bean(&address.host, address.quorum_port),
        ),
        (
            "election_address",
            address_bean(&address.host, address.election_port),
        ),
        ("client_address", client.map_or(Json::Null, Json::Text)),
        ("voting", status.is_voter.into()),
        ("last_zxid", format!("0x{:x}", zxid.0).into()),
        ("zab_epoch", zxid.epoch().into()),
        ("zab_counter", (zxid.0 & 0xffff_ffff).into()),
        ("zabstate", "broadcast".into()),
    ]
    .into()
}
