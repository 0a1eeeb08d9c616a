//! The log in RocksDB.
//!
//! One database with two column families, so that there is one write-ahead log and one order:
//!
//! | family | key | value |
//! |---|---|---|
//! | `log` | index, 8 bytes big-endian | the record |
//! | `meta` | name | value |
//! | `meta` | `format` | 8 bytes big-endian: 1 |
//! | `meta` | `first` | 8 bytes big-endian: index of the first record that was not purged |
//!
//! Recovery is point-in-time: a torn tail is cut. That mode also drops what stands behind damage in
//! the middle, together with every bound kept in the same write-ahead log. So the index of the last
//! record that an fsync has covered also stands in a file of its own, `log-end`, which is
//! written behind each fsync and needs none of its own: what it says is on disk already, and an old
//! value is a bound as well. [`RocksLog::open`] checks that the records are contiguous and reach
//! it, and refuses to guess otherwise.
//!
//! | offset | size | `log-end` |
//! |---|---|---|
//! | 0 | 8 | index of the record behind the last one, big-endian |
//! | 8 | 4 | CRC-32 of those eight bytes |

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction,
    ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::StorageError;
use super::log::{Log, Opened, Step};
use crate::types::ms_of;

const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
const FIRST_KEY: &str = "first";
/// Write-ahead logs of the database, in bytes, before it makes room by flushing a family.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// Write-ahead files that are kept to be written over. An fdatasync of a file that grows commits
/// the file system's journal as well; of one that is overwritten it does not. Sound together with
/// point-in-time recovery since RocksDB 9.1 (facebook/rocksdb#12403).
const RECYCLED_WALS: usize = 4;
/// Memory for records that are not yet in a table file, twice while one is written out.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// Reads come from memory but for catch-up after a restart.
const BLOCK_CACHE_BYTES: usize = 2 << 20;

pub struct RocksLog {
    path: PathBuf,
    db: DB,
    fsync: bool,
    warn_above: Duration,
    end: Mutex<LogEnd>,
    /// Time of each durable write: upstream's name has fewer quantiles than operators want.
    fsynctime: metrics::Histogram,
    own_fsynctime: metrics::Histogram,
}

/// How far the log must reach when it is opened again.
struct LogEnd {
    path: PathBuf,
    /// `None` for whoever only looks.
    file: Option<File>,
    /// Index behind the last record that is on disk.
    next: u64,
}

/// A log that was opened to be read, sound as far as it goes.
pub struct Look {
    pub log: RocksLog,
    pub opened: Opened,
    /// Why that is not all that was written.
    pub damage: Option<StorageError>,
    /// Why it is not known whether that is all.
    pub remark: Option<String>,
}

/// What an opened log is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    /// Not a byte on disk changes.
    Look,
}

/// Beside RocksDB's own files, which leaves alone what it does not know.
const LOG_END: &str = "log-end";
const LOG_END_LEN: usize = 12;

impl LogEnd {
    fn open(log: &Path) -> Result<Self, StorageError> {
        let path = log.join(LOG_END);
        let failed = |source| StorageError::io(&path, source);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(failed)?;
        // A file that was never written, or torn, bounds nothing.
        let next = Self::read(&file).unwrap_or(0);
        Ok(Self {
            path,
            file: Some(file),
            next,
        })
    }

    /// `None` for what was never written, or is damaged.
    fn read(file: &File) -> Option<u64> {
        let mut bytes = [0; LOG_END_LEN];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let (next, crc) = bytes.split_at(8);
        let is_sound = crc32fast::hash(next).to_be_bytes() == crc;
        as_u64(next).filter(|_| is_sound)
    }

    /// What the file says, without a change to it; in words when it says nothing.
    fn look(log: &Path) -> (Self, Option<String>) {
        let path = log.join(LOG_END);
        let read = match File::open(&path) {
            Ok(file) => Self::read(&file).ok_or_else(|| {
                // Whoever does not wait for the disk does not know what is on it.
                let is_empty = file.metadata().is_ok_and(|file| file.len() == 0);
                let what = if is_empty {
                    "is empty, as without forceSync"
                } else {
                    "is damaged"
                };
                format!("{} {what}", path.display())
            }),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
        let (next, remark) = match read {
            Ok(next) => (next, None),
            Err(why) => (
                0,
                Some(format!(
                    "{why}; whether the log is there to its end is not known"
                )),
            ),
        };
        let end = Self {
            path,
            file: None,
            next,
        };
        (end, remark)
    }

    fn set(&mut self, next: u64) -> Result<(), StorageError> {
        if next == self.next {
            return Ok(());
        }
        let mut bytes = [0; LOG_END_LEN];
        bytes[..8].copy_from_slice(&next.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..8]);
        bytes[8..].copy_from_slice(&crc.to_be_bytes());
        if let Some(file) = &self.file {
            file.write_all_at(&bytes, 0)
                .map_err(|source| StorageError::io(&self.path, source))?;
        }
        self.next = next;
        Ok(())
    }
}

