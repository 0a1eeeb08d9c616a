//! Four-letter words: the first four bytes of a connection, answered in text.
//!
//! Formats are upstream's (`FourLetterCommands.java` and the classes beside it). What a native
//! process has no counterpart for prints as `<NA>`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Arguments, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jute::OpCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Sources;
use super::date::java_date;
use super::facts::{self, average_ms, whole_ms};
use crate::collections::{HashMap, HashSet};
use crate::config::{Config, ServerAddress, ServerSpec};
use crate::ensemble::Member;
use crate::pipeline::{Conn, Core, LocalSessionsMode, wall_clock_ms};
use crate::types::{ConnId, SessionId};

/// All words that upstream knows. One that is not in the whitelist is refused by name.
const KNOWN: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "ruok", "stmk", "srvr", "srst", "stat",
    "wchc", "wchp", "wchs", "mntr", "isro", "hash",
];

/// What telnet sends when it is interrupted: a word without an answer, by this name in the whitelist.
const TELNET_CLOSE: ([u8; 4], &str) = (*b"\xff\xf4\xff\xfd", "telnet close");

/// What most words are answered with while there is no quorum.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// What `gtmk` tells and `stmk` sets; nothing here reads it. Of the process, as upstream's is.
pub(super) static TRACE_MASK: AtomicI64 = AtomicI64::new(306);

/// Bytes of the longest answer. What does not fit is left out, and the last line says so.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The end of an answer that is too long.
const CUT: &str = "(the rest is left out: the answer is too long)\n";

/// Answers that may be long are made and sent so many at a time. Those about clients have turns of
/// their own: operators ask them all the time, and they are no longer than there are clients.
const LONG_ANSWERS_MAX: usize = 4;

static LONG_ANSWERS: Semaphore = Semaphore::const_new(LONG_ANSWERS_MAX);
static ANSWERS_ABOUT_CLIENTS: Semaphore = Semaphore::const_new(LONG_ANSWERS_MAX);

/// Whose turns an answer takes, if any.
fn turns(question: Question) -> Option<&'static Semaphore> {
    match question {
        Question::Word(word) => match &word {
            b"dump" | b"wchc" | b"wchp" => Some(&LONG_ANSWERS),
            b"cons" | b"stat" => Some(&ANSWERS_ABOUT_CLIENTS),
            _ => None,
        },
        _ => None,
    }
}

/// What the first bytes of a connection ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Nothing: they are the length of a frame.
    None,
    /// A word that is not whole yet.
    Unfinished,
    Word([u8; 4]),
    /// `stmk` has the new mask behind it.
    SetTraceMask(i64),
}

/// Finds a word in the first bytes of a connection.
#[must_use]
pub fn question(config: &Config, bytes: &[u8]) -> Question {
    let Some((word, rest)) = bytes.split_first_chunk::<4>() else {
        return Question::Unfinished;
    };
    match str::from_utf8(word) {
        Ok("stmk") if config.four_letter_words.allows("stmk") => match rest.first_chunk() {
            Some(mask) => Question::SetTraceMask(i64::from_be_bytes(*mask)),
            None => Question::Unfinished,
        },
        Ok(known) if KNOWN.contains(&known) => Question::Word(*word),
        Err(_) if *word == TELNET_CLOSE.0 => Question::Word(*word),
        _ => Question::None,
    }
}

/// An answer, and the right to be one of the long ones.
pub struct Answer {
    pub text: String,
    _turn: Option<SemaphorePermit<'static>>,
}

/// The answer to a question asked by `asking`; empty when there is none.
pub async fn answer(sources: &Sources, asking: ConnId, question: Question) -> Answer {
    let turn = match turns(question) {
        Some(turns) => turns.acquire().await.ok(),
        None => None,
    };
    let text = match question {
        Question::Word(word) if word == TELNET_CLOSE.0 => {
            Ok(text_for(sources, asking, TELNET_CLOSE.1))
        }
        Question::Word(word) => str::from_utf8(&word).map(|word| text_for(sources, asking, word)),
        Question::SetTraceMask(mask) => {
            TRACE_MASK.store(mask, Ordering::Relaxed);
            Ok(mask.to_string())
        }
        Question::None | Question::Unfinished => Ok(String::new()),
    };
    Answer {
        text: text.unwrap_or_default(),
        _turn: turn,
    }
}

