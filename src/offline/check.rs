//! Looks at a data directory of ours or of ZooKeeper's.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::OfflineError;
use super::export::recover;
use super::import::is_zookeepers;
use super::progress::Bar;
use crate::auth::Schemes;
use crate::ensemble::AtRest;
use crate::upstream::files::Files;
use crate::upstream::load::{Account, load};

/// What a directory holds.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    #[serde(flatten)]
    pub kind: Kind,
    pub znodes: usize,
    pub ephemerals: usize,
    pub sessions: usize,
    pub quotas: usize,
    /// Bytes of all data.
    pub data_bytes: u64,
    pub zxid: String,
    /// Of the tree: comparable between servers at equal zxid.
    pub digest: String,
    /// Empty when all is well.
    pub damage: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Kind {
    Meerkat(Ours),
    ZooKeeper {
        #[serde(flatten)]
        account: Box<Account>,
        epoch: i64,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Ours {
    /// Newest first.
    pub snapshots: Vec<PathBuf>,
    /// The one that everything begins with.
    pub snapshot_used: Option<PathBuf>,
    pub first_log_index: Option<u64>,
    pub last_log_index: Option<u64>,
    pub committed_index: Option<u64>,
    pub term: u64,
    /// Entries behind the snapshot.
    pub entries_applied: u64,
    pub members: Vec<Server>,
    pub cluster: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Server {
    pub id: u64,
    pub address: String,
    pub votes: bool,
}

pub(super) fn run(
    dir: &Path,
    log_dir: &Path,
    schemes: Schemes,
    extended_types: bool,
) -> Result<Checked, OfflineError> {
    let is_ours = dir.join("snapshots").is_dir() || log_dir.join("log").is_dir();
    if is_ours {
        ours(dir, log_dir, schemes)
    } else if is_zookeepers(dir) || dir.ends_with(crate::upstream::files::VERSION_DIR) {
        zookeepers(dir, log_dir, extended_types)
    } else {
        Err(OfflineError::Refused(format!(
            "{} holds neither data of ours nor of Apache ZooKeeper's",
            dir.display()
        )))
    }
}

fn ours(dir: &Path, log_dir: &Path, schemes: Schemes) -> Result<Checked, OfflineError> {
    let facts = AtRest::open(dir, log_dir)?.facts()?;
    let (state, recovered) = recover(dir, log_dir, &std::sync::Arc::new(schemes))?;
    let mut damage = recovered.passed_over;
    if let Err(why) = state.tree.check() {
        damage.push(why);
    }
    let server = |member: &crate::ensemble::Member| Server {
        id: member.id,
        address: member.spec.clone(),
        votes: member.is_voter,
    };
    Ok(Checked {
        kind: Kind::Meerkat(Ours {
            snapshots: facts.snapshots,
            snapshot_used: recovered.snapshot,
            first_log_index: facts.log.map(|(first, _)| first),
            last_log_index: facts.log.map(|(_, last)| last),
            committed_index: facts.committed,
            term: facts.term,
            entries_applied: recovered.entries,
            members: recovered.members.iter().map(server).collect(),
            cluster: format!("{:x}", recovered.cluster),
        }),
        znodes: state.tree.node_count(),
        ephemerals: state.tree.ephemeral_count(),
        sessions: state.sessions.len(),
        quotas: state.tree.quota_count(),
        data_bytes: state.tree.data_bytes(),
        zxid: state.zxid().to_string(),
        digest: format!("{:x}", state.tree.digest()),
        damage,
    })
}

fn zookeepers(dir: &Path, log_dir: &Path, extended_types: bool) -> Result<Checked, OfflineError> {
    let files = Files::list(dir, log_dir)?;
    let bar = Bar::new("reading", files.bytes_to_read());
    let loaded = load(&files, extended_types, &|bytes| bar.advance(bytes)).map_err(|why| {
        OfflineError::Load {
            path: dir.to_owned(),
            why,
        }
    })?;
    let (image, account) = (loaded.image, loaded.account);
    let data_len = |data: &Option<Box<[u8]>>| data.as_ref().map_or(0, |data| data.len() as u64);
    Ok(Checked {
        znodes: image.len(),
        ephemerals: image.ephemeral_count(),
        sessions: image.sessions.len(),
        quotas: image.quota_count(),
        data_bytes: image.nodes().map(|(_, node)| data_len(&node.data)).sum(),
        zxid: account.last_zxid.clone(),
        digest: format!("{:x}", image.digest()),
        damage: account.damage.clone(),
        kind: Kind::ZooKeeper {
            account: Box::new(account),
            epoch: files.epoch,
        },
    })
}
