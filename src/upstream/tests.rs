//! What single files may hold, and how records meet a tree that has them already.

use std::io::Write as _;

use bytes::{BufMut as _, BytesMut};
use jute::proto::txn::{
    CloseSessionTxn, CreateTxn, DeleteTxn, FileHeader, SessionTxn, SetDataTxn, StatPersisted,
    SubTxn, TxnBody, TxnDigest, TxnHeader, TxnRecord,
};
use jute::proto::{Acl, Id, perms};
use jute::{Decode as _, Encode, OpCode, Reader, text};

use super::files::Files;
use super::image::{Image, ListRef};
use super::input::{Compression, Input};
use super::load::{Account, load};
use super::snapshot;
use super::txn_log::{LogReader, Next};
use crate::tree::CONFIG_PATH;

const SESSION: i64 = 0x100_0000;

fn header(kind: OpCode, zxid: i64) -> TxnHeader {
    TxnHeader {
        client_id: SESSION,
        cxid: 1,
        zxid,
        time_ms: 1000 + zxid,
        kind: kind.0,
    }
}

fn create(path: &str, ephemeral: bool, parent_cversion: i32) -> CreateTxn<'_> {
    CreateTxn {
        path: text(path),
        data: Some(b"data"),
        acl: Some(vec![Acl {
            perms: perms::ALL,
            id: Id {
                scheme: text("world"),
                id: text("anyone"),
            },
        }]),
        ephemeral,
        parent_cversion,
    }
}

fn record(kind: OpCode, zxid: i64, body: &impl Encode) -> BytesMut {
    let mut out = BytesMut::new();
    header(kind, zxid).encode(&mut out);
    body.encode(&mut out);
    out
}

fn apply(image: &mut Image, bytes: &[u8]) {
    let record: TxnRecord<'_> = Reader::new(bytes).read().expect("a sound record");
    image.apply(&record);
    image.check().expect("sound");
}

fn stat(image: &Image, path: &str) -> StatPersisted {
    image.node(path).expect(path).stat
}

/// A small tree with everything in it.
fn sample() -> Image {
    let mut image = Image::new(true);
    let session = SessionTxn { timeout_ms: 4000 };
    apply(&mut image, &record(OpCode::CREATE_SESSION, 1, &session));
    for (zxid, path, ephemeral, counter) in [
        (2, "/a", false, 1),
        (3, "/a/b", false, 1),
        (4, "/a/e", true, 2),
    ] {
        let txn = create(path, ephemeral, counter);
        apply(&mut image, &record(OpCode::CREATE, zxid, &txn));
    }
    image
}

fn encoded(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot::encode(&mut bytes, image, &|_| {}).expect("memory takes everything");
    bytes
}

#[test]
fn an_empty_tree_has_the_digest_of_zookeepers() {
    assert_eq!(Image::new(true).digest(), 1_371_985_504);
}

#[test]
fn snapshots_come_back_as_they_were_in_each_compression() {
    let image = sample();
    let plain = encoded(&image);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory");
    let mut snappy = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in plain.chunks(100) {
        let packed = snap::raw::Encoder::new()
            .compress_vec(block)
            .expect("small");
        snappy.put_u32(u32::try_from(packed.len()).expect("small"));
        snappy.extend(packed);
    }
    for (bytes, compression) in [
        (plain, Compression::Plain),
        (gzip.finish().expect("memory"), Compression::Gzip),
        (snappy, Compression::Snappy),
    ] {
        let mut input = Input::of_bytes(&bytes, compression);
        let read = snapshot::decode(&mut input, 4, true).expect("just written");
        assert_eq!(encoded(&read.image), encoded(&image), "{compression:?}");
        let digest = read.digest.expect("it has one");
        assert_eq!((digest.zxid, digest.digest), (4, image.digest()));
        for cut in 0..bytes.len() {
            let mut input = Input::of_bytes(&bytes[..cut], compression);
            if let Ok(read) = snapshot::decode(&mut input, 4, true) {
                // What 3.5 and older do not write may be missing. Of gzip the checksum behind
                // everything is not the snapshot's.
                let is_shorter = read.digest.is_none() || compression != Compression::Plain;
                let whole = plain_len_without_last_zxid(&image);
                assert!(is_shorter || cut == whole, "{compression:?} cut at {cut}");
            }
        }
    }
}

