//! The payload of a log entry: many requests, stamped once.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | [`Flags`] |
//! | 2 | 8 | leader's clock, ms since the epoch |
//! | 10 | | requests, one after the other |
//!
//! Each request:
//!
//! | size | field |
//! |---|---|
//! | 4 | operation code |
//! | 8 | session |
//! | 8 | server that owns the connection |
//! | 8 | connection |
//! | 4 | xid |
//! | 4 | number of identities |
//! | 4+n, 4+n | scheme and id of each |
//! | 4+n | body, as the client encoded it |

use bytes::{BufMut as _, Bytes, BytesMut};
use jute::{Decode, DecodeError, Encode as _, OpCode, Reader};

use crate::auth::Identity;
use crate::op::Flags;
use crate::types::{ConnId, ServerId, SessionId};

const FORMAT_VERSION: u8 = 1;
const HEADER_LEN: usize = 10;

/// What all requests of an entry share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub flags: Flags,
    pub time_ms: i64,
}

/// Where the reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub server: ServerId,
    pub conn: ConnId,
    pub xid: i32,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub op: OpCode,
    pub session: SessionId,
    pub origin: Origin,
    identities: Vec<(&'a str, &'a str)>,
    pub body: &'a [u8],
}

impl Request<'_> {
    #[must_use]
    pub fn identities(&self) -> Vec<Identity> {
        self.identities
            .iter()
            .map(|(scheme, id)| Identity::new(scheme, id))
            .collect()
    }
}

/// Requests on their way into one entry.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: BytesMut,
    len: usize,
}

impl Batch {
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = BytesMut::with_capacity(1024);
        bytes.put_bytes(0, HEADER_LEN);
        Self { bytes, len: 0 }
    }

    pub fn push(
        &mut self,
        op: OpCode,
        session: SessionId,
        origin: Origin,
        identities: &[Identity],
        body: &[u8],
    ) {
        let out = &mut self.bytes;
        out.put_i32(op.0);
        out.put_i64(session.0);
        out.put_u64(origin.server.0);
        out.put_u64(origin.conn.0);
        out.put_i32(origin.xid);
        out.put_u32(u32::try_from(identities.len()).unwrap_or(u32::MAX));
        for identity in identities {
            // Not as a string for clients: Java's way to write some characters cannot be read back.
            Some(identity.scheme.as_bytes()).encode(out);
            Some(identity.id.as_bytes()).encode(out);
        }
        Some(body).encode(out);
        self.len += 1;
    }

    /// Requests in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The entry's payload, stamped.
    #[must_use]
    pub fn seal(mut self, header: BatchHeader) -> Bytes {
        self.bytes[0] = FORMAT_VERSION;
        self.bytes[1] = header.flags.0;
        self.bytes[2..HEADER_LEN].copy_from_slice(&header.time_ms.to_be_bytes());
        self.bytes.freeze()
    }
}

/// Splits a payload. `None` for one that no version of this server has written; an empty payload
/// is an entry of Raft's own and has no requests.
#[must_use]
pub fn open(payload: &[u8]) -> Option<(BatchHeader, Requests<'_>)> {
    let (header, rest) = payload.split_first_chunk::<HEADER_LEN>()?;
    let [version, flags, time @ ..] = *header;
    if version != FORMAT_VERSION {
        return None;
    }
    let header = BatchHeader {
        flags: Flags(flags),
        time_ms: i64::from_be_bytes(time),
    };
    Some((
        header,
        Requests {
            reader: Reader::new(rest),
        },
    ))
}

/// The requests of an entry, in order. Stops at bytes that are no request.
pub struct Requests<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Requests<'a> {
    type Item = Request<'a>;

    fn next(&mut self) -> Option<Request<'a>> {
        if self.reader.rest().is_empty() {
            None
        } else {
            self.reader.read().ok()
        }
    }
}

impl<'a> Decode<'a> for Request<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let op = OpCode(reader.read()?);
        let session = SessionId(reader.read()?);
        let server = ServerId(reader.read::<i64>()?.cast_unsigned());
        let conn = ConnId(reader.read::<i64>()?.cast_unsigned());
        let xid = reader.read()?;
        let count = reader.read::<i32>()?;
        let mut identities = Vec::new();
        for _ in 0..count {
            identities.push((read_str(reader)?, read_str(reader)?));
        }
        let body = reader.read::<Option<&[u8]>>()?.unwrap_or_default();
        Ok(Self {
            op,
            session,
            origin: Origin { server, conn, xid },
            identities,
            body,
        })
    }
}

/// A string that this server has written itself.
fn read_str<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let bytes = reader.read::<Option<&[u8]>>()?.unwrap_or_default();
    Ok(str::from_utf8(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip() {
        let mut batch = Batch::new();
        let origin = Origin {
            server: ServerId(1),
            conn: ConnId(7),
            xid: 3,
        };
        let identities = [
            Identity::new("ip", "127.0.0.1"),
            Identity::new("digest", "u:h"),
        ];
        batch.push(OpCode::DELETE, SessionId(9), origin, &identities, b"body");
        batch.push(OpCode::MULTI, SessionId(10), origin, &[], b"");
        let header = BatchHeader {
            flags: Flags::SKIP_ACL,
            time_ms: 12,
        };
        let payload = batch.seal(header);
        let (opened, requests) = open(&payload).expect("just sealed");
        assert_eq!(opened, header);
        let requests: Vec<_> = requests.collect();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].origin, origin);
        assert_eq!(requests[0].identities(), identities);
        assert_eq!(requests[0].body, b"body");
        for cut in 0..payload.len() {
            if let Some((_, requests)) = open(&payload[..cut]) {
                assert!(requests.count() < 2, "a cut entry has fewer requests");
            }
        }
    }
}
