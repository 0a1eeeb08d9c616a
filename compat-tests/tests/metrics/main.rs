//! What Prometheus scrapes, beside Apache ZooKeeper's exporter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use meerkat_compat_tests::attempt::{self, Outcome, Session, create};
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::http::get;
use meerkat_compat_tests::server::{FREE_PORT, Kind, Server, Settings};
use meerkat_compat_tests::wire::{Blob, Connect, Request, Value};

const KINDS: [Kind; 2] = [Kind::ZooKeeper, Kind::Meerkat];

/// Families of upstream's names that are not exported, each with its reason.
const MISSING: [(&str, &str); 1] = [("jvm_", "there is no JVM to tell about")];

/// The one exception: how late our own timer is, which is what upstream measures under this name.
const NOT_MISSING: [&str; 1] = ["jvm_pause_time_ms"];

/// What public sets name of it.
const OF_THE_JVM: [&str; 8] = [
    "jvm_classes_loaded",
    "jvm_gc_collection_seconds_sum",
    "jvm_memory_bytes_max",
    "jvm_memory_bytes_used",
    "jvm_memory_pool_bytes_used",
    "jvm_threads_current",
    "jvm_threads_deadlocked",
    "jvm_threads_state",
];

/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

fn settings() -> Settings {
    let mut settings = Settings::default();
    let class = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    for key in [
        format!("metricsProvider.className={class}"),
        "metricsProvider.httpHost=127.0.0.1".to_owned(),
        format!("metricsProvider.httpPort={FREE_PORT}"),
    ] {
        settings.set(&key).expect("a key");
    }
    settings
}

/// One scrape: types by name, and series by name.
#[derive(Debug, Default)]
struct Scrape {
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    /// Name of the line and its labels, with the value.
    values: BTreeMap<(String, Vec<(String, String)>), f64>,
}

impl Scrape {
    fn of(port: &str) -> Self {
        let port = port.parse().expect("a port");
        let answer = get(port, "/metrics").expect("an answer");
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type").unwrap_or_default();
        let expected = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(
            kind.to_ascii_lowercase().replace(";charset", "; charset"),
            expected
        );
        Self::parse(&answer.text())
    }

    fn of_server(server: &Server) -> Self {
        Self::of(&server.setting("metricsProvider.httpPort").expect("a port"))
    }

    fn of_member(ensemble: &Ensemble, id: usize) -> Self {
        let port = ensemble.setting(id, "metricsProvider.httpPort");
        Self::of(&port.expect("a port"))
    }

    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                let twice = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} is there twice");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                scrape.helps.insert(name.to_owned(), help.to_owned());
            }
            if line.starts_with('#') {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let value: f64 = value.parse().expect("a number");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').split(',');
            let labels = labels.filter_map(|label| label.split_once('='));
            let labels =
                labels.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
            let series = (name.to_owned(), labels.collect());
            let twice = scrape.values.insert(series, value);
            assert_eq!(twice, None, "{line} is there twice");
        }
        scrape
    }

    /// The value of a series without labels, or with this one.
    fn get(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let labels = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let series = (name.to_owned(), labels.into_iter().collect());
        self.values.get(&series).copied()
    }

    fn value(&self, name: &str) -> f64 {
        self.get(name, None).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Whether a rule that names this finds something: a line, of whatever series.
    fn knows(&self, name: &str) -> bool {
        self.values.keys().any(|(own, _)| own == name)
    }

    /// Whether there is a line of this name that has all of these labels.
    fn shows(&self, name: &str, labels: &[String]) -> bool {
        let mut lines = self.values.keys().filter(|(own, _)| own == name);
        lines.any(|(_, own)| {
            let has = |label: &String| own.iter().any(|(key, _)| key == label);
            labels.iter().all(has)
        })
    }

    /// The quantiles of each summary.
    fn quantiles(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, labels) in self.values.keys() {
            for (key, value) in labels {
                if key == "quantile" {
                    found.entry(name).or_default().insert(value);
                }
            }
        }
        found
    }
}

fn is_missing(name: &str) -> bool {
    let families = MISSING.iter().any(|(prefix, _)| name.contains(prefix));
    families && !NOT_MISSING.iter().any(|own| name.contains(own))
}

