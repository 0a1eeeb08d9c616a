//! Files that are not what ZooKeeper wrote, and targets that are not empty.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::attempt::create;
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::server::{Kind, Server};
use tempfile::TempDir;

use crate::fill::{Fill, Release, Run};
use crate::{copy, settings, text, zk_server, zk_server_json};

/// A small directory of ZooKeeper's with several snapshots and logs, made once.
pub(crate) fn sound() -> Result<&'static Path> {
    static DATA: OnceLock<Result<TempDir, String>> = OnceLock::new();
    let make = || -> Result<TempDir> {
        let data = TempDir::with_prefix("meerkat-import-")?;
        let server =
            Server::start_on(Kind::ZooKeeper, &settings(&["snapCount=300"])?, data.path())?;
        let mut fill = Fill::new(8, Release::New);
        fill.open(&server, 4)?;
        fill.prepare()?;
        ensure!(fill.run(&server, 2000)? == Run::Done, "it is gone");
        fill.settle()?;
        server.kill()?;
        Ok(data)
    };
    let made = DATA.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref()
        .map(TempDir::path)
        .map_err(|why| anyhow::anyhow!("{why}"))
}

/// Writes to a server that does nothing else meanwhile.
const QUIET_WRITES: u64 = 10;

struct Case {
    dir: TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Case {
    fn new() -> Result<Self> {
        let dir = TempDir::with_prefix("meerkat-import-")?;
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        copy(sound()?, &from)?;
        let case = Self { dir, from, to };
        for prefix in ["snapshot.", "log."] {
            ensure!(case.files(prefix)?.len() > 2, "too few of {prefix}");
        }
        Ok(case)
    }

    /// One log behind an empty snapshot: nothing was written under load, so that every digest agrees.
    fn quiet() -> Result<Self> {
        let dir = TempDir::with_prefix("meerkat-import-")?;
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let server = Server::start_on(Kind::ZooKeeper, &settings(&[])?, &from)?;
        let mut session = Admin::connect(server.addr())?;
        for number in 0..QUIET_WRITES {
            let path = format!("/quiet-{number}");
            let (err, _) = session.ask(&create("create", &path, 0))?;
            ensure!(err == 0, "{path}: {err}");
        }
        server.kill()?;
        Ok(Self { dir, from, to })
    }

    /// Files by the zxid in their names, newest first.
    fn files(&self, prefix: &str) -> Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.from.join("version-2"))? {
            let path = entry?.path();
            let name = path
                .file_name()
                .context("a name")?
                .to_string_lossy()
                .into_owned();
            if let Some(hex) = name.strip_prefix(prefix) {
                files.push((u64::from_str_radix(hex, 16)?, path));
            }
        }
        files.sort();
        files.reverse();
        Ok(files)
    }

    fn import(&self, more: &[&str]) -> Result<std::process::Output> {
        let arguments = ["import", text(&self.from), "--to", text(&self.to)];
        zk_server(&[&arguments[..], more].concat())
    }

    /// Nothing is imported, for this reason.
    fn refused(&self, why: &[&str]) -> Result<()> {
        let output = self.import(&[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        for words in why {
            ensure!(said.contains(words), "{words:?} is not in {said:?}");
        }
        let left = fs::read_dir(&self.to).map(Iterator::count).unwrap_or(0);
        ensure!(left == 0, "{left} files are left");
        Ok(())
    }
}

/// The newest log that has records behind the newest snapshot, and where its zeros begin.
fn last_log(case: &Case) -> Result<(PathBuf, usize)> {
    let (_, path) = case.files("log.")?.into_iter().next().context("no log")?;
    let bytes = fs::read(&path)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .context("an empty log")?;
    Ok((path, end + 1))
}

#[test]
fn a_changed_byte_in_the_log_is_told_and_nothing_imported() -> Result<()> {
    let case = Case::new()?;
    let (path, end) = last_log(&case)?;
    let mut bytes = fs::read(&path)?;
    // Inside of the last record, which ends with its mark.
    bytes[end - 3] ^= 0x20;
    fs::write(&path, bytes)?;
    case.refused(&[
        "nothing was imported",
        "read up to zxid 0x",
        "checksum",
        text(&path),
    ])?;
    let checked = zk_server(&["check", text(&case.from)])?;
    ensure!(checked.status.code() == Some(1), "check finds nothing");

    let whole = zk_server_json(&["check", text(sound()?)])?;
    let output = case.import(&["--despite-damage", "--json"])?;
    ensure!(output.status.success(), "{output:?}");
    let imported: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let zxid = |value: &serde_json::Value| -> Result<u64> {
        let hex = value.as_str().and_then(|text| text.strip_prefix("0x"));
        Ok(u64::from_str_radix(hex.context("no zxid")?, 16)?)
    };
    ensure!(
        zxid(&imported["read"]["last_zxid"])? + 1 == zxid(&whole["zxid"])?,
        "all but the last record are there: {imported}"
    );
    Ok(())
}

#[test]
fn a_record_that_was_not_written_whole_is_left_out() -> Result<()> {
    let case = Case::new()?;
    // A snapshot that was under way until the last record cannot do without it.
    for (_, newest) in case.files("snapshot.")? {
        let checked = zk_server_json(&["check", text(&case.from)])?;
        if checked["snapshot"]["written_until"] != checked["zxid"] {
            break;
        }
        fs::remove_file(newest)?;
    }
    let (path, end) = last_log(&case)?;
    let mut bytes = fs::read(&path)?;
    bytes[end - 9..end].fill(0);
    fs::write(&path, bytes)?;
    let imported = zk_server_json(&["import", text(&case.from), "--to", text(&case.to)])?;
    let logs = imported["read"]["logs"].as_array().context("no logs")?;
    ensure!(
        logs.last().is_some_and(|log| log["is_torn"] == true),
        "{imported}"
    );
    Ok(())
}

/// As zlib has it.
pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    b << 16 | a
}

