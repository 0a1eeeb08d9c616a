//! The operations of the protocol, a file each, and their only registry.
//!
//! Writes are evaluated when their log entry is applied: a function takes the tree and the request
//! and returns a [`Reply`] or an error code, and lists what it changed. Reads look at the tree and
//! write their reply's body. Neither calls `watch/`: they return changes and interests.
//! Upstream: `PrepRequestProcessor.pRequest2Txn`, `FinalRequestProcessor.processRequest`.

mod acl;
pub mod audit;
mod auth_info;
mod check;
mod children;
mod create;
mod data;
mod delete;
mod ephemerals;
mod exists;
mod multi;
mod multi_read;
pub mod reconfig;
pub mod session;
mod sync;
mod watches;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use jute::proto::{
    AddWatchRequest, CheckWatchesRequest, CreateRequest, CreateTtlRequest, DeleteRequest,
    ExistsRequest, GetAclRequest, GetAllChildrenNumberRequest, GetChildrenRequest, GetDataRequest,
    GetEphemeralsRequest, MultiRequest, MultiResponse, MultiResult, ReconfigRequest,
    RemoveWatchesRequest, SetAclRequest, SetDataRequest, SetWatches, SetWatches2, Stat,
    SyncRequest,
};
use jute::{Decode, Encode as _, ErrorCode, OpCode, Reader, put_str};
use smallvec::SmallVec;

use crate::auth::{Identity, Schemes};
use crate::session::SessionTable;
use crate::tree::{AclList, DataTree, NodeId};
use crate::types::{SessionId, Zxid};
use crate::watch::Modes;

/// What happens to a request, by its operation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// Through the log; answered when applied.
    Write,
    /// Answered from this server's tree, behind the same session's earlier writes.
    Read,
    /// Answered by the connection at once, out of order: auth and sasl.
    Connection,
    /// Error -6, then the connection closes: unknown codes, and those that only servers use.
    Unknown,
}

/// # Panics
/// Never.
#[must_use]
pub fn road(op: OpCode) -> Road {
    match op {
        OpCode::CREATE
        | OpCode::CREATE2
        | OpCode::CREATE_CONTAINER
        | OpCode::CREATE_TTL
        | OpCode::DELETE
        | OpCode::SET_DATA
        | OpCode::SET_ACL
        | OpCode::MULTI
        | OpCode::RECONFIG
        | OpCode::CLOSE_SESSION => Road::Write,
        OpCode::EXISTS
        | OpCode::GET_DATA
        | OpCode::GET_ACL
        | OpCode::GET_CHILDREN
        | OpCode::GET_CHILDREN2
        | OpCode::GET_ALL_CHILDREN_NUMBER
        | OpCode::GET_EPHEMERALS
        | OpCode::SYNC
        | OpCode::PING
        | OpCode::CHECK_WATCHES
        | OpCode::REMOVE_WATCHES
        | OpCode::MULTI_READ
        | OpCode::SET_WATCHES
        | OpCode::SET_WATCHES2
        | OpCode::ADD_WATCH
        | OpCode::WHO_AM_I => Road::Read,
        OpCode::AUTH | OpCode::SASL => Road::Connection,
        // createSession and deleteContainer are accepted from clients upstream: the first gets a
        // second connect response, the second deletes znodes past their access control lists.
        _ => Road::Unknown,
    }
}

/// Whether a write's body can be decoded. An undecodable one is answered -5 without a place in the
/// log. Most undecodable multis take one all the same, as upstream's do.
#[must_use]
pub fn is_decodable(op: OpCode, body: &[u8]) -> bool {
    fn is<'a, T: Decode<'a>>(body: &'a [u8]) -> bool {
        Reader::new(body).read::<T>().is_ok()
    }
    match op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
            is::<CreateRequest<'_>>(body)
        }
        OpCode::CREATE_TTL => is::<CreateTtlRequest<'_>>(body),
        OpCode::DELETE => is::<DeleteRequest<'_>>(body),
        OpCode::SET_DATA => is::<SetDataRequest<'_>>(body),
        OpCode::SET_ACL => is::<SetAclRequest<'_>>(body),
        OpCode::RECONFIG => is::<ReconfigRequest<'_>>(body),
        OpCode::MULTI => multi::is_decodable(body),
        _ => true,
    }
}

/// The path of a request, for those of one znode: it comes first in all their records.
#[must_use]
pub fn path_of(op: OpCode, body: &[u8]) -> Option<String> {
    match op {
        OpCode::MULTI
        | OpCode::MULTI_READ
        | OpCode::RECONFIG
        | OpCode::CLOSE_SESSION
        | OpCode::CREATE_SESSION
        | OpCode::SET_WATCHES
        | OpCode::SET_WATCHES2
        | OpCode::PING
        | OpCode::AUTH
        | OpCode::SASL
        | OpCode::WHO_AM_I => None,
        _ => {
            let request: SyncRequest<'_> = Reader::new(body).read().ok()?;
            request.path.map(Cow::into_owned)
        }
    }
}

