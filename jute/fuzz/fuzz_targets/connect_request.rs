//! Both sides of the handshake.
#![no_main]

use jute::proto::{ConnectRequest, ConnectResponse};
use libfuzzer_sys::fuzz_target;
use meerkat_jute_fuzz::round_trip;

fuzz_target!(|bytes: &[u8]| {
    round_trip!(bytes, ConnectRequest<'_>, ConnectResponse<'_>);
});
