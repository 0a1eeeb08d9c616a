//! The road to a leader elsewhere: one ordered stream of requests, signs of life and questions.
//!
//! ```text
//!   a leader of term T appears
//!   wait until an entry of T is applied here: what earlier leaders had in the log is decided
//!   close connections that still wait for a write that was sent: it is not in the log and never
//!     will be; writes that were never sent stay
//!   open the link, send what waits
//! ```
//!
//! A link that breaks while its leader goes on is opened again and goes on where it was.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jute::OpCode;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::asks::Ask;
use super::measures::ms_since;
use super::messages::{HEARD_MAX, Message};
use super::{Close, Core};
use crate::collections::{HashMap, HashSet};
use crate::ensemble::{Ensemble, Link, LinkReader, LinkWriter};
use crate::state::entry::Batch;
use crate::types::{ConnId, SessionId};

/// Pause before a link is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Batches that may be on their way without having been accepted.
const UNACCEPTED_MAX: usize = 256;

/// What was sent to one leader in one term, across its links.
struct Sent {
    term: u64,
    incarnation: u64,
    next: u64,
    /// Batches that the leader has not confirmed, by number.
    unaccepted: VecDeque<(u64, u32, bytes::Bytes)>,
    /// When each of them was sent first, and where its latency goes.
    sent_at: VecDeque<Instant>,
    latency: metrics::Histogram,
}

impl Sent {
    fn confirm(&mut self, last: u64) {
        while self
            .unaccepted
            .front()
            .is_some_and(|(number, ..)| *number <= last)
        {
            self.unaccepted.pop_front();
            if let Some(sent) = self.sent_at.pop_front() {
                self.latency.record(ms_since(sent));
            }
        }
    }
}

/// How a link ended.
enum Ended {
    /// It broke; the leader may still be there.
    Broken(io::Error),
    /// The leader takes no more.
    Stopped,
}

/// Follows one leader. Dropped when another is known; returns when this one stops.
pub(super) async fn follow(core: &Arc<Core>, ensemble: &Ensemble, leader: u64, term: u64) {
    let mut applied = core.applied();
    if applied.wait_for(|at| at.term >= term).await.is_err() {
        return;
    }
    core.give_up_lost_writes();
    let mut sent = Sent {
        term,
        incarnation: core.incarnation,
        next: 1,
        unaccepted: VecDeque::new(),
        sent_at: VecDeque::new(),
        latency: core.counters.measures.forward.clone(),
    };
    loop {
        match ensemble.open_link(leader).await {
            Ok(link) => match run(core, link, &mut sent).await {
                Ended::Broken(error) => {
                    tracing::info!(leader, %error, "the link to the leader broke");
                }
                Ended::Stopped => {
                    let unsent = sent.unaccepted.drain(..).map(|(_, count, requests)| {
                        let mut batch = Batch::new();
                        batch.push_encoded(count as usize, &requests);
                        batch
                    });
                    core.proposals
                        .put_back(unsent.collect::<Vec<_>>().into_iter());
                    return;
                }
            },
            Err(error) => tracing::debug!(leader, %error, "no link to the leader"),
        }
        sleep(RETRY).await;
    }
}

async fn run(core: &Arc<Core>, link: Link, sent: &mut Sent) -> Ended {
    let (mut reader, mut writer) = (link.reader, link.writer);
    if let Err(error) = resume(&mut reader, &mut writer, sent).await {
        return Ended::Broken(error);
    }
    let mut tickets = Tickets {
        core,
        next: 0,
        open: HashMap::default(),
    };
    match exchange(core, &mut reader, &mut writer, sent, &mut tickets).await {
        Ok(ended) => ended,
        Err(error) => Ended::Broken(error),
    }
}

/// Questions on their way.
struct Tickets<'a> {
    core: &'a Core,
    next: u64,
    open: HashMap<u64, Ask>,
}

/// However the link ends, by breaking or because somebody else leads: what has no answer is asked
/// again. Whoever waits for one would take silence for the end of the process.
impl Drop for Tickets<'_> {
    fn drop(&mut self) {
        for (_, ask) in self.open.drain() {
            self.core.asks.push(ask);
        }
    }
}

fn put(writer: &mut LinkWriter, message: &Message) {
    let (kind, body) = message.encode();
    writer.put(kind, &body);
}

async fn resume(
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
    sent: &mut Sent,
) -> io::Result<()> {
    put(
        writer,
        &Message::Open {
            incarnation: sent.incarnation,
            term: sent.term,
        },
    );
    writer.flush().await?;
    let Some(Message::Resume { last }) = next(reader).await? else {
        return Err(malformed());
    };
    sent.confirm(last);
    for (number, count, requests) in &sent.unaccepted {
        put(
            writer,
            &Message::Requests {
                number: *number,
                count: *count,
                requests: requests.clone(),
            },
        );
        if writer.is_full() {
            writer.flush().await?;
        }
    }
    writer.flush().await
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a message that does not belong here",
    )
}

async fn next(reader: &mut LinkReader) -> io::Result<Option<Message>> {
    match reader.next().await? {
        None => Ok(None),
        Some((kind, body)) => Message::decode(kind, body).map(Some).ok_or_else(malformed),
    }
}