#[test]
fn content_that_is_longer_than_allowed_is_refused() {
    let plain = encoded(&sample());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory");
    let file = gzip.finish().expect("memory");
    let read = |bytes_max: usize| {
        let input = Input::of_bytes(&file, Compression::Gzip);
        snapshot::decode(&mut input.at_most(bytes_max as u64), 4, true).map(drop)
    };
    assert!(read(plain.len()).is_ok());
    for bytes_max in [1, plain.len() / 2, plain.len() - 1] {
        let refused = read(bytes_max).expect_err("too long").to_string();
        assert!(refused.contains("its content is longer than"), "{refused}");
    }
}

#[test]
fn files_of_another_version_are_refused_in_a_sentence() {
    let mut snapshot = encoded(&sample());
    snapshot[7] = 3;
    let mut input = Input::of_bytes(&snapshot, Compression::Plain);
    let refused = snapshot::decode(&mut input, 4, true).map(drop);
    let refused = refused.expect_err("another version").to_string();
    assert!(
        refused.contains("version 3, and only 2 is known"),
        "{refused}"
    );
    let mut bytes = log(&[created(1, "/a")]);
    bytes[7] = 3;
    let refused = read_log(&bytes).expect_err("another version");
    assert!(
        refused.contains("version 3, and only 2 is known"),
        "{refused}"
    );
}

/// A snapshot of 3.6 to 3.8 ends here: the last zxid takes 8 bytes, its seal 13.
fn plain_len_without_last_zxid(image: &Image) -> usize {
    encoded(image).len() - 21
}

#[test]
fn a_changed_byte_in_a_snapshot_is_found() {
    let sound = encoded(&sample());
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x11;
        let mut input = Input::of_bytes(&bytes, Compression::Plain);
        let read = snapshot::decode(&mut input, 4, true);
        // Version and database id say nothing, and of a seal only the number is looked at.
        let is_ignored = read.is_ok_and(|read| encoded(&read.image) == sound);
        let is_no_content = matches!(at, 8..16) || sound[at] == b'/' || sound[at..].len() < 60;
        assert!(!is_ignored || is_no_content, "byte {at} was changed");
    }
}

fn log(records: &[BytesMut]) -> Vec<u8> {
    let mut out = BytesMut::new();
    FileHeader {
        magic: i32::from_be_bytes(*b"ZKLG"),
        version: 2,
        db_id: 0,
    }
    .encode(&mut out);
    for record in records {
        i64::from(adler2::adler32_slice(record)).encode(&mut out);
        Some(&record[..]).encode(&mut out);
        out.put_u8(b'B');
    }
    out.to_vec()
}

/// What a log holds: its whole records, and how it ends.
fn read_log(bytes: &[u8]) -> Result<(usize, bool), String> {
    let input = Input::of_bytes(bytes, Compression::Plain);
    let Some(mut log) = LogReader::over(input).map_err(|error| error.to_string())? else {
        return Ok((0, true));
    };
    let mut count = 0;
    loop {
        match log.read().map_err(|error| error.to_string())? {
            Next::Record(_) => count += 1,
            Next::Torn => return Ok((count, true)),
            Next::End => return Ok((count, false)),
        }
    }
}

#[test]
fn a_log_ends_at_zeros_and_at_what_was_not_written_whole() {
    let delete = DeleteTxn { path: text("/a") };
    let records = [
        record(OpCode::DELETE, 1, &delete),
        record(OpCode::DELETE, 2, &delete),
    ];
    let whole = log(&records);
    assert_eq!(read_log(&whole), Ok((2, false)));
    let first = log(&records[..1]).len();
    for cut in 0..whole.len() {
        let count = usize::from(cut >= first);
        let (found, is_torn) = read_log(&whole[..cut]).expect("no damage");
        assert_eq!(found, count, "cut at {cut}");
        // Fewer than the eight bytes of a checksum are none.
        let is_end = (16..24).contains(&cut) || (first..first + 8).contains(&cut);
        assert_eq!(is_torn, !is_end, "cut at {cut}");
        // The same in a file that was grown ahead.
        let mut grown = whole[..cut].to_vec();
        grown.resize(whole.len() + 100, 0);
        if cut >= 16 {
            let grown = read_log(&grown).expect("no damage");
            assert_eq!(grown.0, count, "zeros from {cut}");
        }
    }
    let mut damaged = whole;
    damaged[first + 15] ^= 1;
    assert!(read_log(&damaged).is_err(), "a changed byte in a record");
}

