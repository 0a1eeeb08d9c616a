//! No file in ZooKeeper's directory makes an import panic, and what was read can be written and read
//! again: snapshots in each compression, logs, and records without the checksums that keep a fuzzer
//! away from them.
#![no_main]

use jute::Reader;
use jute::proto::txn::TxnRecord;
use libfuzzer_sys::fuzz_target;
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
});

fn apply(image: &mut Image, payload: &[u8]) {
    if let Ok(record) = Reader::new(payload).read::<TxnRecord<'_>>() {
        image.apply(&record);
    }
}