/// Text that ends where it would become too long.
struct Text {
    text: String,
    bytes_max: usize,
    is_cut: bool,
}

impl Text {
    fn new() -> Self {
        Self::at_most(ANSWER_BYTES_MAX)
    }

    fn at_most(bytes_max: usize) -> Self {
        Self {
            text: String::new(),
            bytes_max,
            is_cut: false,
        }
    }

    /// One line, or a part of one; an error once nothing more fits.
    fn put(&mut self, part: Arguments<'_>) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let before = self.text.len();
        let _ = self.text.write_fmt(part);
        if self.text.len() > self.bytes_max {
            self.text.truncate(before);
            self.is_cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }

    fn end(mut self) -> String {
        if self.is_cut {
            self.text.push_str(CUT);
        }
        self.text
    }
}

fn text_for(sources: &Sources, asking: ConnId, word: &str) -> String {
    if !sources.config.four_letter_words.allows(word) {
        return format!("{word} is not executed because it is not in the whitelist.\n");
    }
    let role = facts::role(sources);
    // These need no state.
    if role.is_none() && !["ruok", "envi", "gtmk", "stmk", "isro"].contains(&word) {
        return match word {
            // Upstream forgets the end of the line here.
            "hash" => NOT_SERVING.trim_end().to_owned(),
            _ => NOT_SERVING.to_owned(),
        };
    }
    let mode = role.unwrap_or_default();
    match word {
        "ruok" => "imok".to_owned(),
        "isro" => match role {
            None => "null",
            Some(facts::READ_ONLY) => "ro",
            Some(_) => "rw",
        }
        .to_owned(),
        "gtmk" => TRACE_MASK.load(Ordering::Relaxed).to_string(),
        "srvr" => srvr(sources, mode, None),
        "stat" => srvr(sources, mode, Some(asking)),
        "cons" => cons(&sources.core, asking),
        "crst" => {
            for conn in sources.core.connections() {
                conn.reset_stats();
            }
            "Connection stats reset.\n".to_owned()
        }
        "srst" => {
            facts::reset_all(sources);
            "Server stats reset.\n".to_owned()
        }
        "conf" => conf(sources, mode),
        "dirs" => format!(
            "datadir_size: {}\nlogdir_size: {}\n",
            dir_bytes(&sources.config.data_dir),
            dir_bytes(&sources.config.data_log_dir)
        ),
        "envi" => envi(),
        "dump" => dump(sources, mode),
        "wchs" => wchs(&sources.core),
        "wchc" => wchc(&sources.core),
        "wchp" => wchp(&sources.core),
        "mntr" => mntr(sources, mode),
        "hash" => hash(&sources.core),
        _ => String::new(),
    }
}

/// Digests of the state behind some of the last transactions.
fn hash(core: &Core) -> String {
    let mut text = String::new();
    for (zxid, digest) in core.logged_digests() {
        let _ = writeln!(text, "{:x}: {digest}", zxid.0);
    }
    text
}

/// `srvr`, and `stat`, which lists the clients as well.
fn srvr(sources: &Sources, mode: &str, clients_for: Option<ConnId>) -> String {
    let core = &sources.core;
    let latency = core.counters.latency.summary();
    let mut text = format!("Zookeeper version: {}\n", crate::VERSION_LINE);
    if mode == facts::READ_ONLY {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if let Some(asking) = clients_for {
        let mut clients = Text::new();
        let _ = clients.put(format_args!("Clients:\n"));
        for conn in core.connections() {
            let line = connection_line(&conn, asking);
            if clients.put(format_args!("{line})\n")).is_err() {
                break;
            }
        }
        text.push_str(&clients.end());
        text.push('\n');
    }
    let zxid = core.look(crate::state::State::zxid);
    let _ = write!(
        text,
        "Latency min/avg/max: {}/{}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {zxid}\nMode: {mode}\nNode count: {}\n",
        whole_ms(latency.min_us),
        facts::Value::Double(average_ms(latency)),
        whole_ms(latency.max_us),
        core.counters.packets_received.load(Ordering::Relaxed),
        core.counters.packets_sent.load(Ordering::Relaxed),
        core.connection_count(),
        core.counters.outstanding.load(Ordering::Relaxed),
        facts::node_count(core),
    );
    if mode == facts::LEADER {
        let [last, min, max] = core.counters.elections.proposal_sizes.get();
        let _ = writeln!(text, "Proposal sizes last/min/max: {last}/{min}/{max}");
    }
    text
}

/// The common part of a client's line, without its closing parenthesis. The number in brackets is
/// the mask of what the socket waits for upstream: nothing while it asks this, else to read.
fn connection_line(conn: &Conn, asking: ConnId) -> String {
    let stats = conn.stats();
    format!(
        " /{}[{}](queued={},recved={},sent={}",
        conn.peer,
        u8::from(conn.id != asking),
        conn.in_flight(),
        stats.received,
        stats.sent
    )
}

fn cons(core: &Core, asking: ConnId) -> String {
    let mut text = Text::new();
    for conn in core.connections() {
        let line = full_connection_line(core, &conn, asking);
        if text.put(format_args!("{line})\n")).is_err() {
            break;
        }
    }
    text.end() + "\n"
}

fn full_connection_line(core: &Core, conn: &Conn, asking: ConnId) -> String {
    let mut text = connection_line(conn, asking);
    let (session, stats) = (conn.session(), conn.stats());
    if session == SessionId(0) {
        return text;
    }
    let timeout_ms = conn.lease().map_or(0, |lease| lease.timeout_ms());
    let op = stats.last_op.map_or("NA", short_name);
    let _ = write!(
        text,
        ",sid={session},lop={op},est={},to={timeout_ms}",
        conn.established_ms
    );
    if stats.last_xid >= 0 {
        let _ = write!(text, ",lcxid=0x{:x}", stats.last_xid);
    }
    let since_start = stats
        .last_response_ms
        .saturating_sub(core.started_ms)
        .max(0);
    let average = stats
        .sum_latency_us
        .checked_div(stats.answered)
        .unwrap_or(0);
    let _ = write!(
        text,
        ",lzxid=0x{:x},lresp={since_start},llat={},minlat={},avglat={},maxlat={}",
        stats.last_zxid,
        whole_ms(stats.last_latency_us),
        whole_ms(stats.min_latency_us),
        whole_ms(average),
        whole_ms(stats.max_latency_us)
    );
    text
}

/// Upstream's four letters for an operation (`Request.op2String`, shortened).
pub(super) fn short_name(op: OpCode) -> &'static str {
    match op {
        OpCode::PING => "PING",
        OpCode::CREATE_SESSION => "SESS",
        OpCode::MULTI => "MULT",
        OpCode::MULTI_READ => "MLTR",
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_TTL | OpCode::CREATE_CONTAINER => "CREA",
        OpCode::DELETE | OpCode::DELETE_CONTAINER => "DELE",
        OpCode::SET_DATA => "SETD",
        OpCode::RECONFIG => "RECO",
        OpCode::SET_ACL => "SETA",
        OpCode::CLOSE_SESSION => "CLOS",
        OpCode::SYNC => "SYNC",
        OpCode::CHECK => "CHEC",
        OpCode::EXISTS => "EXIS",
        OpCode::GET_DATA => "GETD",
        OpCode::SET_WATCHES => "SETW",
        OpCode::SET_WATCHES2 => "STW2",
        OpCode::ADD_WATCH => "ADDW",
        OpCode::GET_ACL => "GETA",
        OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => "GETC",
        OpCode::GET_ALL_CHILDREN_NUMBER => "GETACN",
        OpCode::CHECK_WATCHES => "CHKW",
        OpCode::REMOVE_WATCHES => "REMW",
        OpCode::WHO_AM_I => "HOMI",
        OpCode::GET_EPHEMERALS => "GETE",
        _ => "NA",
    }
}

fn conf(sources: &Sources, mode: &str) -> String {
    let config = &sources.config;
    let own = own_line(sources);
    let port = own
        .as_ref()
        .and_then(|own| own.client.as_ref())
        .or(config.client_listen.as_ref())
        .map_or(-1, |listen| i32::from(listen.port));
    let backlog = config.client_listen_backlog.map_or(-1, i64::from);
    let mut text = format!(
        "clientPort={port}\nsecureClientPort=-1\ndataDir={}\ndataDirSize={}\ndataLogDir={}\ndataLogSize={}\ntickTime={}\nmaxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\nclientPortListenBacklog={backlog}\nserverId={}\n",
        config.data_dir.display(),
        dir_bytes(&config.data_dir),
        config.data_log_dir.display(),
        dir_bytes(&config.data_log_dir),
        config.tick_time_ms,
        config.max_client_cnxns,
        config.min_session_timeout_ms,
        config.max_session_timeout_ms,
        config.my_id.unwrap_or(0),
    );
    if mode != facts::STANDALONE {
        conf_of_peer(sources, mode, &mut text);
    }
    text
}

/// This server's line: as the ensemble has agreed on it, else as it stands in the file.
fn own_line(sources: &Sources) -> Option<ServerSpec> {
    let me = u64::from(sources.config.my_id?);
    let agreed = sources.core.configuration();
    let agreed = agreed.borrow().lines().find_map(|line| {
        let line = ServerSpec::parse_line(line)?;
        (line.id == me).then_some(line)
    });
    agreed.or_else(|| sources.config.own_server().cloned())
}

/// Upstream's number for the only election algorithm that it still has.
const ELECTION_ALGORITHM: u32 = 3;

/// What `conf` says of a server's place among the others.
fn conf_of_peer(sources: &Sources, mode: &str, text: &mut String) {
    let config = &sources.config;
    let own = own_line(sources);
    let addresses = own.as_ref().map_or(&[][..], |own| &own.addresses);
    let ports = |port: fn(&ServerAddress) -> u16| {
        let ports: Vec<_> = addresses.iter().map(|a| port(a).to_string()).collect();
        ports.join("|")
    };
    let status = sources.ensemble.status();
    let _ = write!(
        text,
        "initLimit={}\nsyncLimit={}\nelectionAlg={ELECTION_ALGORITHM}\nelectionPort={}\nquorumPort={}\npeerType={}\n",
        config.ensemble.init_limit_ticks,
        config.ensemble.sync_limit_ticks,
        ports(|address| address.election_port),
        ports(|address| address.quorum_port),
        u8::from(!status.is_voter),
    );
    if mode != facts::READ_ONLY {
        text.push_str("membership: \n");
        text.push_str(&membership(sources, &status.members));
    }
}

/// The znode that a reconfiguration writes.
const CONFIG_PATH: &str = "/zookeeper/config";

/// The members as the znode has them; before the first reconfiguration, as the log has them.
fn membership(sources: &Sources, members: &[Member]) -> String {
    let stored = sources.core.look(|state| {
        let id = state.tree.find(CONFIG_PATH)?;
        let data = state.tree.data(id)?;
        Some(String::from_utf8_lossy(data).into_owned())
    });
    if let Some(stored) = stored.filter(|stored| !stored.is_empty()) {
        return stored;
    }
    let mut text = String::new();
    for member in members {
        let _ = writeln!(text, "server.{}={}", member.id, member.spec);
    }
    text.push_str("version=0");
    text
}

/// Bytes of the files below a directory; what cannot be read counts as nothing.
pub(super) fn dir_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => dir_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn envi() -> String {
    let mut text = "Environment:\n".to_owned();
    for (key, value) in environment() {
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

/// The user that this process runs as.
pub(crate) fn own_user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// Where a limit on the memory of this process is written, by the version of control groups.
const MEMORY_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// Memory in megabytes: what this process has, what it may have, and what there is.
fn memory() -> [u64; 3] {
    let kib = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
        value.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
    };
    let total = kib("/proc/meminfo", "MemTotal:") >> 10;
    let limits = MEMORY_LIMITS.iter().filter_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.trim().parse::<u64>().ok()
    });
    let limit = limits.map(|bytes| bytes >> 20).min();
    let own = kib("/proc/self/status", "VmRSS:") >> 10;
    [own, limit.unwrap_or(total).min(total), total]
}