#[test]
fn damage_in_the_middle_of_a_log_is_not_taken_for_its_end() {
    let set = SetDataTxn {
        path: text("/a"),
        data: Some(b"B and more, for a length of its own"),
        version: 1,
    };
    let records: Vec<BytesMut> = (1..=3)
        .map(|zxid| record(OpCode::SET_DATA, zxid, &set))
        .collect();
    let mut whole = log(&records);
    let size = (whole.len() - 16) / 3;
    let begins = [16, 16 + size, 16 + 2 * size];
    whole.resize(whole.len() + 100, 0);
    assert_eq!(read_log(&whole), Ok((3, false)));
    let check = |what: &str, record: usize, change: &dyn Fn(&mut [u8])| {
        let mut bytes = whole.clone();
        change(&mut bytes[begins[record]..]);
        let why = read_log(&bytes).expect_err(what);
        let byte = format!("at byte {}:", begins[record]);
        assert!(why.contains(&byte), "{what}, record {record}: {why}");
    };
    for record in 0..3 {
        check("mark", record, &|bytes| bytes[size - 1] ^= 1);
        let right = i32::try_from(size - 13).expect("small");
        for len in [
            0,
            -1,
            -2,
            1,
            right - 1,
            right + 1,
            right + 90,
            1 << 24,
            i32::MAX,
        ] {
            let len = len.to_be_bytes();
            check("length", record, &|bytes| {
                bytes[8..12].copy_from_slice(&len)
            });
        }
        check("zeros", record, &|bytes| bytes[..size - 4].fill(0));
    }
    for record in 0..2 {
        check("a record of zeros", record, &|bytes| bytes[..size].fill(0));
    }
    // Of a record that was not written whole its first pages may be missing as well as its last.
    let mut torn = whole.clone();
    torn[begins[2] + 20..begins[2] + 40].fill(0);
    torn[begins[2] + size - 1] = 0;
    assert_eq!(read_log(&torn), Ok((2, true)));
}

#[test]
fn records_that_a_snapshot_has_already_change_nothing_but_what_they_say() {
    let mut image = sample();
    let before = encoded(&image);
    // Once more, as when the snapshot was written while they were applied.
    for (zxid, path, ephemeral, counter) in [(2, "/a", false, 1), (4, "/a/e", true, 2)] {
        let txn = create(path, ephemeral, counter);
        apply(&mut image, &record(OpCode::CREATE, zxid, &txn));
    }
    assert_eq!(encoded(&image), before);
}

#[test]
fn a_create_of_what_is_there_raises_the_counter_of_its_parent() {
    let mut image = sample();
    apply(
        &mut image,
        &record(OpCode::CREATE2, 8, &create("/a/b", false, 6)),
    );
    assert_eq!(stat(&image, "/a").cversion, 6);
    apply(
        &mut image,
        &record(OpCode::CREATE, 9, &create("/a/b", false, 7)),
    );
    assert_eq!(
        (stat(&image, "/a").cversion, stat(&image, "/a").pzxid),
        (7, 9)
    );
    assert_eq!(stat(&image, "/a/b").czxid, 3, "what is there stays");
    // It never goes down.
    apply(
        &mut image,
        &record(OpCode::CREATE, 10, &create("/a/b", false, 3)),
    );
    assert_eq!(
        (stat(&image, "/a").cversion, stat(&image, "/a").pzxid),
        (7, 9)
    );
}

