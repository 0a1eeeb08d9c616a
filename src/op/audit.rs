//! What the audit log says of a write (`AuditHelper.java`).

use jute::proto::{
    Acl, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest, MultiResult,
    SetAclRequest, SetDataRequest, perms,
};
use jute::{ErrorCode, OpCode, Reader};

use super::Reply;
use super::create::CreateMode;
use super::reconfig::END_RECONFIG;
use crate::tree::CONFIG_PATH;

/// One line, but for who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    pub operation: &'static str,
    pub path: Option<String>,
    pub znode_type: Option<&'static str>,
    pub acl: Option<String>,
    pub is_done: bool,
}

impl Deed {
    fn new(operation: &'static str, path: Option<&str>, is_done: bool) -> Self {
        Self {
            operation,
            path: path.map(str::to_owned),
            znode_type: None,
            acl: None,
            is_done,
        }
    }

    /// An ephemeral that went with its session.
    #[must_use]
    pub fn ephemeral_gone(path: &str) -> Self {
        let operation = "ephemeralZNodeDeletionOnSessionCloseOrExpire";
        Self::new(operation, Some(path), true)
    }

    /// The server itself starts or stops.
    #[must_use]
    pub fn of_server(operation: &'static str, is_done: bool) -> Self {
        Self::new(operation, None, is_done)
    }
}

/// What a request did or failed to do. None for what is not audited: sessions and reads, and a multi
/// that did nothing. A multi that was carried out is what its parts are.
#[must_use]
pub fn deeds(op: OpCode, body: &[u8], result: &Result<Reply, ErrorCode>) -> Vec<Deed> {
    let mut reader = Reader::new(body);
    let is_done = result.is_ok();
    let created = match result {
        Ok(Reply::Path(path) | Reply::PathStat(path, _)) => Some(&**path),
        _ => None,
    };
    let deed = match op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
            reader.read::<CreateRequest<'_>>().ok().map(|request| {
                let path = created.or(request.path.as_deref());
                create(path, request.flags, is_done)
            })
        }
        OpCode::CREATE_TTL => reader.read::<CreateTtlRequest<'_>>().ok().map(|request| {
            let path = created.or(request.path.as_deref());
            create(path, request.flags, is_done)
        }),
        OpCode::DELETE => reader
            .read::<DeleteRequest<'_>>()
            .ok()
            .map(|request| Deed::new("delete", request.path.as_deref(), is_done)),
        OpCode::SET_DATA => reader
            .read::<SetDataRequest<'_>>()
            .ok()
            .map(|request| Deed::new("setData", request.path.as_deref(), is_done)),
        OpCode::SET_ACL => reader.read::<SetAclRequest<'_>>().ok().map(|request| Deed {
            acl: Some(acl_text(request.acl.as_deref().unwrap_or_default())),
            ..Deed::new("setAcl", request.path.as_deref(), is_done)
        }),
        // The end of a change answers its beginning.
        OpCode::RECONFIG | END_RECONFIG => {
            let path = is_done.then_some(CONFIG_PATH);
            Some(Deed::new("reconfig", path, is_done))
        }
        OpCode::MULTI => return multi(&mut reader, result),
        _ => None,
    };
    deed.into_iter().collect()
}

fn create(path: Option<&str>, flags: i32, is_done: bool) -> Deed {
    Deed {
        znode_type: CreateMode::from_flags(flags).map(CreateMode::audit_name),
        ..Deed::new("create", path, is_done)
    }
}

fn multi(reader: &mut Reader<'_>, result: &Result<Reply, ErrorCode>) -> Vec<Deed> {
    let failed = || vec![Deed::new("multiOperation", None, false)];
    let Ok(Reply::Multi(results)) = result else {
        return failed();
    };
    if results
        .iter()
        .any(|result| matches!(result, MultiResult::Error(_)))
    {
        return failed();
    }
    let Ok(request) = reader.read::<MultiRequest<'_>>() else {
        return failed();
    };
    let parts = request.ops.iter().zip(results);
    parts.filter_map(|(op, result)| part(op, result)).collect()
}

fn part(op: &MultiOp<'_>, result: &MultiResult<'_>) -> Option<Deed> {
    let created = match result {
        MultiResult::Create { path } | MultiResult::Create2 { path, .. } => path.as_deref(),
        _ => None,
    };
    let create = |requested: Option<&str>, flags| {
        let mut deed = create(created, flags, true);
        // Upstream looks the type up by the path, and finds none of a sequential znode.
        if created != requested {
            deed.znode_type = None;
        }
        deed
    };
    match op {
        MultiOp::Create(_, request) => Some(create(request.path.as_deref(), request.flags)),
        MultiOp::CreateTtl(request) => Some(create(request.path.as_deref(), request.flags)),
        MultiOp::Delete(request) => Some(Deed::new("delete", request.path.as_deref(), true)),
        MultiOp::SetData(request) => Some(Deed::new("setData", request.path.as_deref(), true)),
        MultiOp::Check(_) | MultiOp::GetData(_) | MultiOp::GetChildren(_) => None,
    }
}

impl CreateMode {
    fn audit_name(self) -> &'static str {
        match (self.ephemeral, self.ttl, self.sequential) {
            _ if self.container => "container",
            (true, _, false) => "ephemeral",
            (true, _, true) => "ephemeral_sequential",
            (false, true, false) => "persistent_with_ttl",
            (false, true, true) => "persistent_sequential_with_ttl",
            (false, false, false) => "persistent",
            (false, false, true) => "persistent_sequential",
        }
    }
}

/// `scheme:id:perms` of each entry, with nothing in between (`ZKUtil.aclToString`).
fn acl_text(acl: &[Acl<'_>]) -> String {
    let mut text = String::new();
    for entry in acl {
        text.push_str(entry.id.scheme.as_deref().unwrap_or("null"));
        text.push(':');
        text.push_str(entry.id.id.as_deref().unwrap_or("null"));
        text.push(':');
        text.push_str(&perms::letters(entry.perms));
    }
    text
}
