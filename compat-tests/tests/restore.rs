//! `zk-server restore`: from a data directory as it was at each zxid, and from a snapshot.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::client::{Admin, Connection, Received, framed};
use meerkat_compat_tests::http::ask;
use meerkat_compat_tests::server::{FREE_PORT, Kind, Server, Settings, meerkat_binary};
use meerkat_compat_tests::wire::{Blob, Connect, Request, Value};
use serde_json::Value as Json;

/// Changes of the counter.
const ROUNDS: usize = 60;
/// A snapshot is written behind these.
const SNAPSHOTS_BEHIND: [usize; 4] = [10, 20, 40, 50];
/// The first of them that is among the three that are kept.
const OLDEST_KEPT: usize = 20;
/// How long the server may take to purge its log.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(meerkat_binary()?).args(arguments).output()?)
}

fn json(arguments: &[&str]) -> Result<Json> {
    let output = run(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text<'a>(json: &'a Json, name: &str) -> Result<&'a str> {
    json.get(name)
        .and_then(Json::as_str)
        .with_context(|| format!("no {name} in {json}"))
}

fn zxid(server: &Server) -> Result<i64> {
    let answer = server.word("srvr")?;
    let hex = answer
        .lines()
        .find_map(|line| line.strip_prefix("Zxid: 0x"));
    Ok(i64::from_str_radix(hex.context("no zxid")?, 16)?)
}

fn set_counter(admin: &mut Admin, round: usize) -> Result<()> {
    let data = Value::Blob(Blob::text(&round.to_string()));
    let (err, _) = admin.ask(
        &Request::named("setData")
            .path("/counter")
            .with("data", data),
    )?;
    ensure!(err == 0, "setData: {err}");
    Ok(())
}

/// The counter, as a client reads it.
fn counter(server: &Server) -> Result<String> {
    let mut admin = Admin::connect(server.addr())?;
    let (err, body) = admin.ask(&Request::named("getData").path("/counter"))?;
    ensure!(err == 0, "getData: {err}");
    let length = body
        .first_chunk::<4>()
        .map_or(0, |len| u32::from_be_bytes(*len)) as usize;
    let data = body.get(4..4 + length).context("a short reply")?;
    Ok(String::from_utf8_lossy(data).into_owned())
}

/// Id and password of a session that holds `/member`.
struct Holder(i64, Vec<u8>);

impl Holder {
    fn create(server: &Server) -> Result<(Self, Connection)> {
        let mut connection = Connection::open(server.addr())?;
        connection.send(&framed(&Connect::default().encode(0, &[0; 16], 0)));
        let Received::Frame(answer) = connection.receive()? else {
            anyhow::bail!("no session")
        };
        let id = answer.get(8..16).and_then(|id| id.try_into().ok());
        let password = answer.get(20..36).context("no password")?.to_vec();
        let create = Request::named("create")
            .path("/member")
            .with("flags", Value::Int(1));
        connection.send(&framed(&create.encode(1, 0)));
        connection.receive()?;
        let id = id.map(i64::from_be_bytes).context("no session")?;
        Ok((Self(id, password), connection))
    }

    /// Whether a server knows the session to a client that has seen `seen`, and still has its znode.
    fn lives_on(&self, server: &Server, seen: i64) -> Result<bool> {
        let mut connection = Connection::open(server.addr())?;
        connection.send(&framed(&Connect::default().encode(self.0, &self.1, seen)));
        let Received::Frame(answer) = connection.receive()? else {
            return Ok(false);
        };
        let is_same = answer.get(8..16) == Some(&self.0.to_be_bytes());
        connection.send(&framed(
            &Request::named("exists").path("/member").encode(1, 0),
        ));
        let Received::Frame(reply) = connection.receive()? else {
            return Ok(false);
        };
        Ok(is_same && reply.get(12..16) == Some(&[0; 4]))
    }
}

