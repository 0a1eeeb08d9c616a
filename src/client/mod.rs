//! A small client, shared by the shell, the load generator and tests.
//!
//! Three doors. [`Keeper`] is a session that looks after its connections: several servers, a
//! chroot, credentials and watches that outlive a connection. Below it, [`Client`] is one connection:
//! requests from anywhere, replies as futures, events as a stream, pings by a task of its own.
//! [`Wire`] is the bare connection, for a caller that drives one connection from one task and counts
//! nanoseconds.
//!
//! The lower two do not reconnect: a lost connection is reported, and [`Session`] holds what
//! [`ConnectOptions::resume`] needs. All know jute and nothing of the server.
//!
//! **Invariant:** replies come in request order. A reply whose xid is not that of the oldest
//! request in flight ends the connection with [`ClientError::WrongXid`].
//!
//! Upstream counterparts: `ClientCnxn.java`, `ZooKeeper.java`.

mod ask;
mod driver;
mod handle;
mod hosts;
mod keeper;
mod watches;
mod wire;

use std::io;
use std::time::Duration;

use jute::frame::FrameError;
use jute::proto::PASSWORD_LEN;
use jute::{DecodeError, ErrorCode};

pub use ask::ask;
pub use handle::{Client, Events, Pending, open_acl};
pub use hosts::{Host, Hosts, HostsError};
pub use keeper::{
    CONFIG_PATH, Change, CreateOptions, Keeper, Notice, Notices, SessionChange, SessionState,
};
pub use watches::{Removed, WatchKind};
pub use wire::{Empty, Encoded, Message, Wire};

/// What a client asks for when it connects.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Asked for; the server clamps it.
    pub session_timeout: Duration,
    /// From the first packet to the server's answer.
    pub connect_timeout: Duration,
    /// A session to take up again; `None` for a new one.
    pub resume: Option<Session>,
    /// The highest zxid seen so far; a server behind it refuses us.
    pub last_zxid_seen: i64,
    /// Whether a read-only server will do.
    pub read_only: bool,
    /// The largest message accepted from the server.
    pub max_frame_bytes: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            resume: None,
            last_zxid_seen: 0,
            read_only: false,
            // A server puts no cap on its replies; a listing of a huge parent is long.
            max_frame_bytes: 256 << 20,
        }
    }
}

/// A session as the server granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub id: i64,
    pub password: [u8; PASSWORD_LEN],
    /// As negotiated.
    pub timeout: Duration,
    /// The server answers reads only.
    pub read_only: bool,
}

/// A change that a watch reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// One of [`jute::proto::event_type`].
    pub kind: i32,
    pub path: String,
    /// Of the change; -1 when the server does not say.
    pub zxid: i64,
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error code. The connection goes on; all others end it.
    #[error("{0}")]
    Refused(ErrorCode),
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    ConnectTimeout(Duration),
    #[error("nothing heard from the server for {0:?}")]
    Silent(Duration),
    #[error("the server has closed the connection")]
    Closed,
    #[error("the session has expired")]
    SessionExpired,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("malformed message: {0}")]
    Decode(#[from] DecodeError),
    #[error("reply to request {found} where {expected} was due")]
    WrongXid { expected: i32, found: i32 },
    #[error("a reply although nothing was asked: xid {0}")]
    Unasked(i32),
    #[error("{0} events are waiting; the reader is too slow")]
    EventsOverflow(usize),
    #[error("a password of {0} bytes")]
    PasswordLength(usize),
}
