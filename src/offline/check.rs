//! Looks at a data directory, or one snapshot, of ours or of ZooKeeper's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::OfflineError;
use super::export::recover;
use super::import::is_zookeepers;
use super::progress::Bar;
use crate::auth::Schemes;
use crate::convert::{image_of, read_file};
use crate::ensemble::{AtRest, Recovered, is_gone, verify_snapshot};
use crate::state::State;
use crate::upstream::files::Files;
use crate::upstream::load::{Account, load};

/// What a directory or a snapshot holds.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    #[serde(flatten)]
    pub kind: Kind,
    /// `None` when nothing can be read.
    #[serde(flatten)]
    pub held: Option<Held>,
    /// What is no damage, but makes a check worth less.
    pub remarks: Vec<String>,
    /// Empty when all is well.
    pub damage: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Held {
    pub znodes: usize,
    pub ephemerals: usize,
    pub sessions: usize,
    pub quotas: usize,
    /// Bytes of all data.
    pub data_bytes: u64,
    pub zxid: String,
    /// Of the tree: comparable between servers at equal zxid.
    pub digest: String,
    /// Of the tree, as ZooKeeper makes it: the same in its data and in ours.
    pub zookeeper_digest: String,
}

impl Held {
    fn of_state(state: &State) -> Self {
        Self {
            znodes: state.tree.node_count(),
            ephemerals: state.tree.ephemeral_count(),
            sessions: state.sessions.len(),
            quotas: state.tree.quota_count(),
            data_bytes: state.tree.data_bytes(),
            zxid: state.zxid().to_string(),
            digest: format!("{:x}", state.tree.digest()),
            zookeeper_digest: format!("{:x}", image_of(state, state.zxid()).digest()),
        }
    }
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
    Snapshot {
        path: PathBuf,
        /// Who has written it.
        of: &'static str,
    },
    /// Nothing that could be read.
    Unreadable,
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
    if dir.is_file() {
        return Ok(snapshot(dir, &Arc::new(schemes)));
    }
    let is_ours = dir.join("snapshots").is_dir() || log_dir.join("log").is_dir();
    if is_ours {
        ours(dir, log_dir, schemes)
    } else if is_zookeepers(dir) || dir.ends_with(crate::upstream::files::VERSION_DIR) {
        Ok(zookeepers(dir, log_dir, extended_types))
    } else {
        Err(OfflineError::Refused(format!(
            "{} holds neither data of ours nor of Apache ZooKeeper's",
            dir.display()
        )))
    }
}

/// One file: a backup that somebody keeps.
fn snapshot(path: &Path, schemes: &Arc<Schemes>) -> Checked {
    let bar = Bar::new("reading", path.metadata().map_or(0, |file| file.len()));
    let read = read_file(path, schemes, usize::MAX, &|bytes| bar.advance(bytes));
    let (mut remarks, mut damage) = (Vec::new(), Vec::new());
    let mut of = "Meerkat";
    let held = match read {
        Ok(read) => {
            if read.is_zookeepers {
                of = "ZooKeeper";
            }
            remarks.extend(read.remark);
            damage.extend(read.state.tree.check().err());
            Some(Held::of_state(&read.state))
        }
        Err(why) => {
            of = "unknown";
            damage.push(format!("{}: {why}", path.display()));
            None
        }
    };
    let path = path.to_owned();
    Checked {
        kind: Kind::Snapshot { path, of },
        held,
        remarks,
        damage,
    }
}

fn ours(dir: &Path, log_dir: &Path, schemes: Schemes) -> Result<Checked, OfflineError> {
    let at_rest = AtRest::open_despite_damage(dir, log_dir);
    let facts = at_rest.facts()?;
    let (held, mut recovered) = match recover(&at_rest, &Arc::new(schemes)) {
        Ok((state, mut recovered)) => {
            recovered.damage.extend(state.tree.check().err());
            (Some(Held::of_state(&state)), recovered)
        }
        Err(error) => {
            let mut damage = at_rest.damage().to_vec();
            damage.push(error.to_string());
            let recovered = Recovered {
                damage,
                ..Recovered::default()
            };
            (None, recovered)
        }
    };
    let mut damage = recovered.passed_over;
    damage.append(&mut recovered.damage);
    // The others may have to stand in for the one that was read.
    let used = recovered.snapshot.as_ref();
    let not_read = facts.snapshots.iter().filter(|path| Some(*path) != used);
    for path in not_read {
        let text = path.display().to_string();
        if damage.iter().any(|why| why.contains(&text)) {
            continue;
        }
        match verify_snapshot(path) {
            Err(error) if !is_gone(&error) => damage.push(error.to_string()),
            _ => {}
        }
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
        held,
        remarks: at_rest.remark().map(str::to_owned).into_iter().collect(),
        damage,
    })
}

fn zookeepers(dir: &Path, log_dir: &Path, extended_types: bool) -> Checked {
    let read = Files::list(dir, log_dir).map_err(OfflineError::from);
    let read = read.and_then(|files| {
        let bar = Bar::new("reading", files.bytes_to_read());
        let loaded = load(&files, extended_types, &|bytes| bar.advance(bytes));
        let loaded = loaded.map_err(|why| OfflineError::Load {
            path: dir.to_owned(),
            why,
        })?;
        Ok((loaded, files.epoch))
    });
    let (loaded, epoch) = match read {
        Ok(read) => read,
        Err(error) => {
            return Checked {
                kind: Kind::Unreadable,
                held: None,
                remarks: Vec::new(),
                damage: vec![error.to_string()],
            };
        }
    };
    let (image, account) = (loaded.image, loaded.account);
    let data_len = |data: &Option<Box<[u8]>>| data.as_ref().map_or(0, |data| data.len() as u64);
    let digest = format!("{:x}", image.digest());
    Checked {
        held: Some(Held {
            znodes: image.len(),
            ephemerals: image.ephemeral_count(),
            sessions: image.sessions.len(),
            quotas: image.quota_count(),
            data_bytes: image.nodes().map(|(_, node)| data_len(&node.data)).sum(),
            zxid: account.last_zxid.clone(),
            digest: digest.clone(),
            zookeeper_digest: digest,
        }),
        remarks: Vec::new(),
        damage: account.damage.clone(),
        kind: Kind::ZooKeeper {
            account: Box::new(account),
            epoch,
        },
    }
}