/// What this process runs in; what only a Java process has is `<NA>`.
pub(super) fn environment() -> Vec<(&'static str, String)> {
    let from_env = |name: &str| std::env::var(name).unwrap_or_else(|_| "<NA>".to_owned());
    let first_line = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().next().unwrap_or("<NA>").to_owned()
    };
    let [own, limit, total] = memory();
    let here = std::env::current_dir().unwrap_or_default();
    vec![
        ("zookeeper.version", crate::VERSION_LINE.to_owned()),
        ("host.name", first_line("/proc/sys/kernel/hostname")),
        ("java.version", "<NA>".to_owned()),
        ("java.vendor", "<NA>".to_owned()),
        ("java.home", "<NA>".to_owned()),
        ("java.class.path", "<NA>".to_owned()),
        ("java.library.path", "<NA>".to_owned()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", "<NA>".to_owned()),
        ("os.name", "Linux".to_owned()),
        (
            "os.arch",
            if cfg!(target_arch = "x86_64") {
                "amd64"
            } else {
                "aarch64"
            }
            .to_owned(),
        ),
        ("os.version", first_line("/proc/sys/kernel/osrelease")),
        ("user.name", own_user()),
        ("user.home", from_env("HOME")),
        ("user.dir", here.display().to_string()),
        ("os.memory.free", format!("{own}MB")),
        ("os.memory.max", format!("{limit}MB")),
        ("os.memory.total", format!("{total}MB")),
    ]
}

