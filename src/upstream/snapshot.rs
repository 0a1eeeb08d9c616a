//! One snapshot file.
//!
//! | part | content |
//! |---|---|
//! | header | `ZKSN`, version 2, database -1 |
//! | sessions | count; id and time-out in ms of each |
//! | access control lists | count; key and entries of each |
//! | znodes | path, data, key of the list, [`StatPersisted`]; parents first, the root is `""` |
//! | | path `/`: no more znodes |
//! | seal | Adler-32 of everything so far, and `/` again |
//! | digest (3.6 and newer) | zxid, version, digest of the tree; a seal |
//! | last zxid (3.9) | the newest zxid when the writing ended; a seal |
//!
//! The tree changes while a snapshot is written, and its name is the zxid at the beginning: what it
//! holds is repaired by the log behind that zxid.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use adler2::Adler32;
use bytes::BytesMut;
use jute::proto::txn::{FileHeader, StatPersisted};
use jute::{DecodeError, Encode as _, Reader, put_str};

use super::image::{Image, ImageNode, ListRef};
use super::input::{Input, Stop};
use super::{FileError, Progress};
use crate::tree::AclEntry;

pub(super) const MAGIC: i32 = i32::from_be_bytes(*b"ZKSN");
pub(super) const VERSION: i32 = 2;
const DB_ID: i64 = -1;
pub(super) const FILE_HEADER_LEN: usize = 16;

/// Key of `world:anyone:cdrwa`, which stands in no table.
const OPEN_KEY: i64 = -1;
/// The way of building digests that 3.6 to 3.9 have.
pub const DIGEST_VERSION: i32 = 2;
/// Bytes of a [`StatPersisted`] and the key in front of it.
const KEY_AND_STAT_LEN: usize = 8 + 60;
/// A zxid and the seal behind it.
const LAST_ZXID_LEN: usize = 8 + 13;
/// Whatever stands behind the znodes is shorter: the digest of old versions is text.
const TAIL_LEN_MAX: usize = 256;

/// The digest that a snapshot carries: of the tree behind this zxid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDigest {
    pub zxid: i64,
    pub version: i32,
    pub digest: u64,
}

/// The content of a snapshot.
#[derive(Debug)]
pub struct Snapshot {
    pub image: Image,
    /// `None` in snapshots of 3.5 and older, and of servers that keep no digest.
    pub digest: Option<SnapshotDigest>,
}

/// Reads the snapshot that was begun at `zxid`.
///
/// # Errors
/// It cannot be read, is damaged or cut short.
pub fn read(
    path: &Path,
    zxid: i64,
    extended_types: bool,
    progress: Progress<'_>,
) -> Result<Snapshot, FileError> {
    let mut input = Input::open(path, progress)?;
    decode(&mut input, zxid, extended_types)
}

/// # Errors
/// It is damaged or cut short.
pub fn decode(
    input: &mut Input<'_>,
    zxid: i64,
    extended_types: bool,
) -> Result<Snapshot, FileError> {
    decode_parts(input, zxid, extended_types).map_err(|stop| match stop {
        Stop::Failed(error) => error,
        Stop::Ended => input.damaged("it ends too early"),
    })
}

fn decode_parts(input: &mut Input<'_>, zxid: i64, extended_types: bool) -> Result<Snapshot, Stop> {
    let header: FileHeader = input.record(FILE_HEADER_LEN)?;
    if header.magic != MAGIC {
        return Err(Stop::Failed(input.damaged("it is no snapshot")));
    }
    if header.version != VERSION {
        return Err(Stop::Failed(input.damaged(other_version(&header))));
    }
    let mut image = Image::bare(zxid, extended_types);
    for _ in 0..input.record::<i32>(4)? {
        let id = input.record(8)?;
        image.sessions.insert(id, input.record(4)?);
    }
    decode_acls(input, &mut image)?;
    decode_nodes(input, &mut image)?;
    check_seal(input)?;
    let digest = decode_digest(input)?;
    image.count_all_quotas();
    Ok(Snapshot { image, digest })
}

