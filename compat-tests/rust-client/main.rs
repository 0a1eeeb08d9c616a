//! What a user of the crate `zookeeper-client` relies on, checked against the server named by
//! `ZK_CONNECT`. Competing processes are this program again: `worker KIND ROOT NAME`. The one
//! named `victim` stops while it holds what the others want, says so, and waits to be killed.

use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, Client, CreateMode, CreateOptions, Error, EventType,
    LockPrefix, MultiWriteError, MultiWriteResult, Permission, SessionState,
};

const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(45);
const CHECK_LIMIT: Duration = Duration::from_secs(80);
const IN_FLIGHT: usize = 1000;

const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const NUMBERED: CreateOptions<'static> =
    CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

fn server() -> Result<String> {
    std::env::var("ZK_CONNECT").context("set ZK_CONNECT=host:port of a running server")
}

async fn connect() -> Result<Client> {
    let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
    Ok(connector.connect(&server()?).await?)
}

async fn number(client: &Client, path: &str) -> Result<u32> {
    Ok(String::from_utf8(client.get_data(path).await?.0)?.parse()?)
}

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, event)
        .await
        .with_context(|| format!("never came: {what}"))
}

fn refused<T>(answer: Result<T, Error>, wanted: &Error) -> Result<()> {
    match answer {
        Err(error) if error == *wanted => Ok(()),
        Err(error) => bail!("refused with {error:?}, not {wanted:?}"),
        Ok(_) => bail!("granted where {wanted:?} was due"),
    }
}

struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(kind: &str, root: &str, name: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["worker", kind, root, name])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("the worker has no stdout")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    async fn expect(&mut self, word: &str) -> Result<()> {
        loop {
            match soon(word, self.lines.next_line()).await?? {
                Some(line) if line == word => return Ok(()),
                Some(_) => {}
                None => bail!("a worker ended before {word:?}"),
            }
        }
    }

    async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn finish(mut self) -> Result<()> {
        let status = soon("the end of a worker", self.child.wait()).await??;
        ensure!(status.success(), "a worker ended with {status}");
        Ok(())
    }
}

/// Three compete, the one that holds is killed, the others must reach their end.
async fn compete(kind: &str, root: &str) -> Result<()> {
    let first = Worker::start(kind, root, "first")?;
    let mut victim = Worker::start(kind, root, "victim")?;
    let third = Worker::start(kind, root, "third")?;
    victim.expect("holding").await?;
    victim.kill().await?;
    first.finish().await?;
    third.finish().await
}

async fn hold() -> ! {
    println!("holding");
    std::future::pending().await
}

async fn work(kind: &str, root: &str, name: &str) -> Result<()> {
    let client = connect().await?;
    match kind {
        "lock" => {
            let dir = format!("{root}/lock");
            let (inside, count) = (format!("{root}/inside"), format!("{root}/count"));
            for turn in 0..15 {
                let prefix = LockPrefix::new_curator(&dir, "lock-")?;
                let lock = client.lock(prefix, b"", Acls::anyone_all()).await?;
                // Refused with NodeExists when a second process is inside.
                client.create(&inside, b"", &EPHEMERAL).await?;
                let next = number(&client, &count).await? + 1;
                // Through the lock: the write fails when the lock is no longer ours.
                lock.set_data(&count, next.to_string().as_bytes(), None)
                    .await?;
                if name == "victim" && turn == 4 {
                    hold().await;
                }
                client.delete(&inside, None).await?;
            }
        }
        "transfer" => {
            let (source, target) = (format!("{root}/source"), format!("{root}/target"));
            let mut moved = 0;
            while moved < 25 {
                let (from, from_stat) = client.get_data(&source).await?;
                let (to, to_stat) = client.get_data(&target).await?;
                let from = String::from_utf8(from)?.parse::<u32>()? - 1;
                let to = String::from_utf8(to)?.parse::<u32>()? + 1;
                let mut both = client.new_multi_writer();
                both.add_set_data(
                    &source,
                    from.to_string().as_bytes(),
                    Some(from_stat.version),
                )?;
                both.add_set_data(&target, to.to_string().as_bytes(), Some(to_stat.version))?;
                match both.commit().await {
                    Ok(_) => moved += 1,
                    Err(MultiWriteError::OperationFailed {
                        source: Error::BadVersion,
                        ..
                    }) => {}
                    Err(error) => return Err(error.into()),
                }
                if name == "victim" && moved == 8 {
                    hold().await;
                }
            }
        }
        "own" => {
            client
                .create(&format!("{root}/owned"), b"", &EPHEMERAL)
                .await?;
            hold().await;
        }
        _ => bail!("no such work: {kind}"),
    }
    Ok(())
}

