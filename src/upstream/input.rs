//! A stream over the content of one file: plain, gzip or Snappy, with a running checksum.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use adler2::Adler32;
use flate2::read::MultiGzDecoder;
use jute::{Decode, Reader};

use super::{FileError, Progress};

/// Longest string or buffer that is believed: jute has 31 bits for a length, and `jute.maxbuffer`
/// is a megabyte unless somebody has raised it.
const BUFFER_BYTES_MAX: usize = 1 << 30;
/// Reserved ahead for a buffer whose length is only announced.
const RESERVED_BYTES_MAX: usize = 64 << 10;
/// Largest block of a Snappy stream: snappy-java writes blocks of 32 KiB unless told otherwise.
const SNAPPY_BLOCK_BYTES_MAX: usize = 64 << 20;
/// Bytes that one byte of a Snappy block stands for at most: a copy of 64 bytes takes three.
const SNAPPY_RATIO_MAX: usize = 32;

/// How a file is compressed; its name says so, as upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Snappy,
}

impl Compression {
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(name) if name.eq_ignore_ascii_case("gz") => Self::Gzip,
            Some(name) if name.eq_ignore_ascii_case("snappy") => Self::Snappy,
            _ => Self::Plain,
        }
    }
}

/// Why nothing more comes.
#[derive(Debug)]
pub enum Stop {
    /// The content ends inside of what was asked for.
    Ended,
    Failed(FileError),
}

/// Content of a file, from front to back.
pub struct Input<'p> {
    source: Box<dyn Read + 'p>,
    path: PathBuf,
    offset: u64,
    /// Bytes of content that are taken at most.
    content_max: u64,
    checksum: Adler32,
}

impl<'p> Input<'p> {
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, progress: Progress<'p>) -> Result<Self, FileError> {
        Self::open_as(path, Compression::of(path), progress)
    }

    /// Opens a file whose name does not say how it is compressed.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open_as(
        path: &Path,
        compression: Compression,
        progress: Progress<'p>,
    ) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|source| FileError::io(path, source))?;
        let counted = BufReader::with_capacity(1 << 20, Counted { file, progress });
        let source: Box<dyn Read + 'p> = match compression {
            Compression::Plain => Box::new(counted),
            Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(counted))),
            Compression::Snappy => Box::new(Snappy::new(counted)),
        };
        Ok(Self::over(source, path))
    }

    /// Content that is in memory already.
    #[must_use]
    pub fn of_bytes(bytes: &'p [u8], compression: Compression) -> Self {
        let source: Box<dyn Read + 'p> = match compression {
            Compression::Plain => Box::new(bytes),
            Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(bytes))),
            Compression::Snappy => Box::new(Snappy::new(bytes)),
        };
        Self::over(source, Path::new("bytes"))
    }

    fn over(source: Box<dyn Read + 'p>, path: &Path) -> Self {
        Self {
            source,
            path: path.to_owned(),
            offset: 0,
            content_max: u64::MAX,
            checksum: Adler32::new(),
        }
    }

    /// Refuses content that is longer: what a small file can be decompressed to has no bound.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.content_max = bytes;
        self
    }

    /// Bytes of the content so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Adler-32 of the content so far.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum.checksum()
    }

    pub(super) fn checksum_state(&self) -> Adler32 {
        self.checksum
    }

    /// Damage at the current position.
    pub fn damaged(&self, why: impl Into<String>) -> FileError {
        self.damaged_at(self.offset, why)
    }

    pub fn damaged_at(&self, offset: u64, why: impl Into<String>) -> FileError {
        FileError::Damaged {
            path: self.path.clone(),
            offset,
            why: why.into(),
        }
    }

    fn failed(&self, source: io::Error) -> Stop {
        match source.kind() {
            // A compressed stream that is cut short, or is no such stream at all.
            io::ErrorKind::UnexpectedEof => Stop::Ended,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Stop::Failed(self.damaged(format!("it cannot be decompressed: {source}")))
            }
            _ => Stop::Failed(FileError::io(&self.path, source)),
        }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// There are fewer, or the file cannot be read.
    pub fn take(&mut self, len: usize) -> Result<Vec<u8>, Stop> {
        if self.offset.saturating_add(len as u64) > self.content_max {
            return Err(self.too_long());
        }
        let mut bytes = Vec::with_capacity(len.min(RESERVED_BYTES_MAX));
        let outcome = self
            .source
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        self.checksum.write_slice(&bytes);
        match outcome {
            Err(source) => Err(self.failed(source)),
            Ok(_) if bytes.len() < len => Err(Stop::Ended),
            Ok(_) => Ok(bytes),
        }
    }

    /// The next `len` bytes, or what there is of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn up_to(&mut self, len: usize) -> Result<Vec<u8>, FileError> {
        match self.rest(len) {
            Ok(bytes) => Ok(bytes),
            Err(Stop::Ended) => Err(self.damaged("it is cut short")),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn has_more_than_zeros(&mut self) -> Result<bool, FileError> {
        loop {
            let bytes = self.up_to(1 << 20)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            if bytes.is_empty() {
                return Ok(false);
            }
        }
    }

    /// A record of a known length.
    ///
    /// # Errors
    /// The content ends, cannot be read, or is no such record.
    pub fn record<T: for<'a> Decode<'a>>(&mut self, len: usize) -> Result<T, Stop> {
        let bytes = self.take(len)?;
        let read = Reader::new(&bytes).read();
        read.map_err(|error| Stop::Failed(self.damaged(error.to_string())))
    }

    /// A length-prefixed buffer, `None` for null.
    ///
    /// # Errors
    /// The content ends, cannot be read, or the length makes no sense.
    pub fn buffer(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let len: i32 = self.record(4)?;
        if len == -1 {
            return Ok(None);
        }
        match usize::try_from(len) {
            Ok(len) if len <= BUFFER_BYTES_MAX => self.take(len).map(Some),
            _ => Err(Stop::Failed(
                self.damaged(format!("a length of {len} makes no sense")),
            )),
        }
    }

    fn too_long(&self) -> Stop {
        let max = self.content_max;
        Stop::Failed(self.damaged(format!("its content is longer than {max} bytes")))
    }

    /// What is left, `max` bytes at most.
    ///
    /// # Errors
    /// The file cannot be read, is compressed and cut short, or is longer than allowed.
    pub fn rest(&mut self, max: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        let outcome = self
            .source
            .by_ref()
            .take(max as u64)
            .read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        self.checksum.write_slice(&bytes);
        match outcome {
            Err(source) => Err(self.failed(source)),
            Ok(_) if self.offset > self.content_max => Err(self.too_long()),
            Ok(_) => Ok(bytes),
        }
    }
}

