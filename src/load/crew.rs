//! The threads of a run: they connect, wait for each other, start at one moment, and their tallies
//! are added up.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

use super::cpu::CpuTimes;
use super::fan_out::FanOut;
use super::lock::LockHolder;
use super::schedule::Schedule;
use super::tally::{Mistake, Tally};
use super::{
    LoadError, Options, Report, Workload, fan_out, gap, lock, pipelined, sessions, set_up,
};
use crate::client::{Client, ClientError, Events, Wire};

/// Connections that one thread opens at the same time: a listener's backlog is short.
const CONNECTING_MAX: usize = 16;

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) data: Vec<u8>,
    /// Paths that get, set and mixed choose from; empty for other workloads.
    pub(super) keys: Vec<String>,
    pub(super) lock_holder: LockHolder,
    pub(super) fan_out: FanOut,
}

/// What the connections of one thread share.
pub(super) type SharedTally = Rc<RefCell<Tally>>;

/// Where a thread says that it is connected and learns when to start.
struct Gate {
    ready: SyncSender<Result<(), LoadError>>,
    start: watch::Receiver<Option<Schedule>>,
}

impl Gate {
    /// Waits until all threads are connected.
    async fn pass(mut self) -> Result<Schedule, LoadError> {
        self.ready.send(Ok(())).map_err(|_| LoadError::Abandoned)?;
        let schedule = *self
            .start
            .wait_for(Option::is_some)
            .await
            .map_err(|_| LoadError::Abandoned)?;
        schedule.ok_or(LoadError::Abandoned)
    }
}

/// Runs one workload from set-up to clean-up.
///
/// # Errors
/// When it could not be set up or not all connections were made. Mistakes that the server makes
/// later are in the report.
pub fn run(options: &Options) -> Result<Report, LoadError> {
    let aside = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::Thread)?;
    aside.block_on(set_up::prepare(options))?;
    let run = Arc::new(Run {
        options: options.clone(),
        data: options.data(),
        keys: options.key_paths(),
        lock_holder: LockHolder::default(),
        fan_out: FanOut::new(options.connections),
    });
    let (tally, schedule, cpu) = run_threads(&run)?;
    aside.block_on(set_up::clean_up(options))?;
    let measured = schedule.measured(tally.last.unwrap_or(schedule.measure_from));
    Ok(Report::new(options, tally, measured, cpu))
}

fn run_threads(run: &Arc<Run>) -> Result<(Tally, Schedule, CpuTimes), LoadError> {
    let ranges = split(run.options.connections, run.options.threads);
    let (ready, connected) = sync_channel(ranges.len() * 2);
    let (start, started) = watch::channel(None);
    let mut threads = Vec::with_capacity(ranges.len());
    for lanes in ranges {
        let run = Arc::clone(run);
        let gate = Gate {
            ready: ready.clone(),
            start: started.clone(),
        };
        let name = format!("lanes-{}", lanes.start);
        let spawned = thread::Builder::new()
            .name(name)
            .spawn(move || thread_main(&run, lanes, gate));
        threads.push(spawned.map_err(LoadError::Thread)?);
    }
    drop(ready);
    for _ in 0..threads.len() {
        // A thread that cannot connect says why; the others then meet a closed gate.
        connected.recv().map_err(|_| LoadError::Panicked)??;
    }
    drop(connected);
    let schedule = Schedule::begin(&run.options);
    start.send_replace(Some(schedule));
    // This thread has nothing else to do, so its clock is right even when theirs are late.
    thread::sleep(
        schedule
            .measure_from
            .saturating_duration_since(Instant::now()),
    );
    let begun = CpuTimes::now(&run.options.server_pids)?;
    if let Some(until) = schedule.until() {
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
    let timed = schedule
        .until()
        .map(|_| CpuTimes::now(&run.options.server_pids));
    let mut total = Tally::default();
    for thread in threads {
        let tally = thread.join().map_err(|_| LoadError::Panicked)??;
        total.add(&tally);
    }
    let ended = timed.unwrap_or_else(|| CpuTimes::now(&run.options.server_pids))?;
    Ok((total, schedule, ended.since(begun)))
}

/// Spreads lanes over at most `threads` ranges, none of them empty.
fn split(lanes: u32, threads: u32) -> Vec<Range<u32>> {
    let threads = threads.min(lanes);
    let bound = |thread: u32| {
        let lane = u64::from(lanes) * u64::from(thread) / u64::from(threads);
        u32::try_from(lane).unwrap_or(lanes)
    };
    (0..threads)
        .map(|thread| bound(thread)..bound(thread + 1))
        .collect()
}

fn thread_main(run: &Arc<Run>, lanes: Range<u32>, gate: Gate) -> Result<Tally, LoadError> {
    let ready = gate.ready.clone();
    let done = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::Thread)
        .and_then(|runtime| {
            LocalSet::new().block_on(&runtime, Box::pin(run_lanes(run, lanes, gate)))
        });
    let Err(error) = done else {
        return done;
    };
    match ready.try_send(Err(error)) {
        Ok(()) => Err(LoadError::Abandoned),
        // Nobody listens once all were connected; then the error comes back by `join`.
        Err(TrySendError::Full(error) | TrySendError::Disconnected(error)) => {
            error.and(Err(LoadError::Abandoned))
        }
    }
}

