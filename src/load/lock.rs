//! The lock recipe: an ephemeral sequential node each, the lowest holds the lock, everybody else
//! watches the node before its own.
//!
//! An operation is one turn; its latency runs from the create to the moment the lock is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use jute::ErrorCode;
use jute::proto::{create_mode, event_type};
use tokio::time;

use super::crew::{Run, SharedTally};
use super::schedule::{STALL_LIMIT, Schedule};
use super::tally::Mistake;
use crate::client::{Client, ClientError, Events};

/// Who holds the lock, as the contenders themselves know it: this is what the server's answers
/// are checked against.
#[derive(Debug, Default)]
pub(super) struct LockHolder(AtomicU32);

impl LockHolder {
    const NOBODY: u32 = 0;

    /// Takes the lock; `false` when somebody else has it.
    fn take(&self, lane: u32) -> bool {
        self.0.swap(lane + 1, Ordering::SeqCst) == Self::NOBODY
    }

    fn release(&self) {
        self.0.store(Self::NOBODY, Ordering::SeqCst);
    }
}

pub(super) async fn drive(
    run: Arc<Run>,
    lane: u32,
    (client, mut events): (Client, Events),
    schedule: Schedule,
    tally: SharedTally,
) -> Result<(), ClientError> {
    let turns = run.options.share(lane).unwrap_or(u64::MAX);
    for _ in 0..turns {
        let asked = Instant::now();
        if !schedule.is_open(asked) {
            break;
        }
        let node = take(&client, &mut events, &run.options.root).await?;
        let now = Instant::now();
        if !run.lock_holder.take(lane) {
            tally.borrow_mut().mistake(Mistake::TwoHolders, || {
                format!("{node} got a lock that is held")
            });
        }
        if schedule.is_measured(now) {
            tally.borrow_mut().record(now - asked, now);
        }
        run.lock_holder.release();
        client.delete(&node, -1).await?;
    }
    client.close().await
}

/// Waits for the lock and returns the node that holds it.
async fn take(client: &Client, events: &mut Events, root: &str) -> Result<String, ClientError> {
    let prefix = format!("{root}/lock-");
    let node = client
        .create(&prefix, None, create_mode::EPHEMERAL_SEQUENTIAL)
        .await?;
    loop {
        let (children, _) = client.children(root, false).await?;
        let name = &node[root.len() + 1..];
        // Suffixes are ten digits, so names of one prefix sort by number.
        let earlier = |other: &String| other.starts_with("lock-") && other.as_str() < name;
        let Some(before) = children.into_iter().filter(earlier).max() else {
            return Ok(node);
        };
        let before = format!("{root}/{before}");
        // getData leaves no watch behind when the node is gone already; exists would.
        match client.get_data(&before, true).await {
            Ok(_) => wait_for_deletion(events, &before).await?,
            Err(ClientError::Refused(ErrorCode::NO_NODE)) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn wait_for_deletion(events: &mut Events, path: &str) -> Result<(), ClientError> {
    loop {
        let event = match time::timeout(STALL_LIMIT, events.next()).await {
            Ok(event) => event.ok_or(ClientError::Closed)?,
            Err(_) => return Err(ClientError::Silent(STALL_LIMIT)),
        };
        if event.path == path && event.kind == event_type::NODE_DELETED {
            return Ok(());
        }
    }
}