pub(super) fn other_version(header: &FileHeader) -> String {
    let found = header.version;
    format!("its format is version {found}, and only {VERSION} is known")
}

fn decode_acls(input: &mut Input<'_>, image: &mut Image) -> Result<(), Stop> {
    for _ in 0..input.record::<i32>(4)? {
        let key: i64 = input.record(8)?;
        let count: i32 = input.record(4)?;
        let mut list = Vec::new();
        for _ in 0..count.max(0) {
            let perms = input.record(4)?;
            let scheme = text(input)?.unwrap_or_default();
            let id = text(input)?.unwrap_or_default();
            list.push(AclEntry::new(perms, &scheme, &id));
        }
        image.define_list(key, &list);
    }
    Ok(())
}

fn decode_nodes(input: &mut Input<'_>, image: &mut Image) -> Result<(), Stop> {
    loop {
        let path = text(input)?.unwrap_or_default();
        if path == "/" {
            break;
        }
        let data = input.buffer()?;
        let KeyAndStat { key, stat } = input.record(KEY_AND_STAT_LEN)?;
        let acl = match key {
            OPEN_KEY => ListRef::Known(image.open_list()),
            key => image.list_of(key),
        };
        let node = ImageNode {
            data: data.map(Vec::into_boxed_slice),
            acl,
            stat,
        };
        if !image.place(path, node) {
            let why = "a znode comes before its parent";
            return Err(Stop::Failed(input.damaged(why)));
        }
    }
    if image.has_root() {
        Ok(())
    } else {
        Err(Stop::Failed(input.damaged("it has no root")))
    }
}

struct KeyAndStat {
    key: i64,
    stat: StatPersisted,
}

impl<'a> jute::Decode<'a> for KeyAndStat {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: i64::decode(reader)?,
            stat: StatPersisted::decode(reader)?,
        })
    }
}

/// A string. Invalid UTF-8 becomes U+FFFD, as in Java.
fn text(input: &mut Input<'_>) -> Result<Option<String>, Stop> {
    let bytes = input.buffer()?;
    Ok(bytes.map(|bytes| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let mut prefixed = BytesMut::new();
            Some(error.as_bytes()).encode(&mut prefixed);
            let decoded = Reader::new(&prefixed).read::<jute::Str<'_>>();
            decoded.ok().flatten().unwrap_or_default().into_owned()
        }
    }))
}

fn check_seal(input: &mut Input<'_>) -> Result<(), Stop> {
    let expected = i64::from(input.checksum());
    let found: i64 = input.record(8)?;
    input.buffer()?;
    if found == expected {
        Ok(())
    } else {
        Err(Stop::Failed(input.damaged(format!(
            "its checksum is {found:x} instead of {expected:x}"
        ))))
    }
}

/// What stands behind the znodes is not marked: its length tells.
fn decode_digest(input: &mut Input<'_>) -> Result<Option<SnapshotDigest>, Stop> {
    let checksum = input.checksum_state();
    let tail = input.rest(TAIL_LEN_MAX + 1)?;
    let not_understood = |why: &str| {
        let what = format!("what stands behind its znodes is not understood: {why}");
        Stop::Failed(input.damaged(what))
    };
    let no_record = |error: DecodeError| not_understood(&error.to_string());
    let mut reader = Reader::new(&tail);
    let check_seal = |reader: &mut Reader<'_>| {
        let mut checksum = checksum;
        checksum.write_slice(&tail[..reader.offset()]);
        let expected = i64::from(checksum.checksum());
        let found: i64 = reader.read().map_err(no_record)?;
        reader.read::<Option<&[u8]>>().map_err(no_record)?;
        if found == expected {
            Ok(())
        } else {
            Err(not_understood("its checksum is wrong"))
        }
    };
    let mut digest = None;
    if !matches!(tail.len(), 0 | LAST_ZXID_LEN) {
        let zxid = reader.read().map_err(no_record)?;
        let version: i32 = reader.read().map_err(no_record)?;
        let value = if version < DIGEST_VERSION {
            let text = reader.read::<jute::Str<'_>>().map_err(no_record)?;
            u64::from_str_radix(&text.unwrap_or_default(), 16).unwrap_or_default()
        } else {
            reader.read::<i64>().map_err(no_record)?.cast_unsigned()
        };
        check_seal(&mut reader)?;
        digest = Some(SnapshotDigest {
            zxid,
            version,
            digest: value,
        });
    }
    if !reader.rest().is_empty() {
        // The zxid at the end of the writing; only a restore by the admin server goes by it.
        reader.read::<i64>().map_err(no_record)?;
        check_seal(&mut reader)?;
    }
    if reader.rest().is_empty() {
        Ok(digest)
    } else {
        Err(not_understood("it is too long"))
    }
}

