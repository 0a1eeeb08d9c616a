//! Changing who is a member while everybody works.
//!
//! A new server is a learner first: it gets the state without counting. Voters change in one joint
//! step once all new ones have caught up. Those that have left are
//! removed when they are gone. Every step may be repeated: a new leader that finds a
//! change half done does it again from the beginning, and what is done already changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant as _, Raft};
use tokio::time::{Instant, sleep};

use super::peer::Member;
use super::peers::Peers;
use super::state_machine::StateMachine;
use super::types::{TypeConfig, members_of};

/// A voter that does not answer a heartbeat for so long does not count as connected.
const CONNECTED: Duration = Duration::from_millis(1500);

/// How long a new server may make no progress before the change is given up.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(10);

/// How long a new server may take to answer at all. The client waits for as long.
const NO_CONTACT_MAX: Duration = Duration::from_secs(2);

/// How long a server that has left may be silent until it is no longer spoken to.
const FAREWELL: Duration = Duration::from_secs(5);

/// Entries that a new server may be behind when it becomes a voter.
const BEHIND_MAX: u64 = 128;

const LOOK: Duration = Duration::from_millis(50);

/// Why the members are as they were.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("this server does not lead any more")]
    NotLeader,
    #[error("the leader is not among the new voters; another one has to do it")]
    IsLeaving,
    #[error("a majority of the new voters is not connected and caught up")]
    NoQuorum,
    #[error("{0}")]
    Refused(String),
}

type Node = Raft<TypeConfig, StateMachine>;

/// Makes these the voters and observers. On an error [`settle`] takes back what was done for it.
pub(super) async fn change(
    peers: &Arc<Peers>,
    raft: &Node,
    wanted: &[Member],
) -> Result<(), ChangeError> {
    let voters: BTreeSet<u64> = wanted.iter().filter(|m| m.is_voter).map(|m| m.id).collect();
    let known: BTreeMap<u64, Member> = current(raft).into_iter().map(|m| (m.id, m)).collect();
    let is_voter = |id: &u64| known.get(id).is_some_and(|member| member.is_voter);
    let old_voters: BTreeSet<u64> = known.keys().copied().filter(is_voter).collect();
    let learning: BTreeSet<u64> = voters.difference(&old_voters).copied().collect();
    let staying: BTreeSet<u64> = voters.intersection(&old_voters).copied().collect();
    let is_quorum = |count: usize| count * 2 > voters.len();
    let needed = (voters.len() / 2 + 1).saturating_sub(learning.len());
    // What a leader has done before it died is not asked for again.
    let is_done = is_decided_by(raft, &voters);
    if !is_done && !is_quorum(answering(peers, raft, &staying, needed).await + learning.len()) {
        return Err(ChangeError::NoQuorum);
    }
    for member in wanted.iter().filter(|m| !known.contains_key(&m.id)) {
        let node = BasicNode::new(&member.spec);
        let added = raft.add_learner(member.id, node, false).await;
        added.map_err(refused)?;
    }
    // Some may be absent, as long as the others are a quorum.
    let absent = caught_up(raft, learning.clone()).await?;
    let learnt = learning.len() - absent.len();
    let needed = (voters.len() / 2 + 1).saturating_sub(learnt);
    if !is_done && !is_quorum(answering(peers, raft, &staying, needed).await + learnt) {
        return Err(ChangeError::NoQuorum);
    }
    move_to(raft, wanted).await?;
    if is_done {
        return Ok(());
    }
    if !voters.contains(&peers.identity.me) {
        return Err(ChangeError::IsLeaving);
    }
    propose(raft, ChangeMembers::ReplaceAllVoters(voters)).await
}

/// Whether these are the voters, and no others have a say: a leader that died may have left the step
/// between, where both the old voters and the new ones decide.
fn is_decided_by(raft: &Node, voters: &BTreeSet<u64>) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let configs = metrics.membership_config.membership().get_joint_config();
    matches!(configs.as_slice(), [only] if only == voters)
}

/// Has members dialled where they are to be found.
async fn move_to(raft: &Node, wanted: &[Member]) -> Result<(), ChangeError> {
    let known: BTreeMap<u64, Member> = current(raft).into_iter().map(|m| (m.id, m)).collect();
    let has_moved = |member: &&Member| {
        let known = known.get(&member.id);
        known.is_some_and(|known| known.spec != member.spec)
    };
    let moved: BTreeMap<u64, BasicNode> = wanted
        .iter()
        .filter(has_moved)
        .map(|member| (member.id, BasicNode::new(&member.spec)))
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    propose(raft, ChangeMembers::SetNodes(moved)).await
}