async fn nodes(client: Client, root: String) -> Result<()> {
    let path = format!("{root}/a");
    let (stat, _) = client.create(&path, b"one", &OPEN).await?;
    ensure!(stat.czxid == stat.mzxid && stat.version == 0 && stat.data_length == 3);
    refused(client.create(&path, b"", &OPEN).await, &Error::NodeExists)?;
    refused(
        client.create(&format!("{root}/no/x"), b"", &OPEN).await,
        &Error::NoNode,
    )?;
    let (data, read) = client.get_data(&path).await?;
    ensure!(data == b"one" && read == stat);
    let after = client.set_data(&path, b"two!", Some(0)).await?;
    ensure!(after.version == 1 && after.czxid == stat.czxid && after.mzxid > stat.mzxid);
    refused(
        client.set_data(&path, b"", Some(0)).await,
        &Error::BadVersion,
    )?;
    for due in 0..3 {
        let (_, sequence) = client.create(&format!("{path}/s-"), b"", &NUMBERED).await?;
        ensure!(sequence.into_i64() == due, "numbered {sequence}, not {due}");
    }
    refused(client.delete(&path, None).await, &Error::NotEmpty)?;
    let ephemeral = format!("{root}/e");
    let (stat, _) = client.create(&ephemeral, b"", &EPHEMERAL).await?;
    ensure!(stat.ephemeral_owner == client.session_id().0);
    let child = format!("{ephemeral}/f");
    refused(
        client.create(&child, b"", &OPEN).await,
        &Error::NoChildrenForEphemerals,
    )?;
    ensure!(client.list_ephemerals(&root).await? == [ephemeral]);
    ensure!(client.count_descendants_number(&root).await? == 5);
    let (mut children, stat) = client.get_children(&path).await?;
    children.sort();
    ensure!(children == ["s-0000000000", "s-0000000001", "s-0000000002"]);
    ensure!(stat.num_children == 3 && stat.cversion == 3);
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    client
        .create(&format!("{root}/container"), b"", &container)
        .await?;
    let brief = OPEN.with_ttl(Duration::from_secs(60));
    client.create(&format!("{root}/ttl"), b"", &brief).await?;
    client.sync(&root).await?;
    Ok(())
}

async fn one_shot_watches(client: Client, root: String) -> Result<()> {
    let path = format!("{root}/w");
    let (none, born) = client.check_and_watch_stat(&path).await?;
    ensure!(none.is_none());
    client.create(&path, b"", &OPEN).await?;
    let event = soon("created", born.changed()).await?;
    ensure!(event.event_type == EventType::NodeCreated && event.path == path);
    let (_, _, data) = client.get_and_watch_data(&path).await?;
    let (_, children) = client.list_and_watch_children(&path).await?;
    client.create(&format!("{path}/x"), b"", &OPEN).await?;
    ensure!(soon("child", children.changed()).await?.event_type == EventType::NodeChildrenChanged);
    client.set_data(&path, b"1", None).await?;
    ensure!(soon("data", data.changed()).await?.event_type == EventType::NodeDataChanged);
    // A watcher that is dropped is taken back from the server; the session goes on.
    let (_, _, unwanted) = client.get_and_watch_data(&path).await?;
    drop(unwanted);
    ensure!(client.get_data(&path).await?.0 == b"1");
    Ok(())
}

