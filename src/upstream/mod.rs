//! Apache ZooKeeper's data directory: its snapshots and transaction logs, read and written.
//!
//! * [`files`]: which files a directory has, and which of them the newest state is made of.
//! * [`input`]: a checked stream over one file, plain or compressed.
//! * [`snapshot`]: one snapshot, as 3.4 to 3.9 write it, and writing one.
//! * [`txn_log`]: the records of one log file.
//! * [`image`]: the tree and the sessions while records are applied, as `DataTree.java` applies
//!   them. It is not [`crate::tree`]: a snapshot of ZooKeeper's is written while the tree changes,
//!   so records meet a tree that has them already, in part, and only explicit numbers repair it.
//! * [`load`]: all of that in the order of `FileTxnSnapLog.restore`.
//!
//! Nothing here knows our own storage. No input makes it panic, and none makes it reserve more than
//! the input is long.
//!
//! Upstream: `FileSnap.java`, `SnapStream.java`, `FileTxnLog.java`, `FileTxnSnapLog.java`,
//! `SerializeUtils.java`, `DataTree.java`, `DigestCalculator.java`.

pub mod files;
pub mod image;
pub mod input;
pub mod load;
pub mod password;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod txn_log;

use std::io;
use std::path::{Path, PathBuf};

/// Why a file is not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged at byte {offset}: {why}")]
    Damaged {
        path: PathBuf,
        /// In the uncompressed content.
        offset: u64,
        why: String,
    },
}

impl FileError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Told of each piece of a file that was read, in bytes as they lie on disk.
pub type Progress<'p> = &'p dyn Fn(u64);
