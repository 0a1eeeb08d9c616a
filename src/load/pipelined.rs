//! create, set, get, mixed and fill: one kind of loop.
//!
//! A lane is one connection. It fills its window, sends all of it in one write, takes what has
//! arrived in one read, checks each reply and fills the window again. Paths are formatted into one
//! buffer that is used again, and the unchanging end of a create is encoded once.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use jute::proto::{
    CreateResponse, GetDataRequest, GetDataResponse, SetDataRequest, SetDataResponse, create_mode,
};
use jute::{Encode, ErrorCode, OpCode, put_str, text};
use tokio::time;

use super::Workload;
use super::crew::{Run, SharedTally};
use super::options::next_random;
use super::schedule::{STALL_LIMIT, Schedule};
use super::tally::{Mistake, Tally};
use crate::client::{ClientError, Message, Wire, open_acl};

/// What a request in flight was.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// The number of the node on this lane.
    Create(u64),
    Set,
    Get,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    xid: i32,
    asked: Asked,
    sent: Instant,
}

/// Runs one connection until the schedule or its share of the count is used up.
pub(super) async fn drive(
    run: Arc<Run>,
    lane: u32,
    wire: Wire,
    schedule: Schedule,
    tally: SharedTally,
) -> Result<(), ClientError> {
    let mut lane = Lane::new(&run, lane, wire);
    lane.run(&schedule, &tally).await?;
    lane.wire.push(OpCode::CLOSE_SESSION, &crate::client::Empty);
    match time::timeout(STALL_LIMIT, lane.wire.exchange()).await {
        Ok(closed) => closed,
        Err(_) => Err(ClientError::Silent(STALL_LIMIT)),
    }
}

struct Lane<'a> {
    run: &'a Run,
    lane: u32,
    wire: Wire,
    in_flight: VecDeque<InFlight>,
    depth: usize,
    /// ACL and flags of a create, encoded.
    create_end: BytesMut,
    path: String,
    random: u64,
    /// Requests sent so far, and how many there will be.
    sent: u64,
    share: u64,
    /// The highest zxid in a reply so far.
    zxid: i64,
}

impl<'a> Lane<'a> {
    fn new(run: &'a Run, lane: u32, wire: Wire) -> Self {
        let options = &run.options;
        let mut create_end = BytesMut::new();
        Some(vec![open_acl()]).encode(&mut create_end);
        create_mode::PERSISTENT.encode(&mut create_end);
        let depth = usize::try_from(options.depth).unwrap_or(usize::MAX);
        Self {
            run,
            lane,
            wire,
            in_flight: VecDeque::with_capacity(depth),
            depth,
            create_end,
            path: String::new(),
            random: next_random(0x2545_f491_4f6c_dd1d ^ (u64::from(lane) + 1)),
            sent: 0,
            share: options.share(lane).unwrap_or(u64::MAX),
            zxid: 0,
        }
    }