/// A persistent watch tells of every change, in order; a recursive one of the whole subtree.
async fn persistent_watches(client: Client, root: String) -> Result<()> {
    let (top, child) = (format!("{root}/p"), format!("{root}/p/c"));
    client.create(&top, b"", &OPEN).await?;
    let mut flat = client.watch(&top, AddWatchMode::Persistent).await?;
    let mut deep = client
        .watch(&top, AddWatchMode::PersistentRecursive)
        .await?;
    let writer = connect().await?;
    for turn in 0..50 {
        writer
            .set_data(&top, turn.to_string().as_bytes(), None)
            .await?;
    }
    writer.create(&child, b"", &OPEN).await?;
    writer.set_data(&child, b"1", None).await?;
    writer.delete(&child, None).await?;
    writer.delete(&top, None).await?;
    let mut due_flat = vec![(EventType::NodeDataChanged, top.clone()); 50];
    let mut due_deep = due_flat.clone();
    due_flat.extend([
        (EventType::NodeChildrenChanged, top.clone()),
        (EventType::NodeChildrenChanged, top.clone()),
        (EventType::NodeDeleted, top.clone()),
    ]);
    due_deep.extend([
        (EventType::NodeCreated, child.clone()),
        (EventType::NodeDataChanged, child.clone()),
        (EventType::NodeDeleted, child.clone()),
        (EventType::NodeDeleted, top.clone()),
    ]);
    for due in due_flat {
        let event = soon("a flat event", flat.changed()).await?;
        ensure!(
            (event.event_type, event.path.clone()) == due,
            "{event:?}, not {due:?}"
        );
    }
    for due in due_deep {
        let event = soon("a deep event", deep.changed()).await?;
        ensure!(
            (event.event_type, event.path.clone()) == due,
            "{event:?}, not {due:?}"
        );
    }
    Ok(())
}

async fn multi(client: Client, root: String) -> Result<()> {
    let (path, gone) = (format!("{root}/a"), format!("{root}/gone"));
    let mut good = client.new_multi_writer();
    good.add_create(&path, b"1", &OPEN)?;
    good.add_create(&format!("{path}/b-"), b"", &NUMBERED)?;
    good.add_set_data(&path, b"2", Some(0))?;
    good.add_check_version(&path, 1)?;
    let answers = good.commit().await?;
    let [
        MultiWriteResult::Create { path: made, .. },
        MultiWriteResult::Create { path: child, .. },
        MultiWriteResult::SetData { stat },
        MultiWriteResult::Check,
    ] = answers.as_slice()
    else {
        bail!("answered {answers:?}")
    };
    ensure!(*made == path && *child == format!("{path}/b-0000000000"));
    ensure!(stat.version == 1 && stat.czxid == stat.mzxid);
    let mut bad = client.new_multi_writer();
    bad.add_create(&gone, b"", &OPEN)?;
    bad.add_delete(child, None)?;
    bad.add_check_version(&path, 9)?;
    match bad.commit().await {
        Err(MultiWriteError::OperationFailed {
            index: 2,
            source: Error::BadVersion,
        }) => {}
        other => bail!("answered {other:?}"),
    }
    ensure!(
        client.check_stat(&gone).await?.is_none(),
        "half a multi was applied"
    );
    let mut reader = client.new_multi_reader();
    reader.add_get_data(&path)?;
    reader.add_get_children(&path)?;
    reader.add_get_data(&gone)?;
    let answers = format!("{:?}", reader.commit().await?);
    ensure!(
        answers.contains("b-0000000000") && answers.contains("NoNode"),
        "{answers}"
    );
    Ok(())
}

