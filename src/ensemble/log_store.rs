//! openraft's view of the log: recent entries in memory, everything on a [`Log`].
//!
//! `append` runs on openraft's core task, so it only hands over: entries can be read from memory at
//! once, and one I/O thread writes whatever has arrived as one batch with one fsync, then reports
//! each piece in order. Votes go through the same queue and are never reordered against entries.
//!
//! Invariant: purged < tail.first <= flushed + 1 <= last + 1

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::types::{
    Entry, LogId, TypeConfig, Vote, decode_entry, decode_log_id, decode_vote, encode_entry,
    encode_log_id, encode_vote,
};
use crate::state::entry;
use crate::storage::StorageError;
use crate::storage::log::{Log, Opened, Step, meta};

/// Bytes of flushed entries that stay in memory; older ones are read from the log again. What is
/// applied here is far younger.
const TAIL_BYTES_MAX: usize = 4 << 20;

/// Entries, and their bytes, that are read for one request to a follower; one more than the bytes
/// allow is read, so that there is always one.
const READ_LEN_MAX: u64 = 256;
const READ_BYTES_MAX: usize = 1 << 20;

/// Entries that are read at a time to be counted.
const COUNTED_PER_READ: u64 = 32;

/// Pieces that one batch may consist of.
const BATCH_LEN_MAX: usize = 4096;

/// Commands that may wait for the I/O thread; beyond it whoever sends waits with them.
const COMMANDS_MAX: usize = 16 << 10;

enum Command {
    Append {
        entries: Vec<Entry>,
        flushed: IOFlushed<TypeConfig>,
        handed_over: HandedOver,
    },
    Write {
        steps: Vec<Step>,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Worth keeping, not worth waiting for.
    Committed(LogId),
    /// Nothing more is written.
    Close,
}

/// Requests that wait for the I/O thread, for the recorder of metrics.
#[derive(Debug, Clone, Copy)]
struct HandedOver {
    requests: usize,
    at: Instant,
}

#[derive(Default)]
struct Shared {
    /// Entries from `first` on.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    flushed: Option<u64>,
    last: Option<LogId>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
    /// Bytes appended since the newest snapshot that was there at the beginning, for the snapshot
    /// policy.
    appended_bytes: u64,
    /// Requests that wait for the I/O thread.
    queued: usize,
}

/// Clients' requests in these entries.
pub(super) fn request_count(entries: &[Entry]) -> usize {
    let counts = entries.iter().map(|entry| match &entry.payload {
        openraft::EntryPayload::Normal(payload) => entry::lengths(&payload.0).count(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
    });
    counts.sum()
}

fn entry_bytes(entry: &Entry) -> usize {
    size_of::<Entry>()
        + match &entry.payload {
            openraft::EntryPayload::Normal(payload) => payload.0.len(),
            openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
        }
}

impl Shared {
    fn push(&mut self, entry: Entry) {
        let bytes = entry_bytes(&entry);
        self.tail_bytes += bytes;
        self.appended_bytes += bytes as u64;
        self.last = Some(entry.log_id);
        self.tail.push_back(entry);
    }

    fn truncate_after(&mut self, last: Option<LogId>) {
        let from = last.map_or(0, |id| id.index + 1);
        while self
            .tail
            .back()
            .is_some_and(|entry| entry.log_id.index >= from)
            && let Some(entry) = self.tail.pop_back()
        {
            self.tail_bytes -= entry_bytes(&entry);
        }
        self.flushed = self.flushed.min(from.checked_sub(1));
        // What lies behind the end is cut off already.
        self.last = self.last.min(last.max(self.purged));
    }

    fn purge(&mut self, id: LogId) {
        while self
            .tail
            .front()
            .is_some_and(|entry| entry.log_id.index <= id.index)
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry_bytes(&entry);
        }
        self.purged = self.purged.max(Some(id));
        self.last = self.last.max(Some(id));
    }

    /// Lets go of old entries that can be read from the log.
    fn shrink(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX
            && self
                .tail
                .front()
                .is_some_and(|entry| Some(entry.log_id.index) <= self.flushed)
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry_bytes(&entry);
        }
    }
}

/// A cloneable handle. The I/O thread ends at [`Self::close`], or when the last one is gone.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Mutex<Shared>>,
    log: Arc<dyn Log>,
    commands: Commands,
}

/// The way to whoever writes.
#[derive(Clone)]
enum Commands {
    Thread(SyncSender<Command>),
    #[cfg(simulation)]
    Task(tokio::sync::mpsc::Sender<Command>),
}

/// Called once, with the error that ended all writing.
pub(crate) type OnFailure = Box<dyn Fn(&StorageError) + Send>;

