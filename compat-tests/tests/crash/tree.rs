//! The tree as a client sees it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use jute::proto::{
    Acl, GetAclRequest, GetAclResponse, GetChildren2Response, GetChildrenRequest, GetDataRequest,
    GetDataResponse, Id, Stat, perms,
};
use jute::{ErrorCode, OpCode, text};

use crate::wire::Connection;

/// Requests in flight while the tree is read.
const READS_IN_FLIGHT: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: Option<Bytes>,
    pub(crate) stat: Stat,
    /// Entries in order.
    pub(crate) acl: Vec<String>,
}

/// An open ACL; with a reader that is not 0 it also names that user, so that lists differ.
pub(crate) fn acl(reader: u32) -> Vec<Acl<'static>> {
    let anyone = Id {
        scheme: text("world"),
        id: text("anyone"),
    };
    let mut acl = vec![Acl {
        perms: perms::ALL,
        id: anyone,
    }];
    if reader > 0 {
        acl.push(Acl {
            perms: perms::READ,
            id: Id {
                scheme: text("digest"),
                id: Some(format!("reader-{reader}:secret").into()),
            },
        });
    }
    acl
}

/// What [`Znode::acl`] holds for an ACL.
pub(crate) fn acl_words(acl: &[Acl<'_>]) -> Vec<String> {
    let words = acl.iter().map(|entry| {
        let (scheme, id) = (entry.id.scheme.as_deref(), entry.id.id.as_deref());
        format!(
            "{}:{}:{}",
            scheme.unwrap_or("-"),
            id.unwrap_or("-"),
            entry.perms
        )
    });
    words.collect()
}

/// Every znode at and below a root, by full path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) znodes: BTreeMap<String, Znode>,
}

impl Tree {
    /// Reads the tree while nobody writes. Nodes of a session that expires meanwhile are left out.
    pub(crate) fn read(connection: &mut Connection, root: &str) -> Result<Self> {
        let mut znodes = BTreeMap::new();
        let mut unread = vec![root.to_owned()];
        while !unread.is_empty() {
            let rest = unread.split_off(unread.len().min(READS_IN_FLIGHT));
            let batch = std::mem::replace(&mut unread, rest);
            for path in &batch {
                let children = GetChildrenRequest {
                    path: text(path),
                    watch: false,
                };
                connection.queue(OpCode::GET_CHILDREN2, &children);
                let data = GetDataRequest {
                    path: text(path),
                    watch: false,
                };
                connection.queue(OpCode::GET_DATA, &data);
                connection.queue(OpCode::GET_ACL, &GetAclRequest { path: text(path) });
            }
            connection.flush();
            for path in batch {
                let mut replies = Vec::with_capacity(3);
                for _ in 0..3 {
                    let reply = connection.receive()?;
                    replies.push(reply.context("closed while reading the tree")?);
                }
                if replies.iter().any(|reply| reply.err == ErrorCode::NO_NODE) {
                    continue;
                }
                for reply in &replies {
                    ensure!(reply.err == ErrorCode::OK, "reading {path}: {}", reply.err);
                }
                let [children, data, acl] = &replies[..] else {
                    bail!("three requests, {} replies", replies.len())
                };
                let names: GetChildren2Response<'_> = children.body()?;
                for name in names.children.context("null children")? {
                    unread.push(format!("{path}/{}", name.context("null name")?));
                }
                let found: GetDataResponse<'_> = data.body()?;
                let znode = Znode {
                    data: found.data.map(Bytes::copy_from_slice),
                    stat: found.stat,
                    acl: acl_words(&acl.body::<GetAclResponse<'_>>()?.acl.context("null ACL")?),
                };
                znodes.insert(path, znode);
            }
        }
        Ok(Self { znodes })
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Znode> {
        self.znodes.get(path)
    }

    /// Znodes whose path begins with this, in order of path.
    pub(crate) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Znode)> {
        let from = self.znodes.range(prefix.to_owned()..);
        from.take_while(move |(path, _)| path.starts_with(prefix))
            .map(|(path, znode)| (path.as_str(), znode))
    }

    /// Highest zxid that any znode names.
    pub(crate) fn last_zxid(&self) -> i64 {
        let zxids = self.znodes.values().map(|znode| {
            let stat = &znode.stat;
            stat.czxid.max(stat.mzxid).max(stat.pzxid)
        });
        zxids.max().unwrap_or(0)
    }
}
