//! Snapshot files.
//!
//! | size | field |
//! |---|---|
//! | 8 | magic `MKSNAP` and format version 0x0001 |
//! | 4+n, 4 | header block: what the ensemble knows of the cut |
//! | 4+n, 4 | content blocks, each its length, its bytes and their CRC-32 |
//! | 4 | 0xffff_ffff: no more blocks |
//! | 8, 4 | number of blocks, CRC-32 of all the blocks' CRCs |
//!
//! Written under another name, flushed, renamed, and the directory flushed: a file under its final
//! name is whole. Names sort by age: `snapshot.<term>.<index>`, both as 16 hexadecimal digits.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::{StorageError, fsync_dir};

const MAGIC: [u8; 8] = *b"MKSNAP\x00\x01";
const NO_MORE: u32 = u32::MAX;
/// No block is larger: a chunk of znodes holds at most this.
const BLOCK_BYTES_MAX: u32 = 1 << 31;
const PREFIX: &str = "snapshot.";
const UNFINISHED: &str = "unfinished.";
const RECEIVING: &str = "unfinished.received.";
/// Bytes behind the last block: they differ between any two files.
pub const FOOTER_LEN: usize = 12;

/// Files of one server.
#[derive(Debug, Clone)]
pub struct SnapshotDir {
    path: PathBuf,
}

/// One whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub term: u64,
    pub index: u64,
}

impl SnapshotDir {
    /// Opens or creates the directory and removes what an interrupted write has left.
    ///
    /// # Errors
    /// The directory cannot be created, read or written.
    pub fn open(path: &Path, autocreate: bool) -> Result<Self, StorageError> {
        super::create_dir(path, autocreate)?;
        let dir = Self {
            path: path.to_owned(),
        };
        for name in dir.names()? {
            if name.starts_with(UNFINISHED) {
                let left = path.join(name);
                fs::remove_file(&left).map_err(|source| StorageError::io(&left, source))?;
            }
        }
        Ok(dir)
    }

    /// A directory to look at, without cleaning it up.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Result<Vec<String>, StorageError> {
        let failed = |source| StorageError::io(&self.path, source);
        fs::read_dir(&self.path)
            .map_err(failed)?
            .map(|entry| {
                Ok(entry
                    .map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned())
            })
            .collect()
    }

    /// All snapshots, newest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<SnapshotFile>, StorageError> {
        let mut files: Vec<SnapshotFile> = self
            .names()?
            .iter()
            .filter_map(|name| {
                let (term, index) = name.strip_prefix(PREFIX)?.split_once('.')?;
                Some(SnapshotFile {
                    path: self.path.join(name),
                    term: u64::from_str_radix(term, 16).ok()?,
                    index: u64::from_str_radix(index, 16).ok()?,
                })
            })
            .collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.index));
        Ok(files)
    }

    /// Begins a new snapshot.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(&self, term: u64, index: u64, header: &[u8]) -> Result<Writer, StorageError> {
        let name = format!("{term:016x}.{index:016x}");
        let unfinished = self.path.join(format!("{UNFINISHED}{name}"));
        let file =
            File::create(&unfinished).map_err(|source| StorageError::io(&unfinished, source))?;
        let target = SnapshotFile {
            path: self.path.join(format!("{PREFIX}{name}")),
            term,
            index,
        };
        let mut writer = Writer {
            out: BufWriter::with_capacity(1 << 20, file),
            unfinished,
            target,
            blocks: 0,
            digest: crc32fast::Hasher::new(),
            bytes: 0,
        };
        writer.put(&MAGIC)?;
        writer.block(header)?;
        Ok(writer)
    }

    /// Where a snapshot that another server sends is gathered.
    #[must_use]
    pub fn receiving(&self, name: &str) -> PathBuf {
        self.path.join(format!("{RECEIVING}{name}"))
    }

    /// Removes what was received of other files.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn forget_received_but(&self, keep: &Path) -> Result<(), StorageError> {
        for name in self.names()? {
            let path = self.path.join(&name);
            if name.starts_with(RECEIVING) && path != keep {
                fs::remove_file(&path).map_err(|source| StorageError::io(&path, source))?;
            }
        }
        Ok(())
    }

    /// Gives a received file, whole and flushed, the name of a snapshot.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn adopt(&self, path: &Path, term: u64, index: u64) -> Result<SnapshotFile, StorageError> {
        let target = self.path.join(format!("{PREFIX}{term:016x}.{index:016x}"));
        fs::rename(path, &target).map_err(|source| StorageError::io(&target, source))?;
        fsync_dir(&self.path)?;
        Ok(SnapshotFile {
            path: target,
            term,
            index,
        })
    }

    /// Removes all but the newest `retain` snapshots. Returns the index of the oldest that stays.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn purge(&self, retain: usize) -> Result<Option<u64>, StorageError> {
        let mut files = self.list()?;
        for old in files.drain(files.len().min(retain)..) {
            match fs::remove_file(&old.path) {
                // zkCleanup.sh was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| StorageError::io(&old.path, source))?,
            }
        }
        Ok(files.last().map(|oldest| oldest.index))
    }
}

