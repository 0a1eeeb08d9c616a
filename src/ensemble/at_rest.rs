//! A data directory while no server runs on it: founded on a state that comes from elsewhere, and
//! looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use openraft::BasicNode;

use super::types::{
    LeaderId, Meaning, Members, SnapshotMeta, StoredMembers, Vote, decode_entry, decode_log_id,
    decode_vote, encode_log_id, encode_vote, log_id, members_of,
};
use super::{Committed, Member, SnapshotReader, SnapshotSource, snapshot};
use crate::storage::log::{Log as _, Step, meta};
use crate::storage::rocks_log::{Look, RocksLog};
use crate::storage::snapshots::{SnapshotDir, SnapshotFile};
use crate::storage::{StorageError, create_dir, fsync_dir};

/// The entry that stands for everything before: no log has it, and the snapshot is behind it.
const FOUNDING_TERM: u64 = 1;
const FOUNDING_INDEX: u64 = 1;

const SNAPSHOTS: &str = "snapshots";

/// Directories carry this behind their name until they are whole.
const UNFINISHED: &str = ".unfinished";

/// Entries that are read from the log at a time.
const ENTRIES_PER_READ: u64 = 256;

/// What a data directory is founded on.
pub struct Founding<'a> {
    /// Holds `snapshots/`.
    pub data_dir: &'a Path,
    /// Holds `log/`.
    pub log_dir: &'a Path,
    pub members: &'a [Member],
    /// Servers of different clusters do not speak with each other; never 0.
    pub cluster: u64,
}

impl Founding<'_> {
    /// Term and index that the state must say it stands at.
    #[must_use]
    pub fn position() -> (u64, u64) {
        (FOUNDING_TERM, FOUNDING_INDEX)
    }
}

/// Writes a data directory whose first server to start begins with this state. All files get their
/// names at the end: a directory that was not finished has none of them.
///
/// # Errors
/// There is data of ours already, or the disk refuses.
pub fn found(
    founding: &Founding<'_>,
    source: &mut dyn SnapshotSource,
) -> Result<PathBuf, StorageError> {
    let places = [(founding.log_dir, "log"), (founding.data_dir, SNAPSHOTS)];
    let log = founding.log_dir.join("log");
    if log.exists()
        && unfinished(founding.data_dir, SNAPSHOTS).exists()
        && !founding.data_dir.join(SNAPSHOTS).exists()
    {
        return Err(StorageError::Interrupted { path: log });
    }
    for (dir, name) in places {
        create_dir(dir, true)?;
        refuse_fixed(dir, &dir.join(name))?;
        refuse_used(&dir.join(name))?;
        remove_dir(&unfinished(dir, name))?;
    }
    write_log(&unfinished(founding.log_dir, "log"), founding.members)?;
    let snapshots = SnapshotDir::open(&unfinished(founding.data_dir, SNAPSHOTS), true)?;
    let file = write_snapshot(&snapshots, founding, source)?;
    // A log without its snapshot is refused by a server, a snapshot without its log is not.
    for (dir, name) in places {
        let from = unfinished(dir, name);
        fs::rename(&from, dir.join(name)).map_err(|source| StorageError::io(&from, source))?;
        fsync_dir(dir)?;
    }
    let name = file.path.file_name().unwrap_or_default();
    Ok(founding.data_dir.join(SNAPSHOTS).join(name))
}

fn unfinished(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{UNFINISHED}"))
}

/// What a name leads to elsewhere cannot be put in its place as a whole.
fn refuse_fixed(dir: &Path, path: &Path) -> Result<(), StorageError> {
    let failed = |source| StorageError::io(path, source);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(failed)?,
    };
    let what = if meta.is_symlink() {
        "a symbolic link"
    } else if meta.dev() != fs::metadata(dir).map_err(failed)?.dev() {
        "a mount point"
    } else {
        return Ok(());
    };
    Err(StorageError::NotReplaceable {
        path: path.to_owned(),
        what,
    })
}

