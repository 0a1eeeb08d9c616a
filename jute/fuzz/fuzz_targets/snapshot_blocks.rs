//! No block of a snapshot makes a server panic, and a state that is taken is sound.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use meerkat::auth::Schemes;
use meerkat::state::SnapshotBuilder;

/// As a restore bounds them: a file may name more than there is memory for.
const SLOTS_MAX: u32 = 1 << 16;

fuzz_target!(|blocks: Vec<Vec<u8>>| {
    let schemes = Arc::new(Schemes::new(Vec::new()));
    let mut builder = SnapshotBuilder::new(schemes).with_slots_max(SLOTS_MAX);
    for block in &blocks {
        if builder.add(block).is_err() {
            return;
        }
    }
    if let Ok(mut state) = builder.finish() {
        state.tree.check().expect("sound as it was read");
        state.end_sessions();
        state.tree.check().expect("sound without sessions");
    }
});
