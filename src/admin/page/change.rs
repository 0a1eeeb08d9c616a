//! Changes that somebody makes by hand: create, set and delete, one znode at a time.
//!
//! They take the way of any client's request. A connection of its own comes in under the address of
//! whoever asks, gets a session, proves what the sign-in proves, sends the one request and closes
//! the session. So access control lists, quotas, versions, watches and the log see nothing unusual.
//!
//! One check stands in front: the list must name whoever signs in ([`Asker::is_named`]).
//!
//! [`Asker::is_named`]: super::asker::Asker::is_named

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use jute::proto::{
    Acl, AuthPacket, ConnectRequest, CreateRequest, CreateResponse, DeleteRequest, Id,
    PASSWORD_LEN, ReplyHeader, RequestHeader, SetDataRequest, perms, xid,
};
use jute::{Encode, ErrorCode, OpCode, Reader, frame, text};

use super::asker::Proof;
use super::{Asked, NOT_SERVING, Refusal, znodes};
use crate::admin::json::Json;
use crate::pipeline::{Conn, Core};
use crate::state::State;
use crate::tree::AclList;
use crate::tree::path::parent_for_clients;
use crate::types::SessionId;

/// For the data of a change to arrive, and again for the change itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left of it after an answer, for the end of the session.
const FAREWELL: Duration = Duration::from_secs(1);

/// A reply is a path or a stat.
const REPLY_BYTES_MAX: usize = 1 << 20;

const REQUEST: i32 = 1;
const FAREWELL_XID: i32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Set,
    Delete,
}

fn no_answer() -> Refusal {
    Refusal::new(
        StatusCode::GATEWAY_TIMEOUT,
        "No answer in time: look whether the change has been made",
    )
}

/// `POST znode?path=P[&sequential=true]` and `PUT znode?path=P[&version=V]` with the data as the
/// body, `DELETE znode?path=P[&version=V]`.
pub(super) async fn change(asked: &Asked, kind: Kind, body: Body) -> Result<Json, Refusal> {
    let path = asked.parameters.path()?;
    let version: i32 = asked.parameters.number("version", -1)?;
    let proof = asked.asker.proof.as_ref().ok_or_else(|| {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "Sign in: changes need the header Authorization",
        )
    })?;
    let core = &asked.sources.core;
    let acl = core.look(|state| may_change(asked, state, kind, path))?;
    let bytes_max = usize::try_from(asked.sources.config.max_buffer_bytes).unwrap_or(usize::MAX);
    let too_large = || {
        let error = format!("More than the {bytes_max} bytes that a request may have");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let data = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, bytes_max)).await;
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "The data did not come in time");
    let data = data.map_err(late)?.map_err(|_| too_large())?;
    let request = match kind {
        Kind::Create => {
            let acl = acl.iter().map(|entry| Acl {
                perms: entry.perms,
                id: Id {
                    scheme: text(&entry.scheme),
                    id: text(&entry.id),
                },
            });
            let is_sequential = asked.parameters.get("sequential") == Some("true");
            framed(
                REQUEST,
                OpCode::CREATE,
                &CreateRequest {
                    path: text(path),
                    data: Some(&data),
                    acl: Some(acl.collect()),
                    flags: if is_sequential { 2 } else { 0 },
                },
            )
        }
        Kind::Set => framed(
            REQUEST,
            OpCode::SET_DATA,
            &SetDataRequest {
                path: text(path),
                data: Some(&data),
                version,
            },
        ),
        Kind::Delete => framed(
            REQUEST,
            OpCode::DELETE,
            &DeleteRequest {
                path: text(path),
                version,
            },
        ),
    };
    if request.len() > bytes_max {
        return Err(too_large());
    }
    tracing::info!(peer = %asked.asker.peer, path, ?kind, "a change by the page");
    let mut visitor = Visitor::enter(core, asked.asker.peer);
    let answered = tokio::time::timeout(PATIENCE, visitor.ask(asked, proof, request));
    let reply = answered.await.map_err(|_| no_answer())??;
    // An answer is an answer; a session that is not closed in time expires.
    let _ = tokio::time::timeout(FAREWELL, visitor.leave()).await;
    let created = match (reply.code, kind) {
        (ErrorCode::OK, Kind::Create) => {
            let response: CreateResponse<'_> =
                Reader::new(&reply.body).read().map_err(|_| no_answer())?;
            response.path.unwrap_or_default().into_owned()
        }
        (ErrorCode::OK, Kind::Set | Kind::Delete) => path.to_owned(),
        (code, _) => return Err(refusal(code, path)),
    };
    Ok(Json::object([
        ("path", created.into()),
        ("zxid", crate::types::Zxid(reply.zxid).to_string().into()),
    ]))
}

