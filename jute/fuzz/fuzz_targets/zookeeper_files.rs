//! No file in ZooKeeper's directory makes an import panic, and what was read can be written and read
//! again: snapshots in each compression, logs, and records without the checksums that keep a fuzzer
//! away from them.
#![no_main]

use std::sync::Arc;

use jute::Reader;
use jute::proto::txn::TxnRecord;
use libfuzzer_sys::fuzz_target;
use meerkat::auth::Schemes;
use meerkat::convert::state_of;
use meerkat::state::{LogPosition, SnapshotBuilder};
use meerkat::types::Zxid;
use meerkat::upstream::image::Image;
use meerkat::upstream::input::{Compression, Input};
use meerkat::upstream::snapshot;
use meerkat::upstream::txn_log::{LogReader, Next};

fuzz_target!(|input: (u8, Vec<Vec<u8>>, &[u8])| {
    let (choice, records, file) = input;
    let compression = match choice % 3 {
        0 => Compression::Plain,
        1 => Compression::Gzip,
        _ => Compression::Snappy,
    };
    let extended_types = choice & 0x80 != 0;
    let mut image = Image::new(extended_types);
    let mut bytes = Input::of_bytes(file, compression);
    if let Ok(read) = snapshot::decode(&mut bytes, 1, extended_types) {
        image = read.image;
        image.check().expect("sound as it was read");
    }
    if let Ok(Some(mut log)) = LogReader::over(Input::of_bytes(file, compression)) {
        while let Ok(Next::Record(payload)) = log.read() {
            apply(&mut image, &payload);
        }
    }
    for record in &records {
        apply(&mut image, record);
    }
    image.check().expect("sound behind the last record");
    image.finish();
    image.check().expect("sound when it was put right");
    let mut written = Vec::new();
    snapshot::encode(&mut written, &image, &|_| {}).expect("memory takes everything");
    let mut bytes = Input::of_bytes(&written, Compression::Plain);
    let again = snapshot::decode(&mut bytes, image.zxid(), extended_types).expect("just written");
    assert_eq!(again.image.len(), image.len());
    assert_eq!(again.image.sessions, image.sessions);
    again.image.check().expect("sound once more");
    become_ours(&image, extended_types);
});

/// What a restore makes of it: our state, without sessions, and the snapshot of that.
fn become_ours(image: &Image, extended_types: bool) {
    let schemes = Arc::new(Schemes::new(Vec::new()));
    let zxid = Zxid(image.zxid());
    let position = LogPosition::default();
    let state = state_of(image, extended_types, Arc::clone(&schemes), zxid, position);
    let Ok(mut state) = state else { return };
    state.tree.check().expect("sound as it was taken over");
    state.end_sessions();
    state.tree.check().expect("sound without sessions");
    let mut cut = state.freeze();
    let mut builder = SnapshotBuilder::new(schemes);
    let mut block = Vec::new();
    while state.next_block(&mut cut, &mut block) {
        builder.add(&block).expect("just written");
        block.clear();
    }
    let again = builder.finish().expect("just written");
    assert_eq!(again.digest(), state.digest());
}

fn apply(image: &mut Image, payload: &[u8]) {
    if let Ok(record) = Reader::new(payload).read::<TxnRecord<'_>>() {
        image.apply(&record);
    }
}
