//! How an ensemble forms, and how it finds a new leader without waiting for time-outs.
//!
//! **Forming.** Each server knows the members from its configuration. A server without data asks
//! the others what they have. When a majority has nothing, they are a new ensemble, and each of
//! them writes the same first membership. When anybody has data, this server is late or has lost
//! its disk: it waits for the leader, and does not vote before it has caught up, for a vote of a
//! server that has forgotten what it acknowledged could elect a leader that lacks it.
//!
//! **A leader that dies** closes its connections. That is a reason to ask the others at once; the
//! time-outs are for silence. A leader that is frozen or cut off says nothing: then, too, a majority
//! that has not heard it decides, sooner than its lease runs out.
//!
//! ```text
//!   connection of the leader ends
//!   wait for rank x 30 ms       (rank: place among the voters, so that two do not split the votes)
//!   "has it hung up on you?"    -> a majority says so: the lease of the old leader is void
//!   stand for election          (as if the leader had handed over)
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use openraft::raft::TransferLeaderRequest;
use openraft::{BasicNode, Raft, ServerState};
use tokio::sync::watch;

use super::inbound;
use super::peer::Member;
use super::peers::{PeerStatus, Peers, Place, kind};
use super::state_machine::StateMachine;
use super::types::{TypeConfig, encode_cluster_id, members_of};
use super::{Leadership, StartError};
use crate::storage::{StorageError, fsync_dir};

/// How long a single voter may take to elect itself: it waits for its disk alone.
const ELECTION_PATIENCE: Duration = Duration::from_secs(60);

/// How long a member may take to say what it has.
const STATUS_PATIENCE: Duration = Duration::from_millis(1500);

/// Pause between two looks at the others while the ensemble forms.
const FORM_RETRY: Duration = Duration::from_millis(100);

/// How long a leader may be silent until the others are asked whether they hear it. Seven missed
/// heartbeats: less would make every hiccup of a busy machine an election.
pub(super) const SILENCE_MAX: Duration = Duration::from_millis(700);
const SILENCE_LOOK: Duration = Duration::from_millis(50);

/// Head start of each voter over the next one when the leader is gone.
const RANK_STEP: Duration = Duration::from_millis(30);

/// How often, and how far apart, the others are asked whether the leader is gone for them too.
const LOST_TRIES: u32 = 20;
const LOST_RETRY: Duration = Duration::from_millis(15);
const LOST_PATIENCE: Duration = Duration::from_millis(200);

/// How often, and after how long a silence, a server asks where the others look for it.
const PLACE_LOOK: Duration = Duration::from_secs(1);
const PLACE_PATIENCE: Duration = Duration::from_secs(3);

/// How long handing over may take before the server stops without it.
const HAND_OVER_PATIENCE: Duration = Duration::from_millis(500);

/// Makes a single voter the leader, and waits until what was committed is applied.
pub(super) async fn lead_alone(
    raft: &Raft<TypeConfig, StateMachine>,
    server_id: u64,
    is_new: bool,
) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    if is_new {
        let members = BTreeMap::from([(server_id, BasicNode::default())]);
        match raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    // Asked of the core itself: what it publishes may still be from before it read the log.
    let voters: Vec<u64> = raft
        .with_raft_state(|state| state.membership_state.effective().voter_ids().collect())
        .await
        .map_err(|error| failed(&error))?;
    if !is_new && voters != [server_id] {
        let why = format!(
            "this data directory belongs to server {voters:?}, but the configuration says server {server_id}"
        );
        return Err(StartError::Raft(why));
    }
    // The first initialisation elects by itself.
    if !is_new {
        raft.trigger()
            .elect(false)
            .await
            .map_err(|error| failed(&error))?;
    }
    raft.wait(Some(ELECTION_PATIENCE))
        .state(ServerState::Leader, "a single voter elects itself")
        .await
        .map_err(|error| failed(&error))?;
    raft.write_blank().await.map_err(|error| failed(&error))?;
    Ok(())
}

