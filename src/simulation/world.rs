//! The source of everything that is random, the clock, and where openraft's tasks run.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Duration;

use openraft::{AsyncRuntime, TokioRuntime};
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
pub(super) fn number(range: std::ops::Range<u64>) -> u64 {
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

/// Tokio, with time-outs drawn from the seed.
#[derive(Debug)]
pub(crate) struct Executor;

impl AsyncRuntime for Executor {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: openraft::OptionalSend + 'static> =
        <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + openraft::OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: openraft::OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + openraft::OptionalSend + 'static,
        T::Output: openraft::OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + openraft::OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + openraft::OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SmallRng::seed_from_u64(number(0..u64::MAX))
    }

    fn new(threads: usize) -> Self {
        let _ = threads;
        Self
    }

    fn block_on<F, T>(&mut self, _: F) -> T
    where
        F: Future<Output = T>,
    {
        unreachable!("the world has its own runtime")
    }
}
