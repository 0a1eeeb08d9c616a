//! The audit log beside Apache ZooKeeper's: the same requests, the same lines.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::change::{PATIENCE, POLL};
use meerkat_compat_tests::client::{Admin, Connection, framed};
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Server, Settings};
use meerkat_compat_tests::wire::{Acl, Blob, Connect, List, Request, Value};

const GONE: &str = "ephemeralZNodeDeletionOnSessionCloseOrExpire";

/// What comes last.
const LAST: &str = "/the-last";

fn create(path: &str, flags: i32) -> Request {
    let create = Request::named("create").path(path);
    create.with("flags", Value::Int(flags))
}

fn acl(entries: &[(i32, &str, &str)]) -> Value {
    let entries = entries.iter().map(|(perms, scheme, id)| Acl {
        perms: *perms,
        scheme: Blob::text(scheme),
        id: Blob::text(id),
    });
    Value::Acls(List::Items(entries.collect()))
}

fn multi(ops: Vec<Request>) -> Request {
    Request::named("multi").with("ops", Value::Requests(ops))
}

/// One of each kind, those that fail included.
fn requests() -> Vec<Request> {
    let delete = |path| Request::named("delete").path(path);
    let set_data = |path| Request::named("setData").path(path);
    let set_acl = |path, entries: &[(i32, &str, &str)]| {
        let request = Request::named("setACL").path(path);
        request.with("acl", acl(entries))
    };
    vec![
        create("/a", 0),
        create("/a", 0),
        create("/no/parent", 2),
        create("/a/e", 1),
        create("/a/s-", 2),
        create("/a/es-", 3),
        Request::named("create2").path("/a/two"),
        Request::named("createContainer").path("/a/c"),
        Request::named("createTTL").path("/a/t"),
        Request::named("createTTL").path("/a/t"),
        Request::named("createTTL")
            .path("/a/ts-")
            .with("flags", Value::Int(6)),
        set_data("/a"),
        set_data("/none"),
        set_data("/a").with("version", Value::Int(7)),
        set_acl("/a", &[(1, "world", "anyone"), (31, "ip", "127.0.0.1")]),
        set_acl("/a", &[(31, "auth", "")]),
        set_acl("/none", &[(31, "world", "anyone")]),
        set_acl("/a", &[(31, "none", "such")]),
        delete("/none"),
        delete("/a"),
        delete("/a/two"),
        multi(vec![
            create("/m", 0),
            create("/m/s-", 2),
            create("/m/e", 1),
            set_data("/m"),
            Request::named("check").path("/m"),
            delete("/m/e"),
        ]),
        multi(vec![create("/n", 0), delete("/none"), create("/o", 0)]),
        multi(Vec::new()),
        Request::named("getData").path("/a"),
        Request::named("sync").path("/a"),
        Request::named("reconfig").with("joining", Value::Blob(Blob::text("server.2=no"))),
    ]
}

/// One line from `session=` or `user=` on, or `None` for a line of another kind.
fn audited(line: &str) -> Option<&str> {
    let (_, text) = line.split_once("Slf4jAuditLogger")?;
    let start = text.find("session=").or_else(|| text.find("user="))?;
    Some(&text[start..])
}

/// Sessions are numbered as they come. Users and the ephemerals of one session are sorted: upstream
/// has them in the order of a hash table.
fn neutral(log: &str) -> Vec<String> {
    let mut sessions: Vec<&str> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for line in log.lines().filter_map(audited) {
        let fields = line.split('\t').map(|field| {
            if let Some(session) = field.strip_prefix("session=") {
                if !sessions.contains(&session) {
                    sessions.push(session);
                }
                let number = sessions.iter().position(|known| *known == session);
                format!("session={}", number.unwrap_or_default())
            } else if let Some(users) = field.strip_prefix("user=") {
                let mut users: Vec<_> = users.split(',').collect();
                users.sort_unstable();
                format!("user={}", users.join(","))
            } else {
                field.to_owned()
            }
        });
        lines.push(fields.collect::<Vec<_>>().join("\t"));
    }
    for gone in lines.chunk_by_mut(|one, next| one.contains(GONE) && next.contains(GONE)) {
        gone.sort();
    }
    lines
}

