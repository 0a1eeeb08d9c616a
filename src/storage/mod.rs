//! What is on disk: the Raft log in RocksDB and snapshot files. Knows keys and bytes, not znodes.
//!
//! ```text
//! <dataLogDir>/log/           RocksDB: entries, vote, bounds
//! <dataDir>/snapshots/        snapshot.<term>.<index>, each whole and checked
//! ```
//!
//! Nothing of the tree lives in RocksDB: a log and a state engine that share a write-ahead log make
//! every write pay for both.

pub mod log;
pub mod memory_log;
pub mod rocks_log;
pub mod snapshots;

use std::io;
use std::path::{Path, PathBuf};

/// What the disk did. The server stops: a disk that has lied once is not asked again.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Upstream's words, which name the property that was meant to find this out.
    #[error(
        "Missing data directory {path}, automatic data directory creation is disabled (zookeeper.datadir.autocreate is false). Please create this directory manually."
    )]
    Missing { path: PathBuf },
    #[error("{path} is in use by another server")]
    InUse { path: PathBuf },
    #[error("{path} is damaged: {why}")]
    Corrupt { path: PathBuf, why: String },
    #[error("{path} was written by a newer version (format {found}, known are up to {known})")]
    Newer {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error(
        "{path} holds data of Apache ZooKeeper, which is not read or changed; take it over with `zk-server import {dirs} --config zoo.cfg`, or choose another dataDir"
    )]
    Foreign {
        path: PathBuf,
        /// What `import` is to be told: dataDir, and dataLogDir if it is another.
        dirs: String,
    },
    #[error("{path} holds data already; it is not read or changed")]
    Used { path: PathBuf },
    #[error(
        "{path} is what an import or a restore has left that was interrupted: remove it and do that again"
    )]
    Interrupted { path: PathBuf },
    #[error(
        "{path} is {what}, and is to be made anew: give the directory that it leads to, or remove it"
    )]
    NotReplaceable { path: PathBuf, what: &'static str },
}

impl StorageError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// For whoever knows which file it is.
    #[must_use]
    pub fn why(self) -> String {
        match self {
            Self::Corrupt { why, .. } => why,
            error => error.to_string(),
        }
    }

    pub(crate) fn corrupt(path: &Path, why: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// Creates a directory, and says which one could not be created or written to.
pub(crate) fn create_dir(path: &Path, autocreate: bool) -> Result<(), StorageError> {
    if autocreate {
        create_dirs(path)?;
    } else if matches!(path.try_exists(), Ok(false)) {
        return Err(StorageError::Missing {
            path: path.to_owned(),
        });
    }
    let probe = path.join(".write-probe");
    std::fs::write(&probe, b"").map_err(|source| StorageError::io(path, source))?;
    std::fs::remove_file(&probe).map_err(|source| StorageError::io(path, source))
}

/// Creates a directory and those above it that are missing; their names are durable.
pub(crate) fn create_dirs(path: &Path) -> Result<(), StorageError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(path).map_err(|source| StorageError::io(path, source))?;
    for created in missing {
        match created.parent() {
            None => {}
            Some(parent) if parent.as_os_str().is_empty() => fsync_dir(Path::new("."))?,
            Some(parent) => fsync_dir(parent)?,
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn fsync_dir(path: &Path) -> Result<(), StorageError> {
    std::fs::File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| StorageError::io(path, source))
}