/// The path that a quota has forbidden to grow, when that is why a write has failed.
#[must_use]
pub fn over_quota(op: OpCode, body: &[u8], result: &Result<Reply, ErrorCode>) -> Option<String> {
    match result {
        Err(ErrorCode::QUOTA_EXCEEDED) => path_of(op, body),
        Ok(Reply::Multi(results)) => multi::over_quota(body, results),
        _ => None,
    }
}

/// Whether a write may create an ephemeral, whose owner the ensemble has to know
/// (`QuorumZooKeeperServer.checkUpgradeSession`).
#[must_use]
pub fn creates_ephemeral(op: OpCode, body: &[u8]) -> bool {
    match op {
        OpCode::CREATE | OpCode::CREATE2 => Reader::new(body)
            .read::<CreateRequest<'_>>()
            .is_ok_and(|request| create::is_ephemeral(request.flags)),
        OpCode::MULTI => Reader::new(body)
            .read::<MultiRequest<'_>>()
            .is_ok_and(|request| request.ops.iter().any(multi::creates_ephemeral)),
        _ => false,
    }
}

/// Settings that change an outcome. The leader's stand in each log entry, so that all servers
/// decide alike whatever their own configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// `zookeeper.extendedTypesEnabled`: TTL znodes.
    pub const EXTENDED_TYPES: Self = Self(1);
    /// `zookeeper.enforceQuota`.
    pub const ENFORCE_QUOTA: Self = Self(2);
    /// `zookeeper.skipACL=yes`.
    pub const SKIP_ACL: Self = Self(4);
    /// `reconfigEnabled`.
    pub const RECONFIG_ENABLED: Self = Self(8);
    /// The server is one of several.
    pub const ENSEMBLE: Self = Self(16);
    /// `standaloneEnabled=false`: one voter is an ensemble too.
    pub const STANDALONE_DISABLED: Self = Self(32);

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { self }
    }
}

/// What became of a znode, for the watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Created,
    Deleted,
    DataChanged,
}

#[derive(Debug, Clone)]
pub struct Change {
    pub kind: ChangeKind,
    pub path: Arc<str>,
    /// Who may hear of it: the znode's list, as it was before a deletion.
    pub acl: AclList,
    /// Who may hear that the parent's children changed.
    pub parent_acl: AclList,
}

pub type Changes = SmallVec<[Change; 1]>;

/// The body of a write's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Empty,
    Path(Arc<str>),
    PathStat(Arc<str>, Stat),
    Stat(Stat),
    Multi(Vec<MultiResult<'static>>),
    DataStat(Box<[u8]>, Stat),
    /// Not answered yet: the leader has to make these the members first.
    Reconfigure(String),
    /// The session that was created: its time-out in ms and its password.
    Session {
        id: SessionId,
        timeout_ms: i32,
        password: [u8; 16],
    },
}

impl Reply {
    /// Writes the body; a session's is the connect response, which the handshake writes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Empty | Self::Reconfigure(_) | Self::Session { .. } => {}
            Self::DataStat(data, stat) => {
                Some(&**data).encode(out);
                stat.encode(out);
            }
            Self::Path(path) => put_str(path, out),
            Self::PathStat(path, stat) => {
                put_str(path, out);
                stat.encode(out);
            }
            Self::Stat(stat) => stat.encode(out),
            Self::Multi(results) => MultiResponse {
                results: results.clone(),
            }
            .encode(out),
        }
    }
}

/// Everything that the evaluation of a write may look at and change.
pub struct Apply<'a> {
    pub tree: &'a mut DataTree,
    pub sessions: &'a mut SessionTable,
    pub schemes: &'a Schemes,
    pub flags: Flags,
    pub session: SessionId,
    /// The session is known to its server alone.
    pub session_is_local: bool,
    /// Whether a change of the members is under way.
    pub is_reconfiguring: bool,
    pub identities: &'a [Identity],
    pub zxid: Zxid,
    /// The leader's clock when it stamped the entry.
    pub time_ms: i64,
    pub changes: Changes,
}