/// Sessions by the moment when they may expire.
fn session_sets<'a>(
    buckets: impl Iterator<Item = (i64, &'a HashSet<SessionId>)>,
    to_wall: i64,
    text: &mut Text,
) -> fmt::Result {
    let buckets: Vec<_> = buckets.collect();
    let sessions: usize = buckets.iter().map(|(_, ids)| ids.len()).sum();
    text.put(format_args!(
        "Session Sets ({})/({sessions}):\n",
        buckets.len()
    ))?;
    for (end_ms, ids) in buckets {
        let end = java_date(end_ms + to_wall);
        text.put(format_args!("{} expire at {end}:\n", ids.len()))?;
        for id in ids {
            text.put(format_args!("\t{id}\n"))?;
        }
    }
    Ok(())
}

/// Who may expire when, as far as this server decides it, and all sessions of the ensemble.
fn dump_sessions(core: &Core, mode: &str, to_wall: i64, text: &mut Text) -> fmt::Result {
    let has_local = core.settings.local_sessions != LocalSessionsMode::Off;
    if has_local {
        text.put(format_args!("Local "))?;
        core.look_at_locals(|locals| session_sets(locals.tracker().buckets(), to_wall, text))?;
    }
    if matches!(mode, facts::STANDALONE | facts::LEADER) {
        if has_local {
            text.put(format_args!("Global "))?;
        }
        return core.look_at_tracker(|tracker| session_sets(tracker.buckets(), to_wall, text));
    }
    let mut sessions: Vec<_> = core.look(|state| {
        let timeouts = state.sessions.iter();
        timeouts.map(|(id, s)| (id, s.timeout_ms)).collect()
    });
    sessions.sort_unstable_by_key(|(id, _)| id.0);
    text.put(format_args!("Global Sessions({}):\n", sessions.len()))?;
    for (id, timeout_ms) in sessions {
        text.put(format_args!("{id}\t{timeout_ms}ms\n"))?;
    }
    Ok(())
}

