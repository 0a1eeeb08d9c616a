//! ZooKeeper's wire format: bytes to records and back.
//!
//! Jute is the serialisation that ZooKeeper took from Hadoop: big-endian integers, length-prefixed
//! strings and buffers where length -1 means null, vectors with a count. Nothing is tagged.
//!
//! This crate knows records and frames. It does not know sockets, server state or policy: whether
//! a path is valid or a flag allowed is decided elsewhere.
//!
//! * [`Reader`] decodes with `nom` over a borrowed slice. It never panics and never allocates more
//!   than the input is long.
//! * [`Encode`] writes into a [`bytes::BytesMut`].
//! * [`frame`] cuts length-prefixed frames out of a receive buffer.
//! * [`proto`] declares each record once, in upstream's field order (`zookeeper.jute`).
//!
//! Upstream counterparts: `BinaryInputArchive.java`, `BinaryOutputArchive.java`,
//! `zookeeper.jute`, `ZooDefs.java`, `KeeperException.java`.

#[macro_use]
mod record;
mod error_code;
pub mod frame;
mod op_code;
pub mod proto;
mod read;
mod write;

pub use error_code::ErrorCode;
pub use op_code::OpCode;
pub use read::{Decode, DecodeError, DecodeErrorKind, Reader};
pub use record::{Buf, Str, text};
pub use write::{Encode, put_str};

/// Default of `jute.maxbuffer`, in bytes: the largest frame that a server accepts.
pub const MAX_BUFFER_DEFAULT: usize = 0xf_ffff;