/// What differs between the names of two servers in the same place.
fn differences(theirs: &Scrape, ours: &Scrape, who: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, kind) in &theirs.types {
        match ours.types.get(name) {
            _ if is_missing(name) => {}
            None => found.push(format!("{who}: no {name}")),
            Some(own) if own != kind => {
                found.push(format!("{who}: {name} is a {own}, not a {kind}"))
            }
            Some(_) => {}
        }
    }
    for name in ours.types.keys() {
        if !theirs.types.contains_key(name) && !name.starts_with("meerkat_") {
            found.push(format!("{who}: {name} is not upstream's"));
        }
    }
    let (expected, got) = (theirs.quantiles(), ours.quantiles());
    // Of a set without members here: no packets wait for a server, it reads the log.
    for (name, shares) in &expected {
        let is_empty = *name == "learner_handler_qp_time_ms" && !got.contains_key(name);
        if !is_missing(name) && !is_empty && got.get(name) != Some(shares) {
            found.push(format!(
                "{who}: {name} has {:?}, not {shares:?}",
                got.get(name)
            ));
        }
    }
    found
}

fn session_at(addr: std::net::SocketAddr) -> Session {
    let came = attempt::connect(addr, &Connect::default(), None);
    came.and_then(Outcome::session).expect("a session")
}

fn ask(session: &mut Session, request: &Request) {
    let answer = session.ask(request).expect("an answer");
    assert_eq!(answer.err(), Some(0));
}

fn create_with(path: &str, data: &str) -> Request {
    create("create", path, 0).with("data", Value::Blob(Blob::text(data)))
}

/// A quota of two znodes on `/app`, with one inside and one that is too many; reads of all kinds.
fn use_namespaces(session: &mut Session) {
    ask(session, &create_with("/app", "top"));
    ask(session, &create_with("/zookeeper/quota/app", ""));
    let limits = "count=2,bytes=90=;byteHardLimit=100;countHardLimit=2";
    for (name, text) in [("limits", limits), ("stats", "count=0,bytes=0")] {
        let path = format!("/zookeeper/quota/app/zookeeper_{name}");
        ask(session, &create_with(&path, text));
    }
    ask(session, &create_with("/app/a", "within"));
    let answer = session.ask(&create_with("/app/b", "beyond"));
    assert_eq!(answer.expect("an answer").err(), Some(-125));
    let beyond = [create_with("/app/c", "beyond")];
    let answer = session.ask(&attempt::multi(&beyond));
    answer.expect("an answer");
    ask(session, &Request::named("setData").path("/app/a"));
    ask(session, &create_with("/other", "x"));
    ask(session, &Request::named("delete").path("/other"));
    read_namespaces(session);
}

fn read_namespaces(session: &mut Session) {
    for op in ["getData", "exists", "getChildren", "getChildren2"] {
        for path in ["/app", "/app/a", "/"] {
            ask(session, &Request::named(op).path(path));
        }
    }
    let missing = Request::named("getData").path("/missing");
    let answer = session.ask(&missing).expect("an answer");
    assert_eq!(answer.err(), Some(-101));
}

/// What is counted by top-level znode is what upstream counts.
#[test]
fn namespaces_count_as_upstreams() {
    let mut settings = settings();
    settings.set("enforceQuota=true").expect("a key");
    let [theirs, ours] = KINDS.map(|kind| {
        let server = Server::start(kind, &settings).expect("the server starts");
        use_namespaces(&mut session_at(server.addr()));
        let scrape = Scrape::of_server(&server);
        let lines = scrape.values.into_iter();
        let lines = lines.filter(|((name, labels), _)| {
            let is_quantile = labels.iter().any(|(key, _)| key == "quantile");
            name.contains("_per_namespace") && !is_quantile
        });
        lines.collect::<BTreeMap<_, _>>()
    });
    assert!(theirs.len() > 10, "{theirs:?}");
    assert_eq!(theirs, ours);
}

