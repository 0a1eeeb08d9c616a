//! A snapshot file on its way to another server.
//!
//! ```text
//!   leader                                            follower
//!   OFFER  vote, length, footer, header   --->
//!                                         <---        FROM  offset (what it has of this very file)
//!   CHUNK  bytes ...                      --->
//!   END                                   --->        checks every block, installs
//!                                         <---        INSTALLED  vote
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::{Raft, Snapshot, alias};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::peer::{Class, Peer};
use super::peers::{Peers, kind};
use super::state_machine::StateMachine;
use super::types::{TypeConfig, Vote, decode_snapshot_header, decode_vote, encode_vote, log_id};
use crate::storage::StorageError;
use crate::storage::snapshots::{FOOTER_LEN, Reader};

const CHUNK_BYTES: usize = 256 << 10;

/// What one transfer may take of the network and of the receiver's disk.
const BYTES_PER_SECOND: u64 = 96 << 20;

/// How long a chunk may take to be sent or to arrive.
const CHUNK_PATIENCE: Duration = Duration::from_secs(10);

/// How long the receiver may take to check and install.
const INSTALL_PATIENCE: Duration = Duration::from_secs(600);

fn late<T>(_: T) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that is none")
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Snapshots on their way to other servers.
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

/// One of them, until it is dropped.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        let now = IN_FLIGHT.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::histogram!("inflight_snap_count").record(now as f64);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends a snapshot and returns the receiver's vote when it is installed.
pub(crate) async fn send(
    peers: &Arc<Peers>,
    target: u64,
    vote: &Vote,
    snapshot: &alias::SnapshotOf<TypeConfig, PathBuf>,
) -> io::Result<Vote> {
    let mut file = File::open(&snapshot.snapshot).await?;
    let len = file.metadata().await?.len();
    let mut footer = [0; FOOTER_LEN];
    file.seek(io::SeekFrom::Start(len.saturating_sub(FOOTER_LEN as u64)))
        .await?;
    file.read_exact(&mut footer).await?;
    let mut offer = BytesMut::new();
    offer.put_slice(&encode_vote(vote));
    offer.put_u64(len);
    offer.put_slice(&footer);
    let path = snapshot.snapshot.clone();
    let header = tokio::task::spawn_blocking(move || Reader::open(&path).map(Reader::into_header));
    let header = header.await.map_err(io::Error::other)?;
    offer.put_slice(&header.map_err(io::Error::other)?);
    let mut peer = peers.identity.connect(target, Class::Snapshot).await?;
    peer.writer.send(kind::OFFER, &offer).await?;
    let answer = timeout(CHUNK_PATIENCE, peer.reader.next())
        .await
        .map_err(late)??
        .ok_or_else(ended)?;
    if answer.kind != kind::FROM {
        return Err(io::Error::other("the other server takes no snapshot now"));
    }
    let mut body = answer.body;
    let mut offset = body.try_get_u64().map_err(|_| malformed())?.min(len);
    tracing::info!(server = target, bytes = len, offset, "sending a snapshot");
    metrics::counter!("snap_count").increment(1);
    let _in_flight = InFlight::begin();
    file.seek(io::SeekFrom::Start(offset)).await?;
    let (begun, first) = (Instant::now(), offset);
    let mut chunk = vec![0; CHUNK_BYTES];
    while offset < len {
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Err(ended());
        }
        timeout(
            CHUNK_PATIENCE,
            peer.writer.send(kind::CHUNK, &chunk[..read]),
        )
        .await
        .map_err(late)??;
        offset += read as u64;
        let due_ms = (offset - first) * 1000 / BYTES_PER_SECOND;
        sleep_until(begun + Duration::from_millis(due_ms)).await;
    }
    peer.writer.send(kind::END, &[]).await?;
    let answer = timeout(INSTALL_PATIENCE, peer.reader.next())
        .await
        .map_err(late)??
        .ok_or_else(ended)?;
    if answer.kind != kind::INSTALLED {
        return Err(io::Error::other("the other server did not install it"));
    }
    decode_vote(answer.body).ok_or_else(malformed)
}