fn dump_ephemerals(core: &Core, text: &mut Text) -> fmt::Result {
    text.put(format_args!("ephemeral nodes dump:\n"))?;
    let owners = facts::owners(core);
    let count = owners.len();
    text.put(format_args!("Sessions with Ephemerals ({count}):\n"))?;
    for session in owners {
        text.put(format_args!("{session}:\n"))?;
        facts::each_ephemeral(core, session, |path| text.put(format_args!("\t{path}\n")))?;
    }
    Ok(())
}

fn dump_connections(sources: &Sources, to_wall: i64, text: &mut Text) -> fmt::Result {
    text.put(format_args!("Connections dump:\n"))?;
    let mut by_expiry: BTreeMap<i64, Vec<Arc<Conn>>> = BTreeMap::new();
    // Upstream's buckets for connections are as wide as its patience with those that have no
    // session, which stand in the next one.
    let width_ms = i64::from(sources.config.sessionless_cnxn_timeout_ms.max(1));
    for conn in sources.core.connections() {
        let ends_ms = conn
            .lease()
            .map_or(conn.established_ms, |lease| lease.expires_ms() + to_wall);
        let bucket = (ends_ms.div_euclid(width_ms) + 1) * width_ms;
        by_expiry.entry(bucket).or_default().push(conn);
    }
    let connections: usize = by_expiry.values().map(Vec::len).sum();
    text.put(format_args!(
        "Connections Sets ({})/({connections}):\n",
        by_expiry.len()
    ))?;
    for (end_ms, conns) in by_expiry {
        let end = java_date(end_ms);
        text.put(format_args!("{} expire at {end}:\n", conns.len()))?;
        for conn in conns {
            let session = conn.session();
            text.put(format_args!("\tip: /{} sessionId: {session}\n", conn.peer))?;
        }
    }
    Ok(())
}

