//! create, create2, createContainer, createTTL (`PrepRequestProcessor.pRequest2TxnCreate`).

use std::sync::Arc;

use jute::proto::{Acl, CreateRequest, CreateTtlRequest, create_mode, perms};
use jute::{ErrorCode, OpCode};

use super::{Apply, ChangeKind, Flags, Reply};
use crate::tree::{NewNode, Owner, QuotaVerdict, path};

/// A request to create, whatever its operation code.
pub(super) struct New<'a> {
    op: OpCode,
    path: Option<&'a str>,
    data: Option<&'a [u8]>,
    acl: Option<&'a [Acl<'a>]>,
    flags: i32,
    ttl_ms: i64,
}

impl<'a> New<'a> {
    pub(super) fn plain(op: OpCode, request: &'a CreateRequest<'a>) -> Self {
        Self {
            op,
            path: request.path.as_deref(),
            data: request.data,
            acl: request.acl.as_deref(),
            flags: request.flags,
            ttl_ms: -1,
        }
    }

    pub(super) fn with_ttl(request: &'a CreateTtlRequest<'a>) -> Self {
        Self {
            op: OpCode::CREATE_TTL,
            path: request.path.as_deref(),
            data: request.data,
            acl: request.acl.as_deref(),
            flags: request.flags,
            ttl_ms: request.ttl_ms,
        }
    }
}

impl<'a> New<'a> {
    /// A createTTL inside a multi: without a TTL flag it is silently an ordinary create
    /// (`Op.create` with a ttl).
    pub(super) fn of_multi(request: &'a CreateTtlRequest<'a>) -> Self {
        let op = match CreateMode::from_flags(request.flags) {
            Some(mode) if !mode.ttl && mode.container => OpCode::CREATE_CONTAINER,
            Some(mode) if !mode.ttl => OpCode::CREATE,
            _ => OpCode::CREATE_TTL,
        };
        let ttl_ms = if op == OpCode::CREATE_TTL {
            request.ttl_ms
        } else {
            -1
        };
        Self {
            op,
            ttl_ms,
            ..Self::with_ttl(request)
        }
    }
}

/// What the flags ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CreateMode {
    pub ephemeral: bool,
    pub sequential: bool,
    pub container: bool,
    pub ttl: bool,
}

impl CreateMode {
    pub(super) fn from_flags(flags: i32) -> Option<Self> {
        let mode = |ephemeral, sequential, container, ttl| {
            Some(Self {
                ephemeral,
                sequential,
                container,
                ttl,
            })
        };
        match flags {
            create_mode::PERSISTENT => mode(false, false, false, false),
            create_mode::EPHEMERAL => mode(true, false, false, false),
            create_mode::PERSISTENT_SEQUENTIAL => mode(false, true, false, false),
            create_mode::EPHEMERAL_SEQUENTIAL => mode(true, true, false, false),
            create_mode::CONTAINER => mode(false, false, true, false),
            create_mode::PERSISTENT_WITH_TTL => mode(false, false, false, true),
            create_mode::PERSISTENT_SEQUENTIAL_WITH_TTL => mode(false, true, false, true),
            _ => None,
        }
    }
}

pub(super) fn is_ephemeral(flags: i32) -> bool {
    CreateMode::from_flags(flags).is_some_and(|mode| mode.ephemeral)
}

/// # Errors
/// First match wins: `BAD_ARGUMENTS` (flags), `UNIMPLEMENTED` (TTL switched off), `BAD_ARGUMENTS`
/// (ttl), `EPHEMERAL_ON_LOCAL_SESSION`, `BAD_ARGUMENTS` (a path without slash or with NUL),
/// `INVALID_ACL`, `NO_NODE` (parent), `NO_AUTH`, `BAD_ARGUMENTS` (path with its suffix),
/// `NODE_EXISTS`, `NO_CHILDREN_FOR_EPHEMERALS`, `QUOTA_EXCEEDED`.
pub(super) fn create(tx: &mut Apply<'_>, new: New<'_>) -> Result<Reply, ErrorCode> {
    let mode = CreateMode::from_flags(new.flags).ok_or(ErrorCode::BAD_ARGUMENTS)?;
    let owner = owner(tx, &new, mode)?;
    let requested = new.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let (parent_path, _) = path::split(requested)
        .filter(|_| !requested.contains('\0'))
        .ok_or(ErrorCode::BAD_ARGUMENTS)?;
    let acl = tx.schemes.fix_up(new.acl, tx.identities)?;
    let parent = tx.find(parent_path)?;
    tx.check_acl(parent, perms::CREATE)?;
    let path: Arc<str> = if mode.sequential {
        format!("{requested}{:010}", tx.tree.created_children(parent)).into()
    } else {
        requested.into()
    };
    if !path::is_valid(&path) {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    if tx.tree.find(&path).is_some() {
        return Err(ErrorCode::NODE_EXISTS);
    }
    if matches!(tx.tree.owner(parent), Owner::Session(_)) {
        return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
    }
    if tx.flags.contains(Flags::ENFORCE_QUOTA) {
        let bytes = i64::try_from(new.data.map_or(0, <[u8]>::len)).unwrap_or(i64::MAX);
        check_quota(tx.tree.quota_forbids(&path, 1, bytes))?;
    }
    let acl = tx.tree.acls().acquire(&acl);
    let node = NewNode {
        data: new.data,
        acl,
        owner,
        zxid: tx.zxid,
        time_ms: tx.time_ms,
    };
    let id = tx.tree.create(&path, node);
    tx.changed(ChangeKind::Created, id, Arc::clone(&path));
    match new.op {
        OpCode::CREATE => Ok(Reply::Path(path)),
        _ => Ok(Reply::PathStat(path, tx.tree.stat(id))),
    }
}

/// The operation code decides before the flags do: createContainer with any flags makes a
/// container, and create with the container flag a plain znode. createTTL without a TTL flag would
/// crash upstream while applying (protocol pitfall 35); here it is a bad argument.
fn owner(tx: &Apply<'_>, new: &New<'_>, mode: CreateMode) -> Result<Owner, ErrorCode> {
    if mode.ttl {
        if !tx.flags.contains(Flags::EXTENDED_TYPES) {
            return Err(ErrorCode::UNIMPLEMENTED);
        }
        if !(1..=Owner::TTL_MAX_MS).contains(&new.ttl_ms) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
    } else if new.op == OpCode::CREATE_TTL {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    Ok(match new.op {
        OpCode::CREATE_CONTAINER => Owner::Container,
        OpCode::CREATE_TTL => Owner::Ttl(new.ttl_ms),
        _ if mode.ephemeral && tx.session_is_local => {
            return Err(ErrorCode::EPHEMERAL_ON_LOCAL_SESSION);
        }
        _ if mode.ephemeral => Owner::Session(tx.session),
        _ => Owner::Persistent,
    })
}

pub(super) fn check_quota(verdict: QuotaVerdict) -> Result<(), ErrorCode> {
    match verdict {
        QuotaVerdict::Allowed => Ok(()),
        QuotaVerdict::Exceeded => Err(ErrorCode::QUOTA_EXCEEDED),
        QuotaVerdict::Unreadable => Err(ErrorCode::MARSHALLING_ERROR),
    }
}
