//! ZooKeeper's tools for its files, and ours of the same names: the same output for the same files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::server::{Kind, Server, Settings, meerkat_binary, zookeeper_tool};
use meerkat_compat_tests::wire::{Acl, Blob, List, Request, Value};
use serde_json::Value as Json;
use tempfile::TempDir;

/// Each tool: upstream's class and our command.
const FORMATTER: Tool = Tool("SnapshotFormatter", "snapshot-formatter");
const SUMMARY: Tool = Tool("SnapshotRecursiveSummary", "snapshot-recursive-summary");
const COMPARER: Tool = Tool("SnapshotComparer", "snapshot-comparer");
const TXN_LOG: Tool = Tool("persistence.TxnLogToolkit", "txn-log-toolkit");

struct Tool(&'static str, &'static str);

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Tool {
    fn commands(&self) -> Result<[Command; 2]> {
        let theirs = zookeeper_tool(&format!("org.apache.zookeeper.server.{}", self.0))?;
        let mut ours = Command::new(meerkat_binary()?);
        ours.arg(self.1).env("TZ", "UTC");
        Ok([theirs, ours])
    }

    /// What both say to these arguments and this input: upstream, then ours.
    fn both(&self, arguments: &[&str], input: &str) -> Result<[Said; 2]> {
        let [theirs, ours] = self.commands()?;
        Ok([
            said(theirs, arguments, input)?,
            said(ours, arguments, input)?,
        ])
    }
}

fn said(mut command: Command, arguments: &[&str], input: &str) -> Result<Said> {
    command.args(arguments).stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Who needs no input may be gone.
    let _ = child
        .stdin
        .take()
        .context("no input")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let err: Vec<&str> = err
        .lines()
        .filter(|line| !line.starts_with("SLF4J"))
        .collect();
    Ok(Said {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: err.join("\n").trim_end().to_owned(),
        code: output.status.code(),
    })
}

fn create(path: &str, flags: i32, data: &str) -> Request {
    let create = Request::named("create").path(path);
    let create = create.with("flags", Value::Int(flags));
    create.with("data", Value::Blob(Blob::text(data)))
}

/// A data directory that a ZooKeeper has filled: two snapshots and the log.
struct Filled {
    _dir: TempDir,
    first: PathBuf,
    second: PathBuf,
    log: PathBuf,
}

fn file(dir: &Path, prefix: &str, at: usize) -> Result<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("version-2"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    let number = |path: &PathBuf| {
        let hex = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        i64::from_str_radix(&hex, 16).unwrap_or_default()
    };
    files.sort_by_key(number);
    files
        .get(at)
        .cloned()
        .with_context(|| format!("no {prefix}{at} in {files:?}"))
}