#[test]
fn a_digest_that_differs_behind_others_that_agreed_is_damage() -> Result<()> {
    let case = Case::quiet()?;
    let sound = zk_server_json(&["check", text(&case.from)])?;
    ensure!(sound["digest_differs"].is_null(), "{sound}");
    let compared = sound["digests_compared"].as_u64();
    ensure!(compared >= Some(QUIET_WRITES), "{sound}");
    let (path, end) = last_log(&case)?;
    let mut bytes = fs::read(&path)?;
    // Of the last record with a digest: one that was no error.
    let is_error = |payload: &[u8]| payload[28..32] == [0xff; 4];
    let records = records(&bytes[..end])?;
    let mut with_digest = records
        .into_iter()
        .filter(|at| !is_error(&bytes[at.clone()]));
    let payload = with_digest.next_back().context("no record")?;
    bytes[payload.end - 1] ^= 1;
    let checksum = u64::from(adler32(&bytes[payload.clone()]));
    let head = payload.start - 12;
    bytes[head..head + 8].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, bytes)?;
    case.refused(&["the digest of the tree is"])
}

/// Where the records of a log are, without checksum, length and mark.
fn records(log: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut records = Vec::new();
    let mut at = 16;
    while at + 1 < log.len() {
        let len = u32::from_be_bytes(log[at + 8..at + 12].try_into()?) as usize;
        records.push(at + 12..at + 12 + len);
        at += 12 + len + 1;
    }
    Ok(records)
}

