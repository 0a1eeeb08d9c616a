//! Log, snapshots and recovery with a machine that keeps all payloads: openraft's own suite for
//! storages, writes that fail, files that are cut or damaged, restarts.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use openraft::EntryPayload;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::types::{Entry, LeaderId, Vote, log_id};
use super::*;
use crate::storage::log::{Log, Opened, Step};
use crate::storage::memory_log::MemoryLog;
use crate::types::Zxid;

/// Keeps every payload with its index.
#[derive(Default)]
struct Ledger(Arc<Mutex<Vec<(u64, Bytes)>>>);

impl Ledger {
    fn payloads(&self) -> Vec<Bytes> {
        self.0
            .lock()
            .iter()
            .map(|(_, payload)| payload.clone())
            .collect()
    }
}

impl Machine for Ledger {
    fn apply(&self, entries: &[Committed]) -> u64 {
        let before = self.0.lock().len();
        for entry in entries.iter().filter(|entry| !entry.payload.is_empty()) {
            self.0.lock().push((entry.index, entry.payload.clone()));
        }
        (self.0.lock().len() - before) as u64
    }

    fn checkpoint(&self) -> Option<(u64, u64)> {
        None
    }

    fn digest_at(&self, _: u64) -> Option<u64> {
        None
    }

    fn freeze(&self) -> Box<dyn SnapshotSource> {
        Box::new(Pages(self.0.lock().clone().into()))
    }

    fn restore(&self, source: &mut dyn SnapshotReader) -> Result<(), String> {
        let mut restored = Vec::new();
        while let Some(block) = source.next_block().map_err(|error| error.to_string())? {
            let (index, payload) = block.split_first_chunk().ok_or("too short")?;
            restored.push((u64::from_be_bytes(*index), Bytes::copy_from_slice(payload)));
        }
        *self.0.lock() = restored;
        Ok(())
    }
}

struct Pages(std::collections::VecDeque<(u64, Bytes)>);

impl SnapshotSource for Pages {
    fn zxid(&self) -> Zxid {
        Zxid(0)
    }

    fn next_block(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((index, payload)) = self.0.pop_front() else {
            return false;
        };
        out.extend(index.to_be_bytes());
        out.extend(payload);
        true
    }
}

fn rocks(path: &Path) -> Result<(RocksLog, Opened), StorageError> {
    RocksLog::open(path, false, Duration::from_secs(60))
}

/// A store whose thread has ended when it is gone, and with it the use of its files.
struct Open {
    store: LogStore,
    thread: Option<JoinHandle<()>>,
}

impl std::ops::Deref for Open {
    type Target = LogStore;

    fn deref(&self) -> &LogStore {
        &self.store
    }
}