/// Does what there is to do; the server ends when it is dropped.
fn served(kind: Kind, settings: &Settings) -> Result<Server> {
    let server = Server::start(kind, settings)?;
    write_by(server.addr())?;
    Ok(server)
}

fn write_by(addr: SocketAddr) -> Result<()> {
    let mut admin = Admin::connect(addr)?;
    for request in requests() {
        admin.ask(&request)?;
    }
    let mut user = Admin::connect_as(addr, &[b"bob:secret", b"eve:secret"])?;
    for request in [
        create("/u", 1).with("acl", acl(&[(31, "auth", "")])),
        Request::named("setData").path("/u"),
    ] {
        user.ask(&request)?;
    }
    let mut nobody = Admin::connect_as(addr, &[])?;
    for request in [
        Request::named("setData").path("/u"),
        create("/u/below", 0),
        Request::named("getData").path("/u"),
    ] {
        nobody.ask(&request)?;
    }
    user.close()?;
    admin.close()?;
    nobody.ask(&create(LAST, 0))?;
    nobody.close()
}

fn audit_of(kind: Kind) -> Result<Vec<String>> {
    let mut settings = Settings::default().with_logs();
    settings.set("audit.enable=true")?;
    let mut server = served(kind, &settings)?;
    server.terminate()?;
    Ok(neutral(&server.log()))
}

#[test]
fn the_same_requests_leave_the_same_lines() -> Result<()> {
    let (expected, found) = (audit_of(Kind::ZooKeeper)?, audit_of(Kind::Meerkat)?);
    ensure!(expected.len() > 35, "{expected:#?}");
    assert_eq!(expected, found);
    Ok(())
}

#[test]
fn a_file_of_its_own_has_all_lines_and_no_path_forges_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut settings = Settings::default();
    for assignment in [
        "audit.enable=true",
        "-Dzookeeper.auditlog.file=writes.log",
        &format!("-Dzookeeper.auditlog.dir={}", dir.path().display()),
    ] {
        settings.set(assignment)?;
    }
    let mut server = served(Kind::Meerkat, &settings)?;
    let mut forger = Admin::connect(server.addr())?;
    forger.ask(&create(
        "/a\nuser=nobody\toperation=delete\tresult=success",
        0,
    ))?;
    server.terminate()?;
    let text = fs::read_to_string(dir.path().join("writes.log"))?;
    let levels = text.lines().filter(|line| line.contains(" ERROR ")).count();
    let failures = text.lines().filter(|line| line.ends_with("result=failure"));
    ensure!(levels == failures.count() && levels > 10, "{text}");
    let lines = neutral(&text);
    ensure!(lines.len() == text.lines().count(), "{text}");
    ensure!(
        !lines.iter().any(|line| line.starts_with("user=nobody")),
        "{text}"
    );
    // What is in the file is not in the log, and the other way round.
    ensure!(neutral(&server.log()).is_empty(), "{}", server.log());
    Ok(())
}

/// Clients that hang up at once, each of the two kinds: they do not wait for an answer, or do not
/// even for the end of their session.
const HANGING_UP: usize = 30;

/// Each sends a create, every other one the end of its session behind it, and is gone.
fn hang_up(addr: SocketAddr) -> Result<BTreeSet<String>> {
    let mut admin = Admin::connect(addr)?;
    admin.ask(&create("/gone", 0))?;
    for number in 0..HANGING_UP {
        let mut connection = Connection::open(addr)?;
        connection.send(&framed(&Connect::default().encode(0, &[0; 16], 0)));
        connection.receive()?;
        let mut sent = framed(&create(&format!("/gone/{number}"), 0).encode(1, 0));
        if number % 2 == 1 {
            sent.extend(framed(&Request::named("closeSession").encode(2, 0)));
        }
        connection.send(&sent);
    }
    // All of them have arrived, for the server was still there to take them.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let there = admin.children("/gone")?;
        if there.len() == HANGING_UP {
            admin.close()?;
            return Ok(there.into_iter().collect());
        }
        ensure!(Instant::now() < deadline, "only {there:?} are there");
        std::thread::sleep(POLL);
    }
}