/// Writes a snapshot as 3.9 does, digest and all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, image: &Image, progress: Progress<'_>) -> Result<(), FileError> {
    let failed = |source| FileError::io(path, source);
    let file = File::create(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    encode(&mut out, image, progress)
        .and_then(|()| out.flush())
        .and_then(|()| out.get_ref().sync_all())
        .map_err(failed)
}

/// # Errors
/// What is written to does not take it.
pub fn encode(out: &mut dyn Write, image: &Image, progress: Progress<'_>) -> io::Result<()> {
    let mut out = Sealed {
        out,
        checksum: Adler32::new(),
        buffer: BytesMut::new(),
        progress,
    };
    write_parts(&mut out, image)
}

fn write_parts(out: &mut Sealed<'_>, image: &Image) -> io::Result<()> {
    FileHeader {
        magic: MAGIC,
        version: VERSION,
        db_id: DB_ID,
    }
    .encode(&mut out.buffer);
    put_len(image.sessions.len(), &mut out.buffer);
    for (id, timeout_ms) in &image.sessions {
        id.encode(&mut out.buffer);
        timeout_ms.encode(&mut out.buffer);
    }
    let lists = image.lists();
    put_len(lists.len(), &mut out.buffer);
    let mut keys = HashMap::new();
    for (list, key) in lists.iter().zip(1i64..) {
        keys.insert(list, key);
        key.encode(&mut out.buffer);
        put_len(list.len(), &mut out.buffer);
        for entry in list.iter() {
            entry.perms.encode(&mut out.buffer);
            put_str(&entry.scheme, &mut out.buffer);
            put_str(&entry.id, &mut out.buffer);
        }
    }
    for (path, node) in image.nodes() {
        put_str(path, &mut out.buffer);
        node.data.as_deref().encode(&mut out.buffer);
        let key = match &node.acl {
            ListRef::Known(list) => keys.get(list).copied().unwrap_or(OPEN_KEY),
            ListRef::Unknown(key) => *key,
        };
        key.encode(&mut out.buffer);
        node.stat.encode(&mut out.buffer);
        out.write_when_long()?;
    }
    put_str("/", &mut out.buffer);
    out.seal()?;
    image.zxid().encode(&mut out.buffer);
    DIGEST_VERSION.encode(&mut out.buffer);
    image.digest().cast_signed().encode(&mut out.buffer);
    out.seal()?;
    image.zxid().encode(&mut out.buffer);
    out.seal()
}

fn put_len(len: usize, out: &mut BytesMut) {
    i32::try_from(len).unwrap_or(i32::MAX).encode(out);
}

/// What is written, with its running checksum.
struct Sealed<'p> {
    out: &'p mut dyn Write,
    checksum: Adler32,
    buffer: BytesMut,
    progress: Progress<'p>,
}

impl Sealed<'_> {
    fn write(&mut self) -> io::Result<()> {
        self.checksum.write_slice(&self.buffer);
        self.out.write_all(&self.buffer)?;
        (self.progress)(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    fn write_when_long(&mut self) -> io::Result<()> {
        if self.buffer.len() < 1 << 16 {
            return Ok(());
        }
        self.write()
    }

    /// The checksum of everything so far, which the next one covers as well.
    fn seal(&mut self) -> io::Result<()> {
        self.write()?;
        i64::from(self.checksum.checksum()).encode(&mut self.buffer);
        put_str("/", &mut self.buffer);
        self.write()
    }
}