/// A server of an ensemble must not begin on the data of one without.
pub(super) async fn refuse_alone(raft: &Raft<TypeConfig, StateMachine>) -> Result<(), StartError> {
    let members = raft
        .with_raft_state(|state| members_of(state.membership_state.effective().membership()))
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;
    if members.iter().any(|member| member.spec.is_empty()) {
        return Err(StartError::Raft(
            "this data directory belongs to a server without an ensemble, but the configuration lists several servers".to_owned(),
        ));
    }
    Ok(())
}

/// A file that says: this server rejoins and must not vote yet.
pub(super) struct Marker {
    path: PathBuf,
}

impl Marker {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("rejoining"),
        }
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(super) fn set(&self) -> Result<(), StorageError> {
        let failed = |source| StorageError::io(&self.path, source);
        std::fs::write(&self.path, b"").map_err(failed)?;
        fsync_dir(self.path.parent().unwrap_or_else(|| Path::new(".")))
    }

    fn clear(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot be removed");
        }
    }
}

/// Begins a new ensemble, or joins the one that is there.
pub(super) async fn form(peers: Arc<Peers>, members: Vec<Member>, marker: Marker, is_new: bool) {
    let Some(raft) = peers.raft.get() else { return };
    if is_new && !marker.exists() && is_first_start(&peers, &members).await {
        let nodes: BTreeMap<u64, BasicNode> = members
            .iter()
            .filter(|member| member.is_voter)
            .map(|member| (member.id, BasicNode::new(&member.spec)))
            .collect();
        tracing::info!(voters = ?nodes.keys().collect::<Vec<_>>(), "a new ensemble begins");
        allow_votes(&peers, raft);
        match raft.initialize(nodes).await {
            // A leader may have been quicker.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => tracing::error!(%error, "the ensemble cannot begin"),
        }
        return;
    }
    if peers.may_vote() {
        return;
    }
    if let Err(error) = marker.set() {
        tracing::error!(%error, "cannot note that this server rejoins");
    }
    tracing::info!("an ensemble is there; joining it, without a vote until it is caught up");
    catch_up(&peers, raft).await;
    marker.clear();
    allow_votes(&peers, raft);
    tracing::info!("caught up");
}

fn allow_votes(peers: &Peers, raft: &Raft<TypeConfig, StateMachine>) {
    peers.may_vote.store(true, Ordering::Release);
    raft.runtime_config().elect(true);
}

/// Asks the members until a majority of voters has nothing, or one has something.
async fn is_first_start(peers: &Peers, members: &[Member]) -> bool {
    let me = peers.identity.me;
    let voters: Vec<u64> = members
        .iter()
        .filter(|m| m.is_voter)
        .map(|m| m.id)
        .collect();
    if !voters.contains(&me) {
        // An observer waits for a leader to add it.
        return false;
    }
    loop {
        let others = voters.iter().filter(|id| **id != me);
        let answers = join_all(others.map(|id| ask_status(peers, *id))).await;
        let fresh = 1 + answers.iter().flatten().filter(|s| s.is_fresh).count();
        if answers.iter().flatten().any(|status| !status.is_fresh) {
            return false;
        }
        if fresh * 2 > voters.len() {
            return true;
        }
        tokio::time::sleep(FORM_RETRY).await;
    }
}

async fn ask_status(peers: &Peers, id: u64) -> Option<PeerStatus> {
    let answer = peers
        .ask(id, kind::STATUS, &[], STATUS_PATIENCE)
        .await
        .ok()?;
    PeerStatus::decode(answer)
}

/// Returns when this server has applied what the leader had when it was first reached.
async fn catch_up(peers: &Peers, raft: &Raft<TypeConfig, StateMachine>) {
    let goal = loop {
        let leader = peers.contact.lock().map(|contact| contact.leader);
        if let Some(leader) = leader
            && let Some(status) = ask_status(peers, leader).await
            && status.is_leading
        {
            break status.last_index;
        }
        tokio::time::sleep(FORM_RETRY).await;
    };
    let _ = raft
        .wait(None)
        .applied_index_at_least(Some(goal), "what the leader had")
        .await;
}

