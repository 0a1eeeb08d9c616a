//! The records of the client protocol, by topic, with upstream's names and field order.

mod acl;
mod connect;
mod data;
mod header;
mod multi;
mod session;
mod watch;

pub use acl::*;
pub use connect::*;
pub use data::*;
pub use header::*;
pub use multi::*;
pub use session::*;
pub use watch::*;
