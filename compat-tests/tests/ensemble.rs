//! What an ensemble does when it forms, when a server comes back without its data or with other
//! data, and when strangers knock at the port between servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Settings, meerkat_binary};
use meerkat_compat_tests::snapshot;
use rand::{RngCore as _, SeedableRng as _};
use zookeeper_client::{Acls, Client, CreateMode};

/// How long anything here may take that should be a matter of seconds.
const PATIENCE: Duration = Duration::from_secs(60);

async fn client(addr: SocketAddr) -> Result<Client> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&addr.to_string()).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => bail!("no session at {addr}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn create(client: &Client, path: &str, data: &[u8]) -> Result<()> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data, &options).await?;
    Ok(())
}

/// What a client of this server sees behind a sync.
async fn fresh(client: &Client, path: &str) -> Result<Vec<u8>> {
    client.sync(path).await?;
    Ok(client.get_data(path).await?.0)
}

fn settings(assignments: &[&str]) -> Result<Settings> {
    let mut settings = Settings::default();
    for assignment in assignments {
        settings.set(assignment)?;
    }
    Ok(settings)
}

async fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        ensure!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn log_of(ensemble: &Ensemble, id: usize) -> Result<String> {
    let home = ensemble.data_dir(id)?;
    let home = home.parent().context("a home")?;
    Ok(fs::read_to_string(home.join("log"))?)
}

/// Servers note the digest behind one zxid in so many.
const NOTED_EVERY: usize = 128;

/// Returns when both servers have noted the same digest behind the same zxid, which lies behind what
/// was written before.
async fn agree(ensemble: &Ensemble, one: usize, other: usize, writer: &Client) -> Result<()> {
    for _ in 0..NOTED_EVERY {
        writer.set_data("/data", b"one more", None).await?;
    }
    let last = |id| -> Result<Option<String>> {
        let noted = ensemble.word(id, "hash")?;
        Ok(noted.lines().last().map(str::to_owned))
    };
    until("equal digests", || {
        let noted = last(one)?;
        Ok(noted.is_some() && noted == last(other)?)
    })
    .await
}

/// Whether the log of a server, which may be running, has lost its beginning, or is empty already.
fn is_purged(ensemble: &Ensemble, id: usize) -> Result<bool> {
    let mut check = Command::new(meerkat_binary()?);
    check.arg("check").arg(ensemble.data_dir(id)?).arg("--json");
    let checked: serde_json::Value = serde_json::from_slice(&check.output()?.stdout)?;
    let first = checked.get("first_log_index");
    let first = first.with_context(|| format!("nothing of the log: {checked}"))?;
    Ok(first.is_null() || first.as_u64().is_some_and(|first| first > 1))
}

#[tokio::test]
async fn servers_start_in_any_order_and_one_may_be_late() -> Result<()> {
    let mut ensemble = Ensemble::new(Kind::Meerkat, 3, 1, &settings(&[])?)?;
    ensemble.start_some(&[3, 4, 1])?;
    let first = client(ensemble.addr(1)).await?;
    create(&first, "/early", b"1").await?;
    ensemble.start_one(2)?;
    let late = client(ensemble.addr(2)).await?;
    assert_eq!(fresh(&late, "/early").await?, b"1");
    create(&late, "/by-late", b"2").await?;
    let observer = client(ensemble.addr(4)).await?;
    assert_eq!(fresh(&observer, "/by-late").await?, b"2");
    create(&observer, "/by-observer", b"3").await?;
    assert_eq!(fresh(&first, "/by-observer").await?, b"3");
    assert_eq!(ensemble.role(4), Some(Role::Observer));
    let leader = ensemble.wait_for_leader()?;
    for id in (1..=3).filter(|id| *id != leader) {
        assert_eq!(ensemble.role(id), Some(Role::Follower), "server {id}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_without_its_data_gets_a_snapshot_and_the_log_behind_it() -> Result<()> {
    let settings = settings(&["snapCount=100", "snapSizeLimitInKb=64"])?;
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings)?;
    let leader = ensemble.wait_for_leader()?;
    let wiped = leader % 3 + 1;
    let writer = client(ensemble.addr(leader)).await?;
    create(&writer, "/data", b"").await?;
    for number in 0..900 {
        writer
            .set_data("/data", format!("{number}").as_bytes(), None)
            .await?;
    }
    // As long as the log goes back to its beginning, entries are all that is sent.
    until("a purge", || is_purged(&ensemble, leader)).await?;
    ensemble.wipe(wiped)?;
    ensemble.launch(wiped)?;
    for number in 900..950 {
        writer
            .set_data("/data", format!("{number}").as_bytes(), None)
            .await?;
    }
    ensemble.wait_serving(wiped)?;
    let reader = client(ensemble.addr(wiped)).await?;
    assert_eq!(fresh(&reader, "/data").await?, b"949");
    let log = log_of(&ensemble, wiped)?;
    assert!(log.contains("receiving a snapshot"), "{log}");
    until("caught up", || {
        Ok(log_of(&ensemble, wiped)?.contains("caught up"))
    })
    .await?;
    agree(&ensemble, wiped, leader, &writer).await?;
    // It votes again: with it and one more there is a quorum.
    ensemble.kill(leader)?;
    let again = client(ensemble.addr(wiped)).await?;
    create(&again, "/after-all", b"").await?;
    Ok(())
}

fn newest_snapshot(dir: &Path) -> Result<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    names.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("snapshot."))
    });
    names.sort();
    names.pop().context("a snapshot")
}

