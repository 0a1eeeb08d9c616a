//! Snapshot files with what openraft wants to know of them in front.

use bytes::Bytes;

use super::types::{SnapshotMeta, decode_snapshot_header, encode_snapshot_header, log_id};
use super::{SnapshotReader, SnapshotSource};
use crate::storage::StorageError;
use crate::storage::snapshots::{Reader, SnapshotDir, SnapshotFile};

impl SnapshotReader for Reader {
    fn next_block(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        Self::next_block(self)
    }
}

/// Writes all blocks; the file, durable by now, and its length in bytes.
pub(super) fn write(
    dir: &SnapshotDir,
    source: &mut dyn SnapshotSource,
    meta: &SnapshotMeta,
    cluster: u64,
) -> Result<(SnapshotFile, u64), StorageError> {
    let id = meta.last_log_id.unwrap_or_else(|| log_id(0, 0));
    let header = encode_snapshot_header(meta, cluster);
    let mut writer = dir.create(*id.leader_id, id.index, &header)?;
    // Scripts look for this line.
    tracing::info!(
        "Snapshotting: 0x{:x} to {}",
        source.zxid().0,
        writer.path().display()
    );
    let mut block = Vec::new();
    while source.next_block(&mut block) {
        writer.block(&block)?;
        block.clear();
    }
    writer.finish()
}

/// Hands the blocks of a file to `restore`; what its header says, with the cluster's id.
pub(super) fn read(
    file: &SnapshotFile,
    restore: &mut dyn FnMut(&mut dyn SnapshotReader) -> Result<(), String>,
) -> Result<(SnapshotMeta, u64), StorageError> {
    let mut reader = Reader::open(&file.path)?;
    let damaged = |why: String| StorageError::corrupt(&file.path, why);
    let header = decode_snapshot_header(Bytes::copy_from_slice(reader.header()))
        .ok_or_else(|| damaged("its header is not understood".to_owned()))?;
    restore(&mut reader).map_err(damaged)?;
    Ok(header)
}