#[test]
fn the_parent_of_what_was_deleted_already_remembers_it() {
    let mut image = sample();
    let delete = DeleteTxn {
        path: text("/a/gone"),
    };
    apply(&mut image, &record(OpCode::DELETE, 8, &delete));
    assert_eq!(stat(&image, "/a").pzxid, 8);
    apply(&mut image, &record(OpCode::DELETE, 5, &delete));
    assert_eq!(stat(&image, "/a").pzxid, 8, "and keeps the newer");
}

#[test]
fn numbers_come_from_the_record() {
    let mut image = sample();
    let set = SetDataTxn {
        path: text("/a/b"),
        data: None,
        version: 41,
    };
    apply(&mut image, &record(OpCode::SET_DATA, 8, &set));
    let found = stat(&image, "/a/b");
    assert_eq!((found.version, found.mzxid, found.mtime), (41, 8, 1008));
    assert_eq!(image.node("/a/b").expect("there").data, None);
}

#[test]
fn a_session_ends_with_what_it_owns_listed_or_not() {
    for listed in [None, Some(vec![]), Some(vec![text("/a/e")])] {
        let mut image = sample();
        let mut bytes = BytesMut::new();
        header(OpCode::CLOSE_SESSION, 9).encode(&mut bytes);
        let has_list = listed.is_some();
        if has_list {
            CloseSessionTxn {
                paths_to_delete: listed,
            }
            .encode(&mut bytes);
        }
        let digest = TxnDigest {
            version: 2,
            tree_digest: 5,
        };
        digest.encode(&mut bytes);
        let record: TxnRecord<'_> = Reader::new(&bytes).read().expect("sound");
        assert_eq!(record.digest, Some(digest));
        assert!(
            matches!(&record.body, TxnBody::CloseSession(found) if found.is_some() == has_list)
        );
        image.apply(&record);
        assert!(image.node("/a/e").is_none() && image.sessions.is_empty());
        assert_eq!(stat(&image, "/a").pzxid, 9);
        image.check().expect("sound");
    }
}

#[test]
fn a_multi_with_an_error_in_it_does_nothing() {
    let sub = |kind: OpCode, body: &dyn Fn(&mut BytesMut)| {
        let mut bytes = BytesMut::new();
        body(&mut bytes);
        (kind.0, bytes)
    };
    let ops = [
        sub(OpCode::DELETE, &|out| {
            DeleteTxn { path: text("/a/b") }.encode(out);
        }),
        sub(OpCode::ERROR, &|out| out.put_i32(-101)),
    ];
    for (count, is_there) in [(2, true), (1, false)] {
        let mut image = sample();
        let txns = ops[..count].iter().map(|(kind, data)| SubTxn {
            kind: *kind,
            data: Some(data),
        });
        let multi = jute::proto::txn::MultiTxn {
            txns: Some(txns.collect()),
        };
        apply(&mut image, &record(OpCode::MULTI, 9, &multi));
        assert_eq!(image.node("/a/b").is_some(), is_there);
    }
}

#[test]
fn what_nobody_owns_is_put_right() {
    let mut image = sample();
    image.sessions.clear();
    let repairs = image.finish();
    assert_eq!(repairs.orphaned_ephemerals, ["/a/e"]);
    assert!(image.node("/a/e").is_none());
    assert_eq!(stat(&image, "/a").pzxid, 4, "as of the last record");
    // A parent that a record deletes while the snapshot has its later children.
    let delete = DeleteTxn { path: text("/a") };
    apply(&mut image, &record(OpCode::DELETE, 9, &delete));
    assert_eq!(image.finish().parentless, ["/a/b"]);
    image.check().expect("sound");
}

