//! Requests as bytes, and replies held against what they must say.

use anyhow::{Context, Result, ensure};
use jute::proto::{
    CheckVersionRequest, Create2Response, CreateRequest, CreateResponse, DeleteRequest, MultiOp,
    MultiRequest, MultiResponse, MultiResult, SetAclRequest, SetAclResponse, SetDataRequest,
    SetDataResponse, create_mode,
};
use jute::{Encode, ErrorCode, OpCode, text};

use crate::model::{CreateKind, Op, Outcome, Step};
use crate::tree::acl;
use crate::wire::{Connection, Reply};

/// Queues the request and returns its xid.
pub(crate) fn send(connection: &mut Connection, op: &Op) -> i32 {
    let step = match op {
        Op::One(step) => step,
        Op::SetAcl {
            path,
            reader,
            version,
        } => {
            let body = SetAclRequest {
                path: text(path),
                acl: Some(acl(*reader)),
                version: *version,
            };
            return connection.queue(OpCode::SET_ACL, &body);
        }
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
        Step::Create {
            path,
            kind,
            data,
            reader,
        } => MultiOp::Create(
            create_code(*kind),
            CreateRequest {
                path: text(path),
                data: data.as_deref(),
                acl: Some(acl(*reader)),
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

/// Holds a reply against what was expected and returns the names that only the server could know.
pub(crate) fn check_reply(op: &Op, expected: &[Outcome], reply: &Reply) -> Result<Vec<String>> {
    let mut items = Vec::new();
    let results = match op {
        Op::Multi(_) => {
            ensure!(
                reply.err == ErrorCode::OK,
                "a multi's header says {}",
                reply.err
            );
            reply.body::<MultiResponse<'_>>()?.results
        }
        _ if reply.err != ErrorCode::OK => vec![MultiResult::Error(reply.err)],
        Op::SetAcl { .. } => {
            let stat = reply.body::<SetAclResponse>()?.stat;
            let outcome = [Outcome::AclSet(stat.aversion)];
            ensure!(expected == outcome, "expected {expected:?}, got {stat:?}");
            return Ok(items);
        }
        Op::One(step) => vec![result(step, reply)?],
    };
    ensure!(results.len() == expected.len(), "{} results", results.len());
    for (expected, result) in expected.iter().zip(results) {
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

/// The body of a successful reply to a request that was no multi.
fn result<'a>(step: &Step, reply: &'a Reply) -> Result<MultiResult<'a>> {
    Ok(match step {
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
    })
}