impl std::ops::DerefMut for Open {
    fn deref_mut(&mut self) -> &mut LogStore {
        &mut self.store
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.store.close();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

fn store(log: Arc<dyn Log>, opened: Opened) -> Result<Open, StorageError> {
    let (store, thread) = LogStore::open(log, opened, Box::new(|_| {}))?;
    Ok(Open {
        store,
        thread: Some(thread),
    })
}

// ---- openraft's suite --------------------------------------------------------------------------

struct Stores {
    on_disk: bool,
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, (Open, TempDir)> for Stores {
    async fn build(
        &self,
    ) -> Result<((Open, TempDir), LogStore, StateMachine), openraft::StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("a directory");
        let log = if self.on_disk {
            let (log, opened) = rocks(&dir.path().join("log")).expect("fresh");
            store(Arc::new(log), opened)
        } else {
            store(Arc::new(MemoryLog::default()), Opened::default())
        };
        let snapshots = SnapshotDir::open(&dir.path().join("snapshots"), true).expect("fresh");
        let machine = StateMachine::open(
            Arc::new(Ledger::default()),
            snapshots,
            3,
            None,
            Arc::default(),
        );
        let open = log.expect("fresh");
        let store = open.clone();
        Ok(((open, dir), store, machine.expect("fresh")))
    }
}

#[tokio::test]
async fn the_log_on_disk_passes_the_suite_of_openraft() {
    let passed = Suite::test_all(Stores { on_disk: true }).await;
    passed.expect("a storage as openraft wants it");
}

#[tokio::test]
async fn the_log_in_memory_passes_the_suite_of_openraft() {
    let passed = Suite::test_all(Stores { on_disk: false }).await;
    passed.expect("a storage as openraft wants it");
}

// ---- writes that fail, processes that are killed ------------------------------------------------

fn entry(index: u64) -> Entry {
    Entry {
        log_id: log_id(1, index),
        payload: EntryPayload::Normal(Payload(Bytes::from(format!("payload {index}")))),
    }
}

const BATCH: u64 = 3;

fn batch(number: u64) -> Vec<Entry> {
    (number * BATCH..(number + 1) * BATCH).map(entry).collect()
}

#[tokio::test]
async fn a_failed_write_is_reported_once_and_leaves_only_what_was_acknowledged() {
    for fails_at in 1..=5 {
        let log = Arc::new(MemoryLog::failing_at(fails_at));
        let failures = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&failures);
        let on_failure = Box::new(move |_: &StorageError| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let dyn_log: Arc<dyn Log> = Arc::<MemoryLog>::clone(&log);
        let (mut store, thread) =
            LogStore::open(dyn_log, Opened::default(), on_failure).expect("fresh");
        for number in 0..6 {
            let acknowledged = store.blocking_append(batch(number)).await.is_ok();
            assert_eq!(acknowledged, number + 1 < fails_at, "write {number}");
        }
        let vote = Vote::new(9, 1);
        assert!(
            store.save_vote(&vote).await.is_err(),
            "nothing more is written"
        );
        drop(store);
        thread.join().expect("ends by itself");
        assert_eq!(failures.load(Ordering::Relaxed), 1);
        let opened = log.opened();
        assert_eq!(opened.records, 0..(fails_at - 1) * BATCH);
        let mut reopened = self::store(log, opened).expect("sound");
        let entries = reopened.try_get_log_entries(..).await.expect("readable");
        let expected: Vec<Entry> = (0..fails_at - 1).flat_map(batch).collect();
        assert_eq!(entries, expected);
        assert_eq!(reopened.read_vote().await.expect("readable"), None);
    }
}

/// The files of a log as they are found after a kill: copied while it is open.
fn killed(from: &Path) -> TempDir {
    let to = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(from).expect("readable") {
        let file = file.expect("readable");
        fs::copy(file.path(), to.path().join(file.file_name())).expect("copied");
    }
    to
}

/// The write-ahead log.
fn wal(dir: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("readable")
        .map(|file| file.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files.pop().expect("there is one")
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, opened) = rocks(dir.path()).expect("fresh");
    let mut store = store(Arc::new(log), opened).expect("fresh");
    let vote = Vote {
        leader_id: LeaderId {
            term: 4,
            voted_for: 1,
        },
        committed: true,
    };
    store.save_vote(&vote).await.expect("written");
    for number in 0..4 {
        store.blocking_append(batch(number)).await.expect("written");
    }
    store
        .truncate_after(Some(log_id(1, 9)))
        .await
        .expect("written");
    store.purge(log_id(1, 2)).await.expect("written");
    let copy = killed(dir.path());
    let (log, opened) = rocks(copy.path()).expect("sound");
    let mut reopened = self::store(Arc::new(log), opened).expect("sound");
    assert_eq!(reopened.read_vote().await.expect("readable"), Some(vote));
    let state = reopened.get_log_state().await.expect("readable");
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 2)));
    assert_eq!(state.last_log_id, Some(log_id(1, 9)));
    let entries = reopened.try_get_log_entries(..).await.expect("readable");
    assert_eq!(entries, (3..=9).map(entry).collect::<Vec<_>>());
}

fn steps(number: u64) -> Vec<Step> {
    let appends = batch(number).into_iter().map(|entry| Step::Append {
        index: entry.log_id.index,
        record: types::encode_entry(&entry),
    });
    appends.collect()
}

fn records(dir: &Path) -> Range<u64> {
    rocks(dir).expect("sound").1.records
}

#[test]
fn a_torn_tail_is_cut_at_a_whole_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = rocks(dir.path()).expect("fresh");
    let mut ends = Vec::new();
    for number in 0..4 {
        log.write(steps(number)).expect("written");
        let len = fs::metadata(wal(dir.path())).expect("there").len();
        ends.push(len);
    }
    let begin = ends[0];
    let end = ends[3];
    for cut in (begin..=end).rev().step_by(7) {
        let copy = killed(dir.path());
        let file = fs::OpenOptions::new()
            .write(true)
            .open(wal(copy.path()))
            .expect("there");
        file.set_len(cut).expect("cut");
        drop(file);
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(records(copy.path()), 0..whole * BATCH, "cut at {cut}");
    }
}

