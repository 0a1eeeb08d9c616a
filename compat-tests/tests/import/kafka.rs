//! What two Kafka brokers have left in a real ZooKeeper.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::change::{PATIENCE, POLL};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::server::{Kind, Server};
use tempfile::TempDir;

use crate::fill::{Fill, Release, Run};
use crate::from_zookeeper::{OFTEN, REQUESTS, SESSIONS, compare};
use crate::settings;

/// Topics, partitions, a controller, configurations, access control lists and users; clients that go
/// on with their sessions come on top.
#[test]
fn data_of_kafka() -> Result<()> {
    let zookeeper = settings(&[OFTEN])?;
    let data = TempDir::with_prefix("meerkat-import-")?;
    let server = Server::start_on(Kind::ZooKeeper, &zookeeper, data.path())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/run");
    let output = Command::new(&script)
        .arg("--keep")
        .env("ZK_CONNECT", server.addr().to_string())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}");
    let mut admin = Admin::connect(server.addr())?;
    let kafka = admin.children("/")?;
    let kafka = kafka.iter().find(|name| name.starts_with("kafka-"));
    let kafka = kafka.with_context(|| format!("Kafka has left nothing: {said}"))?;
    for (parent, least) in [
        ("brokers/topics", 3),
        ("kafka-acl/Topic", 1),
        ("config/users", 1),
    ] {
        let found = admin.children(&format!("/{kafka}/{parent}"))?;
        ensure!(found.len() >= least, "Kafka has left {found:?} in {parent}");
    }
    // The brokers were killed: their sessions would expire at one server before the other is asked.
    let deadline = Instant::now() + PATIENCE;
    while !admin.children(&format!("/{kafka}/brokers/ids"))?.is_empty() {
        ensure!(Instant::now() < deadline, "the brokers do not go");
        std::thread::sleep(POLL);
    }
    admin.close()?;
    let mut fill = Fill::new(7, Release::New);
    fill.open(&server, SESSIONS)?;
    fill.prepare()?;
    ensure!(fill.run(&server, REQUESTS)? == Run::Done, "it is gone");
    server.kill()?;
    fill.hang_up();
    compare(data.path(), &zookeeper, &fill.sessions())?;
    Ok(())
}
