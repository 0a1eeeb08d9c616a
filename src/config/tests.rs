//! What a file, `-D` words and arguments come to, as the server's main sees it.

use std::fs;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Config, ConfigError, JvmFlags, MetricsProvider, Notice, NoticeLevel};

/// A directory with a zoo.cfg in it. `DIR` in its text stands for the directory.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn with(self, name: &str, content: &str) -> Self {
        fs::write(self.0.path().join(name), self.fill(content)).expect("the directory is writable");
        self
    }

    fn fill(&self, text: &str) -> String {
        text.replace("DIR", &self.0.path().display().to_string())
    }

    fn read(&self, cfg: &str, flags: &JvmFlags) -> Result<(Config, Vec<Notice>), ConfigError> {
        let path = self.0.path().join("zoo.cfg");
        fs::write(&path, self.fill(cfg)).expect("the directory is writable");
        Config::from_file(&path, flags)
    }

    /// Text without the directory in it.
    fn neutral(&self, text: &str) -> String {
        text.replace(&self.0.path().display().to_string(), "DIR")
    }
}

const BASE: &str = "dataDir=DIR\nclientPort=2181\n";
const ENSEMBLE: &str = "initLimit=5\nsyncLimit=2\nserver.1=a:1:2\nserver.2=b:3:4\nserver.3=c:5:6\n";

fn good(lines: &str) -> (Config, Vec<Notice>) {
    Place::new()
        .read(&format!("{BASE}{lines}"), &JvmFlags::default())
        .expect(lines)
}

/// The sentence that stands on stderr.
fn check_error(place: &Place, cfg: &str, expected: Expect) {
    let error = place
        .read(cfg, &JvmFlags::default())
        .expect_err("this must be refused");
    expected.assert_eq(&place.neutral(&error.to_string()));
}

/// As above for lines on top of a sound file.
fn check_refused(lines: &str, expected: Expect) {
    check_error(&Place::new(), &format!("{BASE}{lines}"), expected);
}