/// A list that znodes began to use while the snapshot was written stands in no table of it.
#[test]
fn an_unknown_list_is_learned_from_the_log() {
    let mut bytes = encoded(&sample());
    // The second list's key, 2, becomes one that nothing defines; the checksums are made anew.
    let at = bytes
        .windows(12)
        .position(|window| window == b"\0\0\0\0\0\0\0\x02\0\0\0\x01")
        .expect("the table is there");
    bytes[at + 7] = 9;
    let end = bytes.len() - 21 - 33;
    bytes.truncate(end - 13);
    let seal = i64::from(adler2::adler32_slice(&bytes));
    bytes.put_i64(seal);
    bytes.put_slice(b"\0\0\0\x01/");
    let read = || {
        let mut input = Input::of_bytes(&bytes, Compression::Plain);
        let read = snapshot::decode(&mut input, 4, true).expect("sealed");
        assert_eq!(read.digest, None, "as before 3.6");
        read.image
    };
    let mut image = read();
    assert_eq!(image.finish().without_list, [CONFIG_PATH]);
    let mut image = read();
    let txn = create(CONFIG_PATH, false, 1);
    apply(&mut image, &record(OpCode::CREATE, 5, &txn));
    assert_eq!(image.finish().without_list, Vec::<String>::new());
    let node = image.node(CONFIG_PATH).expect("there");
    assert_eq!(node.acl, ListRef::Known(image.open_list()));
}

#[test]
fn no_cut_and_no_changed_byte_of_a_record_panics() {
    let txn = create("/a/b", true, 3);
    let sound = record(OpCode::CREATE, 9, &txn);
    for at in 0..sound.len() {
        let _ = Reader::new(&sound[..at]).read::<TxnRecord<'_>>();
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(record) = Reader::new(&bytes).read::<TxnRecord<'_>>() {
                let mut image = sample();
                image.apply(&record);
                image.check().expect("sound");
            }
        }
    }
}

/// A directory of ZooKeeper's, made of what the tests say.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("version-2")).expect("writable");
        Self { dir }
    }

    /// A snapshot begun at `zxid` whose digest is that of another one.
    fn snapshot(&self, zxid: i64, image: &Image, digest: Option<(i64, u64)>) {
        let mut bytes = encoded(image);
        bytes.truncate(bytes.len() - 21 - 33);
        if let Some((until, digest)) = digest {
            bytes.put_i64(until);
            bytes.put_i32(2);
            bytes.put_u64(digest);
            let seal = adler2::adler32_slice(&bytes);
            bytes.put_i64(seal.into());
            bytes.put_slice(b"\0\0\0\x01/");
        }
        self.write(&format!("snapshot.{zxid:x}"), &bytes);
    }

    fn log(&self, records: &[BytesMut]) {
        let first = TxnHeader::decode(&mut Reader::new(&records[0])).expect("sound");
        self.write(&format!("log.{:x}", first.zxid), &log(records));
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.path().join("version-2").join(name);
        std::fs::write(path, bytes).expect("writable");
    }

    fn load(&self) -> Account {
        let files = Files::list(self.dir.path(), self.dir.path()).expect("readable");
        load(&files, true, &|_| {}).expect("something").account
    }
}

fn with_digest(mut record: BytesMut, tree_digest: u64) -> BytesMut {
    let digest = TxnDigest {
        version: 2,
        tree_digest: tree_digest.cast_signed(),
    };
    digest.encode(&mut record);
    record
}

fn created(zxid: i64, path: &str) -> BytesMut {
    record(OpCode::CREATE, zxid, &create(path, false, -1))
}

#[test]
fn of_a_directory_without_its_epoch_the_rest_is_read() {
    for (epoch, is_sound) in [
        ("3", true),
        ("3\n", true),
        ("", false),
        ("x", false),
        ("-1", false),
    ] {
        let made = Made::new();
        made.log(&[created(1, "/a")]);
        made.write("currentEpoch", epoch.as_bytes());
        made.write("acceptedEpoch", b"2");
        let account = made.load();
        assert_eq!(
            (account.damage.is_empty(), account.txns),
            (is_sound, 1),
            "{epoch:?}"
        );
    }
}

#[test]
fn without_a_snapshot_the_log_begins_with_the_first_record() {
    for (zxid, is_sound) in [
        (1, true),
        (2, false),
        (1 << 32 | 1, true),
        (2 << 32 | 1, false),
    ] {
        let made = Made::new();
        made.log(&[created(zxid, "/a"), created(zxid + 1, "/b")]);
        let account = made.load();
        assert_eq!(account.damage.is_empty(), is_sound, "{zxid:x}");
        assert_eq!(account.txns, if is_sound { 2 } else { 0 }, "{zxid:x}");
    }
}

