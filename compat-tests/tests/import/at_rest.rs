//! What `check` says of directories and backups of ours, and what `export`, `import` and `restore` do
//! when they are interrupted or what they read is damaged.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::http::ask;
use meerkat_compat_tests::server::{FREE_PORT, Kind, Server, meerkat_binary};
use meerkat_compat_tests::wire::Request;
use serde_json::Value;
use tempfile::TempDir;

use crate::damage::{adler32, sound};
use crate::{settings, text, zk_server, zk_server_json};

/// Blocks of 1 KiB that a file may have: less than any snapshot of these tests.
const FILE_BLOCKS_MAX: u32 = 64;
/// Only so the end of the log is known.
const DURABLE: &str = "forceSync=yes";
/// Requests between two snapshots.
const APART: usize = 10;

/// What `check` says, whether it finds damage or not.
fn check(path: &Path) -> Result<(Option<i32>, Value)> {
    let output = zk_server(&["check", text(path), "--json"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let json =
        serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON: {said}"))?;
    Ok((output.status.code(), json))
}

fn list<'a>(json: &'a Value, name: &str) -> Result<Vec<&'a str>> {
    let list = json[name].as_array();
    let list = list.with_context(|| format!("no {name} in {json}"))?;
    Ok(list.iter().filter_map(Value::as_str).collect())
}

/// A directory of ours with three snapshots and a log that goes on behind them.
fn ours() -> Result<TempDir> {
    let data = TempDir::with_prefix("meerkat-rest-")?;
    let mut settings = settings(&[
        DURABLE,
        "admin.enableServer=true",
        "admin.rateLimiterIntervalInMS=0",
    ])?;
    settings.set(&format!("admin.serverPort={FREE_PORT}"))?;
    let mut server = Server::start_on(Kind::Meerkat, &settings, data.path())?;
    let port = server.setting("admin.serverPort")?.parse()?;
    let mut admin = Admin::connect(server.addr())?;
    for number in 0..APART * 4 {
        if number > 0 && number % APART == 0 {
            let path = "/commands/snapshot?streaming=false";
            let answer = ask(port, "GET", path, &["Authorization: digest root:root"], &[])?;
            ensure!(answer.status == 200, "{}", answer.text());
        }
        let (err, _) = admin.ask(&Request::named("create").path(&format!("/n{number}")))?;
        ensure!(err == 0, "{err}");
    }
    admin.close()?;
    server.terminate()?;
    Ok(data)
}

/// Newest first.
fn snapshots(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir.join("snapshots"))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.reverse();
    ensure!(paths.len() == 3, "{paths:?}");
    Ok(paths)
}

fn flip_middle(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    Ok(fs::write(path, bytes)?)
}

#[test]
fn check_names_each_damaged_snapshot_and_what_is_known_of_the_end_of_the_log() -> Result<()> {
    let data = ours()?;
    let (code, whole) = check(data.path())?;
    ensure!(
        code == Some(0) && list(&whole, "remarks")?.is_empty(),
        "{whole}"
    );
    // The oldest one is not needed until the others are damaged, too.
    let oldest = snapshots(data.path())?.pop().context("no snapshot")?;
    let kept = fs::read(&oldest)?;
    flip_middle(&oldest)?;
    let (code, checked) = check(data.path())?;
    let damage = list(&checked, "damage")?;
    ensure!(
        code == Some(1) && damage.len() == 1 && damage[0].contains(text(&oldest)),
        "{checked}"
    );
    ensure!(checked["digest"] == whole["digest"], "{checked}");
    fs::write(&oldest, kept)?;

    let end = data.path().join("log/log-end");
    flip_middle(&end)?;
    let (code, checked) = check(data.path())?;
    let remarks = list(&checked, "remarks")?;
    ensure!(
        code == Some(0) && remarks[0].contains("is damaged"),
        "{checked}"
    );
    fs::remove_file(&end)?;
    let (code, checked) = check(data.path())?;
    let remarks = list(&checked, "remarks")?;
    ensure!(
        code == Some(0) && remarks[0].contains("is not known"),
        "{checked}"
    );
    ensure!(!end.exists(), "it only looks");
    Ok(())
}

