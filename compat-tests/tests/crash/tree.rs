//! The tree as a client sees it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use jute::proto::{
    GetChildren2Response, GetChildrenRequest, GetDataRequest, GetDataResponse, Stat,
};
use jute::{ErrorCode, OpCode, text};

use crate::wire::Connection;

/// Requests in flight while the tree is read.
const READS_IN_FLIGHT: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: Option<Bytes>,
    pub(crate) stat: Stat,
}

/// Every znode at and below a root, by full path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) znodes: BTreeMap<String, Znode>,
}

impl Tree {
    /// Reads the tree while nobody writes. A node of another session may still vanish meanwhile:
    /// that is the caller's to look at again.
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
            }
            connection.flush();
            for path in batch {
                let children = connection
                    .receive()?
                    .context("closed while reading the tree")?;
                let data = connection
                    .receive()?
                    .context("closed while reading the tree")?;
                if data.err == ErrorCode::NO_NODE {
                    continue;
                }
                ensure!(
                    children.err == ErrorCode::OK,
                    "getChildren2 {path}: {}",
                    children.err
                );
                ensure!(data.err == ErrorCode::OK, "getData {path}: {}", data.err);
                let names: GetChildren2Response<'_> = children.body()?;
                for name in names.children.context("null children")? {
                    unread.push(format!("{path}/{}", name.context("null name")?));
                }
                let found: GetDataResponse<'_> = data.body()?;
                let znode = Znode {
                    data: found.data.map(Bytes::copy_from_slice),
                    stat: found.stat,
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