async fn access(client: Client, root: String) -> Result<()> {
    let (owner, stranger) = (connect().await?, connect().await?);
    owner.auth("digest", b"ann:secret").await?;
    stranger.auth("digest", b"bob:other").await?;
    let path = format!("{root}/own");
    let own = CreateMode::Persistent.with_acls(Acls::creator_all());
    refused(client.create(&path, b"", &own).await, &Error::InvalidAcl)?;
    owner.create(&path, b"mine", &own).await?;
    refused(stranger.get_data(&path).await, &Error::NoAuth)?;
    refused(client.set_data(&path, b"", None).await, &Error::NoAuth)?;
    let (acl, _) = owner.get_acl(&path).await?;
    ensure!(acl.len() == 1 && acl[0].scheme() == "digest" && acl[0].id().starts_with("ann:"));
    let read = Acl::new(Permission::READ, AuthId::new("world", "anyone"));
    let wider = [acl[0].clone(), read];
    ensure!(owner.set_acl(&path, &wider, Some(0)).await?.aversion == 1);
    ensure!(stranger.get_data(&path).await?.0 == b"mine");
    refused(stranger.set_data(&path, b"", None).await, &Error::NoAuth)?;
    let users = owner.list_auth_users().await?;
    ensure!(
        users
            .iter()
            .any(|user| user.scheme() == "digest" && user.user() == "ann")
    );
    owner.delete(&path, None).await?;
    Ok(())
}

async fn in_flight(client: Client, root: String) -> Result<()> {
    let prefix = format!("{root}/n-");
    // Sending happens at the call, so that all are on their way before the first answer.
    let creates: Vec<_> = (0..IN_FLIGHT)
        .map(|_| client.create(&prefix, b"", &NUMBERED))
        .collect();
    for (due, create) in creates.into_iter().enumerate() {
        let (_, sequence) = create.await?;
        ensure!(
            sequence.into_i64() == i64::try_from(due)?,
            "numbered {sequence}, not {due}"
        );
    }
    ensure!(client.list_children(&root).await?.len() == IN_FLIGHT);
    Ok(())
}

async fn lock_excludes(client: Client, root: String) -> Result<()> {
    client.create(&format!("{root}/count"), b"0", &OPEN).await?;
    client.create(&format!("{root}/lock"), b"", &OPEN).await?;
    compete("lock", &root).await?;
    let count = number(&client, &format!("{root}/count")).await?;
    ensure!(count == 15 + 15 + 5, "{count} turns were counted");
    Ok(())
}

async fn transfers(client: Client, root: String) -> Result<()> {
    client
        .create(&format!("{root}/source"), b"100", &OPEN)
        .await?;
    client
        .create(&format!("{root}/target"), b"0", &OPEN)
        .await?;
    compete("transfer", &root).await?;
    ensure!(number(&client, &format!("{root}/source")).await? == 100 - 58);
    ensure!(number(&client, &format!("{root}/target")).await? == 58);
    Ok(())
}

async fn killed_process(client: Client, root: String) -> Result<()> {
    let mut owner = Worker::start("own", &root, "victim")?;
    owner.expect("holding").await?;
    let (stat, gone) = client
        .check_and_watch_stat(&format!("{root}/owned"))
        .await?;
    ensure!(stat.is_some_and(|stat| stat.ephemeral_owner != client.session_id().0));
    let killed = Instant::now();
    owner.kill().await?;
    ensure!(soon("deleted", gone.changed()).await?.event_type == EventType::NodeDeleted);
    ensure!(
        killed.elapsed() > SESSION_TIMEOUT / 3,
        "expired after {:?}",
        killed.elapsed()
    );
    Ok(())
}

