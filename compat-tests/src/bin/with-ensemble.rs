//! `with-ensemble [--voters 3] [--observers 0] [--set KEY=VALUE]... meerkat|zookeeper -- COMMAND...`
//!
//! Starts an ensemble, runs the command with `ZK_CONNECT` (all servers) and `ZK_CONTROL` (a TCP
//! address), stops the servers, and ends with the command's exit code.
//!
//! At `ZK_CONTROL` the command disturbs the servers. It sends lines and gets one line back for each,
//! `ok ...` or `error ...`, when the deed is done. N is a server's id, from 1, or `leader`.
//!
//! ```text
//! leader        the id of the leader, waited for
//! ids           the ids of all servers
//! addr N        its client address
//! pid N         its process
//! role N        leader, follower, observer, standalone, read-only, or none
//! kill N        SIGKILL
//! pause N       SIGSTOP
//! resume N      SIGCONT
//! terminate N   SIGTERM, and its end is waited for
//! start N       starts it and waits until it serves
//! launch N      starts it and does not wait
//! wipe N        kills it if it runs, and removes all that it has stored but myid
//! roll          stops and starts one running server after the other, the leader last
//! wait          until all running servers that are not paused serve, and one leads
//! ```
//!
//! Where a server is meant, the answer begins with its id: `ok 2`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Parser;
use meerkat_compat_tests::ensemble::Ensemble;
use meerkat_compat_tests::server::{Kind, Settings};

#[derive(Parser)]
#[command(about = "Runs a command beside an ensemble of its own, named in ZK_CONNECT")]
struct Arguments {
    /// `meerkat` or `zookeeper`
    #[arg(default_value = "meerkat")]
    server: String,
    #[arg(long, default_value_t = 3)]
    voters: usize,
    #[arg(long, default_value_t = 0)]
    observers: usize,
    /// A line of zoo.cfg, or -Dname=value for a Java system property
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    set: Vec<String>,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// As `with-server` has them: a durable disk, and a reaper that comes by often enough to be seen.
const SETTINGS: [&str; 3] = [
    "forceSync=yes",
    "tickTime=1000",
    "-Dznode.container.checkIntervalMs=10000",
];
/// No command is longer.
const LINE_BYTES_MAX: u64 = 200;

/// Taken out when the command has ended.
type Shared = Arc<Mutex<Option<Ensemble>>>;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut settings = Settings::default();
    for assignment in SETTINGS {
        settings.set(assignment)?;
    }
    for assignment in &arguments.set {
        settings.set(assignment)?;
    }
    let kind = Kind::from_word(&arguments.server)?;
    let (voters, observers) = (arguments.voters, arguments.observers);
    let mut ensemble = Ensemble::start(kind, voters, observers, &settings)?;
    ensemble.wait_for_leader()?;
    let connect = ensemble.connect_string();
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let control_addr = control.local_addr()?;
    let ensemble: Shared = Arc::new(Mutex::new(Some(ensemble)));
    let served = Arc::clone(&ensemble);
    thread::spawn(move || serve(&control, &served));

    let (program, rest) = arguments.command.split_first().context("no command")?;
    let status = Command::new(program)
        .args(rest)
        .env("ZK_CONNECT", connect)
        .env("ZK_CONTROL", control_addr.to_string())
        .status()
        .with_context(|| format!("running {program}"))?;
    let ensemble = ensemble
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // Dropped at the end of this function, and with it the servers and their directories.
    let mut ensemble = ensemble.context("the ensemble is taken once")?;
    let crashed = ensemble.crashed()?;
    for (id, end) in &crashed {
        eprintln!("{kind} server {id} ended while the command ran, {end}");
    }
    if !crashed.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    // A command that died of a signal has no code of its own.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn serve(control: &TcpListener, ensemble: &Shared) {
    for stream in control.incoming().flatten() {
        let ensemble = Arc::clone(ensemble);
        thread::spawn(move || {
            // Whoever closes its end has heard enough.
            let _ = converse(stream, &ensemble);
        });
    }
}

fn converse(mut stream: TcpStream, ensemble: &Shared) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        input.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let answer = {
            let mut ensemble = ensemble.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(ensemble) = ensemble.as_mut() else {
                return Ok(());
            };
            perform(ensemble, line.trim())
        };
        let answer = match answer {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("error {error:#}").replace('\n', " "),
        };
        stream.write_all(format!("{}\n", answer.trim_end()).as_bytes())?;
    }
}

fn perform(ensemble: &mut Ensemble, line: &str) -> Result<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let (verb, server) = match words[..] {
        ["leader"] => return Ok(ensemble.wait_for_leader()?.to_string()),
        ["ids"] => {
            let ids: Vec<_> = ensemble.ids().map(|id| id.to_string()).collect();
            return Ok(ids.join(" "));
        }
        ["roll"] => return ensemble.roll().map(|()| String::new()),
        ["wait"] => {
            for id in ensemble.ids() {
                if ensemble.is_running(id) && !ensemble.is_paused(id) {
                    ensemble.wait_serving(id)?;
                }
            }
            return Ok(ensemble.wait_for_leader()?.to_string());
        }
        [verb, server] => (verb, server),
        _ => bail!("not a command: {line}"),
    };
    let id = match server {
        "leader" => ensemble.wait_for_leader()?,
        server => server
            .parse()
            .with_context(|| format!("not a server: {server}"))?,
    };
    if !ensemble.ids().contains(&id) {
        bail!("there is no server {id}");
    }
    match verb {
        "addr" => return Ok(format!("{id} {}", ensemble.addr(id))),
        "pid" => return Ok(format!("{id} {}", ensemble.pid(id)?)),
        "role" => {
            let role = ensemble.role(id).map(|role| role.to_string());
            return Ok(format!("{id} {}", role.as_deref().unwrap_or("none")));
        }
        "kill" => ensemble.kill(id)?,
        "pause" => ensemble.pause(id)?,
        "resume" => ensemble.resume(id)?,
        "terminate" => ensemble.terminate(id)?,
        "start" => ensemble.start_one(id)?,
        "launch" => ensemble.launch(id)?,
        "wipe" => ensemble.wipe(id)?,
        _ => bail!("not a command: {line}"),
    }
    Ok(id.to_string())
}