pub(crate) struct Offer {
    vote: Vote,
    len: u64,
    footer: [u8; FOOTER_LEN],
    meta: Bytes,
}

pub(crate) fn decode_offer(mut bytes: Bytes) -> Option<Offer> {
    let vote = (bytes.len() >= 17).then(|| bytes.split_to(17))?;
    let vote = decode_vote(vote)?;
    let len = bytes.try_get_u64().ok()?;
    let footer = *bytes.first_chunk()?;
    bytes.advance(FOOTER_LEN);
    Some(Offer {
        vote,
        len,
        footer,
        meta: bytes,
    })
}

/// Receives a snapshot beside everything else, and installs it in one step.
pub(crate) async fn receive(
    peers: &Arc<Peers>,
    raft: &Raft<TypeConfig, StateMachine>,
    mut peer: Peer,
) -> io::Result<()> {
    let first = timeout(CHUNK_PATIENCE, peer.reader.next())
        .await
        .map_err(late)??
        .ok_or_else(ended)?;
    let offer = decode_offer(first.body).ok_or_else(malformed)?;
    let (meta, _) = decode_snapshot_header(offer.meta.clone()).ok_or_else(malformed)?;
    let Ok(_one) = peers.receiving.try_lock() else {
        return peer.writer.send(kind::DECLINED, &[]).await;
    };
    // The same cut taken by two servers differs in its bytes: the footer tells them apart.
    let name: String = offer.footer.iter().map(|b| format!("{b:02x}")).collect();
    let path = peers.snapshots.receiving(&name);
    peers
        .snapshots
        .forget_received_but(&path)
        .map_err(io::Error::other)?;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .await?;
    let mut have = file.metadata().await?.len();
    if have > offer.len {
        file.set_len(0).await?;
        have = 0;
    }
    tracing::info!(
        server = peer.id,
        bytes = offer.len,
        offset = have,
        "receiving a snapshot"
    );
    peer.writer.send(kind::FROM, &have.to_be_bytes()).await?;
    loop {
        let frame = timeout(CHUNK_PATIENCE, peer.reader.next())
            .await
            .map_err(late)??
            .ok_or_else(ended)?;
        match frame.kind {
            kind::CHUNK => {
                have += frame.body.len() as u64;
                if have > offer.len {
                    return Err(malformed());
                }
                file.write_all(&frame.body).await?;
            }
            kind::END => break,
            _ => return Err(malformed()),
        }
    }
    file.flush().await?;
    file.sync_all().await?;
    drop(file);
    let id = meta.last_log_id.unwrap_or_else(|| log_id(0, 0));
    let snapshots = peers.snapshots.clone();
    let (checked, header) = (path.clone(), offer.meta);
    let adopted = tokio::task::spawn_blocking(move || {
        check(&checked, &header)?;
        snapshots.adopt(&checked, *id.leader_id, id.index)
    })
    .await
    .map_err(io::Error::other)?;
    let adopted = match adopted {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(server = peer.id, %error, "a received snapshot is not sound");
            let _ = tokio::fs::remove_file(&path).await;
            return Err(io::Error::other(error));
        }
    };
    let snapshot = Snapshot {
        meta,
        snapshot: adopted.path,
    };
    let response = raft
        .install_full_snapshot(offer.vote, snapshot)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    peer.writer
        .send(kind::INSTALLED, &encode_vote(&response.vote))
        .await
}

/// Reads the whole file: a damaged one must not get as far as Raft.
fn check(path: &std::path::Path, header: &[u8]) -> Result<(), StorageError> {
    let mut reader = Reader::open(path)?;
    if reader.header() != header {
        return Err(StorageError::corrupt(
            path,
            "its header is not what was offered",
        ));
    }
    while reader.next_block()?.is_some() {}
    Ok(())
}