#[tokio::test]
async fn a_server_whose_state_differs_fetches_it_anew() -> Result<()> {
    let settings = settings(&["snapCount=100", "snapSizeLimitInKb=64"])?;
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings)?;
    let leader = ensemble.wait_for_leader()?;
    let other = leader % 3 + 1;
    let writer = client(ensemble.addr(leader)).await?;
    create(&writer, "/data", b"").await?;
    let snapshots = ensemble.data_dir(other)?.join("snapshots");
    let mut number = 0;
    while newest_snapshot(&snapshots).is_err() {
        ensure!(number < 20_000, "no snapshot");
        writer.set_data("/data", &[b'x'; 100], None).await?;
        number += 1;
    }
    ensemble.terminate(other)?;
    // A session that nobody has: the file is sound, its content is not the others'.
    let newest = newest_snapshot(&snapshots)?;
    let changed = snapshot::changed(&fs::read(&newest)?, |block| {
        if block.first() == Some(&b'S') {
            block.extend(77_i64.to_be_bytes());
            block.extend(30_000_i32.to_be_bytes());
            block.extend([7; 16]);
            block.extend(0_u64.to_be_bytes());
        }
    })?;
    fs::write(&newest, changed)?;
    ensemble.launch(other)?;
    let deadline = Instant::now() + PATIENCE;
    while !log_of(&ensemble, other)?.contains("differs from the leader's") {
        ensure!(
            Instant::now() < deadline,
            "nobody noticed:\n{}",
            ensemble.logs()
        );
        writer.set_data("/data", b"more", None).await?;
    }
    until("started anew and caught up", || {
        let log = log_of(&ensemble, other)?;
        let anew = log.rsplit("differs from the leader's").next();
        Ok(anew.is_some_and(|anew| anew.contains("caught up")))
    })
    .await?;
    ensemble.wait_serving(other)?;
    agree(&ensemble, other, leader, &writer).await?;
    assert!(
        ensemble
            .data_dir(other)?
            .join("snapshots.diverged")
            .is_dir(),
        "what differed is set aside"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_with_another_peer_secret_stays_outside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let secret = dir.path().join("secret");
    fs::write(&secret, "what the servers know\n")?;
    let secret_key = format!("meerkat.peerSecretFile={}", secret.display());
    let mut ensemble = Ensemble::new(Kind::Meerkat, 3, 0, &settings(&[&secret_key])?)?;
    ensemble.start_some(&[1, 2])?;
    let first = client(ensemble.addr(1)).await?;
    create(&first, "/inside", b"").await?;

    // Another secret, then none.
    fs::write(&secret, "what they do not know")?;
    ensemble.launch(3)?;
    until("both say that the secrets differ", || {
        let outside = log_of(&ensemble, 3)?;
        let inside = log_of(&ensemble, 1)? + &log_of(&ensemble, 2)?;
        Ok(outside.contains("the peer secrets differ")
            && inside.contains("the peer secrets differ"))
    })
    .await?;
    assert_eq!(ensemble.role(3), None);
    ensemble.kill(3)?;
    let config = ensemble.data_dir(3)?.with_file_name("zoo.cfg");
    let with = fs::read_to_string(&config)?;
    fs::write(&config, with.replace(&secret_key, ""))?;
    ensemble.launch(3)?;
    until("both say who has a secret", || {
        let outside = log_of(&ensemble, 3)?;
        let inside = log_of(&ensemble, 1)? + &log_of(&ensemble, 2)?;
        Ok(
            outside.contains("the other server has a peer secret and this one has none")
                && inside.contains("this server has a peer secret and the other has none"),
        )
    })
    .await?;
    assert_eq!(ensemble.role(3), None);
    ensemble.kill(3)?;

    fs::write(&secret, "what the servers know\n")?;
    fs::write(&config, with)?;
    ensemble.start_one(3)?;
    let third = client(ensemble.addr(3)).await?;
    assert_eq!(fresh(&third, "/inside").await?, b"");
    Ok(())
}

