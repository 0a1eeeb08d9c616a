//! multi and multiRead, both directions. What is taken apart one by one is what comes out at once.
#![no_main]

use jute::Reader;
use jute::proto::{MultiOp, MultiRequest, MultiResponse};
use libfuzzer_sys::fuzz_target;
use meerkat_jute_fuzz::round_trip;

fuzz_target!(|bytes: &[u8]| {
    round_trip!(bytes, MultiRequest<'_>, MultiResponse<'_>);
    if let Ok(request) = Reader::new(bytes).read::<MultiRequest<'_>>() {
        let mut reader = Reader::new(bytes);
        for op in &request.ops {
            assert_eq!(
                MultiOp::decode_next(&mut reader).ok().flatten().as_ref(),
                Some(op)
            );
        }
        assert_eq!(MultiOp::decode_next(&mut reader).ok(), Some(None));
    }
});