impl LogStore {
    /// Takes over an opened log.
    ///
    /// # Errors
    /// The log does not reach what was committed, or holds what is no entry.
    pub(crate) fn open(
        log: Arc<dyn Log>,
        opened: Opened,
        on_failure: OnFailure,
    ) -> Result<(Self, JoinHandle<()>), StorageError> {
        let shared = Self::recover(&*log, opened)?;
        let (commands, queue) = sync_channel(COMMANDS_MAX);
        let store = Self {
            shared: Arc::new(Mutex::new(shared)),
            log,
            commands: Commands::Thread(commands),
        };
        let (shared, log) = (Arc::clone(&store.shared), Arc::clone(&store.log));
        let thread = std::thread::Builder::new()
            .name("log-io".to_owned())
            .spawn(move || write_all(&queue, &shared, &*log, &on_failure))
            .map_err(|source| StorageError::io(std::path::Path::new("log thread"), source))?;
        Ok((store, thread))
    }

    /// Like [`Self::open`], with a task in the place of the thread, which waits `fsync()` before
    /// each write. What has not been written when the task is aborted is lost, as in a crash.
    #[cfg(simulation)]
    pub(crate) fn simulate(
        log: Arc<dyn Log>,
        opened: Opened,
        mut fsync: impl FnMut() -> std::time::Duration + Send + 'static,
        acknowledge_early: bool,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), StorageError> {
        let shared = Arc::new(Mutex::new(Self::recover(&*log, opened)?));
        let (commands, mut queue) = tokio::sync::mpsc::channel(COMMANDS_MAX);
        let store = Self {
            shared: Arc::clone(&shared),
            log: Arc::clone(&log),
            commands: Commands::Task(commands),
        };
        let task = tokio::spawn(async move {
            let mut batch = Batch::default();
            while let Some(command) = queue.recv().await {
                batch.add(command);
                while batch.reports.len() < BATCH_LEN_MAX
                    && let Ok(command) = queue.try_recv()
                {
                    batch.add(command);
                }
                let batch = std::mem::take(&mut batch);
                let closes = batch.closes;
                if acknowledge_early {
                    let (early, late) = batch.acknowledged();
                    let _ = early.write(&shared, &*log);
                    tokio::time::sleep(fsync()).await;
                    let _ = late.write(&shared, &*log);
                } else {
                    tokio::time::sleep(fsync()).await;
                    let _ = batch.write(&shared, &*log);
                }
                if closes {
                    return;
                }
            }
        });
        Ok((store, task))
    }

    fn recover(log: &dyn Log, opened: Opened) -> Result<Shared, StorageError> {
        let damaged = |why: String| StorageError::corrupt(std::path::Path::new("the log"), why);
        let id = |name: &str| {
            opened.meta.get(name).map(|value| {
                decode_log_id(&mut value.clone()).ok_or_else(|| damaged(format!("no {name}")))
            })
        };
        let (purged, committed) = (
            id(meta::PURGED).transpose()?,
            id(meta::COMMITTED).transpose()?,
        );
        let vote = opened
            .meta
            .get(meta::VOTE)
            .map(|value| decode_vote(value.clone()).ok_or_else(|| damaged("no vote".to_owned())))
            .transpose()?;
        let mut shared = Shared {
            vote,
            purged,
            committed,
            ..Shared::default()
        };
        shared.last = purged;
        if let Some(last) = opened
            .records
            .end
            .checked_sub(1)
            .filter(|_| !opened.records.is_empty())
        {
            for (index, record) in log.read(last..last + 1)? {
                let entry = decode_entry(index, record)
                    .ok_or_else(|| damaged(format!("record {index} is no entry")))?;
                shared.last = Some(entry.log_id);
            }
            shared.flushed = Some(last);
        }
        if committed.is_some_and(|committed| Some(committed) > shared.last) {
            let last = shared.last.map_or(0, |last| last.index);
            let lost = committed.map_or(0, |committed| committed.index);
            return Err(damaged(format!(
                "it ends at record {last} but record {lost} was committed; acknowledged writes are missing"
            )));
        }
        Ok(shared)
    }