/// A file that has the end of an epoch and is not there leaves no gap in the zxids.
#[test]
fn what_is_missing_at_the_end_of_an_epoch_shows_in_the_next_digest() {
    let base = sample();
    let mut next = sample();
    apply(&mut next, &created(2 << 32 | 1, "/next"));
    let right = next.digest();
    for (digest, damages, notes) in [(Some(right), 0, 0), (Some(right + 1), 1, 0), (None, 0, 1)] {
        let made = Made::new();
        made.snapshot(1 << 32 | 5, &base, Some((1 << 32 | 5, base.digest())));
        let record = created(2 << 32 | 1, "/next");
        made.log(&[match digest {
            Some(digest) => with_digest(record, digest),
            None => record,
        }]);
        let account = made.load();
        assert_eq!(account.damage.len(), damages, "{account:?}");
        assert_eq!(account.unverified.len(), notes, "{account:?}");
        if let Some(why) = account.damage.first() {
            assert!(why.contains("the end of epoch 0x1 may be missing"), "{why}");
        }
    }
}

#[test]
fn behind_the_snapshot_of_an_empty_tree_epochs_may_be_missing() {
    for (zxid, notes) in [(1, 0), (1 << 32 | 1, 0), (2 << 32 | 1, 1)] {
        let made = Made::new();
        made.snapshot(0, &Image::new(true), None);
        made.log(&[created(zxid, "/a")]);
        let account = made.load();
        assert!(account.damage.is_empty(), "{account:?}");
        assert_eq!(account.unverified.len(), notes, "{account:?}");
    }
}

#[test]
fn a_digest_that_differs_is_damage_unless_a_snapshot_under_load_explains_it() {
    // The log from 5 on: /a/b is created, which the snapshot has or has not, and then /c, /d.
    let records = |digests: [u64; 3]| {
        let paths = ["/a/b", "/c", "/d"];
        let of = |(at, digest): (usize, u64)| {
            let zxid = 5 + i64::try_from(at).expect("small");
            with_digest(created(zxid, paths[at]), digest)
        };
        digests.into_iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let whole = || {
        let mut image = sample();
        let delete = DeleteTxn { path: text("/a/b") };
        apply(&mut image, &record(OpCode::DELETE, 4, &delete));
        image
    };
    let digests = |mut image: Image| {
        records([0; 3])
            .iter()
            .map(|record| {
                apply(&mut image, record);
                image.digest()
            })
            .collect::<Vec<u64>>()
            .try_into()
            .expect("three")
    };
    let check = |what: &str, image: &Image, until: i64, said: [u64; 3], is_damage, is_told| {
        let made = Made::new();
        let of_until = match until {
            4 => image.digest(),
            until => said[usize::try_from(until - 5).expect("small")],
        };
        made.snapshot(4, image, Some((until, of_until)));
        made.log(&records(said));
        let account = made.load();
        assert_eq!(!account.damage.is_empty(), is_damage, "{what}: {account:?}");
        assert_eq!(
            account.digest_differs.is_some(),
            is_told,
            "{what}: {account:?}"
        );
    };
    let [a, b, c] = digests(whole());
    let whole = whole();
    check("all is well", &whole, 4, [a, b, c], false, false);
    check(
        "a tree that was whole",
        &whole,
        4,
        [a, b, c + 1],
        true,
        true,
    );
    check(
        "the first one",
        &whole,
        4,
        [a + 1, b + 1, c + 1],
        true,
        true,
    );
    let fuzzy = sample();
    let [a, b, c] = digests(sample());
    check("repaired", &fuzzy, 5, [a, b, c], false, false);
    check(
        "repaired otherwise than the server was",
        &fuzzy,
        5,
        [a + 1, b + 1, c + 1],
        false,
        true,
    );
    check(
        "behind one that agreed",
        &fuzzy,
        5,
        [a, b, c + 1],
        true,
        true,
    );
    check(
        "under load, and nothing to repair",
        &whole,
        5,
        [a + 9, b + 9, c + 9],
        true,
        true,
    );
}
