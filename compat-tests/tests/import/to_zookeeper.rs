//! A real ZooKeeper goes on with what ours exports.

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::server::{Kind, Server, Settings};
use tempfile::TempDir;

use crate::fill::{Fill, Release, Run};
use crate::view::{View, next_names};
use crate::{settings, text, zk_server_json};

/// Filled by a real one, imported, written to by ours, and back again.
#[test]
fn there_and_back() -> Result<()> {
    let dir = TempDir::with_prefix("meerkat-export-")?;
    let [old, ours, new] = ["old", "ours", "new"].map(|name| dir.path().join(name));
    let settings = settings(&["snapCount=700"])?;
    let mut fill = Fill::new(7, Release::New);
    {
        let server = Server::start_on(Kind::ZooKeeper, &settings, &old)?;
        fill.open(&server, 4)?;
        fill.prepare()?;
        ensure!(fill.run(&server, 2000)? == Run::Done, "it is gone");
        fill.settle()?;
        fill.hang_up();
    }
    let kept = fill.sessions();
    zk_server_json(&["import", text(&old), "--to", text(&ours)])?;
    let parents = Fill::parents();
    let (expected, names) = {
        let server = Server::start_on(Kind::Meerkat, &settings, &ours)?;
        fill.open(&server, 4)?;
        ensure!(fill.run(&server, 4000)? == Run::Done, "it is gone");
        fill.settle()?;
        fill.hang_up();
        let names = next_names(&server, &parents)?;
        (View::of(&server, &kept)?, names)
    };
    let exported = zk_server_json(&["export", text(&ours), text(&new)])?;
    ensure!(
        exported["sessions_with_other_password"].as_u64() > Some(0),
        "{exported}"
    );
    let server = Server::start_on(Kind::ZooKeeper, &Settings::default(), &new)?;
    let mut found = View::of(&server, &kept)?;
    let log = server.log();
    ensure!(!log.contains("Digests are not matching"), "{log}");
    // Sessions were touched at different times.
    let ids = |view: &View| -> Vec<String> {
        let mut ids: Vec<String> = view.expiry.concat();
        ids.sort();
        ids
    };
    let lost = ids(&expected)
        .into_iter()
        .find(|id| !ids(&found).contains(id));
    ensure!(lost.is_none(), "session {lost:?} was lost");
    found.expiry = expected.expiry.clone();
    expected.compare(&found)?;
    let next = next_names(&server, &parents)?;
    let after = |name: &String| -> Result<u64> {
        let digits = name.rsplit("6e6578742d").next().context("no name")?;
        let digits: String = digits.chars().skip(1).step_by(2).collect();
        Ok(digits.parse()?)
    };
    for (before, behind) in names.iter().zip(&next) {
        ensure!(
            after(before)? + 1 == after(behind)?,
            "{before} is followed by {behind}"
        );
    }
    Ok(())
}