fn refuse_used(path: &Path) -> Result<(), StorageError> {
    let is_used = match fs::read_dir(path) {
        Ok(mut names) => names.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(StorageError::io(path, source)),
    };
    if is_used {
        return Err(StorageError::Used {
            path: path.to_owned(),
        });
    }
    // An empty directory would be in the way of the one that is to have its name.
    remove_dir(path)
}

fn remove_dir(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::io(path, error))
        }
        _ => Ok(()),
    }
}

fn write_log(path: &Path, members: &[Member]) -> Result<(), StorageError> {
    let (log, _) = RocksLog::open(path, true, Duration::MAX)?;
    let last = log_id(FOUNDING_TERM, FOUNDING_INDEX);
    // A vote of the founding term, so that the first election is of a later one.
    let vote = Vote {
        leader_id: LeaderId {
            term: FOUNDING_TERM,
            voted_for: voters(members).next().unwrap_or_default(),
        },
        committed: false,
    };
    let set = |name, value| Step::SetMeta { name, value };
    log.write(vec![
        Step::PurgeThrough(FOUNDING_INDEX),
        set(meta::PURGED, encode_log_id(&last)),
        set(meta::COMMITTED, encode_log_id(&last)),
        set(meta::VOTE, encode_vote(&vote)),
    ])?;
    drop(log);
    fsync_dir(path)
}

fn voters(members: &[Member]) -> impl Iterator<Item = u64> {
    members
        .iter()
        .filter(|member| member.is_voter)
        .map(|m| m.id)
}

fn write_snapshot(
    dir: &SnapshotDir,
    founding: &Founding<'_>,
    source: &mut dyn SnapshotSource,
) -> Result<SnapshotFile, StorageError> {
    let last = log_id(FOUNDING_TERM, FOUNDING_INDEX);
    let nodes: BTreeMap<u64, BasicNode> = founding
        .members
        .iter()
        .map(|member| (member.id, BasicNode::new(&member.spec)))
        .collect();
    let configs: Vec<BTreeSet<u64>> = vec![voters(founding.members).collect()];
    let members = Members::new(configs, nodes)
        .map_err(|error| StorageError::corrupt(dir.path(), error.to_string()))?;
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembers::new(Some(last), members),
    };
    let (file, _) = snapshot::write(dir, source, &meta, founding.cluster)?;
    Ok(file)
}

/// What a directory holds beside the state itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whole snapshots by name, newest first; their content may be damaged.
    pub snapshots: Vec<PathBuf>,
    /// First and last record of the log.
    pub log: Option<(u64, u64)>,
    /// The last record that is known to be committed.
    pub committed: Option<u64>,
    /// The term that this server has voted in last.
    pub term: u64,
}

/// What came out of a directory's snapshot and log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    pub members: Vec<Member>,
    /// 0 without a name.
    pub cluster: u64,
    /// The snapshot that everything begins with.
    pub snapshot: Option<PathBuf>,
    /// Why newer ones were passed over.
    pub passed_over: Vec<String>,
    /// Entries that were applied to it.
    pub entries: u64,
    /// Why more was written than there is.
    pub damage: Vec<String>,
}

/// What the log holds. The first two come with an entry without requests behind them.
pub enum Logged {
    ClusterId(u64),
    Members(LoggedMembers),
    Entry(Committed),
}

/// Who is a member from an entry on.
pub struct LoggedMembers(StoredMembers);

/// An opened directory. Nothing in it is changed.
pub struct AtRest {
    /// `None` when it cannot be read.
    log: Option<Look>,
    snapshots: SnapshotDir,
    damage: Vec<String>,
}

impl AtRest {
    /// # Errors
    /// There is no data of ours, or its log is damaged.
    pub fn open(data_dir: &Path, log_dir: &Path) -> Result<Self, StorageError> {
        let mut log = RocksLog::look(&log_dir.join("log"))?;
        match log.damage.take().or_else(|| check_committed(&log)) {
            Some(damage) => Err(damage),
            None => Ok(Self {
                log: Some(log),
                snapshots: SnapshotDir::look(&data_dir.join(SNAPSHOTS)),
                damage: Vec::new(),
            }),
        }
    }