async fn reattach(client: Client, root: String) -> Result<()> {
    let owned = format!("{root}/owned");
    // A detached client leaves its session to whoever takes it up.
    let connector = Client::connector()
        .with_session_timeout(SESSION_TIMEOUT)
        .with_detached();
    let first = connector.connect(&server()?).await?;
    first.create(&owned, b"", &EPHEMERAL).await?;
    let id = first.session_id();
    let session = first.into_session();
    let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
    let connector = connector.with_session(session.clone());
    let second = connector.connect(&server()?).await?;
    ensure!(second.session_id() == id);
    // Past the timeout the second client's pings alone keep the session.
    sleep(SESSION_TIMEOUT * 3 / 2).await;
    ensure!(
        client.check_stat(&owned).await?.is_some(),
        "the session was lost"
    );
    let (_, gone) = client.check_and_watch_stat(&owned).await?;
    drop(second);
    ensure!(soon("deleted", gone.changed()).await?.event_type == EventType::NodeDeleted);
    let connector = Client::connector()
        .with_session(session)
        .with_fail_eagerly();
    refused(connector.connect(&server()?).await, &Error::SessionExpired)
}

async fn states(_: Client, root: String) -> Result<()> {
    let client = connect().await?;
    let mut watcher = client.state_watcher();
    ensure!(watcher.state() == SessionState::SyncConnected);
    client
        .create(&format!("{root}/owned"), b"", &EPHEMERAL)
        .await?;
    drop(client);
    ensure!(soon("closed", watcher.changed()).await? == SessionState::Closed);
    Ok(())
}

async fn chroot(client: Client, root: String) -> Result<()> {
    let inner = Client::connect(&format!("{}{root}", server()?)).await?;
    ensure!(inner.path() == root);
    let (_, born) = inner.check_and_watch_stat("/x").await?;
    client.create(&format!("{root}/x"), b"1", &OPEN).await?;
    ensure!(soon("created", born.changed()).await?.path == "/x");
    inner.mkdir("/deep/er", &OPEN).await?;
    ensure!(
        client
            .check_stat(&format!("{root}/deep/er"))
            .await?
            .is_some()
    );
    Ok(())
}

async fn clear(client: &Client, path: &str) -> Result<()> {
    for child in client.list_children(path).await? {
        Box::pin(clear(client, &format!("{path}/{child}"))).await?;
    }
    Ok(client.delete(path, None).await?)
}

macro_rules! run_all {
    ($base:expr, $chosen:expr, $($name:literal: $check:ident),* $(,)?) => {{
        let mut running = Vec::new();
        $(if $chosen.is_empty() || $chosen.iter().any(|word| word == $name) {
            let root = format!("{}/{}", $base, $name);
            running.push(($name, tokio::spawn(async move {
                let client = connect().await?;
                client.create(&root, b"", &OPEN).await?;
                timeout(CHECK_LIMIT, $check(client, root)).await.context("took too long")?
            })));
        })*
        running
    }};
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, kind, root, name] = words.as_slice()
        && first == "worker"
    {
        return work(kind, root, name).await;
    }
    let base = format!("/compat-rust-{:012x}", rand::random::<u64>() >> 16);
    let client = connect().await?;
    client.create(&base, b"", &OPEN).await?;
    let running = run_all!(base, words,
        "nodes_and_their_stats": nodes,
        "one_shot_watches_fire_once": one_shot_watches,
        "persistent_watches_tell_everything": persistent_watches,
        "multi_is_whole": multi,
        "access_is_checked": access,
        "requests_in_flight_keep_their_order": in_flight,
        "lock_excludes": lock_excludes,
        "transfers_keep_the_sum": transfers,
        "a_killed_process_loses_its_session": killed_process,
        "a_session_is_taken_up_again": reattach,
        "a_closed_client_is_told": states,
        "chroot_is_kept": chroot,
    );
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in running {
        // A panic is a failure like any other.
        match check
            .await
            .map_err(anyhow::Error::from)
            .and_then(|answer| answer)
        {
            Ok(()) => {
                passed += 1;
                println!("ok   {name}");
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {name}\n{error:?}");
            }
        }
    }
    clear(&client, &base).await?;
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0 && passed > 0, "not all passed");
    Ok(())
}