#[test]
fn names_and_types_are_upstreams() {
    let mut settings = settings();
    settings.set("enforceQuota=true").expect("a key");
    let servers = KINDS.map(|kind| {
        let server = Server::start(kind, &settings).expect("the server starts");
        use_namespaces(&mut session_at(server.addr()));
        server
    });
    let [theirs, ours] = [&servers[0], &servers[1]].map(Scrape::of_server);
    let mut found = differences(&theirs, &ours, "alone");
    let ensembles = KINDS.map(|kind| {
        let mut ensemble = Ensemble::start(kind, 3, 1, &settings).expect("the ensemble starts");
        let leader = ensemble.wait_for_leader().expect("a leader");
        use_namespaces(&mut session_at(ensemble.addr(leader)));
        for id in ensemble.ids() {
            let mut session = session_at(ensemble.addr(id));
            ask(&mut session, &create("create", &format!("/{id}"), 0));
            read_namespaces(&mut session);
        }
        ensemble
    });
    let mut everything = Vec::new();
    for role in [Role::Leader, Role::Follower, Role::Observer] {
        let [theirs, ours] = [&ensembles[0], &ensembles[1]].map(|ensemble| {
            Scrape::of_member(ensemble, ensemble.wait_for_role(role).expect("a server"))
        });
        found.extend(differences(&theirs, &ours, &role.to_string()));
        everything.push(ours);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // What public dashboards and rules name.
    let public: BTreeSet<_> = include_str!("public-names.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let unknown = public
        .iter()
        .copied()
        .filter(|name| !everything.iter().any(|scrape| scrape.knows(name)));
    let unknown: Vec<_> = unknown.collect();
    assert_eq!(unknown, OF_THE_JVM, "in public sets");
    // What our own dashboard names.
    let selectors = dashboard_selectors();
    assert!(selectors.len() > 40, "{selectors:?}");
    let unknown: Vec<_> = selectors
        .iter()
        .filter(|(name, labels)| !everything.iter().any(|scrape| scrape.shows(name, labels)))
        .collect();
    assert!(unknown.is_empty(), "in our dashboard: {unknown:?}");
    // What is ours says more than its name.
    for scrape in &everything {
        let ours = scrape.helps.iter();
        for (name, help) in ours.filter(|(name, _)| name.starts_with("meerkat_")) {
            assert_ne!(name, help);
        }
    }
}

/// Each name with the labels that are asked of it, from all expressions of the dashboard.
fn dashboard_selectors() -> Vec<(String, Vec<String>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/grafana-dashboard.json");
    let text = fs::read_to_string(file).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().map(|target| target["expr"].as_str());
    let selectors = expressions.flat_map(|expression| selectors(expression.expect("a text")));
    selectors.collect()
}

/// The selectors of an expression, each with its labels and those that it is summed up by; not
/// those that the scraper puts there.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let by = expression
        .split_once("by (")
        .and_then(|(_, rest)| rest.split_once(')'));
    let by = by.map_or("", |(labels, _)| labels);
    let parts = expression.split_inclusive('}');
    let parts = parts.filter_map(|part| part.trim_end_matches('}').split_once('{'));
    let found = parts.map(|(before, selector)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = before.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        let labels = selector
            .split(',')
            .filter_map(|label| label.split('=').next());
        let labels = labels.map(|label| label.trim_end_matches('!'));
        let labels = labels.chain(by.split(','));
        let labels = labels.map(str::trim).filter(|label| !label.is_empty());
        let labels = labels.filter(|label| !["job", "instance"].contains(label));
        (name.to_owned(), labels.map(str::to_owned).collect())
    });
    found.collect()
}

#[test]
fn selectors_of_an_expression_are_found() {
    let expression = r#"sum by (cause) (rate(a_b{job=~"$job",le="1"}[5m])) / c{instance=~"$i"}"#;
    let found = selectors(expression);
    let expected = [
        ("a_b".to_owned(), vec!["le".to_owned(), "cause".to_owned()]),
        ("c".to_owned(), vec!["cause".to_owned()]),
    ];
    assert_eq!(found, expected);
}

