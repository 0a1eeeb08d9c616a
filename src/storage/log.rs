//! The Raft log as the ensemble sees a disk: numbered records and a few named values.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::StorageError;

/// Names of the values beside the records.
pub mod meta {
    /// The vote. Never reordered against records.
    pub const VOTE: &str = "vote";
    /// The last record known to be committed: on open the log must reach it.
    pub const COMMITTED: &str = "committed";
    /// The last record that was purged.
    pub const PURGED: &str = "purged";
}

/// One step of a write. Steps take effect in order, and all or none of them.
#[derive(Debug, Clone)]
pub enum Step {
    Append {
        index: u64,
        record: Bytes,
    },
    /// Removes this record and all behind it.
    TruncateFrom(u64),
    /// Removes this record and all before it.
    PurgeThrough(u64),
    SetMeta {
        name: &'static str,
        value: Bytes,
    },
}

/// What a log held when it was opened.
#[derive(Debug, Default)]
pub struct Opened {
    pub meta: BTreeMap<String, Bytes>,
    /// Indexes of the records: contiguous.
    pub records: Range<u64>,
}

/// A log on a disk, or its memory twin.
pub trait Log: Send + Sync + 'static {
    /// Performs the steps; on return they are durable. A failed write is never retried: what is on
    /// the disk then is unknown.
    fn write(&self, steps: Vec<Step>) -> Result<(), StorageError>;

    /// The records of a range, as far as they exist, in order.
    fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Bytes)>, StorageError>;
}
