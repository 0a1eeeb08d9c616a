//! Ensembles in one process, under a clock that jumps: the real state machine, log, elections and
//! forwarding over a network and disks that obey a seed. The same seed gives the same run.
//!
//! * `world`: the seeded source of everything random, and the clock.
//! * `net`: connections that can be slow, cut in one direction, or reset.
//! * `cluster`: servers that start, crash and lose what their disk had not been told to keep.
//! * `client`: clients with a session that read and write without pause.
//! * `history`: what clients saw, and which of it must not be.
//! * `plan`: the faults of a run.
//!
//! What is left out because it has threads or files of its own: RocksDB, snapshots, TCP. Tests of
//! real processes have those.
//!
//! Built with `--cfg simulation --cfg tokio_unstable` only; `MEERKAT_SIM_SEED` runs one seed.

mod client;
mod cluster;
mod history;
mod net;
mod plan;
#[cfg(test)]
mod tests;
mod world;

pub(crate) use cluster::Planted;
pub(crate) use world::{is_planted, number, wall_clock_ms};
