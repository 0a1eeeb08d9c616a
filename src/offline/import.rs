//! Apache ZooKeeper's files become a data directory of ours.

use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use siphasher::sip::SipHasher13;

use super::OfflineError;
use super::progress::Bar;
use crate::auth::Schemes;
use crate::convert::state_of;
use crate::ensemble::{Founding, Member, SnapshotSource, found};
use crate::state::{LogPosition, SnapshotCut, State};
use crate::tree::Owner;
use crate::types::Zxid;
use crate::upstream::files::Files;
use crate::upstream::image::Image;
use crate::upstream::load::{Account, load};

/// The last epoch that leaves one for the next leader.
const EPOCH_MAX: i64 = i32::MAX as i64 - 1;

/// Where ZooKeeper's files are, and what is to become of them.
#[derive(Debug)]
pub(super) struct Import {
    pub from: PathBuf,
    pub from_log: PathBuf,
    pub to: PathBuf,
    pub to_log: PathBuf,
    /// The servers that are to begin with it.
    pub members: Vec<Member>,
    /// Whether owners with the TTL mark are TTL znodes; `None` for whoever must not be asked.
    pub extended_types: Option<bool>,
    /// Whether what is sound of damaged files is good enough.
    pub despite_damage: bool,
}

/// What was imported.
#[derive(Debug, Serialize)]
pub(super) struct Imported {
    pub read: Account,
    pub snapshot: PathBuf,
    pub znodes: usize,
    pub ephemerals: usize,
    pub sessions: usize,
    /// What the next write is behind.
    pub zxid: String,
    /// Of the tree, as ZooKeeper makes it.
    pub zookeeper_digest: String,
    /// Whether there are TTL znodes, and no configuration has said that the server will know them.
    pub wants_extended_types: bool,
    /// Ids of the servers that can begin with it; several form an ensemble.
    pub members: Vec<u64>,
}

pub(super) fn run(import: &Import) -> Result<Imported, OfflineError> {
    let files = Files::list(&import.from, &import.from_log)?;
    let read = |extended_types| {
        let bar = Bar::new("reading", files.bytes_to_read());
        load(&files, extended_types, &|bytes| bar.advance(bytes)).map_err(|why| {
            OfflineError::Load {
                path: import.from.clone(),
                why,
            }
        })
    };
    let mut loaded = read(true)?;
    let extended_types = has_ttl_znodes(&loaded.image, import.extended_types)?;
    if !extended_types {
        loaded = read(false)?;
    }
    let (mut image, account) = (loaded.image, loaded.account);
    if !account.damage.is_empty() && !import.despite_damage {
        return Err(OfflineError::Refused(damage_text(&account)));
    }
    if import.members.len() > 1 {
        // The new ensemble writes its own.
        image.forget_config();
    }
    let zookeeper_digest = format!("{:x}", image.digest());
    let wants_extended_types =
        import.extended_types.is_none() && extended_types && ttl_znode(&image).is_some();
    let zxid = next_epoch(image.zxid(), files.epoch)?;
    let (term, index) = Founding::position();
    let position = LogPosition { term, index };
    let schemes = Arc::new(Schemes::new(Vec::new()));
    let state =
        state_of(&image, extended_types, schemes, zxid, position).map_err(OfflineError::Refused)?;
    let founding = Founding {
        data_dir: &import.to,
        log_dir: &import.to_log,
        members: &import.members,
        cluster: cluster_id(&image, &state, &import.members),
    };
    let (znodes, sessions) = (state.tree.node_count(), state.sessions.len());
    let ephemerals = state.tree.ephemeral_count();
    let bytes = state.tree.data_bytes() + state.tree.path_bytes();
    let snapshot = found(
        &founding,
        &mut Frozen::new(state, Bar::new("writing", bytes)),
    )?;
    Ok(Imported {
        read: account,
        snapshot,
        znodes,
        ephemerals,
        sessions,
        zxid: zxid.to_string(),
        zookeeper_digest,
        wants_extended_types,
        members: import.members.iter().map(|member| member.id).collect(),
    })
}

