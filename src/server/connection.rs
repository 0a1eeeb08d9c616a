//! One client connection: bytes in, frames to the pipeline, bytes out.
//!
//! The task alternates between a turn of the pipeline, a flush and a wait. While there are frames
//! that the pipeline has not taken (too much in flight, or the session not yet established) nothing
//! more is read: the client feels it as back-pressure.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute::frame;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::listener::{Place, Shared};
use crate::admin::words;
use crate::pipeline::{Close, Conn, FrameError, Service};
use crate::session::Lease;
use crate::types::SessionId;

/// Receive buffer of a connection that says little.
const READ_BYTES_IDLE: usize = 4 << 10;
/// Receive buffer of a connection that fills the small one.
const READ_BYTES_BUSY: usize = 64 << 10;
/// Of the answer to a word, so much has to be read within `nio.sessionlessCnxnTimeout`.
const ANSWER_PART_BYTES: usize = 64 << 10;
/// Send buffers larger than this are given back when they are empty.
const KEEP_BYTES_MAX: usize = 64 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed it")]
    ByClient,
    #[error("closed by us")]
    ByUs,
    #[error("no session within the time-out")]
    Sessionless,
    #[error("the answer to a word is not read")]
    Slow,
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    #[error(transparent)]
    Request(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Ended {
    /// Counts a connection that was not ended by the end of its session.
    fn count(&self, shared: &Shared) {
        let measures = &shared.core().counters.measures;
        match self {
            Self::ByUs => {}
            Self::Request(FrameError::NotServed)
                if shared.core().service() != Service::Everybody =>
            {
                measures.not_served.increment(1);
            }
            Self::ByClient
            | Self::Sessionless
            | Self::Slow
            | Self::Frame(_)
            | Self::Request(_)
            | Self::Io(_) => measures.dropped.increment(1),
        }
    }
}

pub(super) async fn run<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr, _place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let conn = shared.core().open(peer);
    let mut connection = Connection {
        stream,
        input: BytesMut::new(),
        frames: VecDeque::new(),
        out: BytesMut::new(),
        lease: None,
        read_bytes: READ_BYTES_IDLE,
        shared: &shared,
        conn: &conn,
    };
    let ended = connection.serve().await;
    shared.core().forget(&conn);
    if let Err(ended) = ended {
        ended.count(&shared);
        tracing::debug!(%peer, session = %conn.session(), %ended, "connection ended");
    }
}