    /// Counts what was appended behind the newest snapshot before this process began: servers that
    /// restart often have to write snapshots, too.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn count_behind(&self, snapshot: Option<u64>) -> Result<(), StorageError> {
        let mut next = snapshot.map_or(0, |index| index + 1);
        next = next.max(self.purged().map_or(0, |id| id.index + 1));
        let end = self.shared.lock().last.map_or(0, |last| last.index + 1);
        let mut bytes = 0;
        while next < end {
            let until = end.min(next + COUNTED_PER_READ);
            for (_, record) in self.log.read(next..until)? {
                bytes += size_of::<Entry>() + record.len();
            }
            next = until;
        }
        self.shared.lock().appended_bytes += bytes as u64;
        Ok(())
    }

    /// Bytes appended since the newest snapshot that was there at the beginning.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.shared.lock().appended_bytes
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.lock().purged
    }

    pub(crate) fn is_empty(&self) -> bool {
        let shared = self.shared.lock();
        shared.last.is_none() && shared.vote.is_none()
    }

    /// Writes what has arrived and ends the I/O thread.
    pub(crate) fn close(&self) {
        let _ = self.send(Command::Close);
    }

    async fn write(&self, steps: Vec<Step>) -> io::Result<()> {
        let (done, finished) = oneshot::channel();
        self.send(Command::Write { steps, done })?;
        finished.await.map_err(|_| stopped())?
    }

    fn send(&self, command: Command) -> io::Result<()> {
        match &self.commands {
            Commands::Thread(commands) => commands.send(command).map_err(|_| stopped()),
            #[cfg(simulation)]
            Commands::Task(commands) => commands.try_send(command).map_err(|_| stopped()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log has stopped")
}

/// What one durable write consists of.
#[derive(Default)]
struct Batch {
    steps: Vec<Step>,
    reports: Vec<Report>,
    committed: Option<LogId>,
    closes: bool,
    handed_over: Vec<HandedOver>,
}

impl Batch {
    fn add(&mut self, command: Command) {
        match command {
            Command::Append {
                entries,
                flushed,
                handed_over,
            } => {
                self.handed_over.push(handed_over);
                let last = entries.last().map(|entry| entry.log_id.index);
                self.steps.extend(entries.iter().map(|entry| Step::Append {
                    index: entry.log_id.index,
                    record: encode_entry(entry),
                }));
                self.reports.push(Report::Flushed(flushed, last));
            }
            Command::Write { steps, done } => {
                self.steps.extend(steps);
                self.reports.push(Report::Done(done));
            }
            Command::Committed(id) => self.committed = Some(id),
            Command::Close => self.closes = true,
        }
    }
}

/// The I/O thread: everything that has arrived becomes one durable write.
fn write_all(
    queue: &Receiver<Command>,
    shared: &Mutex<Shared>,
    log: &dyn Log,
    on_failure: &OnFailure,
) {
    let mut batch = Batch::default();
    while let Ok(command) = queue.recv() {
        batch.add(command);
        while batch.reports.len() < BATCH_LEN_MAX
            && let Ok(command) = queue.try_recv()
        {
            batch.add(command);
        }
        if batch.reports.is_empty() && !batch.closes {
            // The committed bound alone is not worth an fsync: it goes with the next write.
            continue;
        }
        let batch = std::mem::take(&mut batch);
        let closes = batch.closes;
        if let Err(failed) = batch.write(shared, log) {
            on_failure(&failed.error);
            for report in failed.reports {
                report.fail(&failed.error);
            }
            return;
        }
        if closes {
            return;
        }
    }
}

struct WriteFailed {
    error: StorageError,
    reports: Vec<Report>,
}

/// What is measured of the I/O thread. Times are in ms and count once for each request, as
/// upstream's, but for that of the write alone.
struct Measures {
    queued: Counter,
    /// Requests that wait when a write begins, and how long they did.
    queue_size: Histogram,
    queue_time: Histogram,
    batch_size: Histogram,
    process_time: Histogram,
    flush_time: Histogram,
    queue_and_flush_time: Histogram,
}

static MEASURES: LazyLock<Measures> = LazyLock::new(|| Measures {
    queued: counter!("sync_processor_request_queued"),
    queue_size: histogram!("sync_processor_queue_size"),
    queue_time: histogram!("sync_processor_queue_time_ms"),
    batch_size: histogram!("sync_processor_batch_size"),
    process_time: histogram!("sync_process_time"),
    flush_time: histogram!("sync_processor_queue_flush_time_ms"),
    queue_and_flush_time: histogram!("sync_processor_queue_and_flush_time_ms"),
});

impl Measures {
    /// Records what was written from `begun` until now; `waited` requests waited then.
    fn written(&self, begun: Instant, waited: usize, pieces: &[HandedOver]) {
        let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
        let now = Instant::now();
        let requests = pieces.iter().map(|piece| piece.requests).sum::<usize>();
        if requests == 0 {
            return;
        }
        let took = ms(now - begun);
        self.queue_size.record_many(waited as f64, requests);
        self.batch_size.record(requests as f64);
        self.flush_time.record(took);
        self.process_time.record_many(took, requests);
        for HandedOver { requests, at } in pieces {
            let queued = ms(begun.saturating_duration_since(*at));
            self.queue_time.record_many(queued, *requests);
            self.queue_and_flush_time
                .record_many(queued + took, *requests);
        }
    }
}

impl Batch {
    /// Makes it durable, and says so.
    fn write(self, shared: &Mutex<Shared>, log: &dyn Log) -> Result<(), WriteFailed> {
        let (mut steps, reports) = (self.steps, self.reports);
        if let Some(id) = self.committed {
            steps.push(Step::SetMeta {
                name: meta::COMMITTED,
                value: encode_log_id(&id),
            });
        }
        let taken = self.handed_over.iter().map(|piece| piece.requests).sum();
        let waited = {
            let mut shared = shared.lock();
            let waited = shared.queued;
            shared.queued = waited.saturating_sub(taken);
            waited
        };
        let begun = Instant::now();
        if let Err(error) = log.write(steps) {
            return Err(WriteFailed { error, reports });
        }
        MEASURES.written(begun, waited, &self.handed_over);
        for report in reports {
            report.succeed(shared);
        }
        shared.lock().shrink();
        Ok(())
    }

    /// The bug that the simulation must find: what is reported, and what is written behind it.
    #[cfg(simulation)]
    fn acknowledged(self) -> (Self, Self) {
        let early = Self {
            reports: self.reports,
            ..Self::default()
        };
        let late = Self {
            steps: self.steps,
            committed: self.committed,
            handed_over: self.handed_over,
            ..Self::default()
        };
        (early, late)
    }
}

enum Report {
    Flushed(IOFlushed<TypeConfig>, Option<u64>),
    Done(oneshot::Sender<io::Result<()>>),
}

impl Report {
    fn succeed(self, shared: &Mutex<Shared>) {
        match self {
            Self::Flushed(flushed, last) => {
                let mut shared = shared.lock();
                shared.flushed = shared.flushed.max(last);
                drop(shared);
                flushed.io_completed(Ok(()));
            }
            Self::Done(done) => {
                let _ = done.send(Ok(()));
            }
        }
    }

    fn fail(self, error: &StorageError) {
        let error = io::Error::other(error.to_string());
        match self {
            Self::Flushed(flushed, _) => flushed.io_completed(Err(error)),
            Self::Done(done) => {
                let _ = done.send(Err(error));
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let shared = self.shared.lock();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.max(shared.purged.map_or(0, |id| id.index + 1));
        let end = end.min(shared.last.map_or(0, |id| id.index + 1));
        if start >= end {
            return Ok(Vec::new());
        }
        let tail_first = shared
            .tail
            .front()
            .map_or(u64::MAX, |entry| entry.log_id.index);
        let from_tail = start.max(tail_first);
        let mut recent = Vec::new();
        if from_tail < end {
            let skip = usize::try_from(from_tail - tail_first).unwrap_or(usize::MAX);
            let count = usize::try_from(end - from_tail).unwrap_or(usize::MAX);
            recent.extend(shared.tail.iter().skip(skip).take(count).cloned());
        }
        drop(shared);
        let old_end = end.min(tail_first);
        if start >= old_end {
            return Ok(recent);
        }
        let records = self.log.read(start..old_end).map_err(io::Error::other)?;
        let mut entries = Vec::with_capacity(records.len() + recent.len());
        for (index, record) in records {
            let entry = decode_entry(index, record)
                .ok_or_else(|| io::Error::other(format!("record {index} is no entry")))?;
            entries.push(entry);
        }
        entries.extend(recent);
        Ok(entries)
    }

    /// What goes into one request to a follower.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let end = end.min(start.saturating_add(READ_LEN_MAX));
        let mut entries = self.try_get_log_entries(start..end).await?;
        let mut bytes = 0;
        let fitting = entries
            .iter()
            .take_while(|entry| {
                let fits = bytes < READ_BYTES_MAX;
                bytes += entry_bytes(entry);
                fits
            })
            .count();
        entries.truncate(fitting);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let shared = self.shared.lock();
        Ok(LogState {
            last_purged_log_id: shared.purged,
            last_log_id: shared.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write(vec![Step::SetMeta {
            name: meta::VOTE,
            value: encode_vote(vote),
        }])
        .await?;
        self.shared.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.lock().committed = committed;
        match committed {
            Some(id) => self.send(Command::Committed(id)),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let handed_over = HandedOver {
            requests: request_count(&entries),
            at: Instant::now(),
        };
        MEASURES.queued.increment(handed_over.requests as u64);
        let mut shared = self.shared.lock();
        shared.queued += handed_over.requests;
        for entry in &entries {
            shared.push(entry.clone());
        }
        drop(shared);
        self.send(Command::Append {
            entries,
            flushed: callback,
            handed_over,
        })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.shared.lock().truncate_after(last);
        let from = last.map_or(0, |id| id.index + 1);
        self.write(vec![Step::TruncateFrom(from)]).await
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        self.shared.lock().purge(id);
        let value: Bytes = encode_log_id(&id);
        let steps = vec![
            Step::PurgeThrough(id.index),
            Step::SetMeta {
                name: meta::PURGED,
                value,
            },
        ];
        self.write(steps).await
    }
}
