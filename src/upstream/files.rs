//! The files of a data directory, and which of them matter.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::FileError;

/// Where the files are, below `dataDir` and `dataLogDir`.
pub const VERSION_DIR: &str = "version-2";

/// A snapshot or a log, with the zxid in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    pub path: PathBuf,
    pub zxid: i64,
    /// On disk.
    pub bytes: u64,
}

/// What a server has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Newest first.
    pub snapshots: Vec<NamedFile>,
    /// Oldest first.
    pub logs: Vec<NamedFile>,
    /// The highest epoch that the server has agreed to; a server without an ensemble has none.
    pub epoch: i64,
    /// Files of epochs that say nothing.
    pub damage: Vec<String>,
}

impl Files {
    /// Lists the files of `dataDir` and `dataLogDir`.
    ///
    /// # Errors
    /// A directory is missing or cannot be read.
    pub fn list(data_dir: &Path, log_dir: &Path) -> Result<Self, FileError> {
        let (snap_dir, log_dir) = (version_dir(data_dir), version_dir(log_dir));
        let mut snapshots = named(&snap_dir, "snapshot")?;
        snapshots.reverse();
        let epochs = ["currentEpoch", "acceptedEpoch"].map(|name| epoch(&snap_dir.join(name)));
        let (mut highest, mut damage) = (0, Vec::new());
        for epoch in epochs {
            match epoch {
                Err(error @ FileError::Damaged { .. }) => damage.push(error.to_string()),
                epoch => highest = highest.max(epoch?),
            }
        }
        Ok(Self {
            snapshots,
            logs: named(&log_dir, "log")?,
            epoch: highest,
            damage,
        })
    }

    /// The logs that hold what is behind a zxid: those that begin behind it, and the last one that
    /// begins before.
    #[must_use]
    pub fn logs_behind(&self, zxid: i64) -> &[NamedFile] {
        let before = self.logs.partition_point(|log| log.zxid <= zxid);
        &self.logs[before.saturating_sub(1)..]
    }

    /// Bytes of everything that [`super::load`] may have to read.
    #[must_use]
    pub fn bytes_to_read(&self) -> u64 {
        let snapshot = self.snapshots.first();
        let logs = self.logs_behind(snapshot.map_or(0, |snapshot| snapshot.zxid));
        let logs: u64 = logs.iter().map(|log| log.bytes).sum();
        snapshot.map_or(0, |snapshot| snapshot.bytes) + logs
    }
}

/// A directory may be named with or without its last part.
fn version_dir(dir: &Path) -> PathBuf {
    let inner = dir.join(VERSION_DIR);
    if inner.is_dir() || !dir.ends_with(VERSION_DIR) {
        inner
    } else {
        dir.to_owned()
    }
}

/// Files called `PREFIX.ZXID`, with or without something behind it, oldest first.
fn named(dir: &Path, prefix: &str) -> Result<Vec<NamedFile>, FileError> {
    let failed = |source| FileError::io(dir, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().split('.');
        if parts.next() != Some(prefix) {
            continue;
        }
        let zxid = parts
            .next()
            .and_then(|hex| i64::from_str_radix(hex, 16).ok());
        if let Some(zxid) = zxid {
            files.push(NamedFile {
                path: entry.path(),
                zxid,
                bytes: entry.metadata().map_err(failed)?.len(),
            });
        }
    }
    files.sort_by(|a, b| (a.zxid, &a.path).cmp(&(b.zxid, &b.path)));
    Ok(files)
}

/// An epoch file, 0 without one.
fn epoch(path: &Path) -> Result<i64, FileError> {
    match fs::read(path) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let epoch = text.trim().parse().ok().filter(|epoch| *epoch >= 0);
            epoch.ok_or_else(|| FileError::Damaged {
                path: path.to_owned(),
                offset: 0,
                why: "it is no epoch".to_owned(),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(FileError::io(path, source)),
    }
}
