//! The payload of a log entry: many requests, stamped once.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format version, 2 |
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
//! | 8 | attachment of the session to that server |
//! | 4 | number of identities |
//! | 4+n, 4+n | scheme and id of each |
//! | 4+n | body, as the client encoded it |

use bytes::{BufMut as _, Bytes, BytesMut};
use jute::{Decode, DecodeError, Encode as _, OpCode, Reader};

use crate::auth::Identity;
use crate::op::Flags;
use crate::types::{ConnId, ServerId, SessionId};

const FORMAT_VERSION: u8 = 2;
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
    /// Rises each time when the session moves to another connection. A request of an older one that
    /// arrives late is refused: its session goes on elsewhere, and its order must hold there.
    pub attach: u64,
}

impl Origin {
    /// The attachment of requests that servers make themselves.
    pub const UNATTACHED: u64 = u64::MAX;
    /// The attachment of a session that the ensemble does not know: it is local to its server.
    pub const LOCAL: u64 = u64::MAX - 1;
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
        out.put_u64(origin.attach);
        out.put_u32(u32::try_from(identities.len()).unwrap_or(u32::MAX));
        for identity in identities {
            // Not as a string for clients: Java's way to write some characters cannot be read back.
            Some(identity.scheme.as_bytes()).encode(out);
            Some(identity.id.as_bytes()).encode(out);
        }
        Some(body).encode(out);
        self.len += 1;
    }

    /// Appends requests that another server has put into a batch.
    pub fn push_encoded(&mut self, count: usize, requests: &[u8]) {
        self.bytes.put_slice(requests);
        self.len += count;
    }

    /// The requests alone, for [`Self::push_encoded`].
    #[must_use]
    pub fn into_encoded(self) -> Bytes {
        self.bytes.freeze().slice(HEADER_LEN..)
    }

    /// The batch without the requests that are not wanted.
    #[must_use]
    pub fn retain(self, wanted: impl Fn(&Request<'_>) -> bool) -> Self {
        let mut kept = Self::new();
        let bytes = self.into_encoded();
        let mut reader = Reader::new(&bytes);
        while !reader.rest().is_empty() {
            let before = reader.rest();
            let Ok(request) = reader.read::<Request<'_>>() else {
                break;
            };
            if wanted(&request) {
                kept.push_encoded(1, &before[..before.len() - reader.rest().len()]);
            }
        }
        kept
    }

    /// Looks at each request.
    pub fn for_each(&self, mut look: impl FnMut(&Request<'_>)) {
        let requests = Requests {
            reader: Reader::new(&self.bytes[HEADER_LEN..]),
        };
        requests.for_each(|request| look(&request));
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

/// The bytes that each request of a payload takes, without reading them.
pub fn lengths(payload: &[u8]) -> impl Iterator<Item = usize> {
    let whole = payload.split_first_chunk::<HEADER_LEN>();
    let requests = whole.filter(|(header, _)| header[0] == FORMAT_VERSION);
    let mut rest = requests.map_or(&[][..], |(_, rest)| rest);
    std::iter::from_fn(move || {
        let before = rest.len();
        skip_request(&mut rest)?;
        Some(before - rest.len())
    })
}

fn skip_request(bytes: &mut &[u8]) -> Option<()> {
    /// Bytes in front of the identities.
    const FIXED_LEN: usize = 40;
    fn skip<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let skipped;
        (skipped, *bytes) = bytes.split_at_checked(len)?;
        Some(skipped)
    }
    fn number(bytes: &mut &[u8]) -> Option<i32> {
        let four = skip(bytes, size_of::<i32>())?;
        four.try_into().ok().map(i32::from_be_bytes)
    }
    fn skip_field(bytes: &mut &[u8]) -> Option<()> {
        // A null has no bytes.
        let len = usize::try_from(number(bytes)?).unwrap_or(0);
        skip(bytes, len).map(|_| ())
    }
    skip(bytes, FIXED_LEN)?;
    for _ in 0..number(bytes)? {
        skip_field(bytes)?;
        skip_field(bytes)?;
    }
    skip_field(bytes)
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
        let attach = reader.read::<i64>()?.cast_unsigned();
        let count = reader.read::<i32>()?;
        let mut identities = Vec::new();
        for _ in 0..count {
            identities.push((read_str(reader)?, read_str(reader)?));
        }
        let body = reader.read::<Option<&[u8]>>()?.unwrap_or_default();
        Ok(Self {
            op,
            session,
            origin: Origin {
                server,
                conn,
                xid,
                attach,
            },
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
            attach: 4,
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
        let lengths_of = |payload: &[u8]| lengths(payload).collect::<Vec<_>>();
        let all = lengths_of(&payload);
        assert_eq!(all.len(), 2);
        assert_eq!(HEADER_LEN + all.iter().sum::<usize>(), payload.len());
        assert_eq!(lengths_of(&[]), [0; 0], "an entry of Raft's own");
        for cut in 0..payload.len() {
            let whole = if cut < HEADER_LEN + all[0] { 0 } else { 1 };
            assert_eq!(lengths_of(&payload[..cut]), all[..whole], "cut at {cut}");
        }
        for cut in 0..payload.len() {
            if let Some((_, requests)) = open(&payload[..cut]) {
                assert!(requests.count() < 2, "a cut entry has fewer requests");
            }
        }
    }
}