/// After a change, or an attempt at one: takes back what was begun, and removes everybody else who is
/// not there any more. A server that has left goes on following, without a vote, until it is stopped;
/// returns whether there is one. Heartbeats have been sent since `since`.
pub(super) async fn settle(
    raft: &Node,
    wanted: &[Member],
    since: Instant,
) -> Result<bool, ChangeError> {
    move_to(raft, wanted).await?;
    let voters: BTreeSet<u64> = wanted.iter().filter(|m| m.is_voter).map(|m| m.id).collect();
    if !is_decided_by(raft, &voters) {
        propose(raft, ChangeMembers::ReplaceAllVoters(voters)).await?;
    }
    let others = current(raft).into_iter().map(|member| member.id);
    let others = others.filter(|id| !wanted.iter().any(|member| member.id == *id));
    let (staying, gone): (BTreeSet<u64>, BTreeSet<u64>) =
        others.partition(|id| silence(raft, *id, since) < FAREWELL);
    if !gone.is_empty() {
        tracing::info!(servers = ?gone, "servers that have left are gone");
        propose(raft, ChangeMembers::RemoveNodes(gone)).await?;
    }
    Ok(!staying.is_empty())
}

/// How long a server has not answered.
fn silence(raft: &Node, id: u64, since: Instant) -> Duration {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let acked = metrics.heartbeat.as_ref().and_then(|acked| acked.get(&id));
    let acked = acked.and_then(|at| at.map(|at| at.elapsed()));
    acked.unwrap_or_else(|| since.elapsed())
}

fn current(raft: &Node) -> Vec<Member> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    members_of(metrics.membership_config.membership())
}

/// How many of these answer a heartbeat, when it is less than `needed`. One that has died a moment
/// ago must not count: with it the new members could decide nothing, and nobody could go back.
async fn answering(peers: &Peers, raft: &Node, ids: &BTreeSet<u64>, needed: usize) -> usize {
    let since = Instant::now();
    loop {
        let count = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let answers = |id: &&u64| {
                let at = metrics.heartbeat.as_ref().and_then(|acked| acked.get(id));
                let is_new =
                    at.is_some_and(|at| at.is_some_and(|at| at.elapsed() < since.elapsed()));
                is_new || **id == peers.identity.me
            };
            ids.iter().filter(answers).count()
        };
        if count >= needed || since.elapsed() >= CONNECTED {
            return count;
        }
        sleep(LOOK).await;
    }
}

/// Waits until all of them have nearly all of the log. Returns those that are not there or make no
/// progress.
async fn caught_up(raft: &Node, mut learning: BTreeSet<u64>) -> Result<BTreeSet<u64>, ChangeError> {
    let mut absent = BTreeSet::new();
    let mut progress: BTreeMap<u64, (u64, Instant)> = BTreeMap::new();
    loop {
        {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let Some(replication) = &metrics.replication else {
                return Err(ChangeError::NotLeader);
            };
            let last = metrics.last_log_index.unwrap_or(0);
            let now = Instant::now();
            let at = |id: &u64| replication.get(id).and_then(|at| at.map(|at| at.index));
            learning.retain(|id| at(id).is_none_or(|index| index + BEHIND_MAX < last));
            for id in &learning {
                let index = at(id).unwrap_or(0);
                let patience = if index == 0 {
                    NO_CONTACT_MAX
                } else {
                    NO_PROGRESS_MAX
                };
                let (best, since) = progress.entry(*id).or_insert((index, now));
                if index > *best {
                    (*best, *since) = (index, now);
                } else if now.duration_since(*since) > patience {
                    absent.insert(*id);
                }
            }
            learning.retain(|id| !absent.contains(id));
        }
        if learning.is_empty() {
            return Ok(absent);
        }
        sleep(LOOK).await;
    }
}

async fn propose(raft: &Node, change: ChangeMembers<u64, BasicNode>) -> Result<(), ChangeError> {
    // Voters that go stay as learners until they are removed.
    let changed = raft.change_membership(change, true).await;
    changed.map(drop).map_err(refused)
}

fn refused(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeader,
        RaftError::APIError(error) => ChangeError::Refused(error.to_string()),
        RaftError::Fatal(_) => ChangeError::NotLeader,
    }
}