/// What was read, and where that stopped.
fn damage_text(account: &Account) -> String {
    let mut text = format!(
        "nothing was imported: read up to zxid {} ({} records of the log), and then",
        account.last_zxid, account.txns
    );
    for why in &account.damage {
        text.push_str("\n  ");
        text.push_str(why);
    }
    text.push_str("\n--despite-damage imports what is sound");
    text
}

fn is_marked(owner: i64) -> bool {
    matches!(Owner::from_raw(owner, true), Owner::Ttl(_))
}

fn ttl_znode(image: &Image) -> Option<&str> {
    let mut nodes = image.nodes();
    nodes
        .find(|(_, node)| is_marked(node.stat.ephemeral_owner))
        .map(|(path, _)| path)
}

/// Whether owners with the TTL mark are TTL znodes. To a server without `extendedTypesEnabled` they
/// are sessions, of a server with id 255; ZooKeeper would delete all TTL znodes when it starts so.
fn has_ttl_znodes(image: &Image, configured: Option<bool>) -> Result<bool, OfflineError> {
    let extended_types = configured.unwrap_or(true);
    if image.sessions.keys().any(|id| is_marked(*id)) {
        if extended_types {
            return Err(OfflineError::Refused(
                "there are sessions of a server with id 255, which does not go with TTL znodes: name a configuration without extendedTypesEnabled".to_owned(),
            ));
        }
        return Ok(false);
    }
    match ttl_znode(image) {
        Some(path) if !extended_types => Err(OfflineError::Refused(format!(
            "{path} is a TTL znode, but the configuration has no extendedTypesEnabled=true"
        ))),
        _ => Ok(extended_types),
    }
}

/// The beginning of an epoch that no client can have heard of: clients do not speak with a server
/// that is behind what they have seen, and the last records may have been lost.
pub(super) fn next_epoch(zxid: i64, epoch: i64) -> Result<Zxid, OfflineError> {
    let epoch = epoch.max(zxid >> 32);
    if (0..EPOCH_MAX).contains(&epoch) {
        Ok(Zxid((epoch + 1) << 32))
    } else {
        Err(OfflineError::Refused(format!("epoch {epoch} is no epoch")))
    }
}

/// Servers that were given the same state are of one cluster, and no others.
fn cluster_id(image: &Image, state: &State, members: &[Member]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u64(state.digest());
    hasher.write_u64(image.digest());
    for (id, timeout_ms) in &image.sessions {
        hasher.write_i64(*id);
        hasher.write_i32(*timeout_ms);
    }
    for member in members {
        hasher.write_u64(member.id);
        hasher.write(member.spec.as_bytes());
    }
    hasher.finish().max(1)
}

/// A state that nobody changes any more.
pub(super) struct Frozen {
    state: State,
    cut: SnapshotCut,
    bar: Bar,
}

impl Frozen {
    pub(super) fn new(mut state: State, bar: Bar) -> Self {
        let cut = state.freeze();
        Self { state, cut, bar }
    }
}

impl SnapshotSource for Frozen {
    fn zxid(&self) -> Zxid {
        self.state.zxid()
    }

    fn next_block(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let goes_on = self.state.next_block(&mut self.cut, out);
        self.bar.advance((out.len() - before) as u64);
        goes_on
    }
}

/// Whether ZooKeeper's data is there.
pub(super) fn is_zookeepers(dir: &Path) -> bool {
    dir.join(crate::upstream::files::VERSION_DIR).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_is_behind_all_that_a_client_may_have_heard_of() {
        let next = |zxid, epoch| next_epoch(zxid, epoch).map(|zxid| zxid.0).ok();
        assert_eq!(next(0x27, 0), Some(1 << 32), "a server without an ensemble");
        assert_eq!(next(3 << 32 | 9, 3), Some(4 << 32));
        assert_eq!(
            next(3 << 32 | 9, 5),
            Some(6 << 32),
            "a leader without a write"
        );
        assert_eq!(
            next(3 << 32 | 9, 2),
            Some(4 << 32),
            "a file that was left behind"
        );
        assert_eq!(next(-1, 0), Some(1 << 32));
        assert_eq!(next(0x7fff_ffff << 32, 0), None);
    }
}
