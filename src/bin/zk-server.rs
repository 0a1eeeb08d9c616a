//! The server: arguments, logging, exit code.
//!
//! `zk-server` alone uses embedded defaults, `zk-server FILE` reads a zoo.cfg, and
//! `zk-server PORT DIR [TICK [CONNECTIONS]]` is upstream's short form. `zk-server import`, `export`,
//! `restore` and `check` work on a data directory that no server runs on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use meerkat::config::{Config, ConfigError, JvmFlags, Notice, NoticeLevel};
use meerkat::ensemble::StartError;
use meerkat::server::{ServeError, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Upstream's exit code for arguments and configuration that cannot be used.
const EXIT_INVALID_INVOCATION: u8 = 2;
const EXIT_FAILED: u8 = 1;
/// Upstream's exit code for a data directory that cannot be used.
const EXIT_DATA_DIR: u8 = 3;

/// Upstream's exit code for an admin server that cannot be started.
const EXIT_ADMIN: u8 = 4;

const USAGE: &str = "\
Usage: zk-server                                           a server with its embedded default
       zk-server ZOO_CFG                                   a server
       zk-server PORT DATA_DIR [TICK_TIME [CONNECTIONS]]   a server without a configuration
       zk-server --version

On a data directory that no server runs on; `zk-server COMMAND --help` says more:
  import DIR    makes one from Apache ZooKeeper's
  export DIR TO writes a snapshot that Apache ZooKeeper starts from
  restore DIR   makes one from a snapshot, or as it was at some zxid
  check DIR     says what it holds, and whether it is sound

On single files, as ZooKeeper's tools of these names:
  snapshot-formatter, snapshot-comparer, snapshot-recursive-summary, txn-log-toolkit

From the environment: SERVER_JVMFLAGS and JVMFLAGS (their -Dname=value words), MEERKAT_LOG (debug, info,
warn, error, off) and MEERKAT_LOG_FORMAT (text, json).";

fn main() -> ExitCode {
    let all: Vec<_> = std::env::args_os().collect();
    if let Some(code) = meerkat::offline::command::run(&all) {
        return code;
    }
    match all.get(1).and_then(|first| first.to_str()) {
        Some("--version") => {
            println!("Meerkat, version {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if let Err(error) = meerkat::logging::install() {
        eprintln!("{error}");
        return ExitCode::from(EXIT_INVALID_INVOCATION);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (config, notices) = match load(&arguments) {
        Ok(loaded) => loaded,
        Err(error) => {
            let code = match error.is_found_at_start() {
                true => EXIT_FAILED,
                false => EXIT_INVALID_INVOCATION,
            };
            return failed(&error, code);
        }
    };
    for notice in notices {
        match notice.level {
            NoticeLevel::Info => tracing::info!(key = notice.key, "{}", notice.text),
            NoticeLevel::Warn => tracing::warn!(key = notice.key, "{}", notice.text),
        }
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&format!("cannot start the runtime: {error}"), EXIT_FAILED);
        }
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match error {
                ServeError::Start(StartError::Storage(_)) => EXIT_DATA_DIR,
                ServeError::Admin(_) => EXIT_ADMIN,
                _ => EXIT_FAILED,
            };
            failed(&error, code)
        }
    }
}

/// Says why the server does not serve, to whoever started it and to whoever reads its log, once if
/// they are the same. Then comes upstream's last line, which scripts look for.
fn failed(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    tracing::error!("{error}");
    let is_said = tracing::enabled!(tracing::Level::ERROR) && is_stderr_the_log();
    if !is_said {
        eprintln!("{error}");
    }
    let what = match code {
        EXIT_INVALID_INVOCATION => "Invalid config",
        EXIT_DATA_DIR => "Unable to access datadir",
        EXIT_ADMIN => "Unable to start AdminServer",
        _ => return ExitCode::from(code),
    };
    eprintln!("{what}, exiting abnormally");
    ExitCode::from(code)
}

/// Whether both streams go to one file or terminal.
fn is_stderr_the_log() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |fd: &str| {
        let file = std::fs::metadata(Path::new("/proc/self/fd").join(fd)).ok()?;
        Some((file.dev(), file.ino(), file.rdev()))
    };
    place("1").is_some_and(|out| place("2") == Some(out))
}

fn load(arguments: &[String]) -> Result<(Config, Vec<Notice>), ConfigError> {
    let flags = JvmFlags::from_env();
    match arguments {
        [] => Config::embedded(&flags),
        [file] => Config::from_file(Path::new(file), &flags),
        _ => Config::from_args(arguments, &flags),
    }
}

/// The program that is there now where this one was started: after an upgrade in place the system
/// calls the file of a process by its old name and this suffix.
fn program_at(running: PathBuf) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    match running.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) if !running.exists() => Path::new(OsStr::from_bytes(path)).to_owned(),
        _ => running,
    }
}

/// Replaces this process by a new one with the same arguments and id; returns when that fails.
fn begin_anew() -> ServeError {
    use std::os::unix::process::CommandExt as _;
    tracing::warn!("the data was set aside; starting anew to fetch the state from the leader");
    let program = std::env::current_exe().map_or_else(|_| "zk-server".into(), program_at);
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    ServeError::Thread(error)
}

/// Asks the process to end: SIGTERM or SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn caught(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(config: Config) -> Result<(), ServeError> {
    // First of all: to process 1 of a container a signal that it does not catch yet is lost.
    let mut stop = StopSignals::catch().map_err(ServeError::Thread)?;
    // A task of its own, for it may block its thread.
    let starting = tokio::spawn(Server::start(config));
    let server = tokio::select! {
        started = starting => started.map_err(|error| ServeError::Thread(error.into()))??,
        () = stop.caught() => {
            tracing::info!("stopped before it serves");
            // Recovery cannot be interrupted and needs no end: it is as after a crash. Nothing that
            // it still uses may be torn down by a usual exit.
            signal_hook::low_level::exit(0)
        }
    };
    for address in server.addresses() {
        tracing::info!(%address, "serving clients");
    }
    // Whoever started us with a socket for it, as systemd does, waits for this.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager could not be told that the server serves");
    }
    tokio::select! {
        () = stop.caught() => {}
        () = server.diverged() => {
            server.set_aside().await?;
            return Err(begin_anew());
        }
    }
    tracing::info!("stopping");
    server.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_program_is_found_under_its_name() {
        let check = |running: &str, expected: &str| {
            assert_eq!(program_at(running.into()), Path::new(expected));
        };
        check("/no/such/zk-server (deleted)", "/no/such/zk-server");
        check("/no/such/zk-server", "/no/such/zk-server");
        let dir = tempfile::tempdir().expect("a directory");
        let odd = dir.path().join("zk-server (deleted)");
        std::fs::write(&odd, "").expect("a file");
        assert_eq!(program_at(odd.clone()), odd);
    }
}