/// Point-in-time recovery cuts at damage wherever it is, and the committed bound goes with the rest.
#[test]
fn damage_in_the_middle_is_refused_with_its_place() {
    let open = |path: &Path| RocksLog::open(path, true, Duration::from_secs(60));
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = open(dir.path()).expect("fresh");
    let mut ends = Vec::new();
    for number in 0..4 {
        let mut steps = steps(number);
        steps.push(Step::SetMeta {
            name: crate::storage::log::meta::COMMITTED,
            value: types::encode_log_id(&log_id(1, number * BATCH)),
        });
        log.write(steps).expect("written");
        ends.push(fs::metadata(wal(dir.path())).expect("there").len());
    }
    let copy = killed(dir.path());
    assert_eq!(open(copy.path()).expect("sound").1.records, 0..4 * BATCH);
    for damaged in 1..4 {
        let copy = killed(dir.path());
        let mut bytes = fs::read(wal(copy.path())).expect("readable");
        let at = usize::try_from(ends[damaged - 1] + ends[damaged]).expect("small") / 2;
        bytes[at] ^= 1;
        fs::write(wal(copy.path()), bytes).expect("writable");
        let refused = open(copy.path()).err().expect("refused").to_string();
        let place = format!("it ends before record {}", damaged as u64 * BATCH);
        assert!(refused.contains(&place), "{refused}");
        assert!(
            refused.contains("acknowledged writes are missing"),
            "{refused}"
        );
    }
}

#[test]
fn a_log_that_does_not_reach_what_was_committed_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = rocks(dir.path()).expect("fresh");
    log.write(steps(0)).expect("written");
    let committed = Step::SetMeta {
        name: crate::storage::log::meta::COMMITTED,
        value: types::encode_log_id(&log_id(1, 5)),
    };
    log.write(vec![committed]).expect("written");
    drop(log);
    let (log, opened) = rocks(dir.path()).expect("sound as such");
    let refused = store(Arc::new(log), opened)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        refused.contains("ends at record 2 but record 5 was committed"),
        "{refused}"
    );
}

#[test]
fn a_log_with_a_gap_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = rocks(dir.path()).expect("fresh");
    log.write(steps(0)).expect("written");
    log.write(steps(2)).expect("written");
    drop(log);
    let refused = rocks(dir.path()).err().expect("refused").to_string();
    assert!(
        refused.contains("record 3 is missing before 6"),
        "{refused}"
    );
}

#[test]
fn a_log_is_open_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = rocks(dir.path()).expect("fresh");
    let second = rocks(dir.path()).err().expect("refused").to_string();
    assert!(second.contains("in use"), "{second}");
    drop(first);
    assert_eq!(records(dir.path()), 0..0);
}

// ---- a whole ensemble --------------------------------------------------------------------------

fn options(dir: &Path) -> Options {
    Options {
        server_id: 1,
        data_dir: dir.to_owned(),
        log_dir: dir.to_owned(),
        autocreate_dirs: true,
        fsync: false,
        fsync_warn_above: Duration::from_secs(60),
        snap_count: u64::MAX,
        snap_bytes_max: u64::MAX,
        snap_retain_count: 3,
    }
}

async fn start(options: Options) -> Result<(Ensemble, Arc<Ledger>), StartError> {
    let ledger = Arc::new(Ledger::default());
    let machine: Arc<dyn Machine> = Arc::<Ledger>::clone(&ledger);
    Ensemble::start(options, machine, alone())
        .await
        .map(|ensemble| (ensemble, ledger))
}

/// Stops, and waits until the files are closed.
async fn stop(ensemble: Ensemble, dir: &Path) {
    ensemble.shutdown().await;
    drop(ensemble);
    until("the log is closed", || rocks(&dir.join("log")).is_ok()).await;
}

fn payload(number: usize) -> Bytes {
    Bytes::from(format!("number {number}"))
}

async fn propose(ensemble: &Ensemble, numbers: Range<usize>) {
    let mut on_their_way = Vec::new();
    for number in numbers {
        on_their_way.push(ensemble.propose(payload(number)).await.expect("leads"));
    }
    for applied in on_their_way {
        applied.await.expect("applied");
    }
}

