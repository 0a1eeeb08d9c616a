//! The handshake. Its messages carry no header.
//!
//! The `readOnly` byte at the end is optional in both directions: clients up to 3.3 do not send
//! it and must not be sent it (`ProtocolManager.java`, ZOOKEEPER-4814).

use crate::Buf;

/// Bytes of a session password.
pub const PASSWORD_LEN: usize = 16;

records! {
    /// | offset | size | field |
    /// |---|---|---|
    /// | 0 | 4 | protocol version, ignored |
    /// | 4 | 8 | last zxid seen |
    /// | 12 | 4 | requested session timeout, ms |
    /// | 16 | 8 | session id, 0 for a new one |
    /// | 24 | 4+n | password |
    /// | 28+n | 0 or 1 | read-only allowed |
    pub struct ConnectRequest<'a> {
        protocol_version: i32,
        last_zxid_seen: i64,
        timeout_ms: i32,
        session_id: i64,
        password: Buf<'a>,
        /// `None` when the byte was absent.
        read_only: Option<bool>,
    }

    /// A rejected session is answered with time-out, id and password all zero, then closed.
    pub struct ConnectResponse<'a> {
        protocol_version: i32,
        timeout_ms: i32,
        session_id: i64,
        password: Buf<'a>,
        /// `None` leaves the byte out, for clients that did not send theirs.
        read_only: Option<bool>,
    }
}
