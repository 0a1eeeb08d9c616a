//! Frames between servers: length, checksum, kind, body.
//!
//! | size | field |
//! |---|---|
//! | 4 | length of kind and body |
//! | 4 | CRC-32 of kind and body |
//! | 1 | kind |
//! | n | body |

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// No frame is larger. An entry holds at most one request that is larger than a batch, and requests
/// are limited by `jute.maxbuffer`.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;

/// What a peer may send before it has said who it is.
pub(crate) const HELLO_BYTES_MAX: usize = 512;

const HEADER_LEN: usize = 8;
/// Buffered bytes at which a writer sends without being asked.
const FLUSH_AT: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

/// Two directions of one connection.
pub struct Stream {
    pub reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    pub writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
}

pub(crate) struct FrameReader {
    input: Box<dyn AsyncRead + Send + Sync + Unpin>,
    buffer: BytesMut,
    /// Larger frames end the connection.
    pub(crate) limit: usize,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl FrameReader {
    pub(crate) fn new(input: Box<dyn AsyncRead + Send + Sync + Unpin>, limit: usize) -> Self {
        Self {
            input,
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// The next frame; `None` at the end of the connection. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// The connection failed, or what came is no frame.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.cut()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// A frame that has arrived as a whole.
    pub(crate) fn cut(&mut self) -> io::Result<Option<Frame>> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *header;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let crc = u32::from_be_bytes([e, f, g, h]);
        if len == 0 || len > self.limit {
            return Err(damaged("a frame of impossible length"));
        }
        if self.buffer.len() < HEADER_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        let mut body = self.buffer.split_to(len).freeze();
        if crc32fast::hash(&body) != crc {
            return Err(damaged("a frame with a wrong checksum"));
        }
        let kind = body.get_u8();
        Ok(Some(Frame { kind, body }))
    }
}

pub(crate) struct FrameWriter {
    out: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    buffer: BytesMut,
}

impl FrameWriter {
    pub(crate) fn new(out: Box<dyn AsyncWrite + Send + Sync + Unpin>) -> Self {
        Self {
            out,
            buffer: BytesMut::new(),
        }
    }

    /// Appends a frame; [`Self::flush`] sends it.
    pub(crate) fn put(&mut self, kind: u8, body: &[u8]) {
        put_frame(kind, body, &mut self.buffer);
    }

    /// Whether enough waits that it should be sent before more is put.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= FLUSH_AT
    }

    /// Whether everything was sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            if self.out.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if self.buffer.capacity() > FLUSH_AT {
            self.buffer = BytesMut::new();
        }
        self.out.flush().await
    }

    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.put(kind, body);
        self.flush().await
    }

    /// Ends this direction of the connection.
    pub(crate) async fn shutdown(&mut self) {
        let _ = self.out.shutdown().await;
    }
}

pub(crate) fn put_frame(kind: u8, body: &[u8], out: &mut BytesMut) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(body);
    out.reserve(HEADER_LEN + 1 + body.len());
    out.put_u32(u32::try_from(body.len() + 1).unwrap_or(u32::MAX));
    out.put_u32(crc.finalize());
    out.put_u8(kind);
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: Vec<u8>) -> FrameReader {
        FrameReader::new(Box::new(io::Cursor::new(bytes)), FRAME_BYTES_MAX)
    }

    #[tokio::test]
    async fn frames_round_trip_and_every_damaged_bit_is_found() {
        let mut bytes = BytesMut::new();
        put_frame(7, b"body", &mut bytes);
        put_frame(8, b"", &mut bytes);
        let mut sound = reader(bytes.to_vec());
        let first = sound.next().await.expect("sound").expect("two frames");
        assert_eq!((first.kind, &first.body[..]), (7, &b"body"[..]));
        let second = sound.next().await.expect("sound").expect("two frames");
        assert_eq!((second.kind, &second.body[..]), (8, &b""[..]));
        assert_eq!(sound.next().await.expect("sound"), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut damaged = reader(damaged);
            let mut found = false;
            for _ in 0..3 {
                match damaged.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => {
                        found = true;
                        break;
                    }
                }
            }
            assert!(found, "bit {bit} was changed");
        }
    }
}
