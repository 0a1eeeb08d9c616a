//! `zk-server import`, `export`, `restore` and `check`: the command line, and what it prints.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use super::OfflineError;
use super::check::{self, Checked, Kind};
use super::export::{self, Export, Exported};
use super::import::{self, Import, Imported};
use super::restore::{self, Restore, Restored};
use crate::config::{Config, JvmFlags};
use crate::ensemble::Member;
use crate::server::{self, STANDALONE_ID};
use crate::upstream::load::Account;

/// Damage was found, or nothing came of it.
const EXIT_FAILED: u8 = 1;
/// Upstream's exit code for arguments and configuration that cannot be used.
const EXIT_INVALID_INVOCATION: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "zk-server",
    about = "Works on a data directory that no server runs on"
)]
struct Line {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a data directory from Apache ZooKeeper's snapshots and transaction logs
    Import(ImportArgs),
    /// Writes a snapshot that Apache ZooKeeper 3.9 starts from
    Export(ExportArgs),
    /// Makes a data directory from a snapshot, or from another one of ours as it was at some zxid
    Restore(RestoreArgs),
    /// Says what a data directory or a snapshot holds, ours or ZooKeeper's, and whether it is sound
    Check(CheckArgs),
}

/// Where the new data goes, and for whom it is.
#[derive(Debug, Args)]
struct NewArgs {
    /// The zoo.cfg of the server that is to begin with it: says where its data goes, and who its
    /// ensemble is
    #[arg(long, value_name = "ZOO_CFG", required_unless_present = "to")]
    config: Option<PathBuf>,
    /// A data directory for a server without an ensemble
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    to: Option<PathBuf>,
    /// Its dataLogDir, when it has one
    #[arg(long, value_name = "DIR", requires = "to")]
    to_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// ZooKeeper's dataDir
    from: PathBuf,
    /// ZooKeeper's dataLogDir, when it has one
    #[arg(long, value_name = "DIR")]
    from_log: Option<PathBuf>,
    #[command(flatten)]
    new: NewArgs,
    /// Import what is sound of damaged files
    #[arg(long)]
    despite_damage: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// Our dataDir, or one snapshot, ours or ZooKeeper's
    from: PathBuf,
    /// Our dataLogDir, when there is one
    #[arg(long, value_name = "DIR")]
    from_log: Option<PathBuf>,
    /// The last transaction that is wanted, 0x and hexadecimal or decimal; without it all of them
    #[arg(long, value_parser = zxid)]
    zxid: Option<i64>,
    #[command(flatten)]
    new: NewArgs,
    /// Restore what is sound of a damaged directory
    #[arg(long)]
    despite_damage: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

fn zxid(text: &str) -> Result<i64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(zxid) if zxid >= 0 => Ok(zxid),
        _ => Err("no zxid".to_owned()),
    }
}

/// Where our own data is.
#[derive(Debug, Args)]
struct OurArgs {
    /// The dataLogDir, when there is one
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// The zoo.cfg of the server: says how digests are made, and whether there are TTL znodes
    #[arg(long, value_name = "ZOO_CFG")]
    config: Option<PathBuf>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Our dataDir
    from: PathBuf,
    /// A dataDir for ZooKeeper
    to: PathBuf,
    /// Export what is sound of a damaged directory
    #[arg(long)]
    despite_damage: bool,
    #[command(flatten)]
    ours: OurArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// A dataDir, or one snapshot
    dir: PathBuf,
    #[command(flatten)]
    ours: OurArgs,
}

/// Runs one of the commands; `None` when the arguments name none of them.
#[must_use]
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    if let Some(code) = super::toolkit::run(arguments) {
        return Some(code);
    }
    let first = arguments.get(1)?.to_str()?;
    if !["import", "export", "restore", "check"].contains(&first) {
        return None;
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            let code = if error.use_stderr() {
                EXIT_INVALID_INVOCATION
            } else {
                0
            };
            let _ = error.print();
            return Some(ExitCode::from(code));
        }
    };
    let outcome = match line.what {
        What::Import(args) => import(args),
        What::Export(args) => export(args),
        What::Restore(args) => restore(args),
        What::Check(args) => check(args),
    };
    Some(outcome.unwrap_or_else(|(error, code)| {
        eprintln!("{error}");
        ExitCode::from(code)
    }))
}

/// A sentence and an exit code.
type Failure = (String, u8);

fn failed(error: OfflineError) -> Failure {
    (error.to_string(), EXIT_FAILED)
}

fn read_config(path: &Path) -> Result<Config, Failure> {
    Config::from_file(path, &JvmFlags::from_env())
        .map(|(config, _)| config)
        .map_err(|error| (error.to_string(), EXIT_INVALID_INVOCATION))
}

/// What [`NewArgs`] says.
struct New {
    to: PathBuf,
    to_log: PathBuf,
    members: Vec<Member>,
    config: Option<Config>,
}

