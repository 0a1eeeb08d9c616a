//! The log's memory twin, for tests and the simulation. It can fail on purpose.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;

use super::StorageError;
use super::log::{Log, Opened, Step};

#[derive(Clone, Default)]
struct Content {
    records: BTreeMap<u64, Bytes>,
    meta: BTreeMap<String, Bytes>,
    writes: u64,
}

/// Records in memory.
#[derive(Default)]
pub struct MemoryLog {
    content: Mutex<Content>,
    /// Number of the write that fails, counted from 1.
    fails_at: Option<u64>,
}

impl MemoryLog {
    #[must_use]
    pub fn failing_at(write: u64) -> Self {
        Self {
            fails_at: Some(write),
            ..Self::default()
        }
    }

    /// Another log with what this one holds now.
    #[cfg(simulation)]
    #[must_use]
    pub(crate) fn copy(&self) -> Self {
        Self {
            content: Mutex::new(self.content.lock().clone()),
            fails_at: None,
        }
    }

    #[must_use]
    pub fn opened(&self) -> Opened {
        let content = self.content.lock();
        let first = content.records.keys().next().copied();
        let last = content.records.keys().next_back().copied();
        let records = match (first, last) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        };
        Opened {
            meta: content.meta.clone(),
            records,
        }
    }
}

impl Log for MemoryLog {
    fn write(&self, steps: Vec<Step>) -> Result<(), StorageError> {
        let mut content = self.content.lock();
        content.writes += 1;
        if Some(content.writes) == self.fails_at {
            let source = io::Error::other("this write fails on purpose");
            return Err(StorageError::io(Path::new("memory"), source));
        }
        for step in steps {
            match step {
                Step::Append { index, record } => {
                    content.records.insert(index, record);
                }
                Step::TruncateFrom(index) => {
                    content.records.split_off(&index);
                }
                Step::PurgeThrough(index) => {
                    content.records = content.records.split_off(&(index + 1));
                }
                Step::SetMeta { name, value } => {
                    content.meta.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<(u64, Bytes)>, StorageError> {
        let content = self.content.lock();
        Ok(content
            .records
            .range(range)
            .map(|(index, record)| (*index, record.clone()))
            .collect())
    }
}