/// Where other servers reach this one.
fn peer_addr(ensemble: &Ensemble, id: usize) -> Result<SocketAddr> {
    let spec = ensemble.server_spec(id)?;
    let mut parts = spec.split(':');
    let (host, port) = (parts.next(), parts.next());
    Ok(format!("{}:{}", host.context("a host")?, port.context("a port")?).parse()?)
}

/// Bytes that begin like a frame between servers, or not at all.
fn garbage(random: &mut rand_chacha::ChaCha8Rng) -> Vec<u8> {
    let mut bytes = vec![0; (random.next_u32() % 400) as usize];
    random.fill_bytes(&mut bytes);
    let choice = random.next_u32() % 4;
    if choice == 0 {
        return bytes;
    }
    let mut body = vec![(random.next_u32() % 50) as u8];
    if choice == 1 {
        body.extend(b"MKPEER");
    }
    if choice == 2 {
        // A greeting of a member, sound up to its class.
        body[0] = 1;
        body.extend(b"MKPEER");
        body.extend([0, 1, 0, 1]);
    }
    body.extend(bytes);
    let mut frame = u32::try_from(body.len())
        .unwrap_or(0)
        .to_be_bytes()
        .to_vec();
    frame.extend(crc32fast::hash(&body).to_be_bytes());
    frame.extend(body);
    frame
}

#[tokio::test]
async fn strangers_at_the_peer_port_change_nothing() -> Result<()> {
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings(&[])?)?;
    let leader = ensemble.wait_for_leader()?;
    let term_lines = |ensemble: &Ensemble| -> Result<usize> {
        Ok(log_of(ensemble, leader)?.matches("leadership").count())
    };
    let before = term_lines(&ensemble)?;
    let writer = client(ensemble.addr(leader)).await?;
    create(&writer, "/data", b"").await?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let mut open = Vec::new();
    for round in 0..300 {
        for id in 1..=3 {
            let mut stream = TcpStream::connect(peer_addr(&ensemble, id)?)?;
            // The other side may have closed already.
            let _ = stream.write_all(&garbage(&mut random));
            if round % 10 == 0 {
                open.push(stream);
            }
        }
        writer
            .set_data("/data", format!("{round}").as_bytes(), None)
            .await?;
    }
    // Those that say nothing are closed as well.
    for mut stream in open {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.len() < 512, "a stranger was told {} bytes", said.len());
    }
    assert_eq!(fresh(&writer, "/data").await?, b"299");
    assert_eq!(ensemble.leader(), Some(leader));
    assert_eq!(term_lines(&ensemble)?, before, "nobody stood for election");
    assert!(ensemble.crashed()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn without_a_quorum_nothing_is_written_and_with_it_sessions_go_on() -> Result<()> {
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 1, &settings(&["tickTime=500"])?)?;
    let leader = ensemble.wait_for_leader()?;
    let (second, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let writer = client(ensemble.addr(leader)).await?;
    create(&writer, "/data", b"").await?;
    ensemble.kill(second)?;
    ensemble.kill(third)?;
    let write = writer.set_data("/data", b"alone", None);
    match tokio::time::timeout(PATIENCE, write).await {
        Ok(written) => ensure!(
            written.is_err(),
            "a write without a quorum was acknowledged"
        ),
        Err(_) => bail!("a write without a quorum waits for ever"),
    }
    until("the last server ceases to serve", || {
        Ok(ensemble.role(leader).is_none())
    })
    .await?;
    // It hears the leader, which does not know any more what the others do.
    until("its observer ceases to serve", || {
        Ok(ensemble.role(4).is_none())
    })
    .await?;
    ensemble.start_some(&[second])?;
    let again = client(ensemble.addr(second)).await?;
    create(&again, "/after", b"").await?;
    Ok(())
}