/// `mntr` has the same names with each provider, but for what only Prometheus shows.
#[test]
fn mntr_has_the_names_of_each_provider() {
    let names = |kind, settings: &Settings| {
        let server = Server::start(kind, settings).expect("the server starts");
        use_namespaces(&mut session_at(server.addr()));
        let answer = server.word("mntr").expect("an answer");
        let names = answer.lines().filter_map(|line| line.split_once('\t'));
        let names = names.map(|(name, value)| {
            let is_text = ["zk_version", "zk_server_state"].contains(&name);
            let shown = is_text || value.parse::<f64>().is_ok();
            assert!(shown, "{name} is {value}");
            // An integer, or a double as Java prints it.
            (name.to_owned(), value.contains('.') || value == "NaN")
        });
        names.collect::<BTreeMap<_, _>>()
    };
    for (provider, mut settings) in [("default", Settings::default()), ("prometheus", settings())] {
        settings.set("enforceQuota=true").expect("a key");
        let [theirs, ours] = KINDS.map(|kind| names(kind, &settings));
        let theirs: BTreeMap<_, _> = theirs
            .into_iter()
            .filter(|(name, _)| !is_missing(name.trim_start_matches("zk_")))
            // 3.9.4's provider shows the process here, 3.9.6's to Prometheus alone, as ours.
            .filter(|(name, _)| !name.starts_with("zk_process_"))
            .collect();
        for (name, is_double) in &theirs {
            assert_eq!(ours.get(name), Some(is_double), "{name}, {provider}");
        }
        let strange: Vec<_> = ours
            .keys()
            .filter(|name| !theirs.contains_key(*name) && !name.contains("meerkat_"))
            .collect();
        assert!(strange.is_empty(), "{provider}: {strange:?}");
    }
}

/// Each figure moves by what is done, and by nothing else.
#[test]
fn figures_tell_what_was_done() {
    let mut settings = settings();
    settings.set("forceSync=yes").expect("a key");
    let server = Server::start(Kind::Meerkat, &settings).expect("the server starts");
    let mut session = session_at(server.addr());
    // The session's own transaction may be measured behind its answer.
    let since = Instant::now();
    let before = loop {
        let before = Scrape::of_server(&server);
        let behind = ["quorum_ack_latency_count", "write_final_proc_time_ms_count"];
        if behind
            .iter()
            .all(|name| before.value(name) == before.value("proposal_count"))
        {
            break before;
        }
        assert!(since.elapsed() < LIMIT);
        thread::sleep(POLL);
    };
    let watch = |path: &str| {
        Request::named("exists")
            .path(path)
            .with("watch", Value::Byte(1))
    };
    ask(&mut session, &create("create", "/a", 0));
    ask(&mut session, &watch("/a"));
    ask(&mut session, &Request::named("setData").path("/a"));
    ask(&mut session, &watch("/a"));
    ask(&mut session, &Request::named("delete").path("/a"));
    // Some of it is measured behind the answer.
    let since = Instant::now();
    let after = loop {
        let after = Scrape::of_server(&server);
        let behind = [
            "meerkat_watch_delivery_ms_count",
            "commit_count",
            "meerkat_commit_latency_ms_count",
            "propagation_latency_count",
            "quorum_ack_latency_count",
            "write_final_proc_time_ms_count",
        ];
        let moved = behind.map(|name| after.value(name) - before.value(name));
        if moved == [2.0, 3.0, 3.0, 3.0, 3.0, 3.0] {
            break after;
        }
        assert!(since.elapsed() < LIMIT, "{behind:?} moved by {moved:?}");
        thread::sleep(POLL);
    };
    let moved = |name: &str| after.value(name) - before.value(name);
    assert_eq!(moved("readlatency_count"), 2.0);
    assert_eq!(moved("updatelatency_count"), 3.0);
    assert_eq!(moved("packets_received"), 5.0);
    // Replies and two events.
    assert_eq!(moved("packets_sent"), 7.0);
    assert_eq!(moved("proposal_count"), 3.0);
    assert_eq!(moved("quorum_ack_latency_count"), 3.0);
    assert_eq!(moved("meerkat_commit_latency_ms_count"), 3.0);
    assert_eq!(moved("propagation_latency_count"), 3.0);
    assert_eq!(moved("write_final_proc_time_ms_count"), 3.0);
    assert_eq!(moved("node_changed_watch_count_sum"), 1.0);
    assert_eq!(moved("node_deleted_watch_count_sum"), 1.0);
    // Nobody watched the first, nor the root: what nobody hears of is not measured.
    assert_eq!(moved("node_changed_watch_count_count"), 1.0);
    assert_eq!(moved("node_created_watch_count_count"), 0.0);
    assert_eq!(moved("node_children_watch_count_count"), 0.0);
    assert_eq!(moved("commit_count"), 3.0);
    assert_eq!(moved("prep_processor_request_queued"), 3.0);
    assert_eq!(moved("prep_processor_queue_size_count"), 3.0);
    assert_eq!(moved("prep_processor_queue_time_ms_count"), 3.0);
    assert_eq!(moved("sync_processor_request_queued"), 3.0);
    assert_eq!(moved("sync_processor_queue_size_count"), 3.0);
    assert_eq!(moved("sync_processor_queue_and_flush_time_ms_count"), 3.0);
    assert_eq!(moved("sync_process_time_count"), 3.0);
    // A server alone has no commit processor.
    assert_eq!(moved("request_commit_queued"), 0.0);
    assert_eq!(moved("read_final_proc_time_ms_count"), 0.0);
    assert_eq!(moved("meerkat_events_sent"), 2.0);
    assert_eq!(moved("meerkat_watch_delivery_ms_count"), 2.0);
    assert!(moved("watch_bytes") > 0.0 && moved("response_bytes") > moved("watch_bytes"));
    assert!(moved("fsynctime_count") >= 3.0 && moved("meerkat_fsync_ms_count") >= 3.0);
    assert_eq!(moved("sync_processor_batch_size_sum"), 3.0);
    assert!(after.value("fsynctime_sum") > 0.0);
    assert!(after.value("max_client_response_size") >= after.value("min_client_response_size"));
    assert!(after.value("min_client_response_size") > 0.0);
    assert_eq!(moved("learner_commit_received_count"), 0.0);
    assert!(after.get("learners", None).is_none());
}