#[test]
fn of_a_damaged_log_what_is_sound_can_be_had() -> Result<()> {
    let data = ours()?;
    let (_, whole) = check(data.path())?;
    // As if somebody had put back an older copy of everything but this.
    let end = data.path().join("log/log-end");
    let mut bytes = 10_000u64.to_be_bytes().to_vec();
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    fs::write(&end, bytes)?;
    let (code, checked) = check(data.path())?;
    let damage = list(&checked, "damage")?.join(" ");
    ensure!(
        code == Some(1) && damage.contains("writes are missing"),
        "{checked}"
    );
    ensure!(checked["digest"] == whole["digest"], "{checked}");

    let dir = TempDir::with_prefix("meerkat-rest-")?;
    let take = |what: &str, name: &str| -> Result<Value> {
        let to = dir.path().join(name);
        let to: Vec<&str> = match what {
            "export" => vec![text(&to)],
            _ => vec!["--to", text(&to)],
        };
        let arguments = [&[what, text(data.path())], &to[..]].concat();
        let refused = zk_server(&arguments)?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            refused.status.code() == Some(1) && said.contains("--despite-damage"),
            "{what}: {said}"
        );
        zk_server_json(&[&arguments[..], &["--despite-damage"]].concat())
    };
    let exported = take("export", "zookeepers")?;
    ensure!(
        exported["zookeeper_digest"] == whole["zookeeper_digest"],
        "{exported}"
    );
    let restored = take("restore", "restored")?;
    ensure!(restored["digest"] == whole["digest"], "{restored}");

    // Nothing at all of the log: the newest snapshot is left, and known by its zxid, too.
    fs::remove_file(data.path().join("log/CURRENT"))?;
    let (code, checked) = check(data.path())?;
    ensure!(
        code == Some(1) && checked["znodes"].as_u64() > Some(30),
        "{checked}"
    );
    let zxid = checked["zxid"].as_str().context("no zxid")?;
    let to = dir.path().join("as-of");
    let restore = [
        "restore",
        text(data.path()),
        "--zxid",
        zxid,
        "--to",
        text(&to),
    ];
    ensure!(
        zk_server_json(&restore)?["digest"] == checked["digest"],
        "{checked}"
    );
    let restored = take("restore", "snapshot-alone")?;
    ensure!(restored["digest"] == checked["digest"], "{restored}");

    for path in snapshots(data.path())? {
        flip_middle(&path)?;
    }
    let (code, checked) = check(data.path())?;
    ensure!(code == Some(1) && checked["znodes"].is_null(), "{checked}");
    // Each of the three snapshots and the log, once.
    let damage = list(&checked, "damage")?;
    ensure!(damage.len() == 4, "{checked}");
    Ok(())
}

#[test]
fn data_is_the_same_by_its_digest_wherever_it_goes() -> Result<()> {
    let dir = TempDir::with_prefix("meerkat-rest-")?;
    let [imported, exported, restored] =
        ["imported", "exported", "restored"].map(|name| dir.path().join(name));
    let (_, theirs) = check(sound()?)?;
    let digest = &theirs["zookeeper_digest"];
    ensure!(digest.is_string(), "{theirs}");
    let import = zk_server_json(&["import", text(sound()?), "--to", text(&imported)])?;
    ensure!(import["zookeeper_digest"] == *digest, "{import}");
    ensure!(import["wants_extended_types"] == true, "{import}");
    let (_, ours) = check(&imported)?;
    ensure!(ours["zookeeper_digest"] == *digest, "{ours}");
    let export = zk_server_json(&["export", text(&imported), text(&exported)])?;
    ensure!(export["zookeeper_digest"] == *digest, "{export}");
    // Backups of either kind, each a file.
    let snapshot = |json: &Value| -> Result<PathBuf> {
        Ok(json["snapshot"].as_str().context("no snapshot")?.into())
    };
    let theirs = snapshot(&export)?;
    for (path, of) in [
        (snapshot(&import)?, "Meerkat"),
        (theirs.clone(), "ZooKeeper"),
    ] {
        let (code, checked) = check(&path)?;
        ensure!(code == Some(0) && checked["of"] == of, "{checked}");
        ensure!(checked["zookeeper_digest"] == *digest, "{checked}");
        ensure!(checked["digest"] == ours["digest"], "{checked}");
    }
    let restore = zk_server_json(&["restore", text(&theirs), "--to", text(&restored)])?;
    ensure!(restore["digest"] == ours["digest"], "{restore}");

    let config = dir.path().join("zoo.cfg");
    let to = dir.path().join("without-ttl");
    fs::write(&config, format!("dataDir={}\nclientPort=2181\n", text(&to)))?;
    let output = zk_server(&["restore", text(&theirs), "--config", text(&config)])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(1) && said.contains("is a TTL znode"),
        "{said}"
    );

    // A tree that its digest is not of, in a file that says nobody has changed it meanwhile.
    let name = theirs.file_name().context("no name")?;
    let changed = dir.path().join(name);
    let mut bytes = fs::read(&theirs)?;
    let at = bytes
        .windows(5)
        .position(|bytes| bytes == b"/bulk")
        .context("no znode")?;
    let digest_at = bytes.len() - 21 - 13 - 8;
    bytes[digest_at] ^= 1;
    let seal_at = bytes.len() - 21 - 13;
    let seal = u64::from(adler32(&bytes[..seal_at])).to_be_bytes();
    bytes[seal_at..seal_at + 8].copy_from_slice(&seal);
    bytes.truncate(seal_at + 13);
    ensure!(at < digest_at, "the znodes come first");
    fs::write(&changed, bytes)?;
    let (code, checked) = check(&changed)?;
    let damage = list(&checked, "damage")?.join(" ");
    ensure!(
        code == Some(1) && damage.contains("the digest of its tree is"),
        "{checked}"
    );
    Ok(())
}

