//! Nothing that arrives at the port between servers panics, and no stranger gets in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meerkat::ensemble::fuzzing;
use meerkat::pipeline::fuzz_message;

fuzz_target!(|input: (bool, Vec<(u8, Vec<u8>)>, &[u8])| {
    let (has_secret, frames, tail) = input;
    let frames: Vec<(u8, &[u8])> = frames.iter().map(|(kind, body)| (*kind, &body[..])).collect();
    for (kind, body) in fuzzing::connection(has_secret, &frames, tail) {
        fuzz_message(kind, body);
    }
    fuzzing::message(tail);
    for kind in 0..=u8::MAX {
        fuzz_message(kind, tail.to_vec().into());
    }
});