/// Bytes of replies and events as upstream counts them: without the length in front.
/// How long ago a write was made that a start finds in the log says nothing of how fast it came here.
#[test]
fn what_a_start_applies_is_no_latency() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = || Server::start_on(Kind::Meerkat, &settings(), dir.path());
    let mut server = start().expect("it starts");
    let mut session = session_at(server.addr());
    ask(&mut session, &create_with("/kept", "kept"));
    server.terminate().expect("it ends");
    let server = start().expect("it starts again");
    let scrape = Scrape::of_server(&server);
    assert!(scrape.value("startup_txns_loaded_sum") >= 2.0);
    for name in [
        "propagation_latency_count",
        "write_final_proc_time_ms_count",
    ] {
        assert_eq!(scrape.value(name), 0.0, "{name}");
    }
}

#[test]
fn bytes_count_as_upstreams() {
    let [theirs, ours] = KINDS.map(|kind| {
        let server = Server::start(kind, &settings()).expect("the server starts");
        let mut session = session_at(server.addr());
        let before = Scrape::of_server(&server);
        let watch = Request::named("getData").with("watch", Value::Byte(1));
        ask(&mut session, &create("create", "/a", 0));
        ask(&mut session, &watch.path("/a"));
        ask(&mut session, &Request::named("setData").path("/a"));
        let missing = Request::named("exists").path("/missing");
        assert!(session.ask(&missing).expect("an answer").err().is_some());
        // What the last reply counts may be counted behind it.
        let since = Instant::now();
        loop {
            let after = Scrape::of_server(&server);
            let moved = |name: &str| after.value(name) - before.value(name);
            let found = ["response_bytes", "watch_bytes", "bytes_received_count"].map(moved);
            let last = after.value("last_client_response_size");
            if last == 16.0 && found[0] > 150.0 {
                let [least, most] =
                    ["min", "max"].map(|which| format!("{which}_client_response_size"));
                break (found, after.value(&least), after.value(&most));
            }
            assert!(since.elapsed() < LIMIT, "{found:?} {last}");
            thread::sleep(POLL);
        }
    });
    assert_eq!(theirs, ours);
}

/// The process is shown unless that is off, and a provider of nothing shows nothing.
#[test]
fn providers_show_what_they_are_told_to() {
    let mut settings = settings();
    settings
        .set("metricsProvider.exportJvmInfo=false")
        .expect("a key");
    for kind in KINDS {
        let server = Server::start(kind, &settings).expect("the server starts");
        let scrape = Scrape::of_server(&server);
        let shown: Vec<_> = scrape
            .types
            .keys()
            .filter(|name| name.starts_with("process_"))
            .collect();
        assert!(shown.is_empty(), "{kind}: {shown:?}");
    }
    let mut settings = Settings::default();
    let null = "metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider";
    settings.set(null).expect("a key");
    for kind in KINDS {
        let server = Server::start(kind, &settings).expect("the server starts");
        let answer = server.word("mntr").expect("an answer");
        let names = answer.lines().filter_map(|line| line.split_once('\t'));
        let names: Vec<_> = names.map(|(name, _)| name).collect();
        assert_eq!(names, ["zk_version", "zk_server_state"], "{kind}");
    }
}

