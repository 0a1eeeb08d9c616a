//! The source of everything that is random, and the clock.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::Planted;

thread_local! {
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::seed_from_u64(0));
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Runs a world of its own, from its beginning to its end.
pub(super) fn run<T>(seed: u64, planted: Option<Planted>, world: impl Future<Output = T>) -> T {
    RANDOM.with(|random| *random.borrow_mut() = SmallRng::seed_from_u64(seed));
    PLANTED.set(planted);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()))
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        BEGAN.set(Some(Instant::now()));
        world.await
    })
}

/// A number of a range, end excluded.
pub(crate) fn number(range: std::ops::Range<u64>) -> u64 {
    RANDOM.with(|random| random.borrow_mut().random_range(range))
}

/// Whether something happens that happens `percent` times of a hundred.
pub(super) fn happens(percent: u64) -> bool {
    number(0..100) < percent
}

pub(super) fn pick<T: Copy>(of: &[T]) -> T {
    of[usize::try_from(number(0..of.len() as u64)).expect("an index")]
}

pub(super) async fn pause(ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(number(ms))).await;
}

/// Since the beginning of the run.
pub(super) fn now_ms() -> u64 {
    let elapsed = BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed());
    u64::try_from(elapsed.as_millis()).expect("a short run")
}

/// The clock on the wall, the same at the beginning of each run.
pub(crate) fn wall_clock_ms() -> i64 {
    const BEGINS_MS: i64 = 1_700_000_000_000;
    BEGINS_MS + i64::try_from(now_ms()).expect("a short run")
}

/// Whether the run is one with this bug in it.
pub(crate) fn is_planted(bug: Planted) -> bool {
    PLANTED.get() == Some(bug)
}