impl NewArgs {
    fn read(self) -> Result<New, Failure> {
        let alone = |id| {
            vec![Member {
                id,
                spec: String::new(),
                is_voter: true,
            }]
        };
        let Some(path) = self.config else {
            let to = self.to.unwrap_or_default();
            return Ok(New {
                to_log: self.to_log.unwrap_or_else(|| to.clone()),
                to,
                members: alone(STANDALONE_ID),
                config: None,
            });
        };
        let config = read_config(&path)?;
        let mut members = server::members(&config);
        if members.is_empty() {
            members = alone(config.my_id.map_or(STANDALONE_ID, u64::from));
        }
        Ok(New {
            to: config.data_dir.clone(),
            to_log: config.data_log_dir.clone(),
            members,
            config: Some(config),
        })
    }
}

fn import(args: ImportArgs) -> Result<ExitCode, Failure> {
    let new = args.new.read()?;
    let import = Import {
        from_log: args.from_log.unwrap_or_else(|| args.from.clone()),
        from: args.from,
        to: new.to,
        to_log: new.to_log,
        members: new.members,
        extended_types: new.config.map(|config| config.extended_types_enabled),
        despite_damage: args.despite_damage,
    };
    let imported = import::run(&import).map_err(failed)?;
    print(args.json, &imported, import_text)?;
    Ok(ExitCode::SUCCESS)
}

fn restore(args: RestoreArgs) -> Result<ExitCode, Failure> {
    let new = args.new.read()?;
    let (config, extended_types) = match new.config {
        Some(config) => {
            let extended_types = config.extended_types_enabled;
            (config, extended_types)
        }
        // It is not known yet.
        None => (default_config()?, true),
    };
    let restore = Restore {
        from_log: args.from_log.unwrap_or_else(|| args.from.clone()),
        from: args.from,
        zxid: args.zxid,
        to: new.to,
        to_log: new.to_log,
        members: new.members,
        extended_types,
        despite_damage: args.despite_damage,
    };
    let restored = restore::run(&restore, server::schemes(&config)).map_err(failed)?;
    print(args.json, &restored, restore_text)?;
    Ok(ExitCode::SUCCESS)
}

fn export(args: ExportArgs) -> Result<ExitCode, Failure> {
    let config = args.ours.config.as_deref().map(read_config).transpose()?;
    let config = match config {
        Some(config) => config,
        None => default_config()?,
    };
    let export = Export {
        from_log: args.ours.log_dir.unwrap_or_else(|| args.from.clone()),
        from: args.from,
        to: args.to,
        despite_damage: args.despite_damage,
        schemes: server::schemes(&config),
    };
    let exported = export::run(export).map_err(failed)?;
    print(args.ours.json, &exported, export_text)?;
    Ok(ExitCode::SUCCESS)
}

fn default_config() -> Result<Config, Failure> {
    Config::embedded(&JvmFlags::from_env())
        .map(|(config, _)| config)
        .map_err(|error| (error.to_string(), EXIT_INVALID_INVOCATION))
}

fn check(args: CheckArgs) -> Result<ExitCode, Failure> {
    let log_dir = args.ours.log_dir.unwrap_or_else(|| args.dir.clone());
    let (config, extended_types) = match &args.ours.config {
        Some(path) => {
            let config = read_config(path)?;
            let extended_types = config.extended_types_enabled;
            (config, extended_types)
        }
        None => (default_config()?, true),
    };
    let schemes = server::schemes(&config);
    let checked = match check::run(&args.dir, &log_dir, schemes, extended_types) {
        Ok(checked) => checked,
        Err(error) if args.ours.json => Checked {
            kind: Kind::Unreadable,
            held: None,
            remarks: Vec::new(),
            damage: vec![error.to_string()],
        },
        Err(error) => return Err(failed(error)),
    };
    print(args.ours.json, &checked, check_text)?;
    Ok(if checked.damage.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    })
}

fn print<T: Serialize>(json: bool, what: &T, text: impl Fn(&T) -> String) -> Result<(), Failure> {
    let text = if json {
        let json = serde_json::to_string_pretty(what);
        json.map_err(|error| (error.to_string(), EXIT_FAILED))? + "\n"
    } else {
        text(what)
    };
    // Whoever has stopped reading does not want the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn import_text(imported: &Imported) -> String {
    let mut text = account_text(&imported.read);
    text.push_str(&format!(
        "imported {} znodes, {} of them ephemeral, and {} sessions\n",
        imported.znodes, imported.ephemerals, imported.sessions
    ));
    text.push_str(&digest_text(&imported.zookeeper_digest));
    if imported.wants_extended_types {
        text.push_str("there are TTL znodes: the server must have extendedTypesEnabled=true\n");
    }
    text.push_str(&format!("wrote {}\n", imported.snapshot.display()));
    text.push_str(&format!("goes on behind zxid {}\n", imported.zxid));
    text.push_str(&copies_text(&imported.members));
    text
}