async fn run_lanes(run: &Arc<Run>, lanes: Range<u32>, gate: Gate) -> Result<Tally, LoadError> {
    let tally = SharedTally::default();
    let mut tasks = Vec::with_capacity(lanes.len());
    match run.options.workload {
        Workload::Create | Workload::Set | Workload::Get | Workload::Mixed | Workload::Fill => {
            let wires = connect_wires(run, lanes.clone()).await?;
            let schedule = gate.pass().await?;
            for (lane, wire) in lanes.zip(wires) {
                let task = pipelined::drive(run.clone(), lane, wire, schedule, tally.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
        }
        Workload::Gap => {
            let wires = connect_wires(run, lanes.clone()).await?;
            let schedule = gate.pass().await?;
            for (lane, wire) in lanes.zip(wires) {
                let task = gap::drive(run.clone(), lane, wire, schedule, tally.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
        }
        Workload::Lock => {
            let clients = connect_clients(run, lanes.clone()).await?;
            let schedule = gate.pass().await?;
            for (lane, client) in lanes.zip(clients) {
                let task = lock::drive(run.clone(), lane, client, schedule, tally.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
        }
        Workload::FanOut => {
            let clients = connect_clients(run, lanes.clone()).await?;
            let writer = match lanes.start {
                0 => connect_clients(run, 0..1).await?.pop(),
                _ => None,
            };
            let schedule = gate.pass().await?;
            for client in clients {
                let task = fan_out::watch(run.clone(), client, schedule, tally.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
            if let Some((client, _events)) = writer {
                let task = fan_out::write(run.clone(), client, schedule, tally.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
        }
        Workload::Sessions => {
            let schedule = gate.pass().await?;
            for lane in lanes {
                let task = sessions::drive(run.clone(), lane, schedule, tally.clone());
                tasks.push(tokio::task::spawn_local(task));
            }
        }
    }
    for task in tasks {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tally
                .borrow_mut()
                .mistake(Mistake::Connection, || error.to_string()),
            Err(_) => return Err(LoadError::Panicked),
        }
    }
    Ok(tally.take())
}

async fn connect_wires(run: &Run, lanes: Range<u32>) -> Result<Vec<Wire>, LoadError> {
    let options = &run.options.connect();
    let places = &Semaphore::new(CONNECTING_MAX);
    let connect = |lane| async move {
        let _place = places.acquire().await.map_err(|_| ClientError::Closed)?;
        Wire::connect(run.options.server_of(lane), options).await
    };
    try_join_all(lanes.map(connect))
        .await
        .map_err(LoadError::Connect)
}

async fn connect_clients(run: &Run, lanes: Range<u32>) -> Result<Vec<(Client, Events)>, LoadError> {
    let options = &run.options.connect();
    let places = &Semaphore::new(CONNECTING_MAX);
    let connect = |lane| async move {
        let _place = places.acquire().await.map_err(|_| ClientError::Closed)?;
        Client::connect(run.options.server_of(lane), options).await
    };
    try_join_all(lanes.map(connect))
        .await
        .map_err(LoadError::Connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_spread_without_gaps() {
        assert_eq!(split(7, 2), [0..3, 3..7]);
        assert_eq!(split(2, 4), [0..1, 1..2]);
        assert_eq!(split(4, 4), [0..1, 1..2, 2..3, 3..4]);
    }
}