impl Apply<'_> {
    /// # Errors
    /// `NO_AUTH` unless the caller has a bit of `wanted` on the znode.
    fn check_acl(&self, id: NodeId, wanted: i32) -> Result<(), ErrorCode> {
        let granted = self.flags.contains(Flags::SKIP_ACL)
            || self
                .schemes
                .grants(self.tree.acl(id), wanted, self.identities);
        if granted {
            Ok(())
        } else {
            Err(ErrorCode::NO_AUTH)
        }
    }

    fn find(&self, path: &str) -> Result<NodeId, ErrorCode> {
        self.tree.find(path).ok_or(ErrorCode::NO_NODE)
    }

    /// Lists a change; the znode must still be there.
    fn changed(&mut self, kind: ChangeKind, id: NodeId, path: Arc<str>) {
        let acl = AclList::clone(self.tree.acl(id));
        let parent_acl = AclList::clone(self.tree.acl(self.tree.parent(id)));
        self.changes.push(Change {
            kind,
            path,
            acl,
            parent_acl,
        });
    }

    /// Evaluates a write.
    ///
    /// # Errors
    /// What the operation's own function lists; `MARSHALLING_ERROR` for a body that is no record or
    /// has a null where there must be none; `SESSION_EXPIRED` without a session.
    pub fn write(&mut self, op: OpCode, body: &[u8]) -> Result<Reply, ErrorCode> {
        let mut reader = Reader::new(body);
        let malformed = |_| ErrorCode::MARSHALLING_ERROR;
        match op {
            OpCode::CREATE_SESSION => return session::create(self, body),
            OpCode::CLOSE_SESSION => return Ok(session::close(self)),
            reconfig::BEGIN_CONFIG => return reconfig::begin(self, body),
            OpCode::DELETE_CONTAINER => {
                return delete::delete_container(self, &reader.read().map_err(malformed)?);
            }
            _ => {}
        }
        match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
                let request = reader.read().map_err(malformed)?;
                self.check_session()?;
                create::create(self, create::New::plain(op, &request))
            }
            OpCode::CREATE_TTL => {
                let request = reader.read().map_err(malformed)?;
                self.check_session()?;
                create::create(self, create::New::with_ttl(&request))
            }
            OpCode::DELETE => delete::delete(self, &reader.read().map_err(malformed)?),
            OpCode::SET_DATA => data::set_data(self, &reader.read().map_err(malformed)?),
            OpCode::SET_ACL => acl::set_acl(self, &reader.read().map_err(malformed)?),
            OpCode::MULTI => {
                let request: MultiRequest<'_> = reader.read().map_err(malformed)?;
                multi::multi(self, &request)
            }
            OpCode::RECONFIG => reconfig::reconfig(self, &reader.read().map_err(malformed)?),
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    /// Ends the change of members that is under way.
    ///
    /// # Errors
    /// What the leader says has kept it from being done.
    pub fn end_reconfig(&mut self, members: &str, body: &[u8]) -> Result<Reply, ErrorCode> {
        reconfig::outcome(body)?;
        reconfig::write(self, members)
    }

    /// # Errors
    /// `SESSION_EXPIRED` when the caller's session is gone.
    fn check_session(&self) -> Result<(), ErrorCode> {
        if self.session_is_local || self.sessions.contains(self.session) {
            Ok(())
        } else {
            Err(ErrorCode::SESSION_EXPIRED)
        }
    }
}

/// Whose request a read is.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub tree: &'a DataTree,
    pub schemes: &'a Schemes,
    pub flags: Flags,
    pub session: SessionId,
    pub identities: &'a [Identity],
    /// What this connection watches at a path.
    pub watched: &'a dyn Fn(&str) -> Modes,
}