/// With the default provider `srst` resets all counters, and a leader's proposals.
#[test]
fn srst_resets_what_upstreams_does() {
    let settings = Settings::default();
    let [theirs, ours] = KINDS.map(|kind| {
        let mut ensemble = Ensemble::start(kind, 3, 0, &settings).expect("the ensemble starts");
        let leader = ensemble.wait_for_leader().expect("a leader");
        let mut session = session_at(ensemble.addr(leader));
        ask(&mut session, &create("create", "/a", 0));
        let figures = || {
            let answer = ensemble.word(leader, "mntr").expect("an answer");
            let lines = answer.lines().filter_map(|line| line.split_once('\t'));
            let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
            lines.collect::<BTreeMap<_, _>>()
        };
        let names = [
            "zk_connection_request_count",
            "zk_response_bytes",
            "zk_proposal_count",
            "zk_commit_count",
            "zk_last_proposal_size",
            "zk_min_proposal_size",
            "zk_max_proposal_size",
        ];
        // A commit may be counted behind the answer, and must not be behind the reset.
        let since = Instant::now();
        let before = loop {
            let before = figures();
            if before["zk_commit_count"] == before["zk_proposal_count"] {
                break before;
            }
            assert!(since.elapsed() < LIMIT, "{kind}: {before:?}");
            thread::sleep(POLL);
        };
        for name in names {
            let value: i64 = before[name].parse().expect("a number");
            assert!(value > 0, "{kind}: {name} is {value}");
        }
        ensemble.word(leader, "srst").expect("an answer");
        let after = figures();
        names.map(|name| {
            let value: i64 = after[name].parse().expect("a number");
            (name, value)
        })
    });
    assert_eq!(theirs, ours);
}

