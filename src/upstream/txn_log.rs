//! One file of the transaction log.
//!
//! | size | field |
//! |---|---|
//! | 16 | header: `ZKLG`, version 2, database 0 |
//! | 8 | Adler-32 of a record |
//! | 4 | its length; 0 ends the file, which is grown ahead with zeros |
//! | n | the record: [`TxnRecord`](jute::proto::txn::TxnRecord) |
//! | 1 | `B`, which a record that was cut short does not have |
//!
//! The last four repeat.

use std::path::Path;

use jute::proto::txn::FileHeader;

use super::input::{Input, Stop};
use super::snapshot::{FILE_HEADER_LEN, VERSION, other_version};
use super::{FileError, Progress};

const MAGIC: i32 = i32::from_be_bytes(*b"ZKLG");
const END_OF_RECORD: u8 = b'B';
/// Checksum and length.
const HEAD_LEN: usize = 12;
/// Bytes of a [`TxnHeader`](jute::proto::txn::TxnHeader), which each record begins with.
const RECORD_BYTES_MIN: usize = 32;
/// Longest record that is believed, as for any buffer.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Searched for another record behind one that is not whole; more than zeros behind that is damage.
const SEARCHED_BYTES_MAX: usize = 256 << 20;
/// Places that look like a record and whose checksum is made; nobody's data has more of them.
const CANDIDATES_MAX: usize = 1 << 10;

/// Whether the length says that nothing was written any more.
struct IsEnd(bool);

fn is_sum_of(checksum: i64, payload: &[u8]) -> bool {
    i64::from(adler2::adler32_slice(payload)) == checksum
}

/// Where the first sound record is, but for one at the very beginning. Zeros at the end may be cut
/// off.
fn next_record(bytes: &[u8]) -> Option<usize> {
    let mut candidates = 0;
    for at in 1..bytes.len().saturating_sub(HEAD_LEN + RECORD_BYTES_MIN) {
        // An Adler-32 in eight bytes.
        if bytes[at..at + 4] != [0; 4] || bytes[at + 4..at + HEAD_LEN] == [0; 8] {
            continue;
        }
        let [checksum, len] = [at + 4, at + 8].map(|at| {
            bytes[at..]
                .first_chunk::<4>()
                .map_or(0, |number| u32::from_be_bytes(*number))
        });
        let len = len as usize;
        let payload = at + HEAD_LEN;
        if len < RECORD_BYTES_MIN || bytes.get(payload.saturating_add(len)) != Some(&END_OF_RECORD)
        {
            continue;
        }
        candidates += 1;
        if candidates > CANDIDATES_MAX || is_sum_of(checksum.into(), &bytes[payload..payload + len])
        {
            return Some(at);
        }
    }
    None
}

/// What comes next in a log.
#[derive(Debug)]
pub enum Next {
    /// The bytes of a record that was written whole.
    Record(Vec<u8>),
    /// Nothing was written any more.
    End,
    /// The beginning of a record whose writing was interrupted: nobody was told of it.
    Torn,
}

/// Reads the records of one file.
pub struct LogReader<'p> {
    input: Input<'p>,
}

impl<'p> LogReader<'p> {
    /// `None` for a file whose writing was interrupted before it had its header.
    ///
    /// # Errors
    /// It cannot be read, or is no log.
    pub fn open(path: &Path, progress: Progress<'p>) -> Result<Option<Self>, FileError> {
        Self::over(Input::open(path, progress)?)
    }

    /// # Errors
    /// It is no log.
    pub fn over(mut input: Input<'p>) -> Result<Option<Self>, FileError> {
        match input.record::<FileHeader>(FILE_HEADER_LEN) {
            Ok(header) if header.magic == MAGIC && header.version == VERSION => {
                Ok(Some(Self { input }))
            }
            Ok(header) if header.magic == MAGIC => Err(input.damaged(other_version(&header))),
            Ok(_) => Err(input.damaged("it is no transaction log")),
            Err(Stop::Ended) => Ok(None),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// # Errors
    /// A record that was written whole is not what was written, or the file cannot be read.
    pub fn read(&mut self) -> Result<Next, FileError> {
        let begin = self.input.offset();
        let mut bytes = self.input.up_to(HEAD_LEN)?;
        let Some((checksum, len)) = bytes.split_first_chunk::<8>() else {
            // A file that was not grown ahead ends behind its last record.
            return Ok(Next::End);
        };
        let checksum = i64::from_be_bytes(*checksum);
        let Some(len) = len.first_chunk::<4>().map(|len| i32::from_be_bytes(*len)) else {
            return Ok(Next::Torn);
        };
        let len = match len {
            0 | -1 => {
                self.check_rest(begin, bytes, IsEnd(true))?;
                return Ok(Next::End);
            }
            len => usize::try_from(len)
                .ok()
                .filter(|len| *len <= RECORD_BYTES_MAX),
        };
        let Some(len) = len else {
            return Err(self
                .input
                .damaged_at(begin, "a record has an impossible length"));
        };
        let mut payload = self.input.up_to(len + 1)?;
        let is_whole = payload.len() > len;
        let mark = payload.get(len).copied().unwrap_or_default();
        if !is_whole || mark != END_OF_RECORD {
            // A mark that was not written is a zero.
            if mark != 0 && is_sum_of(checksum, &payload[..len]) {
                let why = format!("a record ends with {mark:#04x} instead of its mark");
                return Err(self.input.damaged_at(begin, why));
            }
            bytes.append(&mut payload);
            self.check_rest(begin, bytes, IsEnd(false))?;
            return Ok(Next::Torn);
        }
        payload.pop();
        if !is_sum_of(checksum, &payload) {
            let found = adler2::adler32_slice(&payload);
            let why = format!("a record has the checksum {found:x} instead of {checksum:x}");
            return Err(self.input.damaged_at(begin, why));
        }
        Ok(Next::Record(payload))
    }

    /// What a crash leaves ends the file: behind the last record that was written whole there are
    /// pieces of one that was not, and zeros. Where records go on, something else has happened to
    /// the bytes between, and what stood there was acknowledged.
    fn check_rest(&mut self, begin: u64, mut bytes: Vec<u8>, end: IsEnd) -> Result<(), FileError> {
        let read = self.input.rest(SEARCHED_BYTES_MAX);
        bytes.extend(read.map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Ended => self.input.damaged("it is cut short"),
        })?);
        let goes_on = self.input.has_more_than_zeros()?;
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let bytes = &bytes[..used];
        let lost = |why: &str| {
            let why = format!("what stands here is no record, and {why}");
            Err(self.input.damaged_at(begin, why))
        };
        if let Some(at) = next_record(bytes) {
            let at = begin + at as u64;
            return lost(&format!("there is one behind it, at byte {at}"));
        }
        // The last record, but for its length.
        if let Some((checksum, rest)) = bytes.split_first_chunk::<8>()
            && let Some((&END_OF_RECORD, payload)) = rest.get(4..).and_then(<[u8]>::split_last)
            && is_sum_of(i64::from_be_bytes(*checksum), payload)
        {
            return lost("it is one with another length");
        }
        if end.0 && bytes.len() > HEAD_LEN {
            return lost("there is more than zeros behind it");
        }
        if goes_on {
            return lost("there is too much behind it");
        }
        Ok(())
    }

    /// Damage at the current position.
    pub fn damaged(&self, why: impl Into<String>) -> FileError {
        self.input.damaged(why)
    }
}
