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
use super::snapshot::FILE_HEADER_LEN;
use super::{FileError, Progress};

const MAGIC: i32 = i32::from_be_bytes(*b"ZKLG");
const END_OF_RECORD: u8 = b'B';

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
            Ok(header) if header.magic == MAGIC => Ok(Some(Self { input })),
            Ok(_) => Err(input.damaged("it is no transaction log")),
            Err(Stop::Ended) => Ok(None),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// # Errors
    /// A record that was written whole is not what was written, or the file cannot be read.
    pub fn read(&mut self) -> Result<Next, FileError> {
        match self.read_record() {
            Ok(next) => Ok(next),
            Err(Stop::Ended) => Ok(Next::Torn),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn read_record(&mut self) -> Result<Next, Stop> {
        let input = &mut self.input;
        let checksum: i64 = match input.record(8) {
            // A file that was not grown ahead ends behind its last record.
            Err(Stop::Ended) => return Ok(Next::End),
            read => read?,
        };
        let payload = match input.buffer()? {
            Some(payload) if !payload.is_empty() => payload,
            _ => return Ok(Next::End),
        };
        if input.take(1)? != [END_OF_RECORD] {
            return Ok(Next::Torn);
        }
        let found = i64::from(adler2::adler32_slice(&payload));
        if found != checksum {
            return Err(Stop::Failed(input.damaged(format!(
                "the record before has the checksum {found:x} instead of {checksum:x}"
            ))));
        }
        Ok(Next::Record(payload))
    }

    /// Damage at the current position.
    pub fn damaged(&self, why: impl Into<String>) -> FileError {
        self.input.damaged(why)
    }
}