    async fn run(&mut self, schedule: &Schedule, tally: &SharedTally) -> Result<(), ClientError> {
        loop {
            let now = Instant::now();
            if schedule.is_open(now) {
                while self.in_flight.len() < self.depth && self.sent < self.share {
                    self.ask(now);
                }
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            match time::timeout(STALL_LIMIT, self.wire.exchange()).await {
                Ok(exchanged) => exchanged?,
                Err(_) => return Err(ClientError::Silent(STALL_LIMIT)),
            }
            let now = Instant::now();
            let measured = schedule.is_measured(now);
            let mut tally = tally.borrow_mut();
            while let Some(message) = self.wire.next_message()? {
                let Some(request) = self.in_flight.pop_front() else {
                    return Err(ClientError::Unasked(message.xid));
                };
                if request.xid != message.xid {
                    tally.mistake(Mistake::WrongXid, || {
                        format!("{} where {} was due", message.xid, request.xid)
                    });
                }
                self.check(request.asked, &message, &mut tally);
                if measured {
                    tally.record(now - request.sent, now);
                }
            }
        }
    }

    fn ask(&mut self, now: Instant) {
        let number = self.sent;
        self.sent += 1;
        self.random = next_random(self.random);
        let (asked, xid) = match self.run.options.workload {
            Workload::Get => (Asked::Get, self.ask_get()),
            Workload::Set => (Asked::Set, self.ask_set()),
            Workload::Mixed => {
                // The low bits choose the key.
                if (self.random >> 40) % 100 < u64::from(self.run.options.read_percent) {
                    (Asked::Get, self.ask_get())
                } else {
                    (Asked::Set, self.ask_set())
                }
            }
            _ => (Asked::Create(number), self.ask_create(number)),
        };
        self.in_flight.push_back(InFlight {
            xid,
            asked,
            sent: now,
        });
    }

    /// The key that the current random number stands for.
    fn key(&self) -> usize {
        let low = usize::try_from(self.random & 0xffff_ffff).unwrap_or(0);
        low % self.run.keys.len()
    }

    fn ask_get(&mut self) -> i32 {
        let request = GetDataRequest {
            path: text(&self.run.keys[self.key()]),
            watch: false,
        };
        self.wire.push(OpCode::GET_DATA, &request)
    }

    fn ask_set(&mut self) -> i32 {
        let request = SetDataRequest {
            path: text(&self.run.keys[self.key()]),
            data: Some(&self.run.data),
            version: -1,
        };
        self.wire.push(OpCode::SET_DATA, &request)
    }

    fn ask_create(&mut self, number: u64) -> i32 {
        self.name_node(number);
        let request = Create {
            path: &self.path,
            data: &self.run.data,
            end: &self.create_end,
        };
        self.wire.push(OpCode::CREATE, &request)
    }

    /// Writes the path of this lane's node into `path`.
    fn name_node(&mut self, number: u64) {
        let options = &self.run.options;
        self.path.clear();
        let written = if options.workload == Workload::Fill {
            let node = number * u64::from(options.connections) + u64::from(self.lane);
            let parent = node % u64::from(options.parents);
            write!(self.path, "{}/p{parent:06}/n{node:09}", options.root)
        } else {
            write!(self.path, "{}/c{:05}/n{number:09}", options.root, self.lane)
        };
        written.expect("writing to a string cannot fail");
    }

    /// Whether the reply is what `asked` asks for.
    fn check(&mut self, asked: Asked, message: &Message, tally: &mut Tally) {
        if message.err != ErrorCode::OK {
            tally.mistake(Mistake::ErrorCode, || format!("{asked:?}: {}", message.err));
            return;
        }
        // A write has a zxid of its own, a read may share that of the reply before it.
        let low = match asked {
            Asked::Get => self.zxid,
            Asked::Create(_) | Asked::Set => self.zxid + 1,
        };
        if message.zxid < low {
            let known = self.zxid;
            tally.mistake(Mistake::ZxidWentBack, || {
                format!("{asked:?}: 0x{:x} after 0x{known:x}", message.zxid)
            });
        }
        self.zxid = self.zxid.max(message.zxid);
        if !self.is_right(asked, message) {
            tally.mistake(Mistake::WrongBody, || {
                format!("{asked:?}: {:?}", message.body)
            });
        }
    }

    fn is_right(&mut self, asked: Asked, message: &Message) -> bool {
        let data = &self.run.data;
        match asked {
            Asked::Create(number) => {
                self.name_node(number);
                message
                    .read::<CreateResponse<'_>>()
                    .is_ok_and(|response| response.path.as_deref() == Some(&self.path))
            }
            Asked::Set => message.read::<SetDataResponse>().is_ok_and(|response| {
                usize::try_from(response.stat.data_length) == Ok(data.len())
                    && response.stat.mzxid == message.zxid
            }),
            Asked::Get => message.read::<GetDataResponse<'_>>().is_ok_and(|response| {
                response.data == Some(&data[..]) && response.stat.mzxid <= message.zxid
            }),
        }
    }
}

/// A `CreateRequest` whose ACL and flags are encoded already.
struct Create<'a> {
    path: &'a str,
    data: &'a [u8],
    end: &'a [u8],
}

impl Encode for Create<'_> {
    fn encode(&self, out: &mut BytesMut) {
        put_str(self.path, out);
        Some(self.data).encode(out);
        out.extend_from_slice(self.end);
    }
}

#[cfg(test)]
mod tests {
    use jute::proto::CreateRequest;

    use super::*;

    #[test]
    fn a_create_is_encoded_as_its_record() {
        let record = CreateRequest {
            path: text("/a"),
            data: Some(b"xyz"),
            acl: Some(vec![open_acl()]),
            flags: create_mode::PERSISTENT,
        };
        let mut expected = BytesMut::new();
        record.encode(&mut expected);
        let mut end = BytesMut::new();
        Some(vec![open_acl()]).encode(&mut end);
        create_mode::PERSISTENT.encode(&mut end);
        let mut encoded = BytesMut::new();
        Create {
            path: "/a",
            data: b"xyz",
            end: &end,
        }
        .encode(&mut encoded);
        assert_eq!(encoded, expected);
    }
}
