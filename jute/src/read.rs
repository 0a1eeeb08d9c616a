//! Decoding: a bounded reader over a borrowed slice.

use std::borrow::Cow;
use std::fmt;

use nom::IResult;
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_i32, be_i64, u8 as any_byte};

/// A value that can be read from jute bytes borrowed for `'a`.
pub trait Decode<'a>: Sized {
    /// Reads one value; on an error the reader's position is unspecified.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// What was wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The input ended inside a value.
    UnexpectedEnd,
    /// A length below -1.
    NegativeLength(i32),
    /// A multi header announced an operation that cannot be part of a multi.
    UnknownMultiOp(i32),
    /// A multi without its terminating header, or one that mixes reads with writes.
    MalformedMulti,
}

/// Bytes that are no record: where decoding stopped and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// Innermost record that was being read; empty outside of any.
    pub record: &'static str,
    /// Field of that record.
    pub field: &'static str,
    /// Byte offset from the start of the reader's input.
    pub offset: usize,
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// Names the record and field unless an inner record has done so already.
    #[must_use]
    pub fn within(mut self, record: &'static str, field: &'static str) -> Self {
        if self.record.is_empty() {
            self.record = record;
            self.field = field;
        }
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{} at byte {}: {:?}",
            self.record, self.field, self.offset, self.kind
        )
    }
}

impl std::error::Error for DecodeError {}

/// nom's error for the primitives. They can only run out of input, so nothing is recorded.
struct Ended;

impl<I> ParseError<I> for Ended {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Self
    }
    fn append(_: I, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// A position in a slice of jute bytes.
///
/// Invariant: `rest` is a suffix of the input, so nothing decoded is longer than the input.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    input_len: usize,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            input_len: input.len(),
        }
    }

    /// Bytes that were not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes read so far.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.input_len - self.rest.len()
    }

    pub fn read<T: Decode<'a>>(&mut self) -> Result<T, DecodeError> {
        T::decode(self)
    }

    /// An error of `kind` at the current position.
    #[must_use]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            record: "",
            field: "",
            offset: self.offset(),
            kind,
        }
    }

    fn run<T>(
        &mut self,
        parser: impl FnOnce(&'a [u8]) -> IResult<&'a [u8], T, Ended>,
    ) -> Result<T, DecodeError> {
        match parser(self.rest) {
            Ok((rest, value)) => {
                self.rest = rest;
                Ok(value)
            }
            Err(_) => Err(self.error(DecodeErrorKind::UnexpectedEnd)),
        }
    }

    /// A length prefix: `None` for -1, an error for anything below.
    fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        let before = self.clone();
        match i32::decode(self)? {
            -1 => Ok(None),
            len => match usize::try_from(len) {
                Ok(len) => Ok(Some(len)),
                Err(_) => Err(before.error(DecodeErrorKind::NegativeLength(len))),
            },
        }
    }
}

impl<'a> Decode<'a> for bool {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.run(any_byte).map(|byte| byte != 0)
    }
}

/// A byte at the very end that old peers leave out.
impl<'a> Decode<'a> for Option<bool> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.rest.is_empty() {
            Ok(None)
        } else {
            bool::decode(reader).map(Some)
        }
    }
}

impl<'a> Decode<'a> for i32 {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.run(be_i32)
    }
}

impl<'a> Decode<'a> for i64 {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.run(be_i64)
    }
}

/// A buffer; null and empty are different values.
impl<'a> Decode<'a> for Option<&'a [u8]> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.length()? {
            None => Ok(None),
            Some(len) => reader.run(|input| take(len)(input)).map(Some),
        }
    }
}

/// A string. Malformed UTF-8 is no error: it becomes U+FFFD, as in Java, and fails path validation
/// later.
impl<'a> Decode<'a> for Option<Cow<'a, str>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Option::<&[u8]>::decode(reader)?.map(decode_utf8))
    }
}

/// Java's `new String(bytes, UTF_8)`: each maximal malformed part becomes one U+FFFD. It differs
/// from Rust's lossy decoding in taking a surrogate written as three bytes (CESU-8) as *one* part.
fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(valid) => Cow::Borrowed(valid),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len());
            let mut rest = bytes;
            loop {
                match str::from_utf8(rest) {
                    Ok(valid) => {
                        text.push_str(valid);
                        return Cow::Owned(text);
                    }
                    Err(error) => {
                        let (valid, malformed) = rest.split_at(error.valid_up_to());
                        text.push_str(&String::from_utf8_lossy(valid));
                        text.push('\u{fffd}');
                        let skipped = match malformed {
                            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
                            _ => error.error_len().unwrap_or(malformed.len()),
                        };
                        rest = &malformed[skipped.min(malformed.len())..];
                    }
                }
            }
        }
    }
}

/// A vector: -1 is null, any other count that is not positive is an empty list.
impl<'a, T: Decode<'a>> Decode<'a> for Option<Vec<T>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = i32::decode(reader)?;
        if count == -1 {
            return Ok(None);
        }
        let count = usize::try_from(count).unwrap_or(0);
        // Each element takes at least four bytes in all vectors of the protocol, so a forged count
        // cannot make us reserve more than the input justifies.
        let mut items = Vec::with_capacity(count.min(reader.rest.len() / 4));
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(Some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_utf8_is_replaced_as_java_does() {
        // Expected values from `new String(bytes, UTF_8)` on JDK 17.
        let check = |bytes: &[u8], expected: &str| assert_eq!(decode_utf8(bytes), expected);
        check(b"/a", "/a");
        check(b"/a\xffb", "/a\u{fffd}b");
        check(b"\xed\xa0\x80", "\u{fffd}");
        check(b"\xed\xa0\x80\xed\xb0\x80x", "\u{fffd}\u{fffd}x");
        check(b"\xe2\x82", "\u{fffd}");
        check(b"\xf0\x9f\x98\x80", "\u{1f600}");
    }

    #[test]
    fn a_forged_count_reserves_nothing() {
        let bytes = [0x7f, 0xff, 0xff, 0xff];
        let error = Reader::new(&bytes)
            .read::<Option<Vec<i32>>>()
            .expect_err("malformed");
        assert_eq!(error.kind, DecodeErrorKind::UnexpectedEnd);
    }

    #[test]
    fn lengths_below_minus_one_are_refused() {
        let bytes = (-2i32).to_be_bytes();
        let error = Reader::new(&bytes)
            .read::<Option<&[u8]>>()
            .expect_err("malformed");
        assert_eq!(error.kind, DecodeErrorKind::NegativeLength(-2));
        assert_eq!(error.offset, 0);
    }
}
