//! A data directory of ours becomes a snapshot that ZooKeeper starts from.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::OfflineError;
use super::progress::Bar;
use super::restore::epochs_ahead;
use crate::auth::Schemes;
use crate::convert::{image_of, read_state};
use crate::ensemble::{AtRest, Committed, Recovered};
use crate::state::{LogPosition, State, entry};
use crate::storage::{StorageError, create_dirs, fsync_dir};
use crate::types::Zxid;
use crate::upstream::files::VERSION_DIR;
use crate::upstream::snapshot;

/// The file carries this before its name until it is whole.
const UNFINISHED: &str = "unfinished.";

pub(super) struct Export {
    pub from: PathBuf,
    pub from_log: PathBuf,
    /// ZooKeeper's `dataDir`.
    pub to: PathBuf,
    /// Whether what is sound of damaged files is good enough.
    pub despite_damage: bool,
    /// As the servers have them: requests in the log are decided once more.
    pub schemes: Schemes,
}

#[derive(Debug, Serialize)]
pub(super) struct Exported {
    pub snapshot: PathBuf,
    pub znodes: usize,
    pub ephemerals: usize,
    pub sessions: usize,
    /// Sessions that ZooKeeper gives another password than ours: their clients begin anew.
    pub sessions_with_other_password: usize,
    pub zxid: String,
    /// Of the tree, as ZooKeeper makes it.
    pub zookeeper_digest: String,
    /// Newer snapshots of ours that are damaged.
    pub snapshots_passed_over: Vec<String>,
    /// What was damaged, and left out.
    pub damage: Vec<String>,
}

pub(super) fn run(export: Export) -> Result<Exported, OfflineError> {
    let dir = export.to.join(VERSION_DIR);
    refuse_used(&dir)?;
    let at_rest = open(&export.from, &export.from_log, export.despite_damage)?;
    let (state, recovered) = recover(&at_rest, &Arc::new(export.schemes))?;
    let zxid = epochs_ahead(state.zxid())?;
    let image = image_of(&state, zxid);
    let bytes = state.tree.data_bytes() + state.tree.path_bytes();
    let sessions_with_other_password = state
        .sessions
        .iter()
        .filter(|(id, session)| session.password != crate::upstream::password::of_session(id.0))
        .count();
    drop(state);
    create_dirs(&dir)?;
    let name = format!("snapshot.{:x}", zxid.0);
    let (unfinished, path) = (dir.join(format!("{UNFINISHED}{name}")), dir.join(&name));
    {
        let bar = Bar::new("writing", bytes);
        let written = snapshot::write(&unfinished, &image, &|bytes| bar.advance(bytes));
        if written.is_err() {
            // The disk may be full of it.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
    }
    fs::rename(&unfinished, &path).map_err(|source| StorageError::io(&unfinished, source))?;
    fsync_dir(&dir)?;
    Ok(Exported {
        snapshot: path,
        znodes: image.len(),
        ephemerals: image.ephemeral_count(),
        sessions: image.sessions.len(),
        sessions_with_other_password,
        zxid: zxid.to_string(),
        zookeeper_digest: format!("{:x}", image.digest()),
        snapshots_passed_over: recovered.passed_over,
        damage: recovered.damage,
    })
}

/// ZooKeeper would go by the newest of what is there. What an export has left that was interrupted is
/// removed.
fn refuse_used(dir: &Path) -> Result<(), StorageError> {
    let failed = |source| StorageError::io(dir, source);
    let names = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(failed)?,
    };
    let mut unfinished = Vec::new();
    for entry in names {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(UNFINISHED) {
            return Err(StorageError::Used {
                path: dir.to_owned(),
            });
        }
        unfinished.push(entry.path());
    }
    for path in unfinished {
        fs::remove_file(&path).map_err(|source| StorageError::io(&path, source))?;
    }
    Ok(())
}

/// The state that a server would have when it has read this directory.
pub(super) fn recover(
    at_rest: &AtRest,
    schemes: &Arc<Schemes>,
) -> Result<(State, Recovered), OfflineError> {
    let bytes = at_rest.snapshot_bytes()?;
    let end = at_rest.records().end;
    let mut replaying = None;
    let state = parking_lot::Mutex::new(State::new(Arc::clone(schemes)));
    let recovered = at_rest.recover(
        &mut |reader| {
            let bar = Bar::new("reading", bytes);
            *state.lock() = read_state(reader, schemes, &|bytes| bar.advance(bytes))?;
            Ok(())
        },
        &mut |committed| {
            let _ = apply_entry(&mut state.lock(), committed, Zxid(i64::MAX));
            let bar = replaying
                .get_or_insert_with(|| Bar::of_entries(end.saturating_sub(committed.index)));
            bar.advance(1);
        },
    )?;
    Ok((state.into_inner(), recovered))
}

/// What can be read, or only what is whole.
pub(super) fn open(
    data_dir: &Path,
    log_dir: &Path,
    despite_damage: bool,
) -> Result<AtRest, OfflineError> {
    if despite_damage {
        return Ok(AtRest::open_despite_damage(data_dir, log_dir));
    }
    AtRest::open(data_dir, log_dir).map_err(|error| {
        if AtRest::snapshots_in(data_dir).is_empty() {
            return error.into();
        }
        OfflineError::Refused(format!("{error}\n--despite-damage takes what is sound"))
    })
}

/// Applies an entry, as far as `last`.
pub(super) fn apply_entry(state: &mut State, committed: &Committed, last: Zxid) -> ControlFlow<()> {
    let is_over = |state: &State| state.zxid().0 >= last.0;
    if is_over(state) {
        return ControlFlow::Break(());
    }
    let position = LogPosition {
        term: committed.term,
        index: committed.index,
    };
    if let Some((header, requests)) = entry::open(&committed.payload) {
        state.begin_entry(position);
        state.begin_batch(&header);
        for request in requests {
            if is_over(state) {
                return ControlFlow::Break(());
            }
            state.evaluate(&header, &request);
        }
    } else {
        state.begin_entry(position);
    }
    ControlFlow::Continue(())
}