/// Tells who leads whenever that changes, and adds what only a leader can add.
pub(super) async fn announce(
    peers: Arc<Peers>,
    mut applied_term: watch::Receiver<u64>,
    announce: watch::Sender<Leadership>,
) {
    let Some(raft) = peers.raft.get() else { return };
    // Changes with the vote, the leader and the members, not with each entry.
    let mut metrics = raft.server_metrics();
    let me = peers.identity.me;
    let mut members_at = None;
    loop {
        let (seen, members) = {
            let metrics = metrics.borrow_watched();
            let term = metrics.vote.leader_id.term;
            // Its own first entry is applied: so is everything of earlier terms.
            let has_applied = *applied_term.borrow_and_update() == term;
            let seen = match metrics.current_leader {
                Some(leader) if leader == me => {
                    if metrics.state == ServerState::Leader && has_applied {
                        Leadership::Leading { term }
                    } else {
                        Leadership::Unknown
                    }
                }
                Some(leader) => Leadership::Following { leader, term },
                None => Leadership::Unknown,
            };
            let membership = &metrics.membership_config;
            let changed = membership.log_id().is_some() && *membership.log_id() != members_at;
            members_at = *membership.log_id();
            (seen, changed.then(|| members_of(membership.membership())))
        };
        if let Some(members) = members
            && members.iter().all(|member| !member.spec.is_empty())
        {
            peers.set_members(members);
        }
        let changed = announce.send_if_modified(|announced| {
            let changed = *announced != seen;
            *announced = seen;
            changed
        });
        if changed {
            tracing::info!(?seen, "leadership");
            if matches!(seen, Leadership::Leading { .. }) {
                begin_cluster(&peers, raft).await;
            }
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            changed = applied_term.changed() => if changed.is_err() { return },
        }
    }
}

/// The first leader gives the cluster a name, so that servers of two clusters never mix, and adds
/// the observers that the configuration lists.
async fn begin_cluster(peers: &Peers, raft: &Raft<TypeConfig, StateMachine>) {
    if peers.identity.cluster.load(Ordering::Relaxed) != 0 {
        return;
    }
    let mut id = [0; 8];
    if getrandom::fill(&mut id).is_ok() {
        let id = u64::from_be_bytes(id).max(1);
        let _ = raft.client_write_ff(encode_cluster_id(id), None).await;
    }
    for observer in peers.configured.iter().filter(|member| !member.is_voter) {
        let node = BasicNode::new(&observer.spec);
        if let Err(error) = raft.add_learner(observer.id, node, false).await {
            tracing::warn!(server = observer.id, %error, "an observer could not be added");
        }
    }
}

/// Asks the others where they look for this server while no leader is heard: it may have been given
/// another port while it was away, and nobody can tell it at the old one.
pub(super) async fn find_place(peers: Arc<Peers>, found: watch::Sender<String>) {
    let Some(raft) = peers.raft.get() else { return };
    let me = peers.identity.me;
    let begun = tokio::time::Instant::now();
    let mut known = inbound::place(raft, me).map_or(0, |place| place.index);
    loop {
        tokio::time::sleep(PLACE_LOOK).await;
        let heard = peers.contact.lock().map_or(begun, |contact| contact.heard);
        if heard.elapsed() < PLACE_PATIENCE || raft.metrics().borrow_watched().state.is_leader() {
            continue;
        }
        let others: Vec<u64> = peers.identity.members.read().keys().copied().collect();
        let ask = |id: u64| peers.ask(id, kind::PLACE, &[], STATUS_PATIENCE);
        let asked = others.into_iter().filter(|id| *id != me).map(ask);
        let answers = join_all(asked).await;
        let places = answers.into_iter().flatten().filter_map(Place::decode);
        if let Some(newest) = places.max_by_key(|place| place.index)
            && newest.index > known
        {
            known = newest.index;
            found.send_replace(newest.spec);
        }
    }
}