    /// Opens what can be read, and keeps in mind what cannot.
    #[must_use]
    pub fn open_despite_damage(data_dir: &Path, log_dir: &Path) -> Self {
        let mut damage = Vec::new();
        let log = match RocksLog::look(&log_dir.join("log")) {
            Ok(mut log) => {
                let why = log.damage.take().or_else(|| check_committed(&log));
                damage.extend(why.map(|why| why.to_string()));
                Some(log)
            }
            Err(error) => {
                damage.push(error.to_string());
                None
            }
        };
        Self {
            log,
            snapshots: SnapshotDir::look(&data_dir.join(SNAPSHOTS)),
            damage,
        }
    }

    /// What cannot be read of the log.
    #[must_use]
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Why it is not known whether the log is there to its end.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.log.as_ref()?.remark.as_deref()
    }

    /// Indexes of the records in the log.
    #[must_use]
    pub fn records(&self) -> Range<u64> {
        let log = self.log.as_ref();
        log.map_or(0..0, |log| log.opened.records.clone())
    }

    fn meta(&self, name: &str) -> Option<Bytes> {
        self.log.as_ref()?.opened.meta.get(name).cloned()
    }

    /// # Errors
    /// The snapshots cannot be listed.
    pub fn facts(&self) -> Result<Facts, StorageError> {
        let records = self.records();
        let files = self.snapshots.list()?;
        Ok(Facts {
            snapshots: files.into_iter().map(|file| file.path).collect(),
            log: (!records.is_empty()).then(|| (records.start, records.end - 1)),
            committed: self
                .meta(meta::COMMITTED)
                .and_then(|mut bytes| decode_log_id(&mut bytes))
                .map(|id| id.index),
            term: self
                .meta(meta::VOTE)
                .and_then(decode_vote)
                .map_or(0, |vote| vote.leader_id.term),
        })
    }

    /// Bytes of the newest snapshot.
    ///
    /// # Errors
    /// The snapshots cannot be listed.
    pub fn snapshot_bytes(&self) -> Result<u64, StorageError> {
        let newest = self.snapshots.list()?.into_iter().next();
        let len = |file: SnapshotFile| fs::metadata(&file.path).map_or(0, |meta| meta.len());
        Ok(newest.map_or(0, len))
    }

    /// Restores the newest sound snapshot and applies the whole log behind it. The end of an
    /// ensemble's log may not be decided yet: it is among what could become of it.
    ///
    /// # Errors
    /// Neither snapshot nor log gives a whole state.
    pub fn recover(
        &self,
        restore: &mut dyn FnMut(&mut dyn SnapshotReader) -> Result<(), String>,
        apply: &mut dyn FnMut(&Committed),
    ) -> Result<Recovered, StorageError> {
        let mut recovered = Recovered {
            damage: self.damage.clone(),
            ..Recovered::default()
        };
        let records = self.records();
        let is_despite_damage = !self.damage.is_empty();
        let mut next = None;
        let mut members = StoredMembers::default();
        for file in self.snapshots.list()? {
            if file.index + 1 < records.start && !is_despite_damage {
                break;
            }
            match snapshot::read(&file, restore) {
                Ok((meta, cluster)) => {
                    next = Some(file.index + 1);
                    members = meta.last_membership;
                    recovered.cluster = cluster;
                    recovered.snapshot = Some(file.path);
                    break;
                }
                Err(error) if is_gone(&error) => {}
                Err(error @ StorageError::Corrupt { .. }) => {
                    recovered.passed_over.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let may_begin_anywhere = self.log.is_some() && self.meta(meta::PURGED).is_none();
        let from = match next {
            Some(next) => next,
            None if may_begin_anywhere => records.start,
            None => {
                let why = match recovered.passed_over.first() {
                    Some(first) => first.clone(),
                    None => "no snapshot reaches the beginning of the log".to_owned(),
                };
                return Err(StorageError::corrupt(self.snapshots.path(), why));
            }
        };
        if from < records.start {
            recovered.damage.push(format!(
                "the log begins at entry {}, but the newest sound snapshot is that of entry {}",
                records.start,
                from - 1
            ));
            recovered.members = members_of(members.membership());
            return Ok(recovered);
        }
        let replayed = self.replay(from, &mut |entry| {
            match entry {
                Logged::Entry(committed) => {
                    recovered.entries += 1;
                    apply(&committed);
                }
                Logged::ClusterId(id) if recovered.cluster == 0 => recovered.cluster = id,
                Logged::ClusterId(_) => {}
                Logged::Members(found) => members = found.0,
            }
            ControlFlow::Continue(())
        });
        match replayed {
            Err(error) if is_despite_damage => recovered.damage.push(error.to_string()),
            replayed => replayed?,
        }
        recovered.members = members_of(members.membership());
        Ok(recovered)
    }

    /// Whole snapshots, newest first; none where there is no such directory.
    #[must_use]
    pub fn snapshots_in(data_dir: &Path) -> Vec<SnapshotFile> {
        let dir = SnapshotDir::look(&data_dir.join(SNAPSHOTS));
        dir.list().unwrap_or_default()
    }

    /// Whether the log goes on behind a snapshot.
    #[must_use]
    pub fn goes_on_behind(&self, file: &SnapshotFile) -> bool {
        let records = self.records();
        !records.is_empty() && file.index + 1 >= records.start
    }

    /// Reads the log from an entry on, until it ends or `apply` has enough.
    ///
    /// # Errors
    /// The log cannot be read, or a record is no entry.
    pub fn replay(
        &self,
        from: u64,
        apply: &mut dyn FnMut(Logged) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let Some(Look { log, .. }) = &self.log else {
            return Ok(());
        };
        let end = self.records().end;
        let mut index = from;
        while index < end {
            let until = end.min(index + ENTRIES_PER_READ);
            for (at, record) in log.read(index..until)? {
                let entry = decode_entry(at, record).ok_or_else(|| {
                    let why = format!("record {at} is no entry");
                    StorageError::corrupt(self.snapshots.path(), why)
                })?;
                let mut payload = Bytes::new();
                let mut flow = ControlFlow::Continue(());
                match Meaning::from(entry.payload) {
                    Meaning::Requests(bytes) => payload = bytes,
                    Meaning::ClusterId(id) => flow = apply(Logged::ClusterId(id)),
                    Meaning::Members(found) => {
                        let found = StoredMembers::new(Some(entry.log_id), found);
                        flow = apply(Logged::Members(LoggedMembers(found)));
                    }
                    Meaning::Checkpoint { .. } | Meaning::Blank => {}
                }
                // Whatever an entry means, it has a place in the log.
                if flow.is_continue() {
                    flow = apply(Logged::Entry(Committed {
                        term: *entry.log_id.leader_id,
                        index: at,
                        payload,
                        members: None,
                    }));
                }
                if flow.is_break() {
                    return Ok(());
                }
            }
            index = until;
        }
        Ok(())
    }
}

/// What is committed was acknowledged.
fn check_committed(look: &Look) -> Option<StorageError> {
    let committed = look.opened.meta.get(meta::COMMITTED)?;
    let committed = decode_log_id(&mut committed.clone())?.index;
    let end = look.opened.records.end;
    (committed >= end).then(|| {
        let why = format!("it ends before entry {end}, but entry {committed} was committed");
        StorageError::corrupt(look.log.path(), why)
    })
}

/// Whether a server has removed the file meanwhile.
#[must_use]
pub fn is_gone(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// Reads a snapshot file of ours, and its checksums, to its end.
///
/// # Errors
/// It is no snapshot, or damaged.
pub fn verify_snapshot(path: &Path) -> Result<(), StorageError> {
    read_snapshot(path, &mut |reader| {
        loop {
            match reader.next_block() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(StorageError::Corrupt { why, .. }) => return Err(why),
                Err(error) => return Err(error.to_string()),
            }
        }
    })
}

/// Hands the content of one snapshot file to `restore`.
///
/// # Errors
/// It is no snapshot, or damaged.
pub fn read_snapshot(
    path: &Path,
    restore: &mut dyn FnMut(&mut dyn SnapshotReader) -> Result<(), String>,
) -> Result<(), StorageError> {
    let file = SnapshotFile {
        path: path.to_owned(),
        term: 0,
        index: 0,
    };
    snapshot::read(&file, restore).map(drop)
}