/// A snapshot that is being written; dropped unfinished it leaves nothing behind.
pub struct Writer {
    out: BufWriter<File>,
    unfinished: PathBuf,
    target: SnapshotFile,
    blocks: u64,
    digest: crc32fast::Hasher,
    bytes: u64,
}

impl Writer {
    /// Where it will be when it is finished.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target.path
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.bytes += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(|source| StorageError::io(&self.unfinished, source))
    }

    /// Appends a block.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn block(&mut self, block: &[u8]) -> Result<(), StorageError> {
        let len = u32::try_from(block.len())
            .ok()
            .filter(|len| *len <= BLOCK_BYTES_MAX)
            .ok_or_else(|| {
                let source = std::io::Error::other("a block is too large");
                StorageError::io(&self.unfinished, source)
            })?;
        let crc = crc32fast::hash(block).to_be_bytes();
        self.digest.update(&crc);
        self.blocks += 1;
        self.put(&len.to_be_bytes())?;
        self.put(block)?;
        self.put(&crc)
    }

    /// Completes the file and gives it its name. Returns its length in bytes.
    ///
    /// # Errors
    /// The file or its directory cannot be made durable.
    pub fn finish(mut self) -> Result<(SnapshotFile, u64), StorageError> {
        let digest = self.digest.clone().finalize();
        self.put(&NO_MORE.to_be_bytes())?;
        self.put(&self.blocks.to_be_bytes())?;
        self.put(&digest.to_be_bytes())?;
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.unfinished, &self.target.path))
            .map_err(|source| StorageError::io(&self.unfinished, source))?;
        fsync_dir(self.target.path.parent().unwrap_or_else(|| Path::new(".")))?;
        Ok((self.target.clone(), self.bytes))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone already when the file was finished.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Reads a snapshot, checking every block.
pub struct Reader {
    input: BufReader<File>,
    path: PathBuf,
    header: Vec<u8>,
    blocks: u64,
    digest: crc32fast::Hasher,
    ended: bool,
}

