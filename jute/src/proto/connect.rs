//! The handshake. Its messages carry no header.
//!
//! The `readOnly` byte at the end is optional in both directions: clients up to 3.3 do not send
//! it and must not be sent it (`ProtocolManager.java`, ZOOKEEPER-4814).

use bytes::BytesMut;

use crate::{Buf, Decode, DecodeError, Encode, Reader};

/// Bytes of a session password.
pub const PASSWORD_LEN: usize = 16;

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | protocol version, ignored |
/// | 4 | 8 | last zxid seen |
/// | 12 | 4 | requested session timeout, ms |
/// | 16 | 8 | session id, 0 for a new one |
/// | 24 | 4+n | password |
/// | 28+n | 0 or 1 | read-only allowed |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: Buf<'a>,
    /// `None` when the byte was absent.
    pub read_only: Option<bool>,
}

impl<'a> Decode<'a> for ConnectRequest<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let name = |field| move |error: DecodeError| error.within("ConnectRequest", field);
        Ok(Self {
            protocol_version: reader.read().map_err(name("protocol_version"))?,
            last_zxid_seen: reader.read().map_err(name("last_zxid_seen"))?,
            timeout_ms: reader.read().map_err(name("timeout_ms"))?,
            session_id: reader.read().map_err(name("session_id"))?,
            password: reader.read().map_err(name("password"))?,
            read_only: if reader.rest().is_empty() {
                None
            } else {
                Some(reader.read()?)
            },
        })
    }
}

impl Encode for ConnectRequest<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.protocol_version.encode(out);
        self.last_zxid_seen.encode(out);
        self.timeout_ms.encode(out);
        self.session_id.encode(out);
        self.password.encode(out);
        if let Some(read_only) = self.read_only {
            read_only.encode(out);
        }
    }
}

/// A rejected session is answered with time-out, id and password all zero, then closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse<'a> {
    pub protocol_version: i32,
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: Buf<'a>,
    /// `None` leaves the byte out, for clients that did not send theirs.
    pub read_only: Option<bool>,
}

impl<'a> Decode<'a> for ConnectResponse<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let name = |field| move |error: DecodeError| error.within("ConnectResponse", field);
        Ok(Self {
            protocol_version: reader.read().map_err(name("protocol_version"))?,
            timeout_ms: reader.read().map_err(name("timeout_ms"))?,
            session_id: reader.read().map_err(name("session_id"))?,
            password: reader.read().map_err(name("password"))?,
            read_only: if reader.rest().is_empty() {
                None
            } else {
                Some(reader.read()?)
            },
        })
    }
}

impl Encode for ConnectResponse<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.protocol_version.encode(out);
        self.timeout_ms.encode(out);
        self.session_id.encode(out);
        self.password.encode(out);
        if let Some(read_only) = self.read_only {
            read_only.encode(out);
        }
    }
}