/// Waits until the log begins behind the oldest snapshot.
async fn until_purged(ensemble: &Ensemble) {
    until("a snapshot", || ensemble.status().snapshot_index.is_some()).await;
    let shared = &ensemble.state_machine.shared;
    until("a purge", || {
        ensemble.log.purged().map(|id| id.index) == shared.oldest_kept()
    })
    .await;
}

const MANY: usize = 40;

fn numbered(numbers: Range<usize>) -> Vec<Bytes> {
    numbers.map(payload).collect()
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let dir = SnapshotDir::open(&dir.join("snapshots"), true).expect("readable");
    let files = dir.list().expect("readable");
    files.into_iter().map(|file| file.path).collect()
}

/// Waits for what another task does.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// None of the lives writes as much as the snapshot is long.
#[tokio::test]
async fn servers_that_restart_often_write_snapshots_and_purge_their_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let frugal = Options {
        snap_count: MANY as u64,
        snap_retain_count: 1,
        ..options(dir.path())
    };
    let (ensemble, _) = start(frugal.clone()).await.expect("fresh");
    propose(&ensemble, 0..MANY * 10).await;
    ensemble.raft.trigger().snapshot().await.expect("runs");
    let is_behind_all = || ensemble.status().snapshot_index >= Some(MANY as u64 * 10);
    until("a snapshot of all", is_behind_all).await;
    until_purged(&ensemble).await;
    let first = ensemble.status().snapshot_index;
    let shared = Arc::clone(&ensemble.state_machine.shared);
    let life_bytes_max = shared.snapshot_bytes() / 2;
    stop(ensemble, dir.path()).await;
    let mut written = 0;
    let mut life = 0;
    while written <= shared.snapshot_bytes() {
        let (ensemble, _) = start(frugal.clone()).await.expect("there");
        if ensemble.status().snapshot_index > first {
            stop(ensemble, dir.path()).await;
            break;
        }
        let before = ensemble.log.appended_bytes();
        assert!(before >= written, "{before} of {written} bytes are known");
        propose(&ensemble, life..life + MANY / 4).await;
        let bytes = ensemble.log.appended_bytes() - before;
        assert!(bytes < life_bytes_max, "{bytes} in one life");
        written += bytes;
        life += MANY / 4;
        stop(ensemble, dir.path()).await;
    }
    let (ensemble, _) = start(frugal).await.expect("there");
    let shared = &ensemble.state_machine.shared;
    assert!(
        shared.oldest_kept().is_some(),
        "it is known from the beginning"
    );
    until("another snapshot", || {
        ensemble.status().snapshot_index > first
    })
    .await;
    until_purged(&ensemble).await;
    stop(ensemble, dir.path()).await;
}

#[tokio::test]
async fn the_snapshot_rule_purges_the_log_and_a_restart_has_it_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let frugal = Options {
        snap_count: MANY as u64,
        ..options(dir.path())
    };
    let (ensemble, _) = start(frugal.clone()).await.expect("fresh");
    propose(&ensemble, 0..MANY).await;
    until_purged(&ensemble).await;
    assert_eq!(snapshots(dir.path()).len(), 1);
    propose(&ensemble, MANY..MANY + 5).await;
    stop(ensemble, dir.path()).await;
    let begin = records(&dir.path().join("log")).start;
    assert!(begin > MANY as u64, "the log begins at {begin}");
    let (ensemble, ledger) = start(frugal).await.expect("sound");
    assert!(ledger.payloads() == numbered(0..MANY + 5));
    propose(&ensemble, MANY + 5..MANY + 6).await;
    assert!(ledger.payloads() == numbered(0..MANY + 6));
    stop(ensemble, dir.path()).await;
}

#[tokio::test]
async fn no_snapshot_is_due_before_its_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let frugal = Options {
        snap_count: 20,
        ..options(dir.path())
    };
    let (ensemble, _) = start(frugal).await.expect("fresh");
    // It is due at a random point between a half and the whole.
    propose(&ensemble, 0..9).await;
    tokio::time::sleep(SNAPSHOT_CHECK * 3).await;
    assert_eq!(ensemble.status().snapshot_index, None);
    propose(&ensemble, 9..20).await;
    until("a snapshot", || ensemble.status().snapshot_index.is_some()).await;
    stop(ensemble, dir.path()).await;
}