fn dump(sources: &Sources, mode: &str) -> String {
    let core = &sources.core;
    let to_wall = wall_clock_ms() - core.lease_now_ms();
    let mut text = Text::new();
    let _ = text.put(format_args!("SessionTracker dump:\n"));
    let _ = dump_sessions(core, mode, to_wall, &mut text)
        .and_then(|()| dump_ephemerals(core, &mut text))
        .and_then(|()| dump_connections(sources, to_wall, &mut text));
    text.end()
}

/// Sessions by connection, for the watches, which know connections only.
fn sessions_by_conn(core: &Core) -> HashMap<ConnId, SessionId> {
    let connections = core.connections();
    let sessions = connections.iter().map(|conn| (conn.id, conn.session()));
    sessions.collect()
}

/// Watches that are looked at for one answer; a line is no shorter than 20 bytes, so that more
/// would not fit into it anyhow.
const WATCHES_MAX: usize = ANSWER_BYTES_MAX / 20;

/// Data watches by path, with the sessions that have them, and whether that is all of them.
/// Upstream's words leave child watches out.
pub(super) fn data_watches(core: &Core) -> (BTreeMap<String, BTreeSet<SessionId>>, bool) {
    let sessions = sessions_by_conn(core);
    let mut by_path: BTreeMap<String, BTreeSet<SessionId>> = BTreeMap::new();
    let mut count = 0;
    core.look_at_watches(|table| {
        table.for_each_data_watch(|path, conn| {
            if let Some(session) = sessions.get(&conn) {
                count += 1;
                if count <= WATCHES_MAX {
                    by_path.entry(path.to_owned()).or_default().insert(*session);
                }
            }
        });
    });
    (by_path, count <= WATCHES_MAX)
}