/// Where the log ends when these steps have been taken, from where it ended before. The lowest end
/// on the way comes first: until the steps are durable no more may be demanded.
fn ends(before: u64, steps: &[Step]) -> (u64, u64) {
    let (mut lowest, mut end) = (before, before);
    for step in steps {
        match step {
            Step::Append { index, .. } => end = index + 1,
            Step::TruncateFrom(index) => end = end.min(*index),
            Step::PurgeThrough(index) => end = end.max(index + 1),
            Step::SetMeta { .. } => {}
        }
        lowest = lowest.min(end);
    }
    (lowest, end)
}

impl RocksLog {
    /// Opens or creates the log.
    ///
    /// # Errors
    /// In use, damaged, newer than this version, or not to be read or written.
    pub fn open(
        path: &Path,
        fsync: bool,
        warn_above: Duration,
    ) -> Result<(Self, Opened), StorageError> {
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = DB::open_cf_descriptors(&options, path, families())
            .map_err(|error| describe(path, &error))?;
        let log = Self {
            path: path.to_owned(),
            db,
            fsync,
            warn_above,
            fsynctime: metrics::histogram!("fsynctime"),
            own_fsynctime: metrics::histogram!("meerkat_fsync_ms"),
            end: Mutex::new(LogEnd::open(path)?),
        };
        let opened = log.verify(Access::Write)?;
        log.check_end(&opened)?;
        log.end.lock().set(opened.records.end)?;
        Ok((log, opened))
    }

