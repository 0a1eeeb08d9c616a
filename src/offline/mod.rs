//! What is done to a data directory while no server runs on it: `import`, `export`, `restore`,
//! `check`.
//!
//! * [`command`]: the command line and what it prints.
//! * `import`: Apache ZooKeeper's files become a data directory of ours.
//! * `export`: ours becomes a snapshot that ZooKeeper starts from.
//! * `restore`: a snapshot, or a directory of ours as it was at some zxid, becomes a new one.
//! * `check`: looks at a directory or a snapshot of either kind.
//! * `toolkit`: ZooKeeper's own tools for its files.
//! * `convert`: ZooKeeper's image of a tree to our state, and back.
//!
//! Nothing that exists is changed: what is written comes under a name of its own first and gets its
//! final name when it is whole.

mod check;
pub mod command;
mod export;
mod import;
mod progress;
mod restore;
mod toolkit;

use std::path::PathBuf;

use crate::storage::StorageError;
use crate::upstream::FileError;
use crate::upstream::load::LoadError;

/// Why nothing came of it, in a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{}: {why}", .path.display())]
    Load { path: PathBuf, why: LoadError },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Refused(String),
}