fn check_notices(lines: &str, expected: Expect) {
    let (_, notices) = good(lines);
    let lines = notices
        .iter()
        .map(|notice| format!("{:?} {notice}", notice.level));
    expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_embedded_default_serves_this_machine_only() {
    let config = Config::embedded_default();
    assert_eq!(
        config
            .client_listen
            .map(|listen| listen.to_string())
            .as_deref(),
        Some("127.0.0.1:2181")
    );
    assert_eq!(config.data_dir.to_str(), Some("data"));
    let (with_flags, _) = Config::embedded(&JvmFlags::default()).expect("no flag is wrong");
    assert_eq!(with_flags, Config::embedded_default());
}

#[test]
fn errors_of_upstream_have_upstreams_words() {
    let place = Place::new();
    check_error(
        &place,
        "clientPort=1\ntickTime=2000",
        expect!["Error processing DIR/zoo.cfg: dataDir is not set"],
    );
    check_refused(
        "tickTime=0",
        expect!["Error processing DIR/zoo.cfg: tickTime is not set"],
    );
    check_refused(
        "clientPort=abc",
        expect![[r#"Error processing DIR/zoo.cfg: clientPort: For input string: "abc""#]],
    );
    check_refused(
        "clientPort=70000",
        expect!["Error processing DIR/zoo.cfg: clientPort: port out of range:70000"],
    );
    check_refused(
        "reconfigEnabled=yes",
        expect![
            "Error processing DIR/zoo.cfg: reconfigEnabled: Invalid option yes for reconfigEnabled. Choose 'true' or 'false.'"
        ],
    );
    check_refused(
        "electionAlg=1",
        expect![
            "Error processing DIR/zoo.cfg: electionAlg: Invalid electionAlg value. Only 3 is supported."
        ],
    );
    check_refused(
        "minSessionTimeout=5000\nmaxSessionTimeout=4000",
        expect![
            "Error processing DIR/zoo.cfg: minSessionTimeout must not be larger than maxSessionTimeout"
        ],
    );
    check_error(
        &place,
        "dataDir=DIR\nclientPortAddress=127.0.0.1",
        expect!["Error processing DIR/zoo.cfg: clientPortAddress is set but clientPort is not set"],
    );
    check_refused(
        "peerType=king",
        expect!["Error processing DIR/zoo.cfg: peerType: Unrecognised peertype: king"],
    );
    check_refused(
        "quorum.auth.serverRequireSasl=true",
        expect![
            "Error processing DIR/zoo.cfg: quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl"
        ],
    );
    check_refused(
        "metricsProvider.className=no.such.Class",
        expect![
            "Error processing DIR/zoo.cfg: metricsProvider.className: metrics provider class was not found: no.such.Class"
        ],
    );
    check_refused(
        "a=\\u12",
        expect![[r"Error processing DIR/zoo.cfg: Malformed \uxxxx encoding. (line 3)"]],
    );
}

#[test]
fn ensembles_need_their_limits_their_id_and_a_line_of_their_own() {
    let servers = "server.1=a:1:2\nserver.2=b:3:4\nserver.3=c:5:6\n";
    check_refused(
        servers,
        expect!["Error processing DIR/zoo.cfg: initLimit is not set"],
    );
    check_refused(
        &format!("initLimit=5\n{servers}"),
        expect!["Error processing DIR/zoo.cfg: syncLimit is not set"],
    );
    check_refused(
        ENSEMBLE,
        expect!["Error processing DIR/zoo.cfg: myid file is missing"],
    );
    check_error(
        &Place::new().with("myid", "abc\n"),
        &format!("{BASE}{ENSEMBLE}"),
        expect!["Error processing DIR/myid: serverid abc is not a number"],
    );
    check_error(
        &Place::new().with("myid", "256"),
        &format!("{BASE}{ENSEMBLE}"),
        expect!["Error processing DIR/myid: serverid 256 is not from 0 to 255"],
    );
    check_error(
        &Place::new().with("myid", "9"),
        &format!("{BASE}{ENSEMBLE}"),
        expect!["Error processing DIR/zoo.cfg: My id 9 not in the peer list"],
    );
}

#[test]
fn observers_need_a_quorum() {
    check_refused(
        "server.1=a:1:2:observer",
        expect![
            "Error processing DIR/zoo.cfg: Observers w/o participants is an invalid configuration"
        ],
    );
    check_refused(
        "server.1=a:1:2\nserver.2=b:3:4:observer",
        expect!["Error processing DIR/zoo.cfg: Observers w/o quorum is an invalid configuration"],
    );
}

#[test]
fn a_quorum_is_parsed_whole_and_says_that_it_is_one() {
    let place = Place::new().with("myid", "2\n");
    let lines = "server.4=d:7:8:observer\npeerType=participant\n";
    let (config, notices) = place
        .read(&format!("{BASE}{ENSEMBLE}{lines}"), &JvmFlags::default())
        .expect("is sound");
    assert!(config.is_quorum());
    assert_eq!(
        (config.voters().count(), config.servers.len(), config.my_id),
        (3, 4, Some(2))
    );
    assert_eq!(notices, []);
}

#[test]
fn one_server_line_is_a_server_on_its_own_unless_standalone_is_off() {
    let (config, notices) = good("server.1=a:1:2");
    assert!(!config.is_quorum() && !config.is_distributed());
    assert_eq!(notices.len(), 1);
    let place = Place::new().with("myid", "1");
    let lines =
        format!("{BASE}standaloneEnabled=false\ninitLimit=5\nsyncLimit=2\nserver.1=a:1:2\n");
    let (config, _) = place.read(&lines, &JvmFlags::default()).expect("is sound");
    assert!(!config.is_quorum() && config.is_distributed());
}

#[test]
fn client_addresses_of_both_places_must_agree() {
    let place = Place::new().with("myid", "1");
    let ensemble = ENSEMBLE.replace("server.1=a:1:2", "server.1=a:1:2;2182");
    check_error(
        &place,
        &format!("{BASE}{ensemble}"),
        expect![
            "Error processing DIR/zoo.cfg: client address for this server (id = 1) in static config file is 0.0.0.0:2181 is different from client address found in dynamic file: 0.0.0.0:2182"
        ],
    );
    let (config, _) = place
        .read(&format!("dataDir=DIR\n{ensemble}"), &JvmFlags::default())
        .expect("is sound");
    assert_eq!(
        config
            .client_listen
            .map(|listen| listen.to_string())
            .as_deref(),
        Some("0.0.0.0:2182")
    );
}

#[test]
fn the_server_list_decides_the_role() {
    let (config, notices) = good("peerType=observer");
    assert_eq!(
        (config.ensemble.role, notices.len()),
        (super::Role::Participant, 1)
    );
    let place = Place::new().with("myid", "3");
    let lines = ENSEMBLE.replace("c:5:6", "c:5:6:observer");
    let (config, notices) = place
        .read(&format!("{BASE}{lines}"), &JvmFlags::default())
        .expect("is sound");
    assert_eq!(config.ensemble.role, super::Role::Observer);
    let texts: Vec<&str> = notices.iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "No server failure will be tolerated. You need at least 3 servers.",
            "Peer type from servers list (OBSERVER) doesn't match peerType (PARTICIPANT). Defaulting to servers list.",
        ]
    );
}

#[test]
fn members_may_live_in_a_dynamic_file_and_then_only_there() {
    let cfg = format!("{BASE}initLimit=5\nsyncLimit=2\ndynamicConfigFile=DIR/zoo.cfg.dynamic.1f\n");
    let members = "server.1=a:1:2:participant;2181\nserver.2=b:1:2\nserver.3=c:1:2\n";
    let place = Place::new()
        .with("myid", "1")
        .with("zoo.cfg.dynamic.1f", members);
    let (config, _) = place.read(&cfg, &JvmFlags::default()).expect("is sound");
    assert_eq!(
        (config.ensemble.config_version, config.servers.len()),
        (0x1f, 3)
    );

    check_error(
        &place,
        &format!("{cfg}server.1=a:1:2"),
        expect![
            "Error processing DIR/zoo.cfg: parameter: server.1 must be in a separate dynamic config file"
        ],
    );
    let place = place.with("zoo.cfg.dynamic.1f", "server.1=a:1:2\nfoo=1");
    check_error(
        &place,
        &cfg,
        expect!["Error processing DIR/zoo.cfg.dynamic.1f: Unrecognised parameter: foo"],
    );
    let place = place.with("zoo.cfg.dynamic.1f", "server.1=a:1:2\nversion=1");
    check_error(
        &place,
        &cfg,
        expect![
            "Error processing DIR/zoo.cfg.dynamic.1f: dynamic file shouldn't have version inside"
        ],
    );
    check_error(
        &Place::new(),
        &cfg,
        expect!["Error processing DIR/zoo.cfg.dynamic.1f: file is missing"],
    );
}

#[test]
fn missing_and_oversized_files_are_errors() {
    let missing = Config::from_file("/nowhere/zoo.cfg".as_ref(), &JvmFlags::default());
    expect!["Error processing /nowhere/zoo.cfg: file is missing"]
        .assert_eq(&missing.expect_err("there is none").to_string());
    check_refused(
        &"#".repeat(1 << 20),
        expect!["Error processing DIR/zoo.cfg: larger than 1048576 bytes"],
    );
}

#[test]
fn what_would_be_missed_is_refused() {
    let tls = "not supported: TLS is not served yet, and serving in the clear what was meant to be encrypted is no way out";
    let sasl = "not supported: SASL is not served yet, and nobody would be authenticated by it";
    let cases = [
        ("secureClientPort=2281", tls),
        ("sslQuorum=true", tls),
        ("portUnification=TRUE", tls),
        ("client.portUnification=true", tls),
        ("ssl.keyStore.location=/k.pem", tls),
        ("ssl.quorum.trustStore.location=/t.pem", tls),
        ("X509AuthenticationProvider.superUser=CN=admin", tls),
        (
            "authProvider.x=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
            tls,
        ),
        (
            "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
            sasl,
        ),
        (
            "authProvider.1=com.example.Ours",
            "not supported: authentication provider com.example.Ours is not built in",
        ),
        ("superUser=bob", sasl),
        ("java.security.auth.login.config=/jaas.conf", sasl),
        ("sessionRequireClientSASLAuth=true", sasl),
        (
            "DigestAuthenticationProvider.digestAlg=MD5",
            "not supported: hash MD5 is not built in; SHA1, SHA-256, SHA-384, SHA-512 and SHA3-256 are",
        ),
    ];
    for (line, why) in cases {
        let place = Place::new();
        let key = line.split_once('=').map_or(line, |(key, _)| key);
        let error = place
            .read(&format!("{BASE}{line}\n"), &JvmFlags::default())
            .expect_err(line);
        assert_eq!(
            place.neutral(&error.to_string()),
            format!("Error processing DIR/zoo.cfg: {key}: {why}")
        );
    }
    check_refused(
        "quorum.auth.enableSasl=true",
        expect![
            "Error processing DIR/zoo.cfg: quorum.auth.enableSasl: not supported: SASL between servers is not there yet, and the quorum port would stand open"
        ],
    );
    let flags = JvmFlags::parse("-Djava.security.auth.login.config=/jaas.conf", "");
    expect!["-Djava.security.auth.login.config: not supported: SASL is not served yet, and nobody would be authenticated by it"]
        .assert_eq(&Config::embedded(&flags).expect_err("SASL is asked for").to_string());
}

#[test]
fn what_is_switched_off_is_not_refused() {
    check_notices(
        "sslQuorum=false\nportUnification=false\nsecureClientPort=0\nquorum.auth.enableSasl=false\naudit.enable=false",
        expect![""],
    );
}

#[test]
fn accepted_keys_get_one_line_each() {
    check_notices(
        "preAllocSize=1\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        expect![[r"
        Info preAllocSize: accepted and without effect: the transaction log is kept by RocksDB, which sizes and recycles its files itself
        Info serverCnxnFactory: accepted and without effect: there is one kind of connection"]],
    );
}

#[test]
fn unknown_keys_become_system_properties() {
    let (config, notices) = good("noSuchKey=1");
    assert_eq!(
        config
            .system_properties
            .get("zookeeper.noSuchKey")
            .map(String::as_str),
        Some("1")
    );
    assert_eq!(notices[0].level, NoticeLevel::Warn);
    assert_eq!(good("zookeeper.tickTime=7").0.tick_time_ms, 3000);
}

#[test]
fn headings_of_the_guide_are_taken_with_a_warning() {
    check_notices(
        "zookeeper.snapCount=7\nconnectionMaxTokens=1\nzookeeper.forceSync=no\nforceSync=yes",
        expect![[r#"
            Warn connectionMaxTokens: ZooKeeper ignores this name; it is taken as connection_throttle_tokens
            Info connection_throttle_tokens: accepted and without effect: this throttle is not there; maxClientCnxns, maxCnxns and globalOutstandingLimit hold
            Warn zookeeper.forceSync: this is another name of forceSync, which is set too and wins
            Warn zookeeper.snapCount: ZooKeeper ignores this name; it is taken as snapCount"#]],
    );
    assert_eq!(good("zookeeper.snapCount=7").0.storage.snap_count_txns, 7);
    assert!(
        good("zookeeper.forceSync=no\nforceSync=yes")
            .0
            .storage
            .force_sync
    );
}

#[test]
fn words_of_the_jvm_flags_come_before_the_file() {
    let flags = JvmFlags::parse(
        "-Xmx1g -Dzookeeper.snapCount=10 -Djute.maxbuffer=0x1000 -Dzookeeper.maxCnxns=5",
        "-Dzookeeper.snapCount=20 -Dreadonlymode.enabled=true -Dzookeeper.tickTime=7",
    );
    let (config, notices) = Place::new()
        .read(&format!("{BASE}maxCnxns=6"), &flags)
        .expect("is sound");
    assert_eq!(
        config.storage.snap_count_txns, 20,
        "JVMFLAGS come after SERVER_JVMFLAGS"
    );
    assert_eq!(config.max_cnxns, 6, "zoo.cfg comes after both");
    assert_eq!(
        (config.max_buffer_bytes, config.extra_buffer_bytes),
        (0x1000, 0x1000)
    );
    assert!(config.read_only_mode && config.four_letter_words.allows("isro"));
    assert_eq!(
        config.tick_time_ms, 3000,
        "a parsed key is no system property"
    );
    let keys: Vec<&str> = notices.iter().map(|notice| notice.key.as_str()).collect();
    assert_eq!(keys, ["zookeeper.tickTime"]);
    assert_eq!(
        config
            .system_properties
            .get("zookeeper.snapCount")
            .map(String::as_str),
        Some("20")
    );
}

#[test]
fn only_the_last_of_equal_words_is_judged() {
    let flags = JvmFlags::parse("-Dzookeeper.snapCount=many", "-Dzookeeper.snapCount=9");
    assert_eq!(
        Config::embedded(&flags)
            .expect("the last word is sound")
            .0
            .storage
            .snap_count_txns,
        9
    );
}

#[test]
fn flags_without_the_prefix_that_belongs_to_them_are_not_ours() {
    let flags = JvmFlags::parse("-DskipACL=yes -Dzookeeper.jute.maxbuffer=5", "");
    let (config, notices) = Config::embedded(&flags).expect("is sound");
    assert!(!config.auth.skip_acl);
    assert_eq!(config.max_buffer_bytes, 1_048_575);
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn yes_and_no_are_exact() {
    assert!(good("skipACL=yes").0.auth.skip_acl);
    assert!(!good("skipACL=true").0.auth.skip_acl);
    assert!(!good("skipACL=YES").0.auth.skip_acl);
    assert!(!good("forceSync=no").0.storage.force_sync);
    assert!(good("forceSync=false").0.storage.force_sync);
    assert!(!good("leaderServes=no").0.ensemble.leader_serves);
}

#[test]
fn properties_take_any_word_for_false_and_say_so() {
    assert!(good("extendedTypesEnabled=TRUE").0.extended_types_enabled);
    assert!(!good("extendedTypesEnabled=1").0.extended_types_enabled);
    check_notices(
        "enforceQuota=yes",
        expect!["Warn enforceQuota: yes is neither true nor false and counts as false"],
    );
}

#[test]
fn numbers_below_their_floor_are_raised_as_upstream_raises_them() {
    let (config, notices) =
        good("snapCount=1\nautopurge.snapRetainCount=1\nmaxClientCnxns=-1\nsnapSizeLimitInKb=0");
    assert_eq!(
        (
            config.storage.snap_count_txns,
            config.storage.snap_retain_count
        ),
        (2, 3)
    );
    assert_eq!(
        (config.max_client_cnxns, config.storage.snap_size_limit_kib),
        (0, None)
    );
    assert_eq!(notices.len(), 2);
}

#[test]
fn session_timeouts_follow_the_tick() {
    let timeouts = |lines: &str| {
        let (config, _) = good(lines);
        (config.min_session_timeout_ms, config.max_session_timeout_ms)
    };
    assert_eq!(timeouts(""), (6000, 60_000));
    assert_eq!(timeouts("tickTime=500"), (1000, 10_000));
    assert_eq!(
        timeouts("tickTime=500\nmaxSessionTimeout=90000"),
        (1000, 90_000)
    );
    check_refused(
        "tickTime=99999999999",
        expect![[r#"Error processing DIR/zoo.cfg: tickTime: For input string: "99999999999""#]],
    );
    check_refused(
        "minSessionTimeout=2\nmaxSessionTimeout=1\nserver.1=x",
        expect![
            "Error processing DIR/zoo.cfg: minSessionTimeout must not be larger than maxSessionTimeout"
        ],
    );
    check_refused(
        "tickTime=107374183",
        expect![
            "Error processing DIR/zoo.cfg: tickTime: must be from 0 to 107374182, not 107374183"
        ],
    );
}

#[test]
fn listening_addresses_are_kept_as_names() {
    let listen = |lines: &str| good(lines).0.client_listen.map(|listen| listen.to_string());
    assert_eq!(
        listen("clientPortAddress=zk1.example.org").as_deref(),
        Some("zk1.example.org:2181")
    );
    assert_eq!(
        listen("clientPortAddress=[::1]").as_deref(),
        Some("[::1]:2181")
    );
    assert_eq!(
        listen("clientPortAddress=::1").as_deref(),
        Some("[::1]:2181")
    );
    assert_eq!(listen("clientPort=0"), None);
}

#[test]
fn the_prometheus_provider_has_an_address() {
    let class = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    let (config, _) = good(&format!(
        "{class}\nmetricsProvider.httpPort=7001\nmetricsProvider.exportJvmInfo=false"
    ));
    let MetricsProvider::Prometheus { listen, process } = config.metrics else {
        panic!("{:?}", config.metrics)
    };
    assert_eq!(listen.to_string(), "0.0.0.0:7001");
    assert!(!process);
}

#[test]
fn a_listed_digest_provider_comes_back_when_disabled() {
    let off = "DigestAuthenticationProvider.enabled=false\n";
    assert!(!good(off).0.auth.digest_enabled);
    let listed = "authProvider.9=org.apache.zookeeper.server.auth.DigestAuthenticationProvider";
    assert!(good(&format!("{off}{listed}")).0.auth.digest_enabled);
}

#[test]
fn names_of_the_page_are_a_list() {
    let names = |lines| good(lines).0.admin.names;
    assert_eq!(names(""), Vec::<String>::new());
    let given = names("meerkat.adminNames=zk.example.org, ,proxy.example.org");
    assert_eq!(given, ["zk.example.org", "proxy.example.org"]);
}

#[test]
fn commands_are_not_where_the_page_is() {
    let url = |path| {
        good(&format!("admin.commandURL={path}"))
            .0
            .admin
            .command_url
    };
    assert_eq!(
        ["/pages", "/a/page", "/apix"].map(url),
        ["/pages", "/a/page", "/apix"]
    );
    for path in ["/api", "/api/", "/page", "/page/x"] {
        let place = Place::new();
        let read = place.read(
            &format!("{BASE}admin.commandURL={path}\n"),
            &JvmFlags::default(),
        );
        let error = read.expect_err(path).to_string();
        assert!(error.contains("the page for people is there"), "{error}");
    }
    check_refused(
        "admin.commandURL=/",
        expect!["Error processing DIR/zoo.cfg: admin.commandURL: no path of a URL: /"],
    );
}

#[test]
fn passwords_never_show() {
    let (config, notices) = good(
        "DigestAuthenticationProvider.superDigest=super:tell-nobody\nfoo.password=tell-nobody",
    );
    assert_eq!(
        config.auth.super_digest.as_ref().map(super::Secret::reveal),
        Some("super:tell-nobody")
    );
    assert!(!format!("{config:?} {notices:?}").contains("tell-nobody"));
}

#[test]
fn the_short_command_line_takes_two_to_four_arguments() {
    let read = |line: &str| {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Config::from_args(&args, &JvmFlags::default())
            .map(|(config, _)| config)
            .map_err(|error| error.to_string())
    };
    let config = read("2182 /d 500 7").expect("all four");
    assert_eq!(
        config
            .client_listen
            .map(|listen| listen.to_string())
            .as_deref(),
        Some("0.0.0.0:2182")
    );
    assert_eq!(
        (
            config.tick_time_ms,
            config.max_client_cnxns,
            config.max_session_timeout_ms
        ),
        (500, 7, 10_000)
    );
    assert_eq!(read("2182 /d").expect("two").tick_time_ms, 3000);
    assert_eq!(
        read("port /d"),
        Err("clientPort: For input string: \"port\"".to_owned())
    );
    assert_eq!(
        read("1 /d 3 4 5"),
        Err("expected port dataDir [tickTime] [maxClientCnxns], not 5 arguments".to_owned())
    );
}

proptest! {
    #[test]
    fn no_file_panics(lines in proptest::collection::vec(line(), 0..12)) {
        let place = Place::new().with("myid", "1");
        let _ = place.read(&lines.join("\n"), &JvmFlags::default());
    }

    #[test]
    fn no_flag_panics(words in proptest::collection::vec(line(), 0..8)) {
        let words = words.iter().map(|word| format!("-Dzookeeper.{word} -D{word}"));
        let _ = Config::embedded(&JvmFlags::parse(&words.collect::<Vec<_>>().join(" "), ""));
    }
}

/// Any key of the table with a value that is near to a good one.
fn line() -> impl Strategy<Value = String> {
    let names = super::keys::SECTIONS
        .iter()
        .flat_map(|section| section.rows)
        .flat_map(|row| row.names);
    let names: Vec<&str> = names.map(|(name, _)| *name).collect();
    let value = prop_oneof![
        Just("DIR".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..70_000_u32).prop_map(|number| number.to_string()),
        "[a-z0-9.:;|\\[\\]]{0,24}",
        Just("a:1:2:participant;[::1]:3".to_owned()),
    ];
    (proptest::sample::select(names), value)
        .prop_map(|(name, value)| format!("{}={value}", name.replace('*', "1")))
}
