//! Nothing that arrives at the port between servers panics, and no stranger gets in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meerkat::ensemble::fuzzing;

fuzz_target!(|input: (bool, Vec<(u8, Vec<u8>)>, &[u8])| {
    let (has_secret, frames, tail) = input;
    let frames: Vec<(u8, &[u8])> = frames.iter().map(|(kind, body)| (*kind, &body[..])).collect();
    fuzzing::connection(has_secret, &frames, tail);
    fuzzing::message(tail);
});
