//! Frames: an `int32` length and that many bytes, in both directions.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of what follows, big-endian |
//! | 4 | length | one message |
//!
//! Pure buffers, no sockets. The first four bytes of a connection may also be a four-letter word;
//! the server looks for that before it cuts the first frame.

use bytes::{Buf as _, BufMut, Bytes, BytesMut};

use crate::Encode;

/// Bytes of a frame's length prefix.
pub const HEADER_LEN: usize = 4;

/// A length that the peer may not send. The connection is closed without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of {length} bytes; allowed are 0 to {max_len}")]
pub struct FrameError {
    pub length: i32,
    pub max_len: usize,
}

/// Takes the next whole frame's body from the front of `buffer`, or `None` until more has arrived.
///
/// # Errors
/// A negative length or one above `max_len`.
pub fn next_frame(buffer: &mut BytesMut, max_len: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*header);
    let body_len = match usize::try_from(length) {
        Ok(len) if len <= max_len => len,
        _ => return Err(FrameError { length, max_len }),
    };
    if buffer.len() < HEADER_LEN + body_len {
        // One reservation for a large frame instead of repeated doubling.
        buffer.reserve(HEADER_LEN + body_len - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER_LEN);
    Ok(Some(buffer.split_to(body_len).freeze()))
}

/// Starts a frame; hand the returned mark to [`end_frame`] when the body has been written.
#[must_use]
pub fn begin_frame(out: &mut BytesMut) -> usize {
    let mark = out.len();
    out.put_i32(0);
    mark
}

/// Fills in the length of the frame that began at `mark`.
pub fn end_frame(out: &mut BytesMut, mark: usize) {
    let body_len = out.len() - mark - HEADER_LEN;
    let length = i32::try_from(body_len).unwrap_or(i32::MAX);
    out[mark..mark + HEADER_LEN].copy_from_slice(&length.to_be_bytes());
}

/// Appends one frame that holds `records`, one after the other.
pub fn put_frame(out: &mut BytesMut, records: &[&dyn Encode]) {
    let mark = begin_frame(out);
    for record in records {
        record.encode(out);
    }
    end_frame(out, mark);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_are_split() {
        let mut stream = BytesMut::new();
        put_frame(&mut stream, &[&7i32]);
        put_frame(&mut stream, &[]);
        for split in 0..=stream.len() {
            let mut buffer = BytesMut::from(&stream[..split]);
            let mut frames = Vec::new();
            while let Some(frame) = next_frame(&mut buffer, 16).expect("sound frames") {
                frames.push(frame);
            }
            buffer.extend_from_slice(&stream[split..]);
            while let Some(frame) = next_frame(&mut buffer, 16).expect("sound frames") {
                frames.push(frame);
            }
            assert_eq!(frames, [&[0u8, 0, 0, 7][..], &[][..]]);
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let mut exact = BytesMut::from(&[0u8, 0, 0, 2, 1, 2][..]);
        assert!(next_frame(&mut exact, 2).expect("allowed").is_some());
        let mut above = BytesMut::from(&[0u8, 0, 0, 3][..]);
        assert_eq!(
            next_frame(&mut above, 2),
            Err(FrameError {
                length: 3,
                max_len: 2
            })
        );
        let mut negative = BytesMut::from(&[0xffu8, 0xff, 0xff, 0xff][..]);
        assert!(next_frame(&mut negative, 2).is_err());
    }
}
