//! A session that keeps a window of writes in flight until its connection breaks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use jute::proto::{
    Acl, CheckVersionRequest, Create2Response, CreateRequest, CreateResponse, DeleteRequest, Id,
    MultiOp, MultiRequest, MultiResponse, MultiResult, SetDataRequest, SetDataResponse,
    create_mode, perms,
};
use jute::{Encode, ErrorCode, OpCode, text};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::model::{Ack, COUNTER, CreateKind, Model, Op, Outcome, QUEUE_ITEM, Step, tag_prefix};
use crate::tree::Tree;
use crate::wire::{Connection, Handshake, Reply, Session};

/// Requests that each writer keeps in flight.
pub(crate) const WINDOW: usize = 8;
/// A writer with more nodes than this only deletes.
const NODES_MAX: usize = 80;
/// A writer with more queue items than this takes one out before it puts another in.
const ITEMS_MAX: usize = 12;
/// After so many requests in one life of the server a writer only waits for the end.
const REQUESTS_PER_LIFE_MAX: usize = 200_000;
const PADDING_BYTES_MAX: usize = 300;

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
    rng: ChaCha8Rng,
    /// Makes every path and every value unique.
    serial: u64,
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
            rng,
            serial: 0,
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
                let op = self.next_op();
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
        let items = check_reply(request, reply)
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

    fn next_op(&mut self) -> Op {
        self.serial += 1;
        let full = self.planned.own_nodes().count() >= NODES_MAX;
        match self.rng.random_range(0..100) {
            _ if full => Op::One(self.delete()),
            0..25 => Op::One(self.set_data()),
            25..55 => Op::One(self.create()),
            55..70 => Op::One(self.delete()),
            70..92 => Op::Multi(self.together()),
            92..96 => Op::Multi(self.doomed()),
            96..98 => Op::One(self.create_again()),
            _ => Op::One(Step::SetData {
                path: self.some_node().0,
                data: None,
                version: i32::MAX,
            }),
        }
    }

    fn create(&mut self) -> Step {
        let kind = CreateKind {
            ephemeral: self.rng.random_bool(0.3),
            sequential: self.rng.random_bool(0.4),
        };
        let parent = match self.rng.random_bool(0.3) {
            true => self.some_parent(),
            false => self.planned.root().to_owned(),
        };
        let path = match kind.sequential {
            true => format!("{parent}/q"),
            false => format!("{parent}/n{}", self.serial),
        };
        Step::Create {
            path,
            kind,
            data: self.data(),
        }
    }

    fn create_again(&mut self) -> Step {
        let path = self.some_node().0;
        let kind = CreateKind {
            ephemeral: false,
            sequential: false,
        };
        Step::Create {
            path,
            kind,
            data: self.data(),
        }
    }

    fn set_data(&mut self) -> Step {
        let (path, version) = self.some_node();
        let version = if self.rng.random_bool(0.5) {
            version
        } else {
            -1
        };
        Step::SetData {
            path,
            data: self.data(),
            version,
        }
    }

    /// A leaf when there is one; the refusal to delete a root with children is an answer too.
    fn delete(&mut self) -> Step {
        let leaves: Vec<(String, i32)> = self
            .planned
            .own_nodes()
            .filter(|(_, _, children, _)| *children == 0)
            .map(|(path, version, _, _)| (path.to_owned(), version))
            .collect();
        match self.pick(&leaves) {
            Some((path, version)) => {
                let version = if self.rng.random_bool(0.5) {
                    version
                } else {
                    -1
                };
                Step::Delete { path, version }
            }
            None => Step::Delete {
                path: format!("{}/none", self.planned.root()),
                version: -1,
            },
        }
    }

    /// Several changes of which all or none may survive, in the own part and in the shared one.
    fn together(&mut self) -> Vec<Step> {
        let path = format!("{}/m{}", self.planned.root(), self.serial);
        let persistent = CreateKind {
            ephemeral: false,
            sequential: false,
        };
        let sequential = CreateKind {
            ephemeral: false,
            sequential: true,
        };
        let ephemeral = CreateKind {
            ephemeral: true,
            sequential: true,
        };
        let tag = Some(self.tag());
        let mut steps = vec![
            Step::Create {
                path: path.clone(),
                kind: persistent,
                data: self.data(),
            },
            Step::Check {
                path: path.clone(),
                version: 0,
            },
            Step::SetData {
                path: path.clone(),
                data: self.data(),
                version: 0,
            },
            Step::Create {
                path: format!("{path}/q"),
                kind: sequential,
                data: self.data(),
            },
            Step::SetData {
                path: COUNTER.to_owned(),
                data: tag.clone(),
                version: -1,
            },
        ];
        let (oldest, items) = self.planned.oldest_item();
        let oldest = oldest.map(str::to_owned);
        if items < ITEMS_MAX {
            steps.push(Step::Create {
                path: QUEUE_ITEM.to_owned(),
                kind: sequential,
                data: tag,
            });
        } else if let Some(path) = oldest {
            steps.push(Step::Delete { path, version: -1 });
        }
        if self.rng.random_bool(0.5) {
            let data = self.data();
            steps.push(Step::Create {
                path: format!("{path}/e"),
                kind: ephemeral,
                data,
            });
        } else {
            // A node that comes and goes within the multi still counts for its parent.
            steps.push(Step::Delete {
                path: format!("{path}/q0000000000"),
                version: 0,
            });
        }
        steps
    }

    /// Good steps with a bad one at the end: nothing of it may ever be seen.
    fn doomed(&mut self) -> Vec<Step> {
        let mut steps = self.together();
        let (path, version) = self.some_node();
        steps.push(Step::Check {
            path,
            version: version + 1,
        });
        steps
    }

    fn some_node(&mut self) -> (String, i32) {
        let nodes: Vec<(String, i32)> = self
            .planned
            .own_nodes()
            .map(|(path, version, _, _)| (path.to_owned(), version))
            .collect();
        self.pick(&nodes)
            .unwrap_or_else(|| (format!("{}/none", self.planned.root()), 0))
    }

    /// A persistent node directly below the root, or the root.
    fn some_parent(&mut self) -> String {
        let depth = self.planned.root().matches('/').count() + 1;
        let parents: Vec<String> = self
            .planned
            .own_nodes()
            .filter(|(path, _, _, ephemeral)| !ephemeral && path.matches('/').count() == depth)
            .map(|(path, ..)| path.to_owned())
            .collect();
        self.pick(&parents)
            .unwrap_or_else(|| self.planned.root().to_owned())
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        match choices.len() {
            0 => None,
            len => choices.get(self.rng.random_range(0..len)).cloned(),
        }
    }

    /// Mostly a unique value; null and empty must survive as what they are.
    fn data(&mut self) -> Option<Bytes> {
        match self.rng.random_range(0..20) {
            0 => None,
            1 => Some(Bytes::new()),
            _ => {
                let mut data = self.tag().to_vec();
                let padding = self.rng.random_range(0..PADDING_BYTES_MAX);
                data.resize(data.len() + padding, b'.');
                Some(data.into())
            }
        }
    }

    fn tag(&self) -> Bytes {
        format!("{}{}", tag_prefix(self.planned.root()), self.serial).into()
    }
}