async fn exchange(
    core: &Arc<Core>,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
    sent: &mut Sent,
    tickets: &mut Tickets<'_>,
) -> io::Result<Ended> {
    let mut report = interval(core.settings.heard_interval());
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported_ms = core.lease_now_ms();
    loop {
        while let Some(ask) = core.asks.pop() {
            tickets.next += 1;
            let ticket = tickets.next;
            put(
                writer,
                &match &ask {
                    Ask::Attach(attach) => Message::Attach {
                        ticket,
                        session: attach.session,
                        timeout_ms: attach.timeout_ms,
                        password: attach.password,
                    },
                    Ask::ReadIndex(_) => Message::Read { ticket },
                },
            );
            tickets.open.insert(ticket, ask);
        }
        while sent.unaccepted.len() < UNACCEPTED_MAX
            && !writer.is_full()
            && let Some(popped) = core.proposals.pop()
        {
            let batch = popped.batch;
            let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
            let requests = batch.into_encoded();
            let number = sent.next;
            sent.next += 1;
            sent.unaccepted.push_back((number, count, requests.clone()));
            sent.sent_at.push_back(Instant::now());
            put(
                writer,
                &Message::Requests {
                    number,
                    count,
                    requests,
                },
            );
        }
        writer.flush().await?;
        let may_send = sent.unaccepted.len() < UNACCEPTED_MAX;
        tokio::select! {
            message = next(reader) => match message? {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Message::Accepted { last }) => sent.confirm(last),
                Some(Message::Stopped { last }) => {
                    sent.confirm(last);
                    return Ok(Ended::Stopped);
                }
                Some(Message::Attached { ticket, attach }) => {
                    if let Some(Ask::Attach(asked)) = tickets.open.remove(&ticket) {
                        core.attached(&asked, (attach != 0).then_some(attach));
                    }
                }
                Some(Message::Detach { session, attach }) => core.detach(session, attach),
                Some(Message::Index { ticket, index }) => {
                    match (tickets.open.remove(&ticket), index) {
                        (Some(Ask::ReadIndex(answer)), Some(index)) => {
                            let _ = answer.send(index);
                        }
                        // The leader cannot reach a majority now.
                        (Some(ask), None) => {
                            let asks = Arc::clone(core);
                            tokio::spawn(async move {
                                sleep(RETRY).await;
                                asks.asks.push(ask);
                            });
                        }
                        _ => {}
                    }
                }
                Some(_) => return Err(malformed()),
            },
            () = core.proposals.wait(), if may_send => {}
            () = core.asks.wait() => {}
            _ = report.tick() => {
                let now_ms = core.lease_now_ms();
                let heard = core.heard_since(reported_ms, now_ms);
                reported_ms = now_ms;
                for part in heard.chunks(HEARD_MAX) {
                    put(writer, &Message::Heard(part.to_vec()));
                }
            }
        }
    }
}

impl Core {
    /// Sessions of this server's connections that were heard since then, with their age in ms; the
    /// leader knows nothing of local ones.
    fn heard_since(&self, since_ms: i64, now_ms: i64) -> Vec<(SessionId, u32)> {
        self.connections()
            .iter()
            .filter_map(|conn| {
                let lease = conn.lease()?;
                let heard_ms = lease.heard_ms();
                let age_ms = u32::try_from(now_ms - heard_ms).unwrap_or(0);
                let session = conn.session();
                let is_news = heard_ms >= since_ms && !self.locals.lock().is_local(session);
                is_news.then_some((session, age_ms))
            })
            .collect()
    }

    /// Ends every connection that waits for a write which is neither applied nor waits to be sent:
    /// whoever led before has lost it, and nothing is ever proposed a second time. What such a
    /// connection, or one that is gone, has not sent yet goes with it, for its order would have a
    /// gap.
    pub(super) fn give_up_lost_writes(&self) {
        // Nothing is applied and no frame is handled meanwhile.
        let state = self.state.write();
        // Applied, and answered when it has ended.
        let reconfiguring = state.reconfiguration().map(|r| r.origin);
        let waits = |id: ConnId| {
            reconfiguring
                .is_some_and(|origin| origin.server == self.settings.server && origin.conn == id)
        };
        let mut connections = self.connections.lock();
        connections.gone.keep_only(waits);
        let mut lost = 0;
        // Local sessions whose createSession has not been sent.
        let mut upgrades = HashSet::default();
        self.proposals.rework(|waiting| {
            let mut unsent: HashMap<ConnId, usize> = HashMap::default();
            for batch in &waiting {
                batch.for_each(|request| {
                    if request.origin.server == self.settings.server {
                        *unsent.entry(request.origin.conn).or_default() += 1;
                        if request.op == OpCode::CREATE_SESSION {
                            upgrades.insert(request.session);
                        }
                    }
                });
            }
            let mut given_up = HashSet::default();
            for (id, conn) in &connections.by_id {
                let unsent = unsent.get(id).copied().unwrap_or(0);
                if conn.writes_in_flight() > unsent + usize::from(waits(*id)) {
                    conn.close(Close::Now);
                    given_up.insert(*id);
                }
            }
            lost = given_up.len();
            waiting
                .into_iter()
                .map(|batch| {
                    batch.retain(|request| {
                        let conn = request.origin.conn;
                        // That a session has expired is the next leader's to decide: it may have
                        // been heard elsewhere meanwhile.
                        let is_own = conn == Self::NO_CONN && request.op != OpCode::CLOSE_SESSION;
                        let goes_on = connections.by_id.contains_key(&conn);
                        request.origin.server == self.settings.server
                            && (is_own || (goes_on && !given_up.contains(&conn)))
                    })
                })
                .filter(|batch| !batch.is_empty())
                .collect()
        });
        self.locals
            .lock()
            .upgrades_lost(|session| upgrades.contains(&session));
        if lost > 0 {
            tracing::warn!(
                connections = lost,
                "writes were lost with the leader; their clients reconnect"
            );
        }
    }
}