/// Figures of a follower, of who expires sessions, and of whoever leads no more.
#[test]
fn figures_follow_the_roles() {
    let mut settings = settings();
    for key in ["tickTime=200", "syncLimit=10"] {
        settings.set(key).expect("a key");
    }
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings).expect("it starts");
    let leader = ensemble.wait_for_leader().expect("a leader");
    let follower = ensemble.wait_for_role(Role::Follower).expect("a follower");
    let only_leaders = [
        "learners",
        "synced_followers",
        "synced_observers",
        "pending_syncs",
        "leader_uptime",
        "last_proposal_size",
        "max_proposal_size",
    ];
    let has = |scrape: &Scrape, name: &str| scrape.get(name, None).is_some();
    let of_leader = Scrape::of_member(&ensemble, leader);
    for name in only_leaders {
        assert!(has(&of_leader, name), "{name}");
    }
    let before = Scrape::of_member(&ensemble, follower);
    let mut session = session_at(ensemble.addr(follower));
    ask(&mut session, &create("create", "/a", 0));
    let after = Scrape::of_member(&ensemble, follower);
    let moved = |name: &str| after.value(name) - before.value(name);
    assert_eq!(moved("learner_commit_received_count"), 2.0);
    assert_eq!(moved("meerkat_forward_latency_ms_count"), 2.0);
    assert_eq!(moved("proposal_count"), 0.0);
    assert_eq!(moved("commit_count"), 0.0);
    assert_eq!(moved("learner_proposal_received_count"), 2.0);
    assert_eq!(moved("request_commit_queued"), 2.0);
    assert_eq!(moved("write_commitproc_time_ms_count"), 2.0);
    assert_eq!(moved("local_write_committed_time_ms_count"), 2.0);
    assert_eq!(moved("server_write_committed_time_ms_count"), 0.0);
    assert_eq!(moved("sync_processor_request_queued"), 2.0);
    // The leader may still be measuring what it has committed.
    let committed = of_leader.value("commit_count") + 2.0;
    wait_for_figures(&ensemble, leader, &[("commit_count", committed)]);
    let leads = Scrape::of_member(&ensemble, leader);
    let led = |name: &str| leads.value(name) - of_leader.value(name);
    assert_eq!(led("commit_count"), 2.0);
    assert_eq!(led("quorum_ack_latency_count"), 2.0);
    assert_eq!(led("learner_proposal_received_count"), 0.0);
    assert_eq!(led("server_write_committed_time_ms_count"), 2.0);
    let key = follower.to_string();
    for set in ["ack_latency_count", "learner_handler_qp_size_count"] {
        let of = |scrape: &Scrape| scrape.get(set, Some(("key", &key))).unwrap_or(0.0);
        assert!(of(&leads) > of(&of_leader), "{set}");
    }
    // Nothing is forced to the disk here.
    assert_eq!(leads.value("fsynctime_count"), 0.0);
    assert_eq!(leads.value("meerkat_fsync_ms_count"), 0.0);
    // A session that goes on at another server: that asks the leader.
    let other = ensemble.ids().find(|id| ![leader, follower].contains(id));
    let other = other.expect("three servers");
    let asked = |id| Scrape::of_member(&ensemble, id).value("connection_revalidate_count");
    assert_eq!(asked(other), 0.0);
    let came = attempt::connect(
        ensemble.addr(other),
        &Connect::default(),
        Some(&session.ticket),
    );
    let mut session = came.and_then(Outcome::session).expect("the session");
    assert_eq!(asked(other), 1.0);
    let revalidated = Scrape::of_member(&ensemble, leader).value("revalidate_count");
    assert_eq!(revalidated, 1.0);
    let reads = |id| Scrape::of_member(&ensemble, id).value("read_final_proc_time_ms_count");
    let before = reads(other);
    ask(&mut session, &Request::named("exists").path("/a"));
    assert_eq!(reads(other), before + 1.0);
    // One request, not its entry.
    let size = leads.value("last_proposal_size");
    assert!((40.0..200.0).contains(&size), "{size}");
    // Its client goes without a word, and the leader knows no connection of it.
    drop(session);
    // By whoever leads then.
    let expired = |cause| {
        let of = |id| {
            let scrape = Scrape::of_member(&ensemble, id);
            scrape.get("meerkat_sessions_expired", Some(("cause", cause)))
        };
        ensemble.ids().map(of).sum::<Option<f64>>()
    };
    let since = Instant::now();
    while expired("gone") != Some(1.0) {
        assert!(since.elapsed() < LIMIT, "{:?}", expired("gone"));
        thread::sleep(POLL);
    }
    assert_eq!(expired("silent"), Some(0.0));
    let leader = ensemble.wait_for_leader().expect("a leader");
    let scrape = Scrape::of_member(&ensemble, leader);
    let changes = scrape.value("meerkat_leadership_changes");
    ensemble.pause(leader).expect("it runs");
    let since = Instant::now();
    while ensemble.leader().is_none_or(|now| now == leader) {
        assert!(since.elapsed() < LIMIT, "{}", ensemble.logs());
        thread::sleep(POLL);
    }
    ensemble.resume(leader).expect("it was paused");
    let since = Instant::now();
    while ensemble.role(leader) != Some(Role::Follower) {
        assert!(since.elapsed() < LIMIT, "{}", ensemble.logs());
        thread::sleep(POLL);
    }
    let former = Scrape::of_member(&ensemble, leader);
    for name in only_leaders
        .iter()
        .filter(|name| **name != "synced_observers")
    {
        assert!(!has(&former, name), "{name} of a former leader");
    }
    assert_eq!(former.value("meerkat_leadership_changes"), changes + 1.0);
}