/// Tells how much was read of the file itself.
struct Counted<'p> {
    file: File,
    progress: Progress<'p>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        (self.progress)(len as u64);
        Ok(len)
    }
}

/// The stream of snappy-java's `SnappyOutputStream`.
///
/// | size | field |
/// |---|---|
/// | 8 | 0x82 `SNAPPY` 0x00 |
/// | 4, 4 | version, lowest compatible version |
/// | 4+n | length and a raw Snappy block, again and again |
///
/// Streams that were written one behind the other have a header each.
struct Snappy<R> {
    source: R,
    block: Vec<u8>,
    used: usize,
    has_header: bool,
}

const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\x00";

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<R: Read> Snappy<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            block: Vec::new(),
            used: 0,
            has_header: false,
        }
    }

    fn header(&mut self, beginning: &[u8]) -> io::Result<()> {
        let mut header = [0; 16];
        let (begun, rest) = header.split_at_mut(beginning.len());
        begun.copy_from_slice(beginning);
        self.source.read_exact(rest)?;
        if header.starts_with(&SNAPPY_MAGIC) {
            Ok(())
        } else {
            Err(invalid("no Snappy stream"))
        }
    }

    /// False at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.has_header {
            self.header(&[])?;
            self.has_header = true;
        }
        let mut prefix = [0; 4];
        loop {
            if self.source.read(&mut prefix[..1])? == 0 {
                return Ok(false);
            }
            self.source.read_exact(&mut prefix[1..])?;
            if prefix != SNAPPY_MAGIC[..4] {
                break;
            }
            self.header(&prefix)?;
        }
        let len = u32::from_be_bytes(prefix) as usize;
        if len > SNAPPY_BLOCK_BYTES_MAX {
            return Err(invalid("a Snappy block of an impossible length"));
        }
        let mut packed = Vec::with_capacity(len.min(RESERVED_BYTES_MAX));
        self.source
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut packed)?;
        if packed.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unpacked =
            snap::raw::decompress_len(&packed).map_err(|_| invalid("no Snappy block"))?;
        if unpacked > SNAPPY_BLOCK_BYTES_MAX.min(packed.len() * SNAPPY_RATIO_MAX) {
            return Err(invalid("a Snappy block of an impossible length"));
        }
        self.block = snap::raw::Decoder::new()
            .decompress_vec(&packed)
            .map_err(|_| invalid("a damaged Snappy block"))?;
        self.used = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Snappy<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let len = buffer.len().min(self.block.len() - self.used);
        buffer[..len].copy_from_slice(&self.block[self.used..self.used + len]);
        self.used += len;
        Ok(len)
    }
}