/// Whatever is changed of a record that has others behind it: it was acknowledged.
#[test]
fn damage_in_the_middle_of_the_last_log_is_told_with_its_byte() -> Result<()> {
    let case = Case::new()?;
    let (path, end) = last_log(&case)?;
    let sound = fs::read(&path)?;
    let records = records(&sound[..end])?;
    let payload = records[records.len() / 2].clone();
    let head = payload.start - 12;
    type Change<'a> = &'a dyn Fn(&mut [u8]);
    let changes: [(&str, Change<'_>); 6] = [
        ("mark", &|bytes| bytes[payload.end] ^= 1),
        ("no mark", &|bytes| bytes[payload.end] = 0),
        ("no length", &|bytes| bytes[head + 8..head + 12].fill(0)),
        ("length -1", &|bytes| bytes[head + 8..head + 12].fill(0xff)),
        ("long length", &|bytes| bytes[head + 8] ^= 0x10),
        ("zeros", &|bytes| bytes[head..payload.end + 1].fill(0)),
    ];
    for (what, change) in changes {
        let mut bytes = sound.clone();
        change(&mut bytes);
        fs::write(&path, bytes)?;
        let at = format!("damaged at byte {head}");
        case.refused(&[&at]).context(what)?;
    }
    Ok(())
}

#[test]
fn a_missing_log_is_told() -> Result<()> {
    let case = Case::new()?;
    // Only the oldest snapshot is left, and one log in the middle is not.
    let snapshots = case.files("snapshot.")?;
    for (_, path) in &snapshots[..snapshots.len() - 1] {
        fs::remove_file(path)?;
    }
    let logs = case.files("log.")?;
    fs::remove_file(&logs[logs.len() / 2].1)?;
    case.refused(&["are missing"])
}

#[test]
fn an_older_snapshot_stands_in_for_a_damaged_one() -> Result<()> {
    let case = Case::new()?;
    let whole = zk_server_json(&["check", text(&case.from)])?;
    for (_, path) in &case.files("snapshot.")?[..2] {
        let mut bytes = fs::read(path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes)?;
    }
    let imported = zk_server_json(&["import", text(&case.from), "--to", text(&case.to)])?;
    let passed_over = imported["read"]["snapshots_passed_over"].as_array();
    ensure!(
        passed_over.is_some_and(|list| list.len() == 2),
        "{imported}"
    );
    for name in ["znodes", "sessions", "ephemerals"] {
        ensure!(imported[name] == whole[name], "{name}: {imported}");
    }
    // Nothing is left of all snapshots: the log does not reach back to the beginning by itself.
    let other = Case::new()?;
    for (_, path) in other.files("snapshot.")? {
        fs::write(&path, b"ZKSN")?;
    }
    other.refused(&["no snapshot is sound"])
}

#[test]
fn what_is_there_stays() -> Result<()> {
    let case = Case::new()?;
    zk_server_json(&["import", text(&case.from), "--to", text(&case.to)])?;
    let before = zk_server_json(&["check", text(&case.to)])?;
    let again = case.import(&[])?;
    ensure!(again.status.code() == Some(1), "imported twice");
    let said = String::from_utf8_lossy(&again.stderr);
    ensure!(said.contains("holds data already"), "{said}");
    ensure!(
        zk_server_json(&["check", text(&case.to)])? == before,
        "it was changed"
    );

    let out = case.dir.path().join("out");
    zk_server_json(&["export", text(&case.to), text(&out)])?;
    let again = zk_server(&["export", text(&case.to), text(&out)])?;
    ensure!(again.status.code() == Some(1), "exported twice");
    Ok(())
}

#[test]
fn ttl_znodes_want_a_server_that_knows_them() -> Result<()> {
    let case = Case::new()?;
    let config = case.dir.path().join("zoo.cfg");
    let text_of = |extended| {
        format!(
            "dataDir={}\nclientPort=2181\nextendedTypesEnabled={extended}\n",
            text(&case.to)
        )
    };
    fs::write(&config, text_of(false))?;
    let arguments = ["import", text(&case.from), "--config", text(&config)];
    let output = zk_server(&arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.contains("TTL"),
        "{said}"
    );
    fs::write(&config, text_of(true))?;
    zk_server_json(&arguments)?;
    Ok(())
}

#[test]
fn nothing_to_import_is_no_success() -> Result<()> {
    let dir = TempDir::with_prefix("meerkat-import-")?;
    let to = dir.path().join("to");
    for from in [dir.path().join("missing"), dir.path().to_owned()] {
        let output = zk_server(&["import", text(&from), "--to", text(&to)])?;
        ensure!(output.status.code() == Some(1), "{output:?}");
    }
    fs::create_dir_all(dir.path().join("version-2"))?;
    let output = zk_server(&["import", text(dir.path()), "--to", text(&to)])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("neither a snapshot nor a log"), "{said}");
    ensure!(!to.exists(), "something was written");
    Ok(())
}
