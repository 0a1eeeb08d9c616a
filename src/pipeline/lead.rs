//! What the leader does for itself and for the others: turns waiting requests into entries, moves
//! sessions between servers, answers questions.
//!
//! Batching is natural, not timed: while an entry is being written, requests gather in the next
//! one. With a single client in flight an entry is one request and waits for nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::asks::{Ask, Reattach};
use super::measures::ms_since;
use super::messages::Message;
use super::{Close, Core, follow, reconfig, wall_clock_ms};
use crate::collections::HashMap;
use crate::ensemble::{Ensemble, Leadership, Link, LinkHandler, LinkWriter, ProposeError};
use crate::session::{PASSWORD_LEN, is_password};
use crate::state::BatchHeader;
use crate::state::entry::lengths;
use crate::types::SessionId;

/// Pause before an entry is proposed again that was refused.
const PROPOSE_RETRY: Duration = Duration::from_millis(10);

/// Messages that may wait for one server; beyond it its link is closed, and it opens a new one.
const OUTGOING_MAX: usize = 8192;

/// How long a link may wait for this server to lead: the other may have heard of it first.
const LEAD_PATIENCE: Duration = Duration::from_secs(2);

/// How long entries under way may take when the leader stops.
const DRAIN_PATIENCE: Duration = Duration::from_millis(1000);

/// Pause before a read index is asked for again.
const READ_RETRY: Duration = Duration::from_millis(20);

/// Links of other servers, each with what outlives a broken connection.
#[derive(Default)]
pub(super) struct Links {
    peers: Mutex<HashMap<u64, Arc<PeerLink>>>,
}

#[derive(Default)]
struct PeerLink {
    /// Ends the link that is served.
    current: Mutex<Option<CancellationToken>>,
    outgoing: Mutex<Option<mpsc::Sender<Message>>>,
    /// When it was opened, by the wall clock in ms; 0 while there is none.
    begun_ms: AtomicI64,
    /// Held by whoever serves the link.
    received: tokio::sync::Mutex<Received>,
}

/// The last batch that arrived from a server.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    incarnation: u64,
    term: u64,
    last: u64,
}

impl Links {
    fn of(&self, peer: u64) -> Arc<PeerLink> {
        Arc::clone(self.peers.lock().entry(peer).or_default())
    }

    fn all(&self) -> Vec<(u64, Arc<PeerLink>)> {
        let peers = self.peers.lock();
        peers
            .iter()
            .map(|(id, link)| (*id, Arc::clone(link)))
            .collect()
    }
}

impl PeerLink {
    fn send(&self, message: Message) {
        let outgoing = self.outgoing.lock().clone();
        if let Some(outgoing) = outgoing
            && outgoing.try_send(message).is_err()
            && let Some(current) = &*self.current.lock()
        {
            current.cancel();
        }
    }
}

/// Turns waiting requests into entries, here or at another leader, until the process ends.
pub async fn drive_proposals(core: Arc<Core>, ensemble: Arc<Ensemble>) {
    let mut leadership = ensemble.leadership();
    let _ = core.ensemble.set(Arc::clone(&ensemble));
    loop {
        let now = *leadership.borrow_and_update();
        core.counters.elections.note(now);
        let doing = async {
            match now {
                Leadership::Unknown => {}
                Leadership::Leading { term } => lead(&core, &ensemble, term).await,
                Leadership::Following { leader, term } => {
                    core.leadership.send_replace(now);
                    follow::follow(&core, &ensemble, leader, term).await;
                }
            }
            std::future::pending::<()>().await;
        };
        let changed = tokio::select! {
            changed = leadership.changed() => changed,
            () = doing => Ok(()),
        };
        core.leadership.send_replace(Leadership::Unknown);
        core.resume_leading();
        if changed.is_err() {
            return;
        }
    }
}