fn apply(model: &mut Model, request: &Request) {
    model.apply(&request.op, request.ack.as_ref().map(|ack| ack.zxid));
    if let Some(ack) = &request.ack {
        model.name_items(&request.op, ack);
    }
}

fn send(connection: &mut Connection, op: &Op) -> i32 {
    let step = match op {
        Op::One(step) => step,
        Op::Multi(steps) => {
            let ops = steps.iter().map(multi_op).collect();
            return connection.queue(OpCode::MULTI, &MultiRequest { ops });
        }
    };
    let op = multi_op(step);
    let body: &dyn Encode = match &op {
        MultiOp::Create(_, body) => body,
        MultiOp::SetData(body) => body,
        MultiOp::Delete(body) => body,
        MultiOp::Check(body) => body,
        other => unreachable!("no step is a {other:?}"),
    };
    connection.queue(op.op_code(), body)
}

/// A step as an operation of a multi; alone it has the same body.
fn multi_op(step: &Step) -> MultiOp<'_> {
    match step {
        Step::Create { path, kind, data } => MultiOp::Create(
            create_code(*kind),
            CreateRequest {
                path: text(path),
                data: data.as_deref(),
                acl: open_acl(),
                flags: match (kind.ephemeral, kind.sequential) {
                    (false, false) => create_mode::PERSISTENT,
                    (true, false) => create_mode::EPHEMERAL,
                    (false, true) => create_mode::PERSISTENT_SEQUENTIAL,
                    (true, true) => create_mode::EPHEMERAL_SEQUENTIAL,
                },
            },
        ),
        Step::SetData {
            path,
            data,
            version,
        } => MultiOp::SetData(SetDataRequest {
            path: text(path),
            data: data.as_deref(),
            version: *version,
        }),
        Step::Delete { path, version } => MultiOp::Delete(DeleteRequest {
            path: text(path),
            version: *version,
        }),
        Step::Check { path, version } => MultiOp::Check(CheckVersionRequest {
            path: text(path),
            version: *version,
        }),
    }
}

