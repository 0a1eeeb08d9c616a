//! Black-box harness: our server and Apache ZooKeeper, side by side over TCP.
//!
//! * [`server`] starts one of the two, [`ensemble`] several that act as one;
//! * [`attempt`] is a client that says in words what came of what it tried;
//! * [`wire`] writes requests and takes replies apart, [`script`] is their readable form;
//! * [`play`] performs a script on one server and records what it answered;
//! * [`compare`] finds the first difference between two recordings;
//! * [`generate`] makes random scripts, [`shrink`] makes a differing one small;
//! * [`change`] changes the members of an ensemble;
//! * [`history`] holds what clients of an ensemble saw, and tells whether that may be;
//! * [`http`] asks an admin server or an exporter;
//! * [`snapshot`] changes a snapshot file of Meerkat's;
//! * [`vectors`] records what a real server sends, for the codec's tests;
//! * [`oracle`] puts these together for the tests and the `oracle` command.
//!
//! Nothing here uses the `jute` crate or any other code of the server: an oracle that shares the
//! codec that it judges would share its mistakes.

pub mod attempt;
pub mod change;
pub mod client;
pub mod compare;
pub mod ensemble;
pub mod generate;
pub mod history;
pub mod http;
pub mod oracle;
pub mod play;
pub mod script;
pub mod server;
pub mod shrink;
pub mod snapshot;
pub mod vectors;
pub mod wire;