    /// Opens a log to read it, without changing anything. Whoever writes it may go on: the end is
    /// read first, for it moves.
    ///
    /// # Errors
    /// Missing, damaged, newer than this version, or not to be read.
    pub fn look(path: &Path) -> Result<Look, StorageError> {
        let (end, remark) = LogEnd::look(path);
        let db = DB::open_cf_descriptors_read_only(&options(), path, families(), false)
            .map_err(|error| describe(path, &error))?;
        let log = Self {
            path: path.to_owned(),
            db,
            fsync: true,
            warn_above: Duration::MAX,
            fsynctime: metrics::Histogram::noop(),
            own_fsynctime: metrics::Histogram::noop(),
            end: Mutex::new(end),
        };
        let opened = log.verify(Access::Look)?;
        let mut damage = log.check_end(&opened).err();
        if damage.is_some() {
            // Unless a server has cut it off meanwhile, and said so before.
            let (again, _) = LogEnd::look(path);
            let mut end = log.end.lock();
            end.next = end.next.min(again.next);
            drop(end);
            damage = log.check_end(&opened).err();
        }
        Ok(Look {
            log,
            opened,
            damage,
            remark,
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log must reach what was written.
    fn check_end(&self, opened: &Opened) -> Result<(), StorageError> {
        let demanded = self.end.lock().next;
        let found = opened.records.end;
        if self.fsync && found < demanded {
            let why = format!(
                "it ends before record {found}, but records up to {} were written; acknowledged writes are missing",
                demanded - 1
            );
            return Err(self.corrupt(why));
        }
        Ok(())
    }

    fn verify(&self, access: Access) -> Result<Opened, StorageError> {
        let mut opened = Opened::default();
        for item in self
            .db
            .iterator_cf(self.family("meta")?, IteratorMode::Start)
        {
            let (name, value) = item.map_err(|error| describe(&self.path, &error))?;
            let name = String::from_utf8_lossy(&name).into_owned();
            opened.meta.insert(name, Bytes::from(value));
        }
        let number = |name: &str| opened.meta.get(name).and_then(|value| as_u64(value));
        match number(FORMAT_KEY) {
            None if access == Access::Look => return Err(self.corrupt("it has no format")),
            None => {
                let value = Bytes::copy_from_slice(&FORMAT.to_be_bytes());
                self.write(vec![Step::SetMeta {
                    name: FORMAT_KEY,
                    value,
                }])?;
            }
            Some(FORMAT) => {}
            Some(found) => {
                return Err(StorageError::Newer {
                    path: self.path.clone(),
                    found,
                    known: FORMAT,
                });
            }
        }
        let first = number(FIRST_KEY).unwrap_or(0);
        let mut next = first;
        let from = IteratorMode::From(&first.to_be_bytes(), Direction::Forward);
        for item in self.db.iterator_cf(self.family("log")?, from) {
            let (key, _) = item.map_err(|error| describe(&self.path, &error))?;
            let index = as_u64(&key).ok_or_else(|| self.corrupt("a record without an index"))?;
            if index != next {
                // A fresh log may begin anywhere: behind a snapshot that was installed.
                if next == first && number(FIRST_KEY).is_none() {
                    next = index;
                    opened.records.start = index;
                } else {
                    return Err(self.corrupt(format!("record {next} is missing before {index}")));
                }
            }
            next += 1;
        }
        let start = if number(FIRST_KEY).is_some() {
            first
        } else {
            opened.records.start
        };
        opened.records = start..next.max(start);
        Ok(opened)
    }

    fn corrupt(&self, why: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, why)
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, StorageError> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| self.corrupt(format!("it has no family {name}")))
    }

    fn batch(&self, steps: Vec<Step>) -> Result<WriteBatch, StorageError> {
        let (log, meta) = (self.family("log")?, self.family("meta")?);
        let mut batch = WriteBatch::default();
        for step in steps {
            match step {
                Step::Append { index, record } => {
                    batch.put_cf(log, index.to_be_bytes(), &record);
                }
                Step::TruncateFrom(index) => {
                    batch.delete_range_cf(log, index.to_be_bytes(), u64::MAX.to_be_bytes());
                }
                Step::PurgeThrough(index) => {
                    let first = (index + 1).to_be_bytes();
                    batch.delete_range_cf(log, 0u64.to_be_bytes(), first);
                    batch.put_cf(meta, FIRST_KEY, first);
                }
                Step::SetMeta { name, value } => batch.put_cf(meta, name, &value),
            }
        }
        Ok(batch)
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_recycle_log_file_num(RECYCLED_WALS);
    // A file can be used again only when neither family needs it.
    options.set_atomic_flush(true);
    options.set_keep_log_file_num(2);
    options.set_max_background_jobs(2);
    options
}

fn families() -> [ColumnFamilyDescriptor; 2] {
    ["log", "meta"].map(|name| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        ColumnFamilyDescriptor::new(name, options)
    })
}

impl Log for RocksLog {
    fn write(&self, steps: Vec<Step>) -> Result<(), StorageError> {
        let mut end = self.end.lock();
        let (lowest, next) = ends(end.next, &steps);
        end.set(lowest)?;
        let batch = self.batch(steps)?;
        let mut options = WriteOptions::default();
        options.set_sync(self.fsync);
        let begun = Instant::now();
        self.db
            .write_opt(batch, &options)
            .map_err(|error| describe(&self.path, &error))?;
        let took = begun.elapsed();
        if self.fsync {
            end.set(next)?;
            self.fsynctime.record(took.as_secs_f64() * 1000.0);
            self.own_fsynctime.record(took.as_secs_f64() * 1000.0);
        }
        if took > self.warn_above {
            metrics::counter!("meerkat_slow_fsyncs").increment(1);
            tracing::warn!(took_ms = ms_of(took), "writing the log was slow");
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Bytes)>, StorageError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(range.end.to_be_bytes());
        let start = range.start.to_be_bytes();
        let from = IteratorMode::From(&start, Direction::Forward);
        let mut records = Vec::new();
        for item in self.db.iterator_cf_opt(self.family("log")?, options, from) {
            let (key, value) = item.map_err(|error| describe(&self.path, &error))?;
            let index = as_u64(&key).ok_or_else(|| self.corrupt("a record without an index"))?;
            records.push((index, Bytes::from(value)));
        }
        Ok(records)
    }
}

fn as_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// RocksDB's errors are told apart by kind, and the lock by its text alone.
fn describe(path: &Path, error: &rocksdb::Error) -> StorageError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => StorageError::corrupt(path, text),
        ErrorKind::IOError if text.contains("LOCK") || text.contains("lock hold") => {
            StorageError::InUse {
                path: path.to_owned(),
            }
        }
        _ => StorageError::io(path, std::io::Error::other(text)),
    }
}
