//! What a server and its leader say to each other over their link.
//!
//! ```text
//!   server                                        leader
//!   OPEN      incarnation, term         --->
//!                                       <---      RESUME    last batch that arrived
//!   REQUESTS  number, count, requests   --->
//!                                       <---      ACCEPTED  last batch that is in the leader's queue
//!   HEARD     sessions and how long ago --->
//!   ATTACH    ticket, session, ...      --->
//!                                       <---      ATTACHED  ticket, attachment (0: no such session)
//!                                       <---      DETACH    session, attachment that is newer
//!   READ      ticket                    --->
//!                                       <---      INDEX     ticket, entry to be applied first
//!                                       <---      STOPPED   last batch that will be in the log
//! ```
//!
//! Batches are numbered within an incarnation of the server and a term of the leader. A link that
//! breaks is opened again and goes on behind the last batch that arrived: none is lost, none is
//! sent twice.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::session::PASSWORD_LEN;
use crate::types::SessionId;

const OPEN: u8 = 100;
const RESUME: u8 = 101;
const REQUESTS: u8 = 102;
const ACCEPTED: u8 = 103;
const HEARD: u8 = 104;
const ATTACH: u8 = 105;
const ATTACHED: u8 = 106;
const DETACH: u8 = 107;
const READ: u8 = 108;
const INDEX: u8 = 109;
const STOPPED: u8 = 110;

/// Sessions in one report of signs of life.
pub(super) const HEARD_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Open {
        incarnation: u64,
        term: u64,
    },
    Resume {
        last: u64,
    },
    Requests {
        number: u64,
        count: u32,
        requests: Bytes,
    },
    Accepted {
        last: u64,
    },
    /// Each session with the milliseconds since it was heard.
    Heard(Vec<(SessionId, u32)>),
    Attach {
        ticket: u64,
        session: SessionId,
        timeout_ms: i32,
        password: [u8; PASSWORD_LEN],
    },
    Attached {
        ticket: u64,
        attach: u64,
    },
    Detach {
        session: SessionId,
        attach: u64,
    },
    Read {
        ticket: u64,
    },
    /// No entry when the leader could not find out.
    Index {
        ticket: u64,
        index: Option<u64>,
    },
    Stopped {
        last: u64,
    },
}

impl Message {
    pub(super) fn encode(&self) -> (u8, Bytes) {
        let mut out = BytesMut::new();
        let kind = match self {
            Self::Open { incarnation, term } => {
                out.put_u64(*incarnation);
                out.put_u64(*term);
                OPEN
            }
            Self::Resume { last } => {
                out.put_u64(*last);
                RESUME
            }
            Self::Requests {
                number,
                count,
                requests,
            } => {
                out.put_u64(*number);
                out.put_u32(*count);
                out.put_slice(requests);
                REQUESTS
            }
            Self::Accepted { last } => {
                out.put_u64(*last);
                ACCEPTED
            }
            Self::Heard(sessions) => {
                for (session, age_ms) in sessions {
                    out.put_i64(session.0);
                    out.put_u32(*age_ms);
                }
                HEARD
            }
            Self::Attach {
                ticket,
                session,
                timeout_ms,
                password,
            } => {
                out.put_u64(*ticket);
                out.put_i64(session.0);
                out.put_i32(*timeout_ms);
                out.put_slice(password);
                ATTACH
            }
            Self::Attached { ticket, attach } => {
                out.put_u64(*ticket);
                out.put_u64(*attach);
                ATTACHED
            }
            Self::Detach { session, attach } => {
                out.put_i64(session.0);
                out.put_u64(*attach);
                DETACH
            }
            Self::Read { ticket } => {
                out.put_u64(*ticket);
                READ
            }
            Self::Index { ticket, index } => {
                out.put_u64(*ticket);
                out.put_u8(u8::from(index.is_some()));
                out.put_u64(index.unwrap_or(0));
                INDEX
            }
            Self::Stopped { last } => {
                out.put_u64(*last);
                STOPPED
            }
        };
        (kind, out.freeze())
    }

    pub(super) fn decode(kind: u8, mut body: Bytes) -> Option<Self> {
        let body = &mut body;
        let long = |body: &mut Bytes| body.try_get_u64().ok();
        let session = |body: &mut Bytes| body.try_get_i64().ok().map(SessionId);
        Some(match kind {
            OPEN => Self::Open {
                incarnation: long(body)?,
                term: long(body)?,
            },
            RESUME => Self::Resume { last: long(body)? },
            REQUESTS => Self::Requests {
                number: long(body)?,
                count: body.try_get_u32().ok()?,
                requests: std::mem::take(body),
            },
            ACCEPTED => Self::Accepted { last: long(body)? },
            HEARD => {
                let mut sessions = Vec::new();
                while !body.is_empty() {
                    sessions.push((session(body)?, body.try_get_u32().ok()?));
                }
                Self::Heard(sessions)
            }
            ATTACH => Self::Attach {
                ticket: long(body)?,
                session: session(body)?,
                timeout_ms: body.try_get_i32().ok()?,
                password: *body.first_chunk()?,
            },
            ATTACHED => Self::Attached {
                ticket: long(body)?,
                attach: long(body)?,
            },
            DETACH => Self::Detach {
                session: session(body)?,
                attach: long(body)?,
            },
            READ => Self::Read {
                ticket: long(body)?,
            },
            INDEX => {
                let ticket = long(body)?;
                let is_known = body.try_get_u8().ok()? != 0;
                let index = long(body)?;
                Self::Index {
                    ticket,
                    index: is_known.then_some(index),
                }
            }
            STOPPED => Self::Stopped { last: long(body)? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_no_cut_panics() {
        let messages = [
            Message::Open {
                incarnation: 1,
                term: 2,
            },
            Message::Resume { last: 3 },
            Message::Requests {
                number: 4,
                count: 2,
                requests: Bytes::from_static(b"requests"),
            },
            Message::Accepted { last: 5 },
            Message::Heard(vec![(SessionId(6), 7), (SessionId(-8), 9)]),
            Message::Attach {
                ticket: 10,
                session: SessionId(11),
                timeout_ms: 12,
                password: [13; PASSWORD_LEN],
            },
            Message::Attached {
                ticket: 14,
                attach: 15,
            },
            Message::Detach {
                session: SessionId(16),
                attach: 17,
            },
            Message::Read { ticket: 18 },
            Message::Index {
                ticket: 19,
                index: Some(20),
            },
            Message::Index {
                ticket: 21,
                index: None,
            },
            Message::Stopped { last: 22 },
        ];
        for message in messages {
            let (kind, body) = message.encode();
            for cut in 0..body.len() {
                let _ = Message::decode(kind, body.slice(..cut));
            }
            assert_eq!(Message::decode(kind, body), Some(message));
        }
    }
}
