//! Watch fan-out: one writer changes a znode, every connection watches it.
//!
//! Rounds do not overlap: the writer waits until each watcher has armed its watch again. An
//! operation is one event delivered; its latency runs from the moment before the writer sends its
//! setData to the moment a watcher has the event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jute::proto::event_type;
use tokio::sync::{Notify, watch};
use tokio::time;

use super::crew::{Run, SharedTally};
use super::schedule::{STALL_LIMIT, Schedule};
use super::tally::Mistake;
use crate::client::{Client, ClientError, Events};

/// What writer and watchers share, across threads.
#[derive(Debug)]
pub(super) struct FanOut {
    watchers: u32,
    /// Watchers whose watch is armed for this round.
    armed: AtomicU32,
    /// Wakes the writer when the last watcher is armed.
    all_armed: Notify,
    /// When this round's write was sent, in nanoseconds since the schedule's start.
    sent_ns: AtomicU64,
    /// Turns true when the writer has done its last round.
    over: watch::Sender<bool>,
}

impl FanOut {
    pub(super) fn new(watchers: u32) -> Self {
        Self {
            watchers,
            armed: AtomicU32::new(0),
            all_armed: Notify::new(),
            sent_ns: AtomicU64::new(0),
            over: watch::Sender::new(false),
        }
    }

    fn arm(&self) {
        if self.armed.fetch_add(1, Ordering::SeqCst) + 1 == self.watchers {
            self.all_armed.notify_one();
        }
    }
}

/// Sends `over` however the writer ends, so that no watcher waits for it.
struct TellOver<'a>(&'a FanOut);

impl Drop for TellOver<'_> {
    fn drop(&mut self) {
        self.0.over.send_replace(true);
    }
}

pub(super) async fn write(
    run: Arc<Run>,
    client: Client,
    schedule: Schedule,
    _tally: SharedTally,
) -> Result<(), ClientError> {
    let shared = &run.fan_out;
    let _over = TellOver(shared);
    let rounds = run.options.total().unwrap_or(u64::MAX);
    for round in 0..=rounds {
        if time::timeout(STALL_LIMIT, shared.all_armed.notified())
            .await
            .is_err()
        {
            return Err(ClientError::Silent(STALL_LIMIT));
        }
        // After the last round all are armed once more: every event has arrived.
        let now = Instant::now();
        if round == rounds || !schedule.is_open(now) {
            break;
        }
        shared.armed.store(0, Ordering::SeqCst);
        let since_start = (now - schedule.start).as_nanos();
        let sent_ns = u64::try_from(since_start).unwrap_or(u64::MAX);
        shared.sent_ns.store(sent_ns, Ordering::SeqCst);
        client
            .set_data(&run.options.root, Some(&run.data), -1)
            .await?;
    }
    client.close().await
}

pub(super) async fn watch(
    run: Arc<Run>,
    (client, mut events): (Client, Events),
    schedule: Schedule,
    tally: SharedTally,
) -> Result<(), ClientError> {
    let shared = &run.fan_out;
    let root = &run.options.root;
    let mut over = shared.over.subscribe();
    let mut version = client.get_data(root, true).await?.1.version;
    loop {
        shared.arm();
        let event = tokio::select! {
            event = events.next() => event.ok_or(ClientError::Closed)?,
            _ = over.wait_for(|over| *over) => return client.close().await,
        };
        let now = Instant::now();
        let sent = Duration::from_nanos(shared.sent_ns.load(Ordering::SeqCst));
        if schedule.is_measured(now) {
            let delay = (now - schedule.start).saturating_sub(sent);
            tally.borrow_mut().record(delay, now);
        }
        if event.kind != event_type::NODE_DATA_CHANGED || event.path != *root {
            tally
                .borrow_mut()
                .mistake(Mistake::WrongBody, || format!("{event:?}"));
        }
        let (_, stat) = client.get_data(root, true).await?;
        if stat.version != version + 1 {
            tally.borrow_mut().mistake(Mistake::WrongBody, || {
                format!(
                    "version {} read after {version} and one event",
                    stat.version
                )
            });
        }
        version = stat.version;
    }
}
