//! A data directory to the state that ZooKeeper would start with, and an account of how.
//!
//! The newest sound snapshot, then the log behind it (`FileTxnSnapLog.restore`). What ZooKeeper
//! would pass over with a line in its log stands in the [`Account`]; what makes the outcome doubtful
//! is [`Account::damage`], and whoever asked decides what follows from it.

use std::path::PathBuf;

use jute::Reader;
use jute::proto::txn::TxnRecord;
use serde::Serialize;

use super::files::{Files, NamedFile};
use super::image::Image;
use super::snapshot::{self, DIGEST_VERSION, SnapshotDigest};
use super::txn_log::{LogReader, Next};
use super::{FileError, Progress};

/// Snapshots that are tried, newest first.
const SNAPSHOTS_TRIED_MAX: usize = 100;
/// What ZooKeeper's first record of all has, without an ensemble and with one.
const FIRST_ZXIDS: [i64; 2] = [1, (1 << 32) + 1];
/// What is listed in an account, and only counted beyond.
const LISTED_MAX: usize = 20;

/// What was found in a data directory. Zxids are texts in hexadecimal.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Account {
    /// The snapshot that everything begins with.
    pub snapshot: Option<SnapshotAccount>,
    /// Newer snapshots that are damaged: an older one and the log stand in for them.
    pub snapshots_passed_over: Vec<String>,
    pub logs: Vec<LogAccount>,
    /// Records of the log that were applied.
    pub txns: u64,
    /// Of the last record, or of the snapshot.
    pub last_zxid: String,
    /// Times that the digest of the tree was compared with that in the files.
    pub digests_compared: u64,
    /// The first of them that differed. It is no damage only where records have repaired a snapshot
    /// that was written under load, and no digest has agreed since.
    pub digest_differs: Option<String>,
    /// What no digest tells: whether an epoch is there to its end.
    pub unverified: Vec<String>,
    /// Zxids between two records that nothing stands for. A request that ZooKeeper could not read
    /// leaves one behind.
    pub zxids_skipped: u64,
    /// Records whose zxid is not behind that of the one before.
    pub zxids_repeated: u64,
    /// Ephemerals without a session, as a restart of ZooKeeper would delete them.
    pub orphaned_ephemerals: Vec<String>,
    /// Why the outcome is not to be trusted; empty when all is well.
    pub damage: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SnapshotAccount {
    pub path: PathBuf,
    pub zxid: String,
    pub znodes: usize,
    pub sessions: usize,
    /// The zxid whose tree it has the digest of: the last one while it was written.
    pub written_until: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct LogAccount {
    pub path: PathBuf,
    pub first_zxid: Option<String>,
    pub last_zxid: Option<String>,
    /// Those before the snapshot too.
    pub records: u64,
    /// Whether the last record is there in part only. It was never acknowledged.
    pub is_torn: bool,
}

fn hex(zxid: i64) -> String {
    format!("0x{zxid:x}")
}

/// The state, and how it came about.
#[derive(Debug)]
pub struct Loaded {
    pub image: Image,
    pub account: Account,
}

/// Reads what a server has left.
///
/// # Errors
/// There is nothing, or a file cannot be read at all. Damage is no error: reading stops there.
pub fn load(
    files: &Files,
    extended_types: bool,
    progress: Progress<'_>,
) -> Result<Loaded, LoadError> {
    let mut account = Account {
        damage: files.damage.clone(),
        ..Account::default()
    };
    let found = newest_snapshot(files, extended_types, progress, &mut account)?;
    let (image, digest) = match found {
        Some(found) => found,
        None if files.logs.is_empty() => return Err(LoadError::Nothing),
        None => (Image::new(extended_types), None),
    };
    let base = image.zxid();
    let trust = match digest {
        _ if account.snapshot.is_none() => Trust::Whole,
        None => Trust::Unknown,
        Some(digest) if digest.zxid > base => Trust::Fuzzy,
        Some(_) => Trust::Whole,
    };
    let mut replay = Replay {
        image,
        account,
        previous: base,
        awaited: digest.filter(|digest| digest.zxid >= base.max(1)),
        trust,
        differs: None,
        border: None,
    };
    replay.compare_snapshot_digest(base);
    for log in files.logs_behind(base) {
        if !replay.read_log(log, base, progress)? {
            break;
        }
    }
    if let Some(awaited) = replay.awaited {
        let last = replay.image.zxid();
        if last < awaited.zxid {
            replay.account.damage.push(format!(
                "the snapshot was still being written at zxid {}, but the log ends at {}",
                hex(awaited.zxid),
                hex(last)
            ));
        }
    }
    replay.end();
    let Replay {
        mut image,
        mut account,
        ..
    } = replay;
    account.last_zxid = hex(image.zxid());
    let repairs = image.finish();
    account.orphaned_ephemerals = repairs.orphaned_ephemerals;
    account.orphaned_ephemerals.truncate(LISTED_MAX);
    note_all(&mut account.damage, &repairs.parentless, "has no parent");
    note_all(
        &mut account.damage,
        &repairs.without_list,
        "has no access control list",
    );
    Ok(Loaded { image, account })
}

/// Why there is nothing to work with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is neither a snapshot nor a log of ZooKeeper's")]
    Nothing,
    #[error("no snapshot is sound; the newest: {0}")]
    NoSoundSnapshot(String),
    #[error(transparent)]
    File(#[from] FileError),
}

fn note_all(damage: &mut Vec<String>, paths: &[String], what: &str) {
    for path in paths.iter().take(LISTED_MAX) {
        damage.push(format!("the znode {path} {what}"));
    }
    if let Some(more) = paths.len().checked_sub(LISTED_MAX + 1) {
        damage.push(format!("and {} more of that kind", more + 1));
    }
}

type Begun = (Image, Option<SnapshotDigest>);

fn newest_snapshot(
    files: &Files,
    extended_types: bool,
    progress: Progress<'_>,
    account: &mut Account,
) -> Result<Option<Begun>, LoadError> {
    for file in files.snapshots.iter().take(SNAPSHOTS_TRIED_MAX) {
        match snapshot::read(&file.path, file.zxid, extended_types, progress) {
            Ok(read) => {
                account.snapshot = Some(SnapshotAccount {
                    path: file.path.clone(),
                    zxid: hex(file.zxid),
                    znodes: read.image.len(),
                    sessions: read.image.sessions.len(),
                    written_until: read.digest.map(|digest| hex(digest.zxid)),
                });
                return Ok(Some((read.image, read.digest)));
            }
            Err(error @ FileError::Damaged { .. }) => {
                account.snapshots_passed_over.push(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    match account.snapshots_passed_over.first() {
        None => Ok(None),
        Some(newest) => Err(LoadError::NoSoundSnapshot(newest.clone())),
    }
}

/// What a digest that differs can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The tree was whole at the beginning, or a digest has agreed since: only from damage.
    Whole,
    /// The snapshot was written while its tree changed: also from the records that repair it.
    Fuzzy,
    /// The snapshot does not say how long its writing took. Until a digest agrees none is expected
    /// to.
    Unknown,
}

struct Replay {
    image: Image,
    account: Account,
    /// Zxid of the last record, or of the snapshot.
    previous: i64,
    /// The snapshot's digest, until the record is reached behind which it was taken. No digest of a
    /// record is worth comparing before: the tree has changes that are yet to come.
    awaited: Option<SnapshotDigest>,
    trust: Trust,
    /// The first digest that differed, of those that did so before any has agreed.
    differs: Option<String>,
    /// The epochs before and behind the beginning of a file, until a digest shows that nothing is
    /// missing between them.
    border: Option<(i64, i64)>,
}

impl Replay {
    /// Applies what is behind `base` in one file; false when nothing may be read any more.
    fn read_log(
        &mut self,
        file: &NamedFile,
        base: i64,
        progress: Progress<'_>,
    ) -> Result<bool, FileError> {
        let mut log = LogAccount {
            path: file.path.clone(),
            first_zxid: None,
            last_zxid: None,
            records: 0,
            is_torn: false,
        };
        let outcome = self.read_records(file, base, progress, &mut log);
        self.account.logs.push(log);
        match outcome {
            Ok(()) => Ok(true),
            Err(error @ FileError::Damaged { .. }) => {
                self.account.damage.push(error.to_string());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn read_records(
        &mut self,
        file: &NamedFile,
        base: i64,
        progress: Progress<'_>,
        account: &mut LogAccount,
    ) -> Result<(), FileError> {
        let Some(mut log) = LogReader::open(&file.path, progress)? else {
            account.is_torn = true;
            return Ok(());
        };
        let mut is_first = true;
        loop {
            let payload = match log.read()? {
                Next::Record(payload) => payload,
                Next::Torn => {
                    account.is_torn = true;
                    return Ok(());
                }
                Next::End => return Ok(()),
            };
            let record: TxnRecord<'_> = Reader::new(&payload)
                .read()
                .map_err(|error| log.damaged(error.to_string()))?;
            let zxid = record.header.zxid;
            account.records += 1;
            account.first_zxid.get_or_insert_with(|| hex(zxid));
            account.last_zxid = Some(hex(zxid));
            if zxid > base {
                if let Err(why) = self.check_order(zxid, is_first) {
                    return Err(log.damaged(why));
                }
                self.apply(&record);
            }
            is_first = false;
        }
    }

    /// Zxids grow by one within an epoch, and the first of each epoch is 1. A missing file shows
    /// itself by what is missing before the first record of the next. A zxid may also come again:
    /// servers write once more what they had already.
    fn check_order(&mut self, zxid: i64, is_beginning: bool) -> Result<(), String> {
        if self.account.snapshot.is_none() && self.account.txns == 0 {
            let is_first_of_all = FIRST_ZXIDS.contains(&zxid);
            return is_first_of_all.then_some(()).ok_or_else(|| {
                let zxid = hex(zxid);
                format!("there is no snapshot, and the records before {zxid} are missing")
            });
        }
        let (epoch, previous) = (zxid >> 32, self.previous >> 32);
        let is_first_of_all = self.previous == 0 && FIRST_ZXIDS.contains(&zxid);
        if is_beginning && epoch > previous && !is_first_of_all {
            self.tell_border();
            self.border = Some((previous, epoch));
        }
        let expected = if zxid >> 32 == self.previous >> 32 {
            self.previous.saturating_add(1)
        } else {
            (zxid >> 32 << 32) + 1
        };
        let skipped = zxid.saturating_sub(expected);
        if skipped > 0 && is_beginning {
            return Err(format!(
                "the records between {} and {} are missing",
                hex(expected - 1),
                hex(zxid)
            ));
        }
        if skipped < 0 {
            self.account.zxids_repeated += 1;
        } else {
            self.account.zxids_skipped += skipped.cast_unsigned();
        }
        Ok(())
    }

    fn apply(&mut self, record: &TxnRecord<'_>) {
        let zxid = record.header.zxid;
        self.image.apply(record);
        self.previous = self.previous.max(zxid);
        self.account.txns += 1;
        self.compare_snapshot_digest(zxid);
        if self.awaited.is_none()
            && let Some(digest) = record.digest
            && digest.version == DIGEST_VERSION
        {
            self.compare(zxid, digest.tree_digest.cast_unsigned());
        }
    }

    fn compare_snapshot_digest(&mut self, zxid: i64) {
        let Some(awaited) = self.awaited else { return };
        if awaited.zxid > zxid {
            return;
        }
        self.awaited = None;
        if awaited.zxid == zxid && awaited.version == DIGEST_VERSION {
            self.compare(zxid, awaited.digest);
        }
    }

    fn compare(&mut self, zxid: i64, expected: u64) {
        self.account.digests_compared += 1;
        let found = self.image.digest();
        if found == expected {
            if self.trust == Trust::Unknown {
                self.differs = None;
            }
            self.trust = Trust::Whole;
            self.border = None;
            return;
        }
        if self.account.digest_differs.is_some() || self.differs.is_some() {
            return;
        }
        let what = format!(
            "behind zxid {} the digest of the tree is {found:x}, but the files say {expected:x}",
            hex(zxid)
        );
        let may_be_repaired = self.trust != Trust::Whole && self.image.was_repaired();
        match self.border.take() {
            Some((before, _)) if self.trust != Trust::Unknown => self.differs_by_damage(format!(
                "{what}: records at the end of epoch {before:#x} may be missing"
            )),
            _ if may_be_repaired => self.differs = Some(what),
            _ => self.differs_by_damage(what),
        }
    }

    fn differs_by_damage(&mut self, what: String) {
        self.account.damage.push(what.clone());
        self.account.digest_differs = Some(what);
    }

    fn tell_border(&mut self) {
        let Some((before, behind)) = self.border.take() else {
            return;
        };
        if self.account.unverified.len() < LISTED_MAX {
            self.account.unverified.push(format!(
                "no digest shows whether epoch {before:#x} is there to its end, before {behind:#x}"
            ));
        }
    }

    /// Behind the last record.
    fn end(&mut self) {
        self.tell_border();
        if let Some(what) = self.differs.take() {
            self.account.digest_differs.get_or_insert(what);
        }
    }
}