/// Runs `zk-server` where files cannot be longer than so much: it is told, or killed for it.
fn without_room(is_killed: bool, arguments: &[&str]) -> Result<Output> {
    let trap = if is_killed { "" } else { "trap '' XFSZ;" };
    let script = format!("{trap} ulimit -c 0 -f {FILE_BLOCKS_MAX}; exec \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .arg(meerkat_binary()?)
        .args(arguments);
    Ok(command.env_remove("SERVER_JVMFLAGS").output()?)
}

/// Each of them fails for want of room, with a word or without, and is simply done again.
#[test]
fn what_was_interrupted_can_be_done_again() -> Result<()> {
    let dir = TempDir::with_prefix("meerkat-rest-")?;
    let imported = dir.path().join("imported");
    zk_server_json(&["import", text(sound()?), "--to", text(&imported)])?;
    for is_killed in [false, true] {
        for what in ["import", "restore", "export"] {
            let to = dir.path().join(format!("{what}-{is_killed}"));
            let from = if what == "import" {
                sound()?
            } else {
                &imported
            };
            let arguments = match what {
                "export" => vec![what, text(from), text(&to)],
                _ => vec![what, text(from), "--to", text(&to)],
            };
            let output = without_room(is_killed, &arguments)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(!output.status.success(), "{what}: there was room");
            ensure!(
                output.status.signal().is_some() == is_killed,
                "{what}: {}",
                output.status
            );
            ensure!(is_killed || said.contains("too large"), "{what}: {said}");
            ensure!(check(&to)?.0 == Some(1), "{what} has left what looks whole");
            zk_server_json(&arguments).with_context(|| format!("{what} again"))?;
            if what == "export" {
                let left = fs::read_dir(to.join("version-2"))?.count();
                ensure!(left == 1, "{left} files");
            } else {
                ensure!(check(&to)?.0 == Some(0), "{what}");
                ensure!(!to.join("log.unfinished").exists(), "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_put_in_place_as_a_whole_is_refused_in_a_sentence() -> Result<()> {
    let dir = TempDir::with_prefix("meerkat-rest-")?;
    let to = dir.path().join("to");
    let import = |why: &str| -> Result<()> {
        let output = zk_server(&["import", text(sound()?), "--to", text(&to)])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1) && said.contains(why),
            "{said}"
        );
        Ok(())
    };
    let elsewhere = dir.path().join("elsewhere");
    for name in ["log", "snapshots"] {
        fs::create_dir_all(&to)?;
        fs::create_dir_all(&elsewhere)?;
        std::os::unix::fs::symlink(&elsewhere, to.join(name))?;
        import("is a symbolic link")?;
        ensure!(to.join(name).is_symlink(), "the link is gone");
        fs::remove_dir_all(&to)?;
    }
    // What a crash between the two last steps leaves.
    zk_server_json(&["import", text(sound()?), "--to", text(&to)])?;
    fs::rename(to.join("snapshots"), to.join("snapshots.unfinished"))?;
    import("was interrupted: remove it and do that again")?;
    fs::remove_dir_all(to.join("log"))?;
    zk_server_json(&["import", text(sound()?), "--to", text(&to)])?;
    ensure!(check(&to)?.0 == Some(0), "not whole");
    Ok(())
}

/// A check beside a server that writes, and purges what was looked at, finds nothing.
#[test]
fn check_beside_a_server_that_writes_raises_no_alarm() -> Result<()> {
    let data = TempDir::with_prefix("meerkat-rest-")?;
    let server = Server::start_on(
        Kind::Meerkat,
        &settings(&[DURABLE, "snapCount=500"])?,
        data.path(),
    )?;
    let mut fill = crate::fill::Fill::new(9, crate::fill::Release::New);
    fill.open(&server, 4)?;
    fill.prepare()?;
    std::thread::scope(|scope| {
        let checks = scope.spawn(|| -> Result<()> {
            for _ in 0..25 {
                let (code, checked) = check(data.path())?;
                ensure!(code == Some(0), "{checked}");
            }
            Ok(())
        });
        while !checks.is_finished() {
            fill.run(&server, 400)?;
            fill.settle()?;
        }
        checks.join().map_err(|_| anyhow::anyhow!("a panic"))?
    })
}