/// Stands for election when the leader has hung up on a majority.
pub(super) async fn replace_lost_leader(peers: Arc<Peers>) {
    loop {
        tokio::select! {
            () = peers.lost.notified() => {}
            () = silence(&peers) => {}
        }
        let Some(raft) = peers.raft.get() else { return };
        let Some(lost) = *peers.contact.lock() else {
            continue;
        };
        let voters: Vec<u64> = raft.voter_ids().collect();
        let me = peers.identity.me;
        if !voters.contains(&me) || !peers.may_vote() {
            continue;
        }
        let others: Vec<u64> = voters
            .iter()
            .copied()
            .filter(|id| *id != lost.leader)
            .collect();
        let rank = others.iter().position(|id| *id == me).unwrap_or(0);
        tokio::time::sleep(RANK_STEP * u32::try_from(rank).unwrap_or(u32::MAX)).await;
        for _ in 0..LOST_TRIES {
            if peers.lost_term() != Some(lost.term) {
                break;
            }
            if is_lost_for_most(&peers, lost.term, &others, voters.len()).await {
                stand(raft, me).await;
                break;
            }
            tokio::time::sleep(LOST_RETRY).await;
        }
    }
}

/// Returns when the leader has not been heard for too long.
async fn silence(peers: &Peers) {
    let mut look = tokio::time::interval(SILENCE_LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What arrived while this process itself stood still is heard before the second look.
    let mut silent_looks = 0;
    loop {
        look.tick().await;
        let mut contact = peers.contact.lock();
        let Some(contact) = contact.as_mut().filter(|contact| !contact.is_lost) else {
            silent_looks = 0;
            continue;
        };
        if contact.leader == peers.identity.me || contact.heard.elapsed() < SILENCE_MAX {
            silent_looks = 0;
            continue;
        }
        silent_looks += 1;
        if silent_looks > 1 {
            contact.is_lost = true;
            return;
        }
    }
}

async fn is_lost_for_most(peers: &Peers, term: u64, others: &[u64], voters: usize) -> bool {
    let term = term.to_be_bytes();
    let asked = others.iter().filter(|id| **id != peers.identity.me);
    let answers = join_all(asked.map(|id| peers.ask(*id, kind::LEADER_LOST, &term, LOST_PATIENCE)));
    let agree = 1 + answers.await.iter().flatten().count();
    agree * 2 > voters
}

/// Asks for votes at once, in the name of a leader that is gone.
async fn stand(raft: &Raft<TypeConfig, StateMachine>, me: u64) {
    let vote = raft.metrics().borrow_watched().vote;
    let request = TransferLeaderRequest::new(vote, me, None);
    match raft.handle_transfer_leader(request).await {
        Ok(Ok(())) => tracing::info!("the leader is gone; standing for election"),
        Ok(Err(error)) => tracing::debug!(%error, "not standing for election"),
        Err(_) => {}
    }
}

pub(super) async fn hand_over(
    peers: &Peers,
    raft: &Raft<TypeConfig, StateMachine>,
    may_lead: impl Fn(u64) -> bool,
) {
    let me = peers.identity.me;
    let best = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return;
        }
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        metrics
            .replication
            .iter()
            .flatten()
            .filter(|(id, at)| **id != me && voters.contains(id) && may_lead(**id) && at.is_some())
            .max_by_key(|(_, at)| **at)
            .map(|(id, _)| *id)
    };
    let Some(best) = best else { return };
    tracing::info!(to = best, "handing over leadership");
    if raft.trigger().transfer_leader(best).await.is_err() {
        return;
    }
    let _ = raft
        .wait(Some(HAND_OVER_PATIENCE))
        .metrics(
            |metrics| metrics.current_leader.is_some_and(|leader| leader != me),
            "another server leads",
        )
        .await;
}