fn restore_text(restored: &Restored) -> String {
    let mut text = String::new();
    for why in &restored.snapshots_passed_over {
        text.push_str(&format!("passed over: {why}\n"));
    }
    for why in restored.damage.iter().chain(&restored.remark) {
        text.push_str(&format!("{why}\n"));
    }
    text.push_str(&format!(
        "restored zxid {}: {} znodes, {} of them ephemeral, and {} sessions; digest {}\n",
        restored.restored_zxid,
        restored.znodes,
        restored.ephemerals,
        restored.sessions,
        restored.digest
    ));
    text.push_str(&format!("wrote {}\n", restored.snapshot.display()));
    text.push_str(&format!("goes on behind zxid {}\n", restored.zxid));
    text.push_str(&copies_text(&restored.members));
    text
}

/// What is left to do for an ensemble.
fn copies_text(members: &[u64]) -> String {
    if members.len() < 2 {
        return String::new();
    }
    format!(
        "copy this dataDir and dataLogDir to each of the servers {members:?} before any of them starts\n"
    )
}

fn export_text(exported: &Exported) -> String {
    let mut text = String::new();
    for why in &exported.snapshots_passed_over {
        text.push_str(&format!("passed over: {why}\n"));
    }
    for why in &exported.damage {
        text.push_str(&format!("{why}\n"));
    }
    text.push_str(&format!(
        "exported {} znodes, {} of them ephemeral, and {} sessions\n",
        exported.znodes, exported.ephemerals, exported.sessions
    ));
    text.push_str(&digest_text(&exported.zookeeper_digest));
    if exported.sessions_with_other_password > 0 {
        text.push_str(&format!(
            "{} sessions are not ZooKeeper's: their clients will begin new ones\n",
            exported.sessions_with_other_password
        ));
    }
    text.push_str(&format!("wrote {}\n", exported.snapshot.display()));
    text
}

fn digest_text(digest: &str) -> String {
    format!("ZooKeeper's digest of the tree is {digest}\n")
}

fn account_text(account: &Account) -> String {
    let mut text = String::new();
    for why in &account.snapshots_passed_over {
        text.push_str(&format!("passed over: {why}\n"));
    }
    if let Some(snapshot) = &account.snapshot {
        text.push_str(&format!(
            "read {}: {} znodes, {} sessions\n",
            snapshot.path.display(),
            snapshot.znodes,
            snapshot.sessions
        ));
    }
    for log in &account.logs {
        let range = match (&log.first_zxid, &log.last_zxid) {
            (Some(first), Some(last)) => format!("{} records, {first} to {last}", log.records),
            _ => "no records".to_owned(),
        };
        let torn = if log.is_torn {
            "; the last one was not written whole and is left out"
        } else {
            ""
        };
        text.push_str(&format!("read {}: {range}{torn}\n", log.path.display()));
    }
    text.push_str(&format!(
        "applied {} records up to zxid {}, and compared the digest {} times\n",
        account.txns, account.last_zxid, account.digests_compared
    ));
    let excused = account.digest_differs.as_ref();
    if let Some(what) = excused.filter(|what| !account.damage.contains(what)) {
        text.push_str(&format!(
            "{what}; the snapshot was written under load, and ZooKeeper, too, repairs it so\n"
        ));
    }
    for what in &account.unverified {
        text.push_str(&format!("{what}\n"));
    }
    for path in &account.orphaned_ephemerals {
        text.push_str(&format!("left out {path}: its session is gone\n"));
    }
    for why in &account.damage {
        text.push_str(&format!("damage: {why}\n"));
    }
    text
}

fn check_text(checked: &Checked) -> String {
    let mut text = match &checked.kind {
        Kind::ZooKeeper { account, .. } => account_text(account),
        Kind::Meerkat(ours) => {
            let mut text = String::new();
            for path in &ours.snapshots {
                text.push_str(&format!("snapshot {}\n", path.display()));
            }
            if let (Some(first), Some(last)) = (ours.first_log_index, ours.last_log_index) {
                text.push_str(&format!("log entries {first} to {last}\n"));
            }
            if let Some(path) = &ours.snapshot_used {
                text.push_str(&format!(
                    "read {} and {} entries behind it\n",
                    path.display(),
                    ours.entries_applied
                ));
            }
            for server in &ours.members {
                let role = if server.votes { "votes" } else { "observes" };
                text.push_str(&format!("server {} {} {role}\n", server.id, server.address));
            }
            text
        }
        Kind::Snapshot { path, of } => format!("read {}, a snapshot of {of}\n", path.display()),
        Kind::Unreadable => String::new(),
    };
    for what in &checked.remarks {
        text.push_str(&format!("{what}\n"));
    }
    // An account has told its own.
    if !matches!(checked.kind, Kind::ZooKeeper { .. }) {
        for why in &checked.damage {
            text.push_str(&format!("damage: {why}\n"));
        }
    }
    match &checked.held {
        None => text.push_str("nothing can be read\n"),
        Some(held) => text.push_str(&format!(
            "{} znodes, {} of them ephemeral, {} bytes of data, {} sessions, {} quotas\nzxid {}, digest {}, ZooKeeper's {}\n",
            held.znodes,
            held.ephemerals,
            held.data_bytes,
            held.sessions,
            held.quotas,
            held.zxid,
            held.digest,
            held.zookeeper_digest
        )),
    }
    text.push_str(if checked.damage.is_empty() {
        "sound\n"
    } else {
        "not sound\n"
    });
    text
}
