//! A session that keeps a window of writes in flight until its connection breaks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;

use crate::model::{Ack, Model, Op, Outcome};
use crate::plan::Planner;
use crate::request::{check_reply, send};
use crate::tree::Tree;
use crate::wire::{Connection, Handshake, Reply, Session};

/// Requests that each writer keeps in flight.
pub(crate) const WINDOW: usize = 8;
/// After so many requests in one life of the server a writer only waits for the end.
const REQUESTS_PER_LIFE_MAX: usize = 200_000;

struct Request {
    op: Op,
    xid: i32,
    expected: Vec<Outcome>,
    ack: Option<Ack>,
}

pub(crate) struct Writer {
    pub(crate) session: Session,
    connection: Option<Connection>,
    /// As found in the tree after the last crash.
    settled: Model,
    /// As it will be when all requests so far are applied.
    planned: Model,
    /// Requests of this life, oldest first; those with an answer stand in front.
    requests: Vec<Request>,
    answered: usize,
    last_zxid: i64,
    planner: Planner,
}

/// How a crash left the requests that had no answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settled {
    pub(crate) acknowledged: usize,
    pub(crate) applied_unanswered: usize,
    pub(crate) lost_unanswered: usize,
}

impl Writer {
    pub(crate) fn new(connection: Connection, root: String, rng: ChaCha8Rng) -> Self {
        let session = connection.session.clone();
        let model = Model::new(root, session.id);
        Self {
            session,
            connection: Some(connection),
            settled: model.clone(),
            planned: model,
            requests: Vec::new(),
            answered: 0,
            last_zxid: 0,
            planner: Planner::new(rng),
        }
    }

    /// Attaches the session again. It must be alive: its timeout is much longer than an outage.
    pub(crate) fn attach(&mut self, addr: SocketAddr) -> Result<()> {
        match Connection::attach(addr, &self.session, self.last_zxid)? {
            Handshake::Attached(connection) => self.connection = Some(connection),
            Handshake::Expired => bail!("session {:#x} is lost", self.session.id),
            Handshake::Closed => {
                bail!(
                    "refused session {:#x} that has seen {:#x}",
                    self.session.id,
                    self.last_zxid
                )
            }
        }
        Ok(())
    }

    pub(crate) fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().context("not attached")
    }

    pub(crate) fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Nothing older than this may come from the server any more.
    pub(crate) fn see_zxid(&mut self, zxid: i64) {
        self.last_zxid = self.last_zxid.max(zxid);
    }

    pub(crate) fn model(&self) -> &Model {
        &self.settled
    }

    /// Writes until the connection breaks, or until `requests_max` have been answered.
    pub(crate) fn write(&mut self, requests_max: usize, answered: &AtomicU64) -> Result<()> {
        let mut connection = self.connection.take().context("not attached")?;
        let requests_max = requests_max.min(REQUESTS_PER_LIFE_MAX);
        while self.answered < requests_max {
            while self.requests.len() - self.answered < WINDOW && self.requests.len() < requests_max
            {
                let op = self.planner.next_op(&self.planned);
                let expected = self.planned.apply(&op, None);
                let xid = send(&mut connection, &op);
                self.requests.push(Request {
                    op,
                    xid,
                    expected,
                    ack: None,
                });
            }
            connection.flush();
            let Some(reply) = connection.receive()? else {
                return Ok(());
            };
            self.take(&reply)?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn take(&mut self, reply: &Reply) -> Result<()> {
        let request = self
            .requests
            .get_mut(self.answered)
            .context("a reply to nothing")?;
        ensure!(
            reply.xid == request.xid,
            "reply {} where {} was due",
            reply.xid,
            request.xid
        );
        ensure!(
            reply.zxid > self.last_zxid,
            "zxid {:#x} of a write after {:#x}",
            reply.zxid,
            self.last_zxid
        );
        self.last_zxid = reply.zxid;
        let items = check_reply(&request.op, &request.expected, reply)
            .with_context(|| format!("{:?} was answered with {reply:?}", request.op))?;
        let ack = Ack {
            zxid: reply.zxid,
            items,
        };
        self.planned.name_items(&request.op, &ack);
        request.ack = Some(ack);
        self.answered += 1;
        Ok(())
    }

    /// Finds how many of the requests the tree holds: all that were answered, and some or none of
    /// the others, in order.
    pub(crate) fn settle(&mut self, tree: &Tree) -> Result<Settled> {
        let mut model = self.settled.clone();
        for request in &self.requests[..self.answered] {
            apply(&mut model, request);
        }
        let mut applied = self.answered;
        let mut differences = Vec::new();
        while let Err(difference) = model.compare(tree) {
            differences.push(format!("after {applied} requests: {difference:#}"));
            let Some(request) = self.requests.get(applied) else {
                bail!(
                    "{} of {} requests were answered, and no prefix of them explains {}:\n{}",
                    self.answered,
                    self.requests.len(),
                    model.root(),
                    differences.join("\n")
                );
            };
            apply(&mut model, request);
            applied += 1;
        }
        model.adopt(tree);
        let settled = Settled {
            acknowledged: self.answered,
            applied_unanswered: applied - self.answered,
            lost_unanswered: self.requests.len() - applied,
        };
        self.planned = model.clone();
        self.settled = model;
        self.requests.clear();
        self.answered = 0;
        Ok(settled)
    }
}

fn apply(model: &mut Model, request: &Request) {
    model.apply(&request.op, request.ack.as_ref().map(|ack| ack.zxid));
    if let Some(ack) = &request.ack {
        model.name_items(&request.op, ack);
    }
}
