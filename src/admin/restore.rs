//! `restore`: a snapshot that somebody sends becomes the state of all servers.
//!
//! The file is read here, by whichever server was asked, and the state that it holds goes through
//! the log. Sessions end, those of the backup too: whoever holds a lock or a cache has to hear that
//! the state is another. Upstream replaces the tree of one server, and its operators send the same
//! file to each of them in a row.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt as _;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::Sources;
use crate::convert::{read_file, refuse_ttl};
use crate::op::Flags;
use crate::state::restoring::STAGED_BYTES_MAX;
use crate::types::Zxid;

/// How long nothing of a file may come.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A file that goes when it has been read.
struct Uploaded(PathBuf);

impl Drop for Uploaded {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the zxid behind which the servers go on. One at a time.
///
/// # Errors
/// A sentence; unless it says otherwise nothing has changed.
pub(super) async fn restore(sources: &Sources, body: Body) -> Result<Zxid, String> {
    let uploaded = Uploaded(sources.ensemble.receiving("restore"));
    let path = uploaded.0.display().to_string();
    let restored = read_and_restore(sources, uploaded, body).await;
    // Where it was kept meanwhile says nothing to whoever sent it.
    restored.map_err(|error| error.replace(&path, "the snapshot"))
}

async fn read_and_restore(
    sources: &Sources,
    uploaded: Uploaded,
    body: Body,
) -> Result<Zxid, String> {
    let received = receive(&uploaded.0, body).await;
    received.map_err(|error| format!("the snapshot was not received: {error}"))?;
    let (schemes, flags) = sources
        .core
        .look(|state| (state.shared_schemes(), state.flags()));
    let read = move || {
        let read = read_file(&uploaded.0, &schemes, STAGED_BYTES_MAX, &|_| {})?;
        if let Some(remark) = read.remark {
            tracing::warn!("the snapshot that is to be restored: {remark}");
        }
        let mut state = read.state;
        if !flags.contains(Flags::EXTENDED_TYPES) {
            refuse_ttl(&state.tree)?;
        }
        state.end_sessions();
        Ok::<_, String>(state)
    };
    let state = tokio::task::spawn_blocking(read).await;
    let state = state.map_err(|error| error.to_string())??;
    let restored = sources.core.restore(state).await;
    restored.map_err(|error| error.to_string())
}

async fn receive(path: &Path, body: Body) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut file = File::create(path).await.map_err(text)?;
    let mut chunks = body.into_data_stream();
    let mut bytes = 0;
    loop {
        let chunk = timeout(BODY_PATIENCE, chunks.next()).await;
        let Some(chunk) = chunk.map_err(|_| "nothing more came".to_owned())? else {
            break;
        };
        let chunk = chunk.map_err(|error| error.to_string())?;
        bytes += chunk.len();
        if bytes > STAGED_BYTES_MAX {
            return Err(crate::pipeline::RestoreError::TooLarge.to_string());
        }
        file.write_all(&chunk).await.map_err(text)?;
    }
    file.flush().await.map_err(text)
}