async fn lead(core: &Arc<Core>, ensemble: &Arc<Ensemble>, term: u64) {
    core.give_up_lost_writes();
    core.attach_next.store(term << 32 | 1, Ordering::Relaxed);
    // Nobody is known to have been heard: each session gets its whole time-out.
    core.track_all_sessions();
    let reconfigurations = reconfig::carry_out(core, ensemble);
    core.leadership.send_replace(Leadership::Leading { term });
    let entries = write_entries(core, ensemble);
    let questions = answer_own(core, ensemble);
    tokio::join!(reconfigurations, entries, questions);
}

async fn write_entries(core: &Arc<Core>, ensemble: &Arc<Ensemble>) {
    let mut stopping = core.stopping.subscribe();
    loop {
        if let Some(popped) = core.proposals.pop() {
            let header = BatchHeader {
                flags: core.settings.flags,
                time_ms: wall_clock_ms(),
            };
            let (batch, requests) = (popped.batch, popped.waiting);
            let measures = &core.counters.measures;
            let len = batch.len();
            measures.prep_queued.increment(len as u64);
            measures.prep_queue_size.record_many(requests as f64, len);
            let waited_ms = ms_since(popped.since);
            measures.prep_queue_time.record_many(waited_ms, len);
            measures.proposed.increment(len as u64);
            let payload = batch.seal(header);
            let sizes = &core.counters.elections.proposal_sizes;
            sizes.record_all(lengths(&payload));
            let since = std::time::Instant::now();
            write_entry(ensemble, payload).await;
            let ms = ms_since(since);
            measures.committed.increment(len as u64);
            measures.commit.record(ms);
            measures.quorum_ack.record_many(ms, len);
        } else if *stopping.borrow() {
            core.drained.send_replace(true);
            // For the next leader, unless nobody takes over.
            until(&mut stopping, |stopping| !*stopping).await;
        } else {
            tokio::select! {
                () = core.proposals.wait() => {}
                _ = stopping.changed() => {}
            }
        }
    }
}