/// What `check` says as soon as the log begins behind the oldest snapshot of three. It may look while
/// the server runs.
fn until_purged(dir: &str) -> Result<Json> {
    let begun = Instant::now();
    loop {
        let checked = json(&["check", dir, "--json"])?;
        let snapshots = checked.get("snapshots").and_then(Json::as_array);
        let oldest = snapshots
            .filter(|snapshots| snapshots.len() == 3)
            .and_then(|snapshots| snapshots.last()?.as_str()?.rsplit('.').next())
            .and_then(|index| u64::from_str_radix(index, 16).ok());
        let first = checked.get("first_log_index").and_then(Json::as_u64);
        if oldest.is_some_and(|oldest| first == Some(oldest + 1)) {
            return Ok(checked);
        }
        ensure!(begun.elapsed() < PATIENCE, "not purged: {checked}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts a server on what was restored.
fn serve(dir: &Path) -> Result<Server> {
    Server::start_on(Kind::Meerkat, &Settings::default(), dir)
}

#[test]
fn each_zxid_can_be_had_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let from = dir.path().join("data");
    let mut settings = Settings::default();
    for assignment in [
        "admin.enableServer=true",
        "admin.rateLimiterIntervalInMS=0",
        &format!("admin.serverPort={FREE_PORT}"),
    ] {
        settings.set(assignment)?;
    }
    let mut server = Server::start_on(Kind::Meerkat, &settings, &from)?;
    let mut admin = Admin::connect(server.addr())?;
    admin.ask(&Request::named("create").path("/counter"))?;
    let (holder, _connection) = Holder::create(&server)?;
    let mut zxids = Vec::new();
    for round in 0..ROUNDS {
        set_counter(&mut admin, round)?;
        zxids.push(zxid(&server)?);
        if SNAPSHOTS_BEHIND.contains(&round) {
            let port = server.setting("admin.serverPort")?.parse()?;
            let path = "/commands/snapshot?streaming=false";
            let answer = ask(port, "GET", path, &["Authorization: digest root:root"], &[])?;
            ensure!(answer.status == 200, "{}", answer.text());
        }
    }
    let from = from.to_string_lossy();
    until_purged(&from)?;
    server.terminate()?;
    // Two more epochs, which no state of before has heard of.
    for _ in 0..2 {
        let mut server = Server::start_on(Kind::Meerkat, &settings, Path::new(&*from))?;
        set_counter(&mut Admin::connect(server.addr())?, ROUNDS)?;
        zxids.push(zxid(&server)?);
        server.terminate()?;
    }
    let checked = until_purged(&from)?;
    let last = *zxids.last().context("no zxid")?;

    for round in [0, OLDEST_KEPT - 1] {
        let to = dir.path().join("too-old");
        let wanted = format!("{:#x}", zxids[round]);
        let path = to.to_string_lossy();
        let output = run(&["restore", &from, "--zxid", &wanted, "--to", &path])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let oldest = format!("nothing is left from before zxid {:#x}", zxids[OLDEST_KEPT]);
        ensure!(said.contains(&oldest) && !to.exists(), "{said}");
    }

    for round in [OLDEST_KEPT, OLDEST_KEPT + 1, 30, 40, 41, 55, ROUNDS - 1] {
        let to = dir.path().join(format!("as-of-{round}"));
        let wanted = format!("{:#x}", zxids[round]);
        let path = to.to_string_lossy();
        let restored = json(&["restore", &from, "--zxid", &wanted, "--to", &path, "--json"])?;
        let again = json(&["check", &path, "--json"])?;
        ensure!(
            text(&restored, "digest")? == text(&again, "digest")?,
            "{restored} {again}"
        );
        let server = serve(&to)?;
        ensure!(counter(&server)? == round.to_string(), "round {round}");
        ensure!(
            zxid(&server)? > last,
            "the server is behind what clients have seen"
        );
        ensure!(
            holder.lives_on(&server, last)?,
            "round {round}: the session is gone"
        );
    }

    // Without a zxid it is all there is, with the digest of before.
    let to = dir.path().join("all");
    let restored = json(&["restore", &from, "--to", &to.to_string_lossy(), "--json"])?;
    ensure!(
        text(&restored, "digest")? == text(&checked, "digest")?,
        "{restored} {checked}"
    );
    ensure!(
        counter(&serve(&to)?)? == ROUNDS.to_string(),
        "not all is there"
    );

    // One snapshot is what it is.
    let newest = checked
        .get("snapshots")
        .and_then(|snapshots| snapshots.get(0)?.as_str())
        .context("no snapshot")?;
    let to = dir.path().join("snapshot");
    let restored = json(&["restore", newest, "--to", &to.to_string_lossy(), "--json"])?;
    let of = i64::from_str_radix(
        text(&restored, "restored_zxid")?.trim_start_matches("0x"),
        16,
    )?;
    let round = zxids
        .iter()
        .position(|zxid| *zxid == of)
        .context("another zxid")?;
    ensure!(Some(&round) == SNAPSHOTS_BEHIND.last(), "round {round}");
    ensure!(counter(&serve(&to)?)? == round.to_string(), "round {round}");
    Ok(())
}

#[test]
fn what_cannot_be_had_is_refused_and_nothing_is_written() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let from = dir.path().join("data");
    let mut server = Server::start_on(Kind::Meerkat, &Settings::default(), &from)?;
    Admin::connect(server.addr())?.ask(&Request::named("create").path("/counter"))?;
    let last = zxid(&server)?;
    server.terminate()?;
    let (from, to) = (from.to_string_lossy(), dir.path().join("to"));
    let refused = |arguments: &[&str], why: &str| {
        let output = run(&[arguments, &["--to", &to.to_string_lossy()]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1) && said.contains(why),
            "{arguments:?}: {said}"
        );
        ensure!(
            !to.join("snapshots").exists() && !to.join("log").exists(),
            "{arguments:?}"
        );
        Ok(())
    };
    let beyond = format!("{:#x}", last + 1);
    refused(
        &["restore", &from, "--zxid", &beyond],
        "the last state before it is that of zxid",
    )?;
    refused(&["restore", "/none"], "/none")?;
    let no_snapshot = dir.path().join("file");
    std::fs::write(&no_snapshot, "no snapshot at all")?;
    refused(
        &["restore", &no_snapshot.to_string_lossy()],
        "it is neither a snapshot of Meerkat nor one of ZooKeeper",
    )?;
    // A directory with data is left alone.
    let output = run(&["restore", &from, "--to", &from])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(
        zxid(&serve(Path::new(&*from))?)? >= last,
        "the data is gone"
    );
    Ok(())
}
