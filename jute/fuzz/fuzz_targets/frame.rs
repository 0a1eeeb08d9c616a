//! Frames come out the same wherever the stream is split, within the limit, and put together they
//! are the stream again.
#![no_main]

use bytes::{Bytes, BytesMut};
use jute::frame::{FrameError, HEADER_LEN, next_frame};
use libfuzzer_sys::fuzz_target;

/// Takes frames until more bytes are needed.
fn drain(buffer: &mut BytesMut, max_len: usize, frames: &mut Vec<Bytes>) -> Result<(), FrameError> {
    while let Some(frame) = next_frame(buffer, max_len)? {
        assert!(frame.len() <= max_len);
        frames.push(frame);
    }
    Ok(())
}

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (max_len, piece, stream) = input;
    let max_len = usize::from(max_len);
    let mut whole = Vec::new();
    let mut rest = BytesMut::from(stream);
    let outcome = drain(&mut rest, max_len, &mut whole);

    let mut pieces = Vec::new();
    let mut buffer = BytesMut::new();
    let mut piecewise = Ok(());
    for part in stream.chunks(usize::from(piece).max(1)) {
        buffer.extend_from_slice(part);
        piecewise = drain(&mut buffer, max_len, &mut pieces);
        if piecewise.is_err() {
            break;
        }
    }
    assert_eq!(whole, pieces);
    assert_eq!(outcome, piecewise);

    let mut again = BytesMut::new();
    for frame in &whole {
        let length = i32::try_from(frame.len()).expect("within the limit");
        again.extend_from_slice(&length.to_be_bytes());
        again.extend_from_slice(frame);
    }
    again.extend_from_slice(&rest);
    assert_eq!(again, stream);
    if outcome.is_ok() {
        assert!(rest.len() < HEADER_LEN + max_len);
    }
});
