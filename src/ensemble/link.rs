//! The ordered stream of messages between a server and its leader.
//!
//! What the messages say is the pipeline's business. A server has at most one link to its leader;
//! a new one takes the place of the old one, which is closed first.

use std::io;

use bytes::Bytes;

use super::peer::{FrameReader, FrameWriter, Peer};

/// Takes the links that other servers open to this one.
pub trait LinkHandler: Send + Sync + 'static {
    /// Serves a link until it ends. Dropping the future ends it.
    fn serve(&self, link: Link) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// An open link, either side.
pub struct Link {
    /// The server at the other end.
    pub peer: u64,
    pub reader: LinkReader,
    pub writer: LinkWriter,
}

pub struct LinkReader(FrameReader);

pub struct LinkWriter(FrameWriter);

impl Link {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer: peer.id,
            reader: LinkReader(peer.reader),
            writer: LinkWriter(peer.writer),
        }
    }
}

impl LinkReader {
    /// The next message, `None` when the other side has closed. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn next(&mut self) -> io::Result<Option<(u8, Bytes)>> {
        Ok(self.0.next().await?.map(|frame| (frame.kind, frame.body)))
    }
}

impl LinkWriter {
    /// Appends a message; [`Self::flush`] sends it.
    pub fn put(&mut self, kind: u8, body: &[u8]) {
        self.0.put(kind, body);
    }

    /// Whether enough waits to be sent before more is put.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// # Errors
    /// The connection failed.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}
