//! A new data directory from a snapshot, or from another directory as it was at some zxid.
//!
//! Clients may have seen what came after that, and do not speak with a server that is behind it. So
//! what is restored goes on in an epoch that the ensemble before cannot have come to.

use std::hash::Hasher as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use siphasher::sip::SipHasher13;

use super::OfflineError;
use super::export::{apply_entry, open, recover};
use super::import::Frozen;
use super::progress::Bar;
use crate::auth::Schemes;
use crate::convert::{image_of, read_file, read_state, refuse_ttl, state_of};
use crate::ensemble::{AtRest, Founding, Logged, Member, found, read_snapshot};
use crate::state::restoring::EPOCHS_AHEAD;
use crate::state::{LogPosition, State};
use crate::types::Zxid;

/// The last epoch that leaves room for the next leaders.
const EPOCH_MAX: i64 = i32::MAX as i64 - EPOCHS_AHEAD;

#[derive(Debug)]
pub(super) struct Restore {
    /// A data directory of ours, or one snapshot.
    pub from: PathBuf,
    pub from_log: PathBuf,
    /// The last transaction that is wanted; `None` for all there are.
    pub zxid: Option<i64>,
    pub to: PathBuf,
    pub to_log: PathBuf,
    /// The servers that are to begin with it.
    pub members: Vec<Member>,
    /// Whether they know TTL znodes.
    pub extended_types: bool,
    /// Whether what is sound of damaged files is good enough.
    pub despite_damage: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Restored {
    /// The last transaction in it.
    pub restored_zxid: String,
    /// What the next write is behind.
    pub zxid: String,
    pub snapshot: PathBuf,
    pub znodes: usize,
    pub ephemerals: usize,
    pub sessions: usize,
    /// Of the tree, as `check` says it.
    pub digest: String,
    /// Ids of the servers that can begin with it.
    pub members: Vec<u64>,
    pub snapshots_passed_over: Vec<String>,
    /// What was damaged, and left out.
    pub damage: Vec<String>,
    /// Why the state may be one that never was.
    pub remark: Option<String>,
}

pub(super) fn run(restore: &Restore, schemes: Schemes) -> Result<Restored, OfflineError> {
    let schemes = Arc::new(schemes);
    let mut damage = Vec::new();
    let mut remark = None;
    let (state, passed_over) = match restore.zxid {
        _ if restore.from.is_file() => {
            let (state, found) = one_snapshot(restore, &schemes)?;
            remark = found;
            (state, Vec::new())
        }
        None => {
            let at_rest = open(&restore.from, &restore.from_log, restore.despite_damage)?;
            let (state, recovered) = recover(&at_rest, &schemes)?;
            damage = recovered.damage;
            (state, recovered.passed_over)
        }
        Some(zxid) => as_of(restore, Zxid(zxid), &schemes)?,
    };
    if !restore.extended_types {
        refuse_ttl(&state.tree).map_err(OfflineError::Refused)?;
    }
    let last = state.zxid();
    let state = anew(&state, &restore.members, schemes)?;
    let founding = Founding {
        data_dir: &restore.to,
        log_dir: &restore.to_log,
        members: &restore.members,
        cluster: cluster_id(&state, &restore.members),
    };
    let (znodes, sessions) = (state.tree.node_count(), state.sessions.len());
    let (zxid, digest) = (state.zxid(), state.tree.digest());
    let ephemerals = state.tree.ephemeral_count();
    let bytes = state.tree.data_bytes() + state.tree.path_bytes();
    let mut frozen = Frozen::new(state, Bar::new("writing", bytes));
    Ok(Restored {
        snapshot: found(&founding, &mut frozen)?,
        restored_zxid: last.to_string(),
        zxid: zxid.to_string(),
        znodes,
        ephemerals,
        sessions,
        digest: format!("{digest:x}"),
        members: restore.members.iter().map(|member| member.id).collect(),
        snapshots_passed_over: passed_over,
        damage,
        remark,
    })
}

/// The state of a snapshot file, ours or ZooKeeper's, which has no log behind it; and what there is
/// to say about it.
fn one_snapshot(
    restore: &Restore,
    schemes: &Arc<Schemes>,
) -> Result<(State, Option<String>), OfflineError> {
    let bytes = restore.from.metadata().map_or(0, |file| file.len());
    let bar = Bar::new("reading", bytes);
    let read = read_file(&restore.from, schemes, usize::MAX, &|bytes| {
        bar.advance(bytes)
    });
    let path = restore.from.display();
    let read = read.map_err(|why| OfflineError::Refused(format!("{path}: {why}")))?;
    let zxid = read.state.zxid();
    match restore.zxid {
        Some(wanted) if zxid != Zxid(wanted) => Err(OfflineError::Refused(format!(
            "{path} is of zxid {zxid}: another one takes the data directory"
        ))),
        _ => Ok((read.state, read.remark)),
    }
}

/// The state behind one transaction, from the newest snapshot that does not have the next one. The
/// log is opened when it is needed.
fn as_of(
    restore: &Restore,
    wanted: Zxid,
    schemes: &Arc<Schemes>,
) -> Result<(State, Vec<String>), OfflineError> {
    let open = || open(&restore.from, &restore.from_log, restore.despite_damage);
    let mut passed_over = Vec::new();
    let mut oldest = None;
    for file in AtRest::snapshots_in(&restore.from) {
        let bytes = file.path.metadata().map_or(0, |file| file.len());
        let bar = Bar::new("reading", bytes);
        let mut state = State::new(Arc::clone(schemes));
        let read = read_snapshot(&file.path, &mut |reader| {
            state = read_state(reader, schemes, &|bytes| bar.advance(bytes))?;
            Ok(())
        });
        drop(bar);
        if let Err(error) = read {
            passed_over.push(error.to_string());
            continue;
        }
        if state.zxid().0 > wanted.0 {
            oldest = Some(state.zxid());
            continue;
        }
        if state.zxid() != wanted {
            let at_rest = open()?;
            if at_rest.goes_on_behind(&file) {
                replay(&at_rest, file.index + 1, wanted, &mut state)?;
            }
        }
        return reached(state, wanted, oldest).map(|state| (state, passed_over));
    }
    // Without a snapshot the log may begin with the first entry of all.
    let mut state = State::new(Arc::clone(schemes));
    let at_rest = open()?;
    let begins = at_rest.facts()?.log.is_some_and(|(first, _)| first <= 1);
    if begins {
        replay(&at_rest, 0, wanted, &mut state)?;
        return reached(state, wanted, oldest).map(|state| (state, passed_over));
    }
    let why = match oldest {
        Some(oldest) => format!("nothing is left from before zxid {oldest}"),
        None => format!(
            "no snapshot is sound, and the log does not go back far enough:\n  {}",
            passed_over.join("\n  ")
        ),
    };
    Err(OfflineError::Refused(why))
}

fn replay(
    at_rest: &AtRest,
    from: u64,
    wanted: Zxid,
    state: &mut State,
) -> Result<(), OfflineError> {
    let bar = Bar::of_entries(at_rest.records().end.saturating_sub(from));
    at_rest.replay(from, &mut |logged| {
        if let Logged::Entry(committed) = logged {
            bar.advance(1);
            return apply_entry(state, &committed, wanted);
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn reached(state: State, wanted: Zxid, newer: Option<Zxid>) -> Result<State, OfflineError> {
    if state.zxid() == wanted {
        return Ok(state);
    }
    let next = match newer {
        Some(newer) => format!("and then that of zxid {newer}"),
        None => "and nothing behind it".to_owned(),
    };
    Err(OfflineError::Refused(format!(
        "there is no zxid {wanted} here: the last state before it is that of zxid {}, {next}",
        state.zxid()
    )))
}

/// The beginning of an epoch that the servers cannot have come to since.
pub(super) fn epochs_ahead(zxid: Zxid) -> Result<Zxid, OfflineError> {
    let epoch = zxid.epoch();
    if (0..EPOCH_MAX).contains(&epoch) {
        Ok(Zxid((epoch + EPOCHS_AHEAD) << 32))
    } else {
        let why = format!("epoch {epoch} is too high to go on behind it");
        Err(OfflineError::Refused(why))
    }
}

/// The same tree and sessions for other servers, in an epoch of their own.
fn anew(state: &State, members: &[Member], schemes: Arc<Schemes>) -> Result<State, OfflineError> {
    let zxid = epochs_ahead(state.zxid())?;
    let mut image = image_of(state, zxid);
    if members.len() > 1 {
        // The new ensemble writes its own.
        image.forget_config();
    }
    let (term, index) = Founding::position();
    let position = LogPosition { term, index };
    let extended_types = state.tree.extended_types();
    let mut anew =
        state_of(&image, extended_types, schemes, zxid, position).map_err(OfflineError::Refused)?;
    for (id, session) in state.sessions.iter() {
        let session = crate::session::Session {
            attach: 0,
            ..*session
        };
        anew.sessions.insert(id, session);
    }
    Ok(anew)
}

/// Servers that were given the same state are of one cluster, and not of the one before.
fn cluster_id(state: &State, members: &[Member]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u64(state.digest());
    hasher.write_i64(state.zxid().0);
    for member in members {
        hasher.write_u64(member.id);
        hasher.write(member.spec.as_bytes());
    }
    hasher.finish().max(1)
}