struct Connection<'a, S> {
    shared: &'a Shared,
    conn: &'a Conn,
    stream: S,
    input: BytesMut,
    /// Whole frames that the pipeline has not taken yet.
    frames: VecDeque<Bytes>,
    out: BytesMut,
    /// Of the session, once it is established.
    lease: Option<Arc<Lease>>,
    read_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn serve(&mut self) -> Result<(), Ended> {
        let patience =
            Duration::from_millis(self.shared.config().sessionless_cnxn_timeout_ms.into());
        match tokio::time::timeout(patience, self.first_frame()).await {
            Ok(first) => {
                if let Some(answer) = first? {
                    return self.say(answer, patience).await;
                }
            }
            Err(_) => {
                let expired = &self.shared.core().counters.sessionless_expired;
                expired.fetch_add(1, Ordering::Relaxed);
                return Err(Ended::Sessionless);
            }
        }
        self.establish().await?;
        loop {
            self.cut_frames()?;
            if !self.frames.is_empty() {
                self.shared
                    .core()
                    .handle_frames(self.conn, &mut self.frames, &mut self.out)?;
            }
            self.flush().await?;
            if !self.frames.is_empty() && self.may_go_on() {
                continue;
            }
            self.wait().await?;
        }
    }

    /// Handles a four-letter word or the connect request; the answer to a word.
    async fn first_frame(&mut self) -> Result<Option<words::Answer>, Ended> {
        loop {
            match words::question(self.shared.config(), &self.input) {
                words::Question::None => {}
                words::Question::Unfinished => {
                    self.read().await?;
                    continue;
                }
                question => {
                    self.shared.core().count_word(self.conn);
                    let sources = &self.shared.sources;
                    let answer = words::answer(sources, self.conn.id, question).await;
                    return Ok(Some(answer));
                }
            }
            self.cut_frames()?;
            if let Some(first) = self.frames.pop_front() {
                let config = self.shared.config();
                let clamp = |timeout_ms: i32| {
                    let bound = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
                    let min = bound(config.min_session_timeout_ms);
                    timeout_ms
                        .min(bound(config.max_session_timeout_ms))
                        .max(min)
                };
                self.shared.core().connect(self.conn, &first, clamp)?;
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Sends the answer to a word, however long it takes while its reader goes on: others may wait
    /// for the turn that a long one has.
    async fn say(&mut self, answer: words::Answer, patience: Duration) -> Result<(), Ended> {
        let bytes = answer.text.as_bytes();
        self.shared.core().count_answer_to_word(bytes.len());
        for part in bytes.chunks(ANSWER_PART_BYTES) {
            let sent = tokio::time::timeout(patience, self.stream.write_all(part)).await;
            sent.map_err(|_| Ended::Slow)??;
        }
        self.stream.shutdown().await?;
        Ok(())
    }

    /// Waits until the session is established or refused. Frames behind the connect request stay
    /// where they are meanwhile.
    async fn establish(&mut self) -> Result<(), Ended> {
        loop {
            self.flush().await?;
            if self.conn.session() != SessionId(0) {
                self.lease = self.conn.lease();
                return Ok(());
            }
            self.conn.wake.notified().await;
        }
    }

    fn cut_frames(&mut self) -> Result<(), Ended> {
        let max_len = usize::try_from(self.shared.config().max_buffer_bytes).unwrap_or(usize::MAX);
        while let Some(frame) = frame::next_frame(&mut self.input, max_len)? {
            self.frames.push_back(frame);
        }
        Ok(())
    }

    /// Whether the pipeline would take another frame now.
    fn may_go_on(&self) -> bool {
        self.shared.core().has_room(self.conn)
    }

    async fn wait(&mut self) -> Result<(), Ended> {
        if self.frames.is_empty() {
            tokio::select! {
                biased;
                () = self.conn.wake.notified() => Ok(()),
                read = read(&mut self.stream, &mut self.input, self.read_bytes) => {
                    self.after_read(read?)
                }
            }
        } else {
            self.conn.wake.notified().await;
            Ok(())
        }
    }

    async fn read(&mut self) -> Result<(), Ended> {
        let len = read(&mut self.stream, &mut self.input, self.read_bytes).await?;
        self.after_read(len)
    }

    fn after_read(&mut self, len: usize) -> Result<(), Ended> {
        if len == 0 {
            return Err(Ended::ByClient);
        }
        let received = &self.shared.core().counters.bytes_received;
        received.fetch_add(len as u64, Ordering::Relaxed);
        self.read_bytes = if len >= self.read_bytes {
            READ_BYTES_BUSY
        } else {
            READ_BYTES_IDLE
        };
        if let Some(lease) = &self.lease {
            lease.touch(self.shared.core().heard_now_ms());
        }
        Ok(())
    }

    /// Sends everything that waits; ends the connection when it shall end.
    async fn flush(&mut self) -> Result<(), Ended> {
        loop {
            let close = self.conn.take_outbox(&mut self.out);
            if close == Some(Close::Now) {
                return Err(Ended::ByUs);
            }
            if self.out.is_empty() {
                if close == Some(Close::AfterFlush) {
                    let _ = self.stream.shutdown().await;
                    return Err(Ended::ByUs);
                }
                break;
            }
            while !self.out.is_empty() {
                tokio::select! {
                    biased;
                    sent = self.stream.write_buf(&mut self.out) => {
                        sent?;
                    }
                    () = self.conn.wake.notified() => {
                        if self.conn.closing() == Some(Close::Now) {
                            return Err(Ended::ByUs);
                        }
                    }
                }
            }
        }
        if let Some(waited) = self.conn.events_sent() {
            self.shared.core().counters.measures.event_delivered(waited);
        }
        if self.out.capacity() > KEEP_BYTES_MAX {
            self.out = BytesMut::new();
        }
        Ok(())
    }
}

async fn read<S>(stream: &mut S, input: &mut BytesMut, want: usize) -> io::Result<usize>
where
    S: AsyncRead + Unpin,
{
    input.reserve(want);
    stream.read_buf(input).await
}