impl Reader {
    /// # Errors
    /// No snapshot of ours, of a newer format, or damaged in its header.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let file = File::open(path).map_err(|source| StorageError::io(path, source))?;
        let mut reader = Self {
            input: BufReader::with_capacity(1 << 20, file),
            path: path.to_owned(),
            header: Vec::new(),
            blocks: 0,
            digest: crc32fast::Hasher::new(),
            ended: false,
        };
        let magic = reader.take::<8>()?;
        if magic != MAGIC {
            if magic[..6] == MAGIC[..6] {
                let found = u64::from(u16::from_be_bytes([magic[6], magic[7]]));
                return Err(StorageError::Newer {
                    path: path.to_owned(),
                    found,
                    known: 1,
                });
            }
            return Err(reader.corrupt("it is no snapshot"));
        }
        reader.header = reader
            .next_block()?
            .ok_or_else(|| reader.corrupt("it has no header"))?;
        Ok(reader)
    }

    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    #[must_use]
    pub fn into_header(self) -> Vec<u8> {
        self.header
    }

    /// The next block, or `None` behind the last when the footer agrees.
    ///
    /// # Errors
    /// Damaged, cut short, or not to be read.
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        if self.ended {
            return Ok(None);
        }
        let len = u32::from_be_bytes(self.take()?);
        if len == NO_MORE {
            let blocks = u64::from_be_bytes(self.take()?);
            let digest = u32::from_be_bytes(self.take()?);
            if blocks != self.blocks || digest != self.digest.clone().finalize() {
                return Err(self.corrupt("its footer does not fit its blocks"));
            }
            self.ended = true;
            return Ok(None);
        }
        if len > BLOCK_BYTES_MAX {
            return Err(self.corrupt(format!("block {} has an impossible length", self.blocks)));
        }
        let mut block = Vec::new();
        let read = self
            .input
            .by_ref()
            .take(u64::from(len))
            .read_to_end(&mut block)
            .map_err(|source| StorageError::io(&self.path, source))?;
        if read != len as usize {
            return Err(self.corrupt(format!("it ends inside of block {}", self.blocks)));
        }
        let crc = self.take::<4>()?;
        if crc != crc32fast::hash(&block).to_be_bytes() {
            return Err(self.corrupt(format!("block {} has a wrong checksum", self.blocks)));
        }
        self.digest.update(&crc);
        self.blocks += 1;
        Ok(Some(block))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(format!("it ends behind block {}", self.blocks)))
            }
            Err(source) => Err(StorageError::io(&self.path, source)),
        }
    }

    fn corrupt(&self, why: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, blocks: &[&[u8]]) -> SnapshotFile {
        let dir = SnapshotDir::open(dir, true).expect("a fresh directory");
        let mut writer = dir.create(1, 2, b"header").expect("writable");
        for block in blocks {
            writer.block(block).expect("writable");
        }
        writer.finish().expect("writable").0
    }

    fn read_all(path: &Path) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut reader = Reader::open(path)?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block()? {
            blocks.push(block);
        }
        Ok(blocks)
    }

    #[test]
    fn blocks_round_trip() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = written(dir.path(), &[b"one", b"", b"three"]);
        assert_eq!(
            read_all(&file.path).expect("sound"),
            [&b"one"[..], b"", b"three"]
        );
        assert_eq!(Reader::open(&file.path).expect("sound").header(), b"header");
        let listed = SnapshotDir::open(dir.path(), true)
            .expect("there")
            .list()
            .expect("readable");
        assert_eq!(listed, [file]);
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = written(dir.path(), &[b"one", b"two"]);
        let sound = fs::read(&file.path).expect("readable");
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            fs::write(&file.path, &damaged).expect("writable");
            assert!(read_all(&file.path).is_err(), "byte {at} was changed");
            fs::write(&file.path, &sound[..at]).expect("writable");
            assert!(read_all(&file.path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_unfinished_file_is_no_snapshot() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = SnapshotDir::open(dir.path(), true).expect("a fresh directory");
        // What a process leaves that was killed while it wrote.
        fs::write(dir.path().join("unfinished.1.2"), MAGIC).expect("writable");
        assert_eq!(snapshots.list().expect("readable"), []);
        SnapshotDir::open(dir.path(), true).expect("there");
        assert_eq!(
            fs::read_dir(dir.path()).expect("readable").count(),
            0,
            "cleaned up"
        );
    }

    #[test]
    fn old_snapshots_are_purged() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshots = SnapshotDir::open(dir.path(), true).expect("a fresh directory");
        for index in 1..=5 {
            snapshots
                .create(1, index, b"")
                .and_then(Writer::finish)
                .expect("writable");
        }
        snapshots.purge(3).expect("removable");
        let left: Vec<u64> = snapshots
            .list()
            .expect("readable")
            .iter()
            .map(|file| file.index)
            .collect();
        assert_eq!(left, [5, 4, 3]);
    }
}