/// What a read asks of the watch table.
#[derive(Debug, PartialEq, Eq)]
pub enum Interest<'r> {
    Add(Cow<'r, str>, Modes),
    Remove(Cow<'r, str>, Modes),
}

/// A read's outcome beside the body that it has written.
#[derive(Debug, Default)]
pub struct Seen<'r> {
    pub interests: SmallVec<[Interest<'r>; 1]>,
    /// Events that setWatches replays in front of its reply: type and path.
    pub events: Vec<(i32, Cow<'r, str>)>,
    /// The reply has a body although it is an error: multiRead's oddity.
    pub keeps_body: bool,
}

impl<'a> Look<'a> {
    fn check_acl(&self, id: NodeId, wanted: i32) -> Result<(), ErrorCode> {
        if self.may(id, wanted) {
            Ok(())
        } else {
            Err(ErrorCode::NO_AUTH)
        }
    }

    fn may(&self, id: NodeId, wanted: i32) -> bool {
        self.flags.contains(Flags::SKIP_ACL)
            || self
                .schemes
                .grants(self.tree.acl(id), wanted, self.identities)
    }

    fn find(&self, path: Option<&str>) -> Result<NodeId, ErrorCode> {
        self.tree
            .find(path.ok_or(ErrorCode::MARSHALLING_ERROR)?)
            .ok_or(ErrorCode::NO_NODE)
    }

    /// Evaluates a read and writes the body of its reply. Interests hold for failed reads too.
    ///
    /// # Errors
    /// What the operation's own function lists, and `MARSHALLING_ERROR` for a body that is no
    /// record.
    pub fn read<'r>(
        &self,
        op: OpCode,
        body: &'r [u8],
        out: &mut BytesMut,
        seen: &mut Seen<'r>,
    ) -> Result<(), ErrorCode> {
        fn decode<'r, T: Decode<'r>>(body: &'r [u8]) -> Result<T, ErrorCode> {
            Reader::new(body)
                .read()
                .map_err(|_| ErrorCode::MARSHALLING_ERROR)
        }
        match op {
            OpCode::EXISTS => exists::exists(self, decode::<ExistsRequest<'_>>(body)?, out, seen),
            OpCode::GET_DATA => {
                data::get_data(self, decode::<GetDataRequest<'_>>(body)?, out, seen)
            }
            OpCode::GET_ACL => acl::get_acl(self, &decode::<GetAclRequest<'_>>(body)?, out),
            OpCode::GET_CHILDREN => {
                let request = decode::<GetChildrenRequest<'_>>(body)?;
                children::get_children(self, request, false, out, seen)
            }
            OpCode::GET_CHILDREN2 => {
                let request = decode::<GetChildrenRequest<'_>>(body)?;
                children::get_children(self, request, true, out, seen)
            }
            OpCode::GET_ALL_CHILDREN_NUMBER => {
                let request = decode::<GetAllChildrenNumberRequest<'_>>(body)?;
                children::get_all_children_number(self, &request, out)
            }
            OpCode::GET_EPHEMERALS => {
                ephemerals::get_ephemerals(self, &decode::<GetEphemeralsRequest<'_>>(body)?, out)
            }
            OpCode::SYNC => sync::sync(&decode::<SyncRequest<'_>>(body)?, out),
            OpCode::PING => Ok(()),
            OpCode::CHECK_WATCHES => {
                watches::check(self, &decode::<CheckWatchesRequest<'_>>(body)?)
            }
            OpCode::REMOVE_WATCHES => {
                watches::remove(self, decode::<RemoveWatchesRequest<'_>>(body)?, seen)
            }
            OpCode::ADD_WATCH => watches::add(decode::<AddWatchRequest<'_>>(body)?, out, seen),
            OpCode::SET_WATCHES => {
                watches::set_watches(self, decode::<SetWatches<'_>>(body)?.into(), seen)
            }
            OpCode::SET_WATCHES2 => {
                watches::set_watches(self, decode::<SetWatches2<'_>>(body)?.into(), seen)
            }
            OpCode::MULTI_READ => multi_read::multi_read(self, body, out, seen),
            OpCode::WHO_AM_I => auth_info::who_am_i(self, out),
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }
}

/// `expected` of -1 fits any version.
fn check_version(current: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == current {
        Ok(())
    } else {
        Err(ErrorCode::BAD_VERSION)
    }
}

#[cfg(test)]
mod tests {
    use jute::proto::{MultiOp, create_mode};

    use super::*;

    fn create(flags: i32) -> CreateRequest<'static> {
        CreateRequest {
            path: Some("/a".into()),
            data: None,
            acl: Some(Vec::new()),
            flags,
        }
    }

    fn check(op: OpCode, record: &impl jute::Encode, expected: bool) {
        let mut body = BytesMut::new();
        record.encode(&mut body);
        assert_eq!(creates_ephemeral(op, &body), expected, "{op:?}");
        let cut = body.len() - 1;
        assert!(!creates_ephemeral(op, &body[..cut]), "{op:?}, cut");
    }

    #[test]
    fn ephemerals_are_found_wherever_they_are_created() {
        let (plain, ephemeral) = (create_mode::PERSISTENT, create_mode::EPHEMERAL_SEQUENTIAL);
        check(OpCode::CREATE, &create(plain), false);
        check(OpCode::CREATE, &create(ephemeral), true);
        check(OpCode::CREATE2, &create(create_mode::EPHEMERAL), true);
        // The code decides: these are containers and TTL znodes.
        check(OpCode::CREATE_CONTAINER, &create(ephemeral), false);
        check(
            OpCode::CREATE,
            &create(create_mode::PERSISTENT_WITH_TTL),
            false,
        );
        let multi = |flags| MultiRequest {
            ops: vec![
                MultiOp::Create(OpCode::CREATE, create(plain)),
                MultiOp::Create(OpCode::CREATE2, create(flags)),
            ],
        };
        check(OpCode::MULTI, &multi(plain), false);
        check(OpCode::MULTI, &multi(ephemeral), true);
    }
}