/// Both ways to ask for a node are in use; the second also answers with its stat.
fn create_code(kind: CreateKind) -> OpCode {
    if kind.sequential {
        OpCode::CREATE2
    } else {
        OpCode::CREATE
    }
}

fn open_acl() -> Option<Vec<Acl<'static>>> {
    let anyone = Id {
        scheme: text("world"),
        id: text("anyone"),
    };
    Some(vec![Acl {
        perms: perms::ALL,
        id: anyone,
    }])
}

/// Holds a reply against what was expected and returns the names that only the server could know.
fn check_reply(request: &Request, reply: &Reply) -> Result<Vec<String>> {
    let mut items = Vec::new();
    let results = match &request.op {
        Op::Multi(_) => {
            ensure!(
                reply.err == ErrorCode::OK,
                "a multi's header says {}",
                reply.err
            );
            reply.body::<MultiResponse<'_>>()?.results
        }
        Op::One(_) if reply.err != ErrorCode::OK => vec![MultiResult::Error(reply.err)],
        Op::One(step) => vec![match step {
            Step::Create { kind, .. } if kind.sequential => {
                let created: Create2Response<'_> = reply.body()?;
                MultiResult::Create2 {
                    path: created.path,
                    stat: created.stat,
                }
            }
            Step::Create { .. } => MultiResult::Create {
                path: reply.body::<CreateResponse<'_>>()?.path,
            },
            Step::SetData { .. } => MultiResult::SetData {
                stat: reply.body::<SetDataResponse>()?.stat,
            },
            Step::Delete { .. } => MultiResult::Delete,
            Step::Check { .. } => MultiResult::Check,
        }],
    };
    ensure!(
        results.len() == request.expected.len(),
        "{} results",
        results.len()
    );
    for (expected, result) in request.expected.iter().zip(results) {
        let as_expected = match (expected, &result) {
            (Outcome::Failed(expected), MultiResult::Error(code)) => code == expected,
            (Outcome::Done, MultiResult::Delete | MultiResult::Check) => true,
            (Outcome::Set(version), MultiResult::SetData { stat }) => {
                stat.mzxid == reply.zxid && version.is_none_or(|version| version == stat.version)
            }
            (Outcome::Created(path), MultiResult::Create { path: created }) => {
                path.as_deref() == created.as_deref()
            }
            (
                Outcome::Created(path),
                MultiResult::Create2 {
                    path: created,
                    stat,
                },
            ) => {
                let created = created.as_deref().context("null path")?;
                if path.is_none() {
                    items.push(created.to_owned());
                }
                stat.czxid == reply.zxid && path.as_deref().is_none_or(|path| path == created)
            }
            _ => false,
        };
        ensure!(as_expected, "expected {expected:?}, got {result:?}");
    }
    Ok(items)
}