fn fill() -> Result<Filled> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let acl = |entries: &[(i32, &str, &str)]| {
        let entries = entries.iter().map(|(perms, scheme, id)| Acl {
            perms: *perms,
            scheme: Blob::text(scheme),
            id: Blob::text(id),
        });
        Value::Acls(List::Items(entries.collect()))
    };
    let mut server = Server::start_on(Kind::ZooKeeper, &Settings::default(), &data)?;
    let mut admin = Admin::connect(server.addr())?;
    let mut other = Admin::connect(server.addr())?;
    for request in [
        create("/a", 0, "data, with {comma}"),
        create("/a/b", 0, "12345"),
        create("/a/s-", 2, ""),
        create("/a/e", 1, "mine"),
        create("/x-y", 0, "é\u{1f600}"),
        create("/gone", 0, "to go"),
        Request::named("createContainer").path("/c"),
        Request::named("createTTL").path("/t"),
        Request::named("setData")
            .path("/a")
            .with("data", Value::Blob(Blob::text("longer data"))),
        Request::named("setACL").path("/x-y").with(
            "acl",
            acl(&[(1, "world", "anyone"), (31, "digest", "u:p,q}")]),
        ),
        Request::named("delete").path("/none"),
    ] {
        admin.ask(&request)?;
    }
    other.ask(&create("/other", 1, "o"))?;
    other.close()?;
    server.terminate()?;
    // A restart writes a snapshot, and another log.
    let mut server = Server::start_on(Kind::ZooKeeper, &Settings::default(), &data)?;
    let first = file(&data, "snapshot.", 1)?;
    let mut admin = Admin::connect(server.addr())?;
    for number in 0..20 {
        admin.ask(&create(&format!("/a/n{number:02}"), 0, &"x".repeat(number)))?;
    }
    admin.ask(&Request::named("delete").path("/gone"))?;
    server.terminate()?;
    let mut server = Server::start_on(Kind::ZooKeeper, &Settings::default(), &data)?;
    server.terminate()?;
    Ok(Filled {
        first,
        second: file(&data, "snapshot.", 2)?,
        log: file(&data, "log.", 0)?,
        _dir: dir,
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Znodes sorted by path: they come in the order of a hash table upstream.
fn sorted_details(out: &str) -> (Vec<String>, Vec<String>) {
    let (znodes, rest) = out.split_once("----\nSession").unwrap_or((out, ""));
    let mut blocks: Vec<String> = znodes.split("----\n").map(str::to_owned).collect();
    blocks.sort();
    let mut rest: Vec<String> = rest.lines().map(str::to_owned).collect();
    rest.sort();
    (blocks, rest)
}

/// The tree without the numbers and in one order.
fn sorted_json(out: &str) -> Result<Json> {
    fn sort(json: &mut Json) {
        match json {
            Json::Array(items) => {
                items.iter_mut().for_each(sort);
                // The directory itself stays in front.
                if let Some(below) = items.get_mut(1..) {
                    below.sort_by_key(ToString::to_string);
                }
            }
            Json::Object(fields) => {
                fields.remove("ino");
                fields.remove("timestamp");
            }
            _ => {}
        }
    }
    let mut json = serde_json::from_str(out)?;
    sort(&mut json);
    Ok(json)
}

#[test]
fn snapshots_are_shown_alike() -> Result<()> {
    let filled = fill()?;
    let (first, second) = (text(&filled.first), text(&filled.second));
    for snapshot in [&first, &second] {
        for option in [&[][..], &["-d"]] {
            let [theirs, ours] = FORMATTER.both(&[option, &[snapshot]].concat(), "")?;
            ensure!(theirs.out.contains("/a/s-0000000001"), "{theirs:?}");
            assert_eq!(sorted_details(&theirs.out), sorted_details(&ours.out));
            assert_eq!((theirs.err, theirs.code), (ours.err, ours.code));
        }
        let [theirs, ours] = FORMATTER.both(&["-json", snapshot], "")?;
        assert_eq!(sorted_json(&theirs.out)?, sorted_json(&ours.out)?);
        for (start, depth) in [("/", "0"), ("/", "1"), ("/a", "0"), ("/a/b", "2")] {
            let [mut theirs, mut ours] = SUMMARY.both(&[snapshot, start, depth], "")?;
            for said in [&mut theirs, &mut ours] {
                let mut blocks: Vec<&str> = said.out.split_inclusive("data: ").collect();
                blocks.sort_unstable();
                said.out = blocks.concat();
            }
            assert_eq!(theirs, ours, "{start} {depth}");
        }
    }
    Ok(())
}

/// Without the seconds that something took.
fn timeless(out: &str) -> String {
    let lines = out.lines().map(|line| match line.split_once(" in 0.") {
        Some((what, _)) => what.to_owned(),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn snapshots_are_compared_alike() -> Result<()> {
    let filled = fill()?;
    let (first, second) = (text(&filled.first), text(&filled.second));
    let files = ["-l", &first, "-r", &second];
    for (more, input) in [
        (&["-b", "2", "-n", "1"][..], ""),
        (&["-b", "0", "-n", "0"], ""),
        (&["--bytes", "4", "--nodes", "100", "-d"], ""),
        (
            &["-b", "2", "-n", "1", "-i"],
            "\n1\n/a\n9\n/none\nnonsense\n\n\n\n\n\n\n",
        ),
    ] {
        let [theirs, ours] = COMPARER.both(&[&files, more].concat(), input)?;
        ensure!(theirs.out.contains("Analysis"), "{theirs:?}");
        assert_eq!(timeless(&theirs.out), timeless(&ours.out), "{more:?}");
        assert_eq!((theirs.err, theirs.code), (ours.err, ours.code));
    }
    Ok(())
}

#[test]
fn logs_are_shown_mended_and_cut_alike() -> Result<()> {
    let filled = fill()?;
    let log = text(&filled.log);
    let [theirs, ours] = TXN_LOG.both(&[&log], "")?;
    for kind in [
        "createTTL",
        "createContainer",
        "setACL",
        "closeSession",
        "error",
        "createSession",
    ] {
        ensure!(theirs.out.contains(kind), "no {kind} in {}", theirs.out);
    }
    assert_eq!(theirs, ours);

    // One that is damaged in one record's data.
    let mut bytes = fs::read(&filled.log)?;
    let at = bytes
        .windows(5)
        .position(|five| five == b"12345")
        .context("no data")?;
    bytes[at] = b'9';
    let runs: [(&[&str], &str); 5] = [
        (&[], ""),
        (&["-r", "-y"], ""),
        (&["-rvy"], ""),
        (&["-r"], "what\nyes\n"),
        (&["-r"], "abort\n"),
    ];
    for (options, input) in runs {
        let mut fixed = Vec::new();
        let [theirs, ours] = TXN_LOG.commands()?;
        for command in [theirs, ours] {
            let dir = tempfile::tempdir()?;
            let damaged = dir.path().join("log.1");
            fs::write(&damaged, &bytes)?;
            let path = text(&damaged);
            let mut said = said(command, &[options, &[&path]].concat(), input)?;
            said.out = said.out.replace(&path, "LOG");
            let mut written = fs::read(dir.path().join("log.1.fixed")).unwrap_or_default();
            // Upstream grows its files ahead.
            written.truncate(
                written
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1),
            );
            fixed.push((said, written));
        }
        if input.contains("abort") {
            // What was written up to then is nobody's.
            fixed.iter_mut().for_each(|(_, written)| written.clear());
        }
        assert_eq!(fixed[0], fixed[1], "{options:?}");
        ensure!(fixed[0].0.out.contains("CRC"), "{:?}", fixed[0].0);
    }

    // Cut off behind a transaction, and behind one that is not there.
    for zxid in ["0x5", "6", "0x7777"] {
        let mut chopped = Vec::new();
        let [theirs, ours] = TXN_LOG.commands()?;
        for command in [theirs, ours] {
            let dir = tempfile::tempdir()?;
            let whole = dir.path().join("log.1");
            fs::copy(&filled.log, &whole)?;
            let said = said(command, &["-c", "-z", zxid, &text(&whole)], "")?;
            let files = fs::read_dir(dir.path())?.collect::<Result<Vec<_>, _>>()?;
            let cut = files
                .iter()
                .map(fs::DirEntry::path)
                .find(|path| *path != whole);
            chopped.push((
                said.out,
                said.code,
                fs::read(cut.context("nothing was written")?)?,
            ));
        }
        if zxid == "0x7777" {
            ensure!(
                (&chopped[0].0, chopped[0].1) == (&chopped[1].0, chopped[1].1),
                "{:?}",
                (&chopped[0].0, &chopped[1].0)
            );
        } else {
            assert_eq!(chopped[0], chopped[1], "{zxid}");
            ensure!(chopped[0].0.contains("Chopping at"), "{}", chopped[0].0);
        }
    }
    Ok(())
}

/// Forms of options, what lacks its other half, and numbers at the edge.
#[test]
fn options_are_taken_alike() -> Result<()> {
    let filled = fill()?;
    let (first, second, log) = (text(&filled.first), text(&filled.second), text(&filled.log));
    let glued = [format!("-l{first}"), format!("-r{second}")];
    let equal = [format!("--left={first}"), format!("-right={second}")];
    for (tool, arguments) in [
        (&COMPARER, &[&glued[0], &glued[1], "-b0", "-n=0"][..]),
        (&COMPARER, &[&equal[0], &equal[1], "--by", "2", "--n=1"]),
        (&COMPARER, &["--deb", &glued[0], &glued[1], "-b1", "-n1"]),
        (
            &COMPARER,
            &[&glued[0], "-l", &second, &glued[1], "-b", "1", "-n", "1"],
        ),
        (&COMPARER, &[&glued[0], &glued[1], "-b", "-1", "-n", "-1"]),
        (&COMPARER, &[&glued[0], &glued[1], "-b", "-n", "1"]),
        (&TXN_LOG, &["-c", &log]),
        (&TXN_LOG, &["-z", "0x5", &log]),
        (&TXN_LOG, &["-dv", "--", &log]),
        (&TXN_LOG, &["--verb", &log, "-y"]),
        (&TXN_LOG, &["-cx", &log]),
        (&TXN_LOG, &["--chop=1", &log]),
        (&TXN_LOG, &[&log, "-c", "-z"]),
        (&TXN_LOG, &["-"]),
        (&SUMMARY, &[&second, "/", "-1"]),
        (&SUMMARY, &[&second, "/", "x"]),
    ] {
        let [theirs, ours] = tool.both(arguments, "")?;
        let alike = |said: &Said| (timeless(&said.out), said.err.clone(), said.code);
        assert_eq!(alike(&theirs), alike(&ours), "{} {arguments:?}", tool.1);
    }
    for form in [
        &["-cz", "5"][..],
        &["-cz0x5"],
        &["-c", "--zxid=5"],
        &["--ch", "-zxid", "05"],
        &["-c", "-z", "5", "-z", "9"],
    ] {
        for command in TXN_LOG.commands()? {
            let dir = tempfile::tempdir()?;
            let whole = dir.path().join("log.1");
            fs::copy(&filled.log, &whole)?;
            let said = said(command, &[form, &[&text(&whole)]].concat(), "")?;
            ensure!(
                said.code == Some(0) && dir.path().join("log.1.chopped5").exists(),
                "{form:?}: {said:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn wrong_arguments_get_the_same_words() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let none = text(&dir.path().join("none"));
    for (tool, arguments) in [
        (&FORMATTER, &[][..]),
        (&FORMATTER, &["-sz", &none]),
        (&FORMATTER, &[&none]),
        (&FORMATTER, &["/"]),
        (&SUMMARY, &[]),
        (&SUMMARY, &[&none, "/"]),
        (&COMPARER, &[]),
        (&COMPARER, &["-l", &none]),
        (&COMPARER, &["-l", &none, "-r", &none, "-b", "1"]),
        (&COMPARER, &["--nothing"]),
        (&TXN_LOG, &[]),
        (&TXN_LOG, &["-h"]),
        (&TXN_LOG, &[&none]),
    ] {
        let [theirs, ours] = tool.both(arguments, "")?;
        assert_eq!(theirs, ours, "{} {arguments:?}", tool.1);
    }
    Ok(())
}

/// Our own snapshots are read by the tools that read ZooKeeper's.
#[test]
fn our_snapshots_are_shown_too() -> Result<()> {
    let filled = fill()?;
    let dir = tempfile::tempdir()?;
    let version_2 = filled.second.parent().context("no directory")?;
    let zookeepers = version_2.parent().context("no directory")?;
    let imported = said(
        Command::new(meerkat_binary()?),
        &["import", &text(zookeepers), "--to", &text(dir.path())],
        "",
    )?;
    ensure!(imported.code == Some(0), "{imported:?}");
    let snapshots = fs::read_dir(dir.path().join("snapshots"))?;
    let ours = snapshots
        .map(|entry| Ok(entry?.path()))
        .next()
        .context("no snapshot")?;
    let ours: PathBuf = ours.map_err(|error: std::io::Error| error)?;
    let [_, of_theirs] = FORMATTER.both(&["-d", &text(&filled.second)], "")?;
    let [_, of_ours] = FORMATTER.both(&["-d", &text(&ours)], "")?;
    let (theirs, ours) = (
        sorted_details(&of_theirs.out).0,
        sorted_details(&of_ours.out).0,
    );
    ensure!(theirs.len() > 20, "{theirs:?}");
    assert_eq!(theirs, ours);
    Ok(())
}
