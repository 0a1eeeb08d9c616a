#![doc = include_str!("ARCHITECTURE.md")]

mod collections;
pub mod types;

pub mod tree;

pub mod auth;
pub mod op;
pub mod session;
pub mod state;
pub mod watch;

pub mod ensemble;
pub mod storage;

pub mod pipeline;

pub mod admin;
pub mod config;
pub mod server;

pub mod convert;
pub mod offline;
pub mod upstream;

pub mod client;
pub mod load;
pub mod shell;

pub mod logging;

#[cfg(simulation)]
mod simulation;

/// What `srvr`, `stat` and `mntr` call our version: the ZooKeeper release whose protocol and
/// output we follow, then our own, then the day of its release. Scripts parse the number in front.
pub const VERSION_LINE: &str = concat!(
    "3.9.5-meerkat-",
    env!("CARGO_PKG_VERSION"),
    ", built on 2026-11-23 00:00 UTC"
);

#[cfg(test)]
mod tidy;