/// The names below `/gone` that the log says were created by a session. Upstream finds no address of
/// a socket that is closed; we know it.
fn gone_in(kind: Kind, log: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (who, what) = line.split_once("\toperation=create\tznode=/gone/")?;
        let has_ip = who.ends_with("\tip=127.0.0.1");
        assert!(
            has_ip || kind == Kind::ZooKeeper && who.ends_with("\tip="),
            "{line}"
        );
        what.split('\t').next().map(str::to_owned)
    };
    let lines = log.lines().filter_map(audited);
    let done = lines.filter(|l| l.starts_with("session=0x") && l.ends_with("\tresult=success"));
    done.filter_map(name).collect()
}

fn audited_settings() -> Result<Settings> {
    let mut settings = Settings::default().with_logs();
    settings.set("audit.enable=true")?;
    Ok(settings)
}

/// What was written has happened, whether or not its client stayed to hear of it.
#[test]
fn a_client_that_hangs_up_has_its_lines() -> Result<()> {
    for kind in [Kind::ZooKeeper, Kind::Meerkat] {
        let mut server = Server::start(kind, &audited_settings()?)?;
        let there = hang_up(server.addr())?;
        server.terminate()?;
        assert_eq!(gone_in(kind, &server.log()), there, "{kind}");
    }
    Ok(())
}

fn log_of(ensemble: &Ensemble, id: usize) -> Result<String> {
    let data_dir = ensemble.data_dir(id)?;
    let home = data_dir.parent().context("it is in a directory")?;
    Ok(fs::read_to_string(home.join("log"))?)
}

/// The same at a follower: it has the lines of its clients, and the others only say what went with
/// sessions.
#[test]
fn a_follower_has_the_lines_of_its_clients() -> Result<()> {
    let lines = |kind| -> Result<[Vec<String>; 2]> {
        let mut ensemble = Ensemble::start(kind, 3, 0, &audited_settings()?)?;
        let follower = ensemble.wait_for_role(Role::Follower)?;
        let leader = ensemble.wait_for_leader()?;
        write_by(ensemble.addr(follower))?;
        let there = hang_up(ensemble.addr(follower))?;
        // The leader's log is whole when it has done everything.
        Admin::connect(ensemble.addr(leader))?.ask(&Request::named("sync").path("/"))?;
        for id in [follower, leader] {
            ensemble.terminate(id)?;
        }
        let logs = [log_of(&ensemble, follower)?, log_of(&ensemble, leader)?];
        assert_eq!(gone_in(kind, &logs[0]), there, "{kind}");
        assert_eq!(gone_in(kind, &logs[1]), BTreeSet::new(), "{kind}");
        Ok(logs.map(|log| {
            let mut lines = neutral(&log);
            // Those who hung up were compared by their names.
            lines.retain(|line| !line.contains("znode=/gone"));
            lines
        }))
    };
    let (expected, found) = (lines(Kind::ZooKeeper)?, lines(Kind::Meerkat)?);
    ensure!(expected[0].len() > 35, "{expected:#?}");
    ensure!(
        expected[1].iter().any(|line| line.contains(GONE)),
        "{expected:#?}"
    );
    assert_eq!(expected, found);
    Ok(())
}

/// A server that cannot start says that alone, and nothing of an end.
#[test]
fn a_start_that_failed_is_the_only_line() -> Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let lines = |kind| -> Result<Vec<String>> {
        let mut settings = audited_settings()?;
        settings.set("admin.enableServer=true")?;
        settings.set("admin.serverAddress=127.0.0.1")?;
        settings.set(&format!("admin.serverPort={}", taken.local_addr()?.port()))?;
        let refused = Server::start(kind, &settings).err();
        Ok(neutral(&format!("{:#}", refused.context("it started")?)))
    };
    let (expected, found) = (lines(Kind::ZooKeeper)?, lines(Kind::Meerkat)?);
    ensure!(
        expected.len() == 1 && expected[0].ends_with("\toperation=serverStart\tresult=failure")
    );
    assert_eq!(expected, found);
    Ok(())
}
