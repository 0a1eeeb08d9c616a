//! `with-server [meerkat|zookeeper] [--config KEY=VALUE]... -- COMMAND...`
//!
//! Starts a server, sets `ZK_CONNECT` to its address, runs the command, stops the server, and ends
//! with the command's exit code.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use meerkat_compat_tests::server::{Kind, Server, Settings};

#[derive(Parser)]
#[command(about = "Runs a command beside a server of its own, named in ZK_CONNECT")]
struct Arguments {
    /// `meerkat` or `zookeeper`
    #[arg(default_value = "meerkat")]
    server: String,
    /// A line of zoo.cfg, or -Dname=value for a Java system property
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    config: Vec<String>,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// How often containers and TTL znodes are looked at.
const REAPER: &str = "-Dznode.container.checkIntervalMs=10000";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut settings = Settings::default();
    // Programs run as their users run them: with a durable disk, and a reaper that comes by often
    // enough to be seen.
    for assignment in ["forceSync=yes", "tickTime=1000", REAPER] {
        settings.set(assignment)?;
    }
    for assignment in &arguments.config {
        settings.set(assignment)?;
    }
    let mut server = Server::start(Kind::from_word(&arguments.server)?, &settings)?;
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let status = Command::new(program)
        .args(rest)
        .env("ZK_CONNECT", server.addr().to_string())
        .env("ZK_SERVER_PID", server.pid().to_string())
        .status()
        .with_context(|| format!("running {program}"))?;
    if !server.is_alive() {
        eprintln!(
            "{} ended while the command ran; its log:\n{}",
            server.kind(),
            server.log()
        );
        return Ok(ExitCode::FAILURE);
    }
    // A command that died of a signal has no code of its own.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