/// Whether the list that decides names whoever asks. A new znode gets its parent's list.
fn may_change(asked: &Asked, state: &State, kind: Kind, path: &str) -> Result<AclList, Refusal> {
    let (decides, wanted, named) = match kind {
        Kind::Create => (parent_for_clients(path), perms::CREATE, "CREATE"),
        Kind::Delete => (parent_for_clients(path), perms::DELETE, "DELETE"),
        Kind::Set => (path, perms::WRITE, "WRITE"),
    };
    let id = state.tree.find(decides);
    let id = id.ok_or_else(|| znodes::no_node(decides))?;
    if !asked.asker.is_named(state, id, wanted) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!("The ACL of {decides} does not name who signed in with {named}"),
        ));
    }
    Ok(AclList::clone(state.tree.acl(id)))
}

fn refusal(code: ErrorCode, path: &str) -> Refusal {
    let (status, error) = match code {
        ErrorCode::NO_NODE => return znodes::no_node(path),
        ErrorCode::NODE_EXISTS => (StatusCode::CONFLICT, "There is one already".to_owned()),
        ErrorCode::NOT_EMPTY => (StatusCode::CONFLICT, "It has children".to_owned()),
        ErrorCode::BAD_VERSION => (
            StatusCode::CONFLICT,
            "It was changed meanwhile: its version is another".to_owned(),
        ),
        ErrorCode::NO_AUTH => (
            StatusCode::FORBIDDEN,
            "Its ACL does not allow it".to_owned(),
        ),
        other => (StatusCode::BAD_REQUEST, format!("Refused: {other}")),
    };
    Refusal::new(status, error)
}

/// A frame's content: header and body.
fn framed(xid: i32, op: OpCode, body: &impl Encode) -> Bytes {
    let mut out = BytesMut::new();
    RequestHeader { xid, op: op.0 }.encode(&mut out);
    body.encode(&mut out);
    out.freeze()
}

struct NoBody;

impl Encode for NoBody {
    fn encode(&self, _: &mut BytesMut) {}
}

struct Reply {
    zxid: i64,
    code: ErrorCode,
    body: Bytes,
}

/// A connection of the page's own, without a socket. Leaves no trace when it is dropped but a
/// session that expires.
struct Visitor<'a> {
    core: &'a Core,
    conn: Arc<Conn>,
    frames: VecDeque<Bytes>,
    out: BytesMut,
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        self.core.forget(&self.conn);
    }
}

impl<'a> Visitor<'a> {
    fn enter(core: &'a Core, peer: std::net::SocketAddr) -> Self {
        Self {
            core,
            conn: core.open(peer),
            frames: VecDeque::new(),
            out: BytesMut::new(),
        }
    }

    async fn ask(
        &mut self,
        asked: &Asked,
        proof: &Proof,
        request: Bytes,
    ) -> Result<Reply, Refusal> {
        let not_serving = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, NOT_SERVING);
        let config = &asked.sources.config;
        let least_ms = i32::try_from(config.min_session_timeout_ms).unwrap_or(i32::MAX);
        let mut connect = BytesMut::new();
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: least_ms,
            session_id: 0,
            password: Some(&[0; PASSWORD_LEN]),
            read_only: Some(false),
        }
        .encode(&mut connect);
        self.core
            .connect(&self.conn, &connect, |_| least_ms)
            .map_err(|_| not_serving())?;
        // The connect response.
        self.next().await.ok_or_else(not_serving)?;
        if self.conn.session() == SessionId(0) {
            return Err(not_serving());
        }
        let auth = AuthPacket {
            kind: 0,
            scheme: text(&proof.scheme),
            auth: Some(&proof.auth),
        };
        self.frames
            .push_back(framed(xid::AUTH, OpCode::AUTH, &auth));
        self.frames.push_back(request);
        self.reply(REQUEST).await.ok_or_else(no_answer)
    }

    async fn leave(&mut self) {
        let farewell = framed(FAREWELL_XID, OpCode::CLOSE_SESSION, &NoBody);
        self.frames.push_back(farewell);
        self.reply(FAREWELL_XID).await;
    }

    /// The reply to a request, or nothing when the connection ends before it.
    async fn reply(&mut self, xid: i32) -> Option<Reply> {
        loop {
            let message = self.next().await?;
            let mut reader = Reader::new(&message);
            let header: ReplyHeader = reader.read().ok()?;
            let code = ErrorCode(header.err);
            if header.xid == xid {
                return Some(Reply {
                    zxid: header.zxid,
                    code,
                    body: message.slice(reader.offset()..),
                });
            }
            if code != ErrorCode::OK {
                return None;
            }
        }
    }

    /// The next message for this connection; nothing when it has ended.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.frames.is_empty() && self.core.has_room(&self.conn) {
                let (core, conn) = (self.core, &self.conn);
                core.handle_frames(conn, &mut self.frames, &mut self.out)
                    .ok()?;
            }
            let close = self.conn.take_outbox(&mut self.out);
            if let Some(message) = frame::next_frame(&mut self.out, REPLY_BYTES_MAX).ok()? {
                return Some(message);
            }
            if close.is_some() {
                return None;
            }
            self.conn.wake.notified().await;
        }
    }
}
