//! Data that moves: from a real ZooKeeper's directory to ours, and back.
//!
//! What a real ZooKeeper shows when it is restarted on a copy is compared with what Meerkat shows
//! that was given the same files: each znode with its data, Stat and access control list, each
//! session with its time-out, and that clients go on with theirs.

mod at_rest;
mod damage;
mod fill;
mod from_zookeeper;
mod kafka;
mod to_zookeeper;
mod view;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::server::{Settings, meerkat_binary};
use serde_json::Value;

/// Runs `zk-server` with these arguments.
fn zk_server(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(meerkat_binary()?);
    command.args(arguments).env_remove("SERVER_JVMFLAGS");
    command.output().with_context(|| format!("{command:?}"))
}

/// Runs it and expects it to work; what it printed, as JSON.
fn zk_server_json(arguments: &[&str]) -> Result<Value> {
    let output = zk_server(&[arguments, &["--json"]].concat())?;
    ensure!(
        output.status.success(),
        "{arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> &str {
    path.to_str()
        .expect("temporary directories have plain names")
}

/// Copies a directory and everything below.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// ZooKeeper grows its logs ahead by 64 MiB unless told otherwise, and there are many of them.
const GROW_BY_LITTLE: &str = "preAllocSize=256";

/// Sessions must outlive a test, and differ.
const LONG_SESSIONS: &str = "maxSessionTimeout=600000";

fn settings(assignments: &[&str]) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.set(GROW_BY_LITTLE)?;
    settings.set(LONG_SESSIONS)?;
    for assignment in assignments {
        settings.set(assignment)?;
    }
    Ok(settings)
}