/// Each outage is counted and measured, however it comes about, and by those who had it. Counts are
/// at least so: a machine that stands still for a second makes one more.
#[test]
fn outages_are_measured() {
    let mut settings = settings();
    for key in ["tickTime=200", "syncLimit=10"] {
        settings.set(key).expect("a key");
    }
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 1, &settings).expect("it starts");
    let observer = ensemble.wait_for_role(Role::Observer).expect("an observer");
    let scrape = |ensemble: &Ensemble, id| Scrape::of_member(ensemble, id);
    // Each server has looked for a leader once, and for this long before anybody served.
    for id in ensemble.ids() {
        wait_for_figures(&ensemble, id, &[("unavailable_time_count", 1.0)]);
        let begun = scrape(&ensemble, id);
        assert!(begun.value("looking_count") >= 1.0);
        assert!(begun.value("election_time_count") >= 1.0);
        let synced = match ensemble.role(id) {
            Some(Role::Leader) => "leader_unavailable_time_count",
            Some(Role::Observer) => "observer_sync_time_count",
            _ => "follower_sync_time_count",
        };
        assert!(begun.value(synced) >= 1.0, "{synced}");
    }
    // A leader that is killed: whoever is left has an outage, and one of them leads.
    let leader = ensemble.wait_for_leader().expect("a leader");
    ensemble.kill(leader).expect("it ran");
    let next = another_leader(&ensemble, leader);
    for id in ensemble.ids().filter(|id| *id != leader) {
        wait_for_figures(&ensemble, id, &[("unavailable_time_count", 2.0)]);
        let after = scrape(&ensemble, id);
        assert!(after.value("looking_count") >= 2.0, "{id}");
        assert!(after.value("election_time_count") >= 2.0, "{id}");
        // Not of whoever has never led.
        if after.value("meerkat_leadership_changes") == 0.0 {
            assert_eq!(after.value("leader_unavailable_time_count"), 0.0, "{id}");
        }
    }
    wait_for_figures(&ensemble, next, &[("leader_unavailable_time_count", 1.0)]);
    ensemble.start_one(leader).expect("it starts");
    // Once in each life, whatever was left to apply.
    assert_eq!(
        scrape(&ensemble, leader).value("startup_txns_loaded_count"),
        1.0
    );
    // One that stands still: it has an outage too, when it goes on.
    let before: Vec<_> = ensemble.ids().map(|id| scrape(&ensemble, id)).collect();
    let names = [
        "looking_count",
        "election_time_count",
        "unavailable_time_count",
    ];
    ensemble.pause(next).expect("it runs");
    let third = another_leader(&ensemble, next);
    ensemble.resume(next).expect("it was paused");
    for (id, before) in ensemble.ids().zip(&before) {
        let more = names.map(|name| (name, before.value(name) + 1.0));
        wait_for_figures(&ensemble, id, &more);
    }
    let led = "leader_unavailable_time_count";
    let won = [(led, before[third - 1].value(led) + 1.0)];
    wait_for_figures(&ensemble, third, &won);
    // No quorum: whoever is left looks for as long as that lasts.
    let left = third;
    let before = scrape(&ensemble, left);
    let voters: Vec<_> = ensemble
        .ids()
        .filter(|id| ![left, observer].contains(id))
        .collect();
    for id in &voters {
        ensemble.kill(*id).expect("it runs");
    }
    let looking = before.value("looking_count") + 1.0;
    wait_for_figures(&ensemble, left, &[("looking_count", looking)]);
    let meanwhile = scrape(&ensemble, left);
    let served = before.value("unavailable_time_count");
    assert_eq!(meanwhile.value("unavailable_time_count"), served);
    let since = Instant::now();
    ensemble.start_some(&voters).expect("they start");
    wait_for_figures(&ensemble, left, &[("unavailable_time_count", served + 1.0)]);
    let lasted = scrape(&ensemble, left).value("unavailable_time_sum");
    assert!(lasted > before.value("unavailable_time_sum"), "{lasted}");
    assert!(since.elapsed() < LIMIT);
}

/// Waits until the metrics of a server are at least so.
fn wait_for_figures(ensemble: &Ensemble, id: usize, figures: &[(&str, f64)]) {
    let since = Instant::now();
    loop {
        let scrape = Scrape::of_member(ensemble, id);
        if figures
            .iter()
            .all(|(name, least)| scrape.value(name) >= *least)
        {
            return;
        }
        assert!(since.elapsed() < LIMIT, "{id}: {figures:?}");
        thread::sleep(POLL);
    }
}

/// Waits for a leader other than this one.
fn another_leader(ensemble: &Ensemble, than: usize) -> usize {
    let since = Instant::now();
    loop {
        if let Some(leader) = ensemble.leader().filter(|leader| *leader != than) {
            return leader;
        }
        assert!(since.elapsed() < LIMIT, "{}", ensemble.logs());
        thread::sleep(POLL);
    }
}
