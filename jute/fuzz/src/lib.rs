//! What the fuzz targets have in common.

/// Decodes bytes as each of the records. What can be decoded must survive encoding, to the last
/// byte, and may not grow by more than strings explain: a broken byte becomes a character of three.
///
/// Java writes characters above U+FFFF as two surrogates, which no decoder takes back (see
/// `jute::put_str`): only records without them must come back as they were. Once around, all must.
#[macro_export]
macro_rules! round_trip {
    ($bytes:expr, $( $record:ty ),+ $(,)?) => { { $( {
        let bytes: &[u8] = $bytes;
        let mut reader = jute::Reader::new(bytes);
        if let Ok(first) = reader.read::<$record>() {
            let consumed = &bytes[..bytes.len() - reader.rest().len()];
            let mut encoded = bytes::BytesMut::new();
            jute::Encode::encode(&first, &mut encoded);
            assert!(encoded.len() <= 3 * consumed.len(), "{first:?} grew");
            let mut reader = jute::Reader::new(&encoded);
            let second = reader.read::<$record>().expect("just encoded");
            assert!(reader.rest().is_empty(), "{first:?} has a tail");
            if consumed.iter().all(|byte| *byte < 0xf0) || encoded == consumed {
                assert_eq!(first, second);
            }
            let mut again = bytes::BytesMut::new();
            jute::Encode::encode(&second, &mut again);
            let third = jute::Reader::new(&again).read::<$record>().expect("just encoded");
            assert_eq!(second, third);
        }
    } )+ } };
}
