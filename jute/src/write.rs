//! Encoding into `bytes::BytesMut`.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

/// A value with a jute encoding.
pub trait Encode {
    fn encode(&self, out: &mut BytesMut);
}

impl Encode for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }
}

impl Encode for Option<bool> {
    fn encode(&self, out: &mut BytesMut) {
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl Encode for i32 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(*self);
    }
}

impl Encode for i64 {
    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(*self);
    }
}

/// A length or count. The wire has 31 bits for it; whatever is longer could not have been received
/// in a frame, so the clamp is unreachable and only keeps this function total.
fn put_len(len: usize, out: &mut BytesMut) {
    out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
}

impl Encode for Option<&[u8]> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(bytes) => {
                put_len(bytes.len(), out);
                out.put_slice(bytes);
            }
        }
    }
}

/// Writes a string that is not null.
///
/// Java encodes each UTF-16 unit by itself, so a character above U+FFFF leaves as two surrogates of
/// three bytes each (`BinaryOutputArchive.stringToByteBuffer`), not as four bytes of UTF-8.
pub fn put_str(text: &str, out: &mut BytesMut) {
    if text.bytes().all(|byte| byte < 0xf0) {
        put_len(text.len(), out);
        out.put_slice(text.as_bytes());
        return;
    }
    let mut encoded = Vec::with_capacity(text.len() * 3 / 2);
    for unit in text.encode_utf16() {
        match unit {
            0..=0x7f => encoded.push(unit.to_be_bytes()[1]),
            0x80..=0x7ff => encoded.extend([lead(0xc0, unit, 6), tail(unit, 0)]),
            _ => encoded.extend([lead(0xe0, unit, 12), tail(unit, 6), tail(unit, 0)]),
        }
    }
    put_len(encoded.len(), out);
    out.put_slice(&encoded);
}

/// First byte of a UTF-8 sequence: the mark and the bits above `shift`.
fn lead(mark: u8, unit: u16, shift: u32) -> u8 {
    mark | (unit >> shift).to_be_bytes()[1]
}

/// Continuation byte: six bits from `shift` on.
fn tail(unit: u16, shift: u32) -> u8 {
    0x80 | ((unit >> shift) & 0x3f).to_be_bytes()[1]
}

impl Encode for Option<Cow<'_, str>> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(text) => put_str(text, out),
        }
    }
}

impl<T: Encode> Encode for Option<Vec<T>> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(items) => {
                put_len(items.len(), out);
                for item in items {
                    item.encode(out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_beyond_the_basic_plane_leave_as_surrogates() {
        let mut out = BytesMut::new();
        put_str("é€😀", &mut out);
        let expected = b"\0\0\0\x0b\xc3\xa9\xe2\x82\xac\xed\xa0\xbd\xed\xb8\x80";
        assert_eq!(&out[..], expected);
    }
}