/// Connections, paths and watches, of data watches only.
pub(super) fn data_watch_totals(core: &Core) -> [usize; 3] {
    let sessions = sessions_by_conn(core);
    let mut watching = HashSet::default();
    let (mut paths, mut total) = (0, 0);
    core.look_at_watches(|table| {
        let mut last = None;
        table.for_each_data_watch(|path, conn| {
            if let Some(session) = sessions.get(&conn) {
                watching.insert(*session);
                total += 1;
                // A path's watchers come one after the other.
                let at = path.as_ptr();
                paths += usize::from(last.replace(at) != Some(at));
            }
        });
    });
    [watching.len(), paths, total]
}

fn wchs(core: &Core) -> String {
    let [connections, paths, total] = data_watch_totals(core);
    format!("{connections} connections watching {paths} paths\nTotal watches:{total}\n")
}

/// Keys with what belongs to each, a line for everything.
fn groups<K: fmt::Display, V: fmt::Display>(
    groups: impl Iterator<Item = (K, impl IntoIterator<Item = V>)>,
    is_all: bool,
) -> String {
    let mut text = Text::new();
    let put = || {
        for (key, values) in groups {
            text.put(format_args!("{key}\n"))?;
            for value in values {
                text.put(format_args!("\t{value}\n"))?;
            }
        }
        Ok(())
    };
    let result: fmt::Result = put();
    text.is_cut |= result.is_err() || !is_all;
    text.end() + "\n"
}

fn wchp(core: &Core) -> String {
    let (by_path, is_all) = data_watches(core);
    groups(by_path.into_iter(), is_all)
}

/// The other way round.
pub(super) fn by_session(
    by_path: BTreeMap<String, BTreeSet<SessionId>>,
) -> BTreeMap<SessionId, Vec<String>> {
    let mut by_session: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
    for (path, sessions) in by_path {
        for session in sessions {
            by_session.entry(session).or_default().push(path.clone());
        }
    }
    by_session
}

fn wchc(core: &Core) -> String {
    let (by_path, is_all) = data_watches(core);
    groups(by_session(by_path).into_iter(), is_all)
}

fn mntr(sources: &Sources, mode: &str) -> String {
    let mut text = format!(
        "zk_version\t{}\nzk_server_state\t{mode}\n",
        crate::VERSION_LINE
    );
    for (name, value) in facts::peer_facts(sources, mode) {
        let _ = writeln!(text, "zk_{name}\t{value}");
    }
    for (name, value) in facts::monitored(sources) {
        let _ = writeln!(text, "zk_{name}\t{value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_end_with_a_whole_line_and_say_so() {
        let mut text = Text::at_most(10);
        assert_eq!(text.put(format_args!("12345\n")), Ok(()));
        assert_eq!(text.put(format_args!("67890\n")), Err(fmt::Error));
        assert_eq!(text.put(format_args!("1\n")), Err(fmt::Error), "once cut");
        assert_eq!(text.end(), format!("12345\n{CUT}"));
        let mut whole = Text::at_most(10);
        assert_eq!(whole.put(format_args!("123456789\n")), Ok(()));
        assert_eq!(whole.end(), "123456789\n");
    }

    #[test]
    fn a_mask_is_waited_for() {
        let mut config =
            Config::from_args(&["0", "/nowhere"].map(str::to_owned), &Default::default())
                .expect("a configuration")
                .0;
        let whole = b"stmk\0\0\0\0\0\0\x01\x32";
        assert_eq!(
            question(&config, whole),
            Question::Word(*b"stmk"),
            "refused at once"
        );
        config.four_letter_words = crate::config::FourLetterWords::all();
        assert_eq!(question(&config, &whole[..11]), Question::Unfinished);
        assert_eq!(question(&config, whole), Question::SetTraceMask(306));
        assert_eq!(question(&config, b"RUOK"), Question::None);
        assert_eq!(question(&config, b"ruo"), Question::Unfinished);
    }
}
