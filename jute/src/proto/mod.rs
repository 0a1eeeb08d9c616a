//! The records of the client protocol, by topic, with upstream's names and field order; in [`txn`]
//! those of ZooKeeper's files.

mod acl;
mod connect;
mod data;
mod header;
mod multi;
mod session;
pub mod txn;
mod watch;

pub use acl::*;
pub use connect::*;
pub use data::*;
pub use header::*;
pub use multi::*;
pub use session::*;
pub use watch::*;