#[tokio::test]
async fn a_snapshot_is_due_when_the_log_has_grown_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = Options {
        snap_bytes_max: 2000,
        ..options(dir.path())
    };
    let (ensemble, _) = start(small).await.expect("fresh");
    propose(&ensemble, 0..100).await;
    until("a snapshot", || ensemble.status().snapshot_index.is_some()).await;
    stop(ensemble, dir.path()).await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_when_the_log_does_not_reach_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ensemble, _) = start(options(dir.path())).await.expect("fresh");
    propose(&ensemble, 0..MANY).await;
    let path = ensemble.snapshot_now().await.expect("written");
    until_purged(&ensemble).await;
    propose(&ensemble, MANY..MANY + 3).await;
    stop(ensemble, dir.path()).await;
    assert_eq!(snapshots(dir.path()), std::slice::from_ref(&path));
    let sound = fs::read(&path).expect("readable");
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).expect("written");
    let refused = start(options(dir.path()))
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(refused.contains("is damaged"), "{refused}");
    fs::remove_file(&path).expect("removed");
    let refused = start(options(dir.path()))
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(
        refused.contains("no snapshot reaches the beginning of the log"),
        "{refused}"
    );
    fs::write(&path, &sound).expect("written");
    let (ensemble, ledger) = start(options(dir.path())).await.expect("sound again");
    assert!(ledger.payloads() == numbered(0..MANY + 3));
    stop(ensemble, dir.path()).await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over_when_the_log_reaches_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ensemble, _) = start(options(dir.path())).await.expect("fresh");
    propose(&ensemble, 0..5).await;
    let older = ensemble.snapshot_now().await.expect("written");
    propose(&ensemble, 5..8).await;
    let newer = ensemble.snapshot_now().await.expect("written");
    propose(&ensemble, 8..9).await;
    stop(ensemble, dir.path()).await;
    for path in [newer, older] {
        let sound = fs::read(&path).expect("readable");
        fs::write(&path, &sound[..sound.len() - 1]).expect("cut");
        let (ensemble, ledger) = start(options(dir.path())).await.expect("recovered");
        assert_eq!(ledger.payloads(), numbered(0..9), "without {path:?}");
        stop(ensemble, dir.path()).await;
    }
}

#[tokio::test]
async fn the_log_goes_back_to_the_oldest_snapshot_that_is_kept() {
    const EACH: usize = 10;
    let dir = tempfile::tempdir().expect("a directory");
    let (ensemble, _) = start(options(dir.path())).await.expect("fresh");
    let mut end = 0;
    for _ in 0..5 {
        propose(&ensemble, end..end + EACH).await;
        end += EACH;
        ensemble.snapshot_now().await.expect("written");
        until_purged(&ensemble).await;
    }
    propose(&ensemble, end..end + 1).await;
    stop(ensemble, dir.path()).await;
    let kept = SnapshotDir::look(&dir.path().join("snapshots"));
    let kept = kept.list().expect("readable");
    assert_eq!(kept.len(), options(dir.path()).snap_retain_count);
    let oldest = kept.last().expect("a snapshot").index;
    assert_eq!(records(&dir.path().join("log")).start, oldest + 1);
    for damaged in &kept[..kept.len() - 1] {
        fs::write(&damaged.path, "no snapshot").expect("written");
        let (ensemble, ledger) = start(options(dir.path())).await.expect("recovered");
        assert_eq!(ledger.payloads(), numbered(0..end + 1));
        stop(ensemble, dir.path()).await;
    }
}

#[tokio::test]
async fn two_servers_cannot_share_a_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, ledger) = start(options(dir.path())).await.expect("fresh");
    let refused = start(options(dir.path()))
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(refused.contains("is in use by another server"), "{refused}");
    propose(&first, 0..1).await;
    assert_eq!(ledger.payloads(), numbered(0..1), "the first one goes on");
    stop(first, dir.path()).await;
}

/// No other servers.
fn alone() -> Peering {
    struct Nobody;
    impl LinkHandler for Nobody {
        fn serve(&self, _: Link) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }
    }
    Peering {
        members: Vec::new(),
        inbound: Inbound::Alone,
        net: Arc::new(Tcp),
        secret: None,
        links: Arc::new(Nobody),
    }
}
