//! Meerkat: a coordination server that speaks Apache ZooKeeper's wire protocol.

pub mod auth;
pub mod config;
pub mod op;
pub mod session;
pub mod state;
pub mod tree;
pub mod types;
pub mod watch;

pub mod client;
pub mod load;