/// Returns when the entry is applied; not at all when this server leads no more.
///
/// A leader that has not heard of a majority for a while takes no entries, and takes them again
/// when it has. So an entry must not be proposed before the one in front of it was taken, or
/// requests of one session would be applied without those before them.
async fn write_entry(ensemble: &Ensemble, payload: Bytes) {
    loop {
        let written = match ensemble.propose(payload.clone()).await {
            Ok(applied) => applied.await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => return,
            // Refused, and so nowhere in the log.
            Err(ProposeError::NotLeader) => sleep(PROPOSE_RETRY).await,
            // What became of it is known when the next leader's first entry is applied.
            Err(error) => {
                tracing::debug!(%error, "an entry was not applied under its leader");
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Questions of the leader's own connections.
async fn answer_own(core: &Arc<Core>, ensemble: &Arc<Ensemble>) {
    loop {
        while let Some(ask) = core.asks.pop() {
            match ask {
                Ask::Attach(asked) => {
                    let attach = core.attach(asked.session, asked.timeout_ms, &asked.password);
                    core.announce_move(asked.session, attach, None);
                    core.attached(&asked, attach);
                }
                Ask::ReadIndex(answer) => {
                    let (core, ensemble) = (Arc::clone(core), Arc::clone(ensemble));
                    tokio::spawn(async move {
                        match ensemble.read_index().await {
                            Ok(index) => {
                                let _ = answer.send(index);
                            }
                            Err(_) => {
                                sleep(READ_RETRY).await;
                                core.asks.push(Ask::ReadIndex(answer));
                            }
                        }
                    });
                }
            }
        }
        core.asks.wait().await;
    }
}

impl Core {
    #[must_use]
    pub fn is_leading(&self) -> bool {
        matches!(*self.leadership.borrow(), Leadership::Leading { .. })
    }

    /// Stops taking requests, writes those that were taken, and returns when that is done. What
    /// comes meanwhile, here or at other servers, waits for the next leader; or for
    /// [`Self::resume_leading`].
    pub async fn stop_leading(&self) {
        let mut drained = self.drained.subscribe();
        self.proposals.close();
        self.stopping.send_replace(true);
        if self.is_leading() {
            let _ = timeout(DRAIN_PATIENCE, drained.wait_for(|done| *done)).await;
        }
    }

    /// Takes requests again.
    pub(super) fn resume_leading(&self) {
        self.stopping.send_replace(false);
        self.drained.send_replace(false);
        self.proposals.reopen();
    }

    /// Moves a session to another connection, as the leader. `None` when there is no such session,
    /// when it is about to end, or when the password is not its own.
    pub(super) fn attach(
        &self,
        session: SessionId,
        timeout_ms: i32,
        password: &[u8; PASSWORD_LEN],
    ) -> Option<u64> {
        let state = self.state.read();
        let known = state.sessions.get(session)?;
        if !is_password(known, Some(password)) {
            return None;
        }
        let mut tracker = self.tracker.lock();
        if tracker
            .lease(session)
            .is_some_and(|lease| lease.is_closing())
        {
            return None;
        }
        tracker.track(session, timeout_ms, self.heard_now_ms());
        Some(self.attach_next.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells the servers, but for the one that asked, that a session has moved.
    fn announce_move(&self, session: SessionId, attach: Option<u64>, asked_by: Option<u64>) {
        let Some(attach) = attach else { return };
        for (id, link) in self.links.all() {
            if asked_by != Some(id) {
                link.send(Message::Detach { session, attach });
            }
        }
        if asked_by.is_some() {
            self.detach(session, attach);
        }
    }

    /// The leader's answer to a client that came back.
    pub(super) fn attached(&self, asked: &Reattach, attach: Option<u64>) {
        let mut connections = self.connections.lock();
        let Some(conn) = connections.by_id.get(&asked.conn).map(Arc::clone) else {
            return;
        };
        // Only now that the password is known to be right the old connection goes.
        if attach.is_some()
            && let Some(old) = connections.by_session.insert(asked.session, conn.id)
            && old != conn.id
            && let Some(old) = connections.by_id.get(&old)
        {
            old.close(Close::Now);
        }
        let mut inner = conn.lock();
        let Some(handshake) = inner.handshake else {
            return;
        };
        match attach {
            Some(attach) => {
                self.counters.measures.revalidated.increment(1);
                let now_ms = self.heard_now_ms();
                let mut tracker = self.tracker.lock();
                inner.lease = Some(tracker.track(asked.session, handshake.timeout_ms, now_ms));
                inner.session = asked.session;
                inner.attach = attach;
                handshake.answer(asked.session, &asked.password, &mut inner.outbox);
            }
            None => {
                inner.refuse(handshake);
            }
        }
        drop(inner);
        conn.wake.notify_one();
    }

    /// The session goes on by a newer connection, wherever that is.
    pub(super) fn detach(&self, session: SessionId, attach: u64) {
        let mut connections = self.connections.lock();
        let Some(id) = connections.by_session.get(&session).copied() else {
            return;
        };
        let Some(conn) = connections.by_id.get(&id).map(Arc::clone) else {
            return;
        };
        if conn.lock().attach < attach {
            connections.by_session.remove(&session);
            conn.close(Close::Now);
        }
    }
}

/// Serves the links of other servers.
pub struct LinkService(pub Arc<Core>);

impl LinkHandler for LinkService {
    fn serve(&self, link: Link) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            let peer = link.peer;
            if let Err(error) = serve(&core, link).await {
                tracing::debug!(server = peer, %error, "a link ended");
            }
        })
    }
}

fn malformed() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        "a message that does not belong here",
    )
}

fn put(writer: &mut LinkWriter, message: &Message) {
    let (kind, body) = message.encode();
    writer.put(kind, &body);
}

/// Returns when the value is as wanted, or nobody changes it any more.
async fn until<T>(watched: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    let _ = watched.wait_for(wanted).await;
}

async fn serve(core: &Arc<Core>, mut link: Link) -> std::io::Result<()> {
    let first = link.reader.next().await?.ok_or_else(malformed)?;
    let Some(Message::Open { incarnation, term }) = Message::decode(first.0, first.1) else {
        return Err(malformed());
    };
    let leads = Leadership::Leading { term };
    let mut leadership = core.leadership.subscribe();
    let began = until(&mut leadership, |now| *now == leads);
    if timeout(LEAD_PATIENCE, began).await.is_err() {
        return Ok(());
    }
    // The old link must not put anything into the queue behind what this one says.
    let place = core.links.of(link.peer);
    let token = CancellationToken::new();
    if let Some(old) = place.current.lock().replace(token.clone()) {
        old.cancel();
    }
    let mut received = place.received.lock().await;
    if (received.incarnation, received.term) != (incarnation, term) {
        *received = Received {
            incarnation,
            term,
            last: 0,
        };
    }
    let (outgoing, incoming) = mpsc::channel(OUTGOING_MAX);
    *place.outgoing.lock() = Some(outgoing.clone());
    place.begun_ms.store(wall_clock_ms(), Ordering::Relaxed);
    let serving = serve_open(core, &mut link, &mut received, outgoing, incoming);
    let ended = tokio::select! {
        ended = serving => ended,
        () = until(&mut leadership, |now| *now != leads) => Ok(()),
        () = token.cancelled() => Ok(()),
    };
    *place.outgoing.lock() = None;
    place.begun_ms.store(0, Ordering::Relaxed);
    ended
}

impl Core {
    /// When the link of another server to this one was opened, by the wall clock in ms; 0 when there
    /// is none.
    #[must_use]
    pub fn link_begun_ms(&self, peer: u64) -> i64 {
        self.links.of(peer).begun_ms.load(Ordering::Relaxed)
    }
}

async fn serve_open(
    core: &Arc<Core>,
    link: &mut Link,
    received: &mut Received,
    outgoing: mpsc::Sender<Message>,
    mut incoming: mpsc::Receiver<Message>,
) -> std::io::Result<()> {
    let (reader, writer) = (&mut link.reader, &mut link.writer);
    put(
        writer,
        &Message::Resume {
            last: received.last,
        },
    );
    writer.flush().await?;
    let mut stopping: watch::Receiver<bool> = core.stopping.subscribe();
    loop {
        tokio::select! {
            biased;
            Some(message) = incoming.recv() => {
                put(writer, &message);
                while !writer.is_full() && let Ok(message) = incoming.try_recv() {
                    put(writer, &message);
                }
                writer.flush().await?;
            }
            () = until(&mut stopping, |stopping| *stopping) => {
                put(writer, &Message::Stopped { last: received.last });
                writer.flush().await?;
                // The other side closes when it has heard.
                while reader.next().await?.is_some() {}
                return Ok(());
            }
            message = reader.next() => {
                let Some((kind, body)) = message? else { return Ok(()) };
                let message = Message::decode(kind, body).ok_or_else(malformed)?;
                match message {
                    Message::Requests { number, count, requests } => {
                        if number != received.last + 1 {
                            return Err(malformed());
                        }
                        core.proposals.room().await;
                        if !core.proposals.push_encoded(count as usize, &requests) {
                            // Stopping: it is told below that this one was not taken.
                            continue;
                        }
                        received.last = number;
                        put(writer, &Message::Accepted { last: number });
                        writer.flush().await?;
                    }
                    Message::Heard(sessions) => {
                        let now_ms = core.heard_now_ms();
                        let tracker = core.tracker.lock();
                        for (session, age_ms) in sessions {
                            if let Some(lease) = tracker.lease(session) {
                                lease.touch(now_ms - i64::from(age_ms));
                            }
                        }
                    }
                    Message::Attach { ticket, session, timeout_ms, password } => {
                        core.counters.measures.revalidations.increment(1);
                        let attach = core.attach(session, timeout_ms, &password);
                        core.announce_move(session, attach, Some(link.peer));
                        put(writer, &Message::Attached { ticket, attach: attach.unwrap_or(0) });
                        writer.flush().await?;
                    }
                    Message::Read { ticket } => {
                        let Some(ensemble) = core.ensemble.get().cloned() else { continue };
                        let outgoing = outgoing.clone();
                        tokio::spawn(async move {
                            let index = ensemble.read_index().await.ok();
                            let _ = outgoing.send(Message::Index { ticket, index }).await;
                        });
                    }
                    _ => return Err(malformed()),
                }
            }
        }
    }
}
