//! Writes without pause, through whatever happens to the servers: how long does a client wait?
//!
//! Each connection has a znode of its own and sets it again as soon as the answer is there. When
//! the connection is lost it takes its session to a server that answers, and goes on. The gap is
//! the longest time between two successful writes, or between one of them and an end of the
//! measurement.
//!
//! A client stays with a server that hangs up on it: it is alive, and will serve as soon as anybody
//! does. It goes on to the next one when nobody listens, or when nothing is answered. So a server
//! that is stopped without a word costs those that were connected to it their own time-out, and
//! nobody else anything; upstream's clients shuffle instead, and what they meet is chance.
//!
//! **Invariant:** an acknowledged write is never missed later. Versions and zxids of a connection's
//! answers rise, whichever server gives them, and the version rises by no more than what was sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jute::proto::{SetDataRequest, SetDataResponse};
use jute::{ErrorCode, OpCode, text};
use serde::Serialize;
use tokio::time;

use super::crew::{Run, SharedTally};
use super::schedule::{STALL_LIMIT, Schedule};
use super::tally::Mistake;
use crate::client::{ClientError, ConnectOptions, Empty, Message, Wire};

/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// A server that has taken the connection may be so long silent before the next one is tried.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(1);

/// What the client of one connection has seen.
#[derive(Debug, Clone, Serialize)]
pub struct Gap {
    /// Where it was connected when measuring began.
    pub server: String,
    /// The longest time without a successful write.
    pub longest_ms: f64,
    /// When that time began, from the beginning of the measurement.
    pub begun_s: f64,
    pub writes: u64,
    /// Connections lost.
    pub reconnects: u64,
    /// Sessions that were gone when they were taken up again.
    pub sessions_lost: u64,
}

pub(super) async fn drive(
    run: Arc<Run>,
    lane: u32,
    wire: Wire,
    schedule: Schedule,
    tally: SharedTally,
) -> Result<(), ClientError> {
    let mut writer = Writer {
        run: &run,
        path: run.options.lane_path(lane),
        server: run.options.server_index(lane),
        options: ConnectOptions {
            connect_timeout: HANDSHAKE_LIMIT,
            ..run.options.connect()
        },
        zxid: 0,
        version: None,
        unanswered: 0,
        answered: None,
        measure_from: schedule.measure_from,
        longest: (schedule.measure_from, Duration::ZERO),
        writes: 0,
        reconnects: 0,
        sessions_lost: 0,
    };
    let ended = writer.run(wire, &schedule, &tally).await;
    let until = schedule.until().unwrap_or_else(Instant::now);
    writer.see(until.max(schedule.measure_from));
    let (begun, longest) = writer.longest;
    tally.borrow_mut().gaps.push(Gap {
        server: run.options.server_of(lane).to_owned(),
        longest_ms: (longest.as_secs_f64() * 1e4).round() / 10.0,
        begun_s: (begun - schedule.measure_from).as_secs_f64(),
        writes: writer.writes,
        reconnects: writer.reconnects,
        sessions_lost: writer.sessions_lost,
    });
    ended
}

struct Writer<'a> {
    run: &'a Run,
    path: String,
    /// Index of the server that is talked to.
    server: usize,
    options: ConnectOptions,
    /// The highest zxid in an answer so far.
    zxid: i64,
    /// Of the last successful write.
    version: Option<i32>,
    /// Writes since then whose outcome is unknown.
    unanswered: i32,
    /// When the last successful write was answered.
    answered: Option<Instant>,
    measure_from: Instant,
    /// When the longest gap began and how long it was.
    longest: (Instant, Duration),
    writes: u64,
    reconnects: u64,
    sessions_lost: u64,
}

impl Writer<'_> {
    async fn run(
        &mut self,
        wire: Wire,
        schedule: &Schedule,
        tally: &SharedTally,
    ) -> Result<(), ClientError> {
        let mut wire = Some(wire);
        let share = self.run.options.total().unwrap_or(u64::MAX);
        let mut attempts = 0;
        while attempts < share && schedule.is_open(Instant::now()) {
            let Some(connected) = &mut wire else {
                wire = self.connect().await?;
                continue;
            };
            attempts += 1;
            let begun = Instant::now();
            match self.write(connected).await {
                Ok(message) => {
                    let now = Instant::now();
                    if self.check(&message, tally) {
                        self.unanswered = 0;
                        self.note(begun, now, schedule, tally);
                    }
                }
                // What the server says is wrong is for the report; a lost connection is not.
                Err(error) if is_loss(&error) => {
                    if matches!(error, ClientError::Silent(_)) {
                        self.next_server();
                    }
                    self.options.resume = Some(*connected.session());
                    self.options.last_zxid_seen = self.zxid;
                    self.reconnects += 1;
                    wire = None;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(wire) = &mut wire {
            wire.push(OpCode::CLOSE_SESSION, &Empty);
            // Nobody waits for this session any more, so nobody minds if it is lost here.
            let _ = time::timeout(HANDSHAKE_LIMIT, wire.exchange()).await;
        }
        Ok(())
    }

    async fn write(&mut self, wire: &mut Wire) -> Result<Message, ClientError> {
        let request = SetDataRequest {
            path: text(&self.path),
            data: Some(&self.run.data),
            version: -1,
        };
        let xid = wire.push(OpCode::SET_DATA, &request);
        self.unanswered = self.unanswered.saturating_add(1);
        // As long as the clients of upstream wait, that ping meanwhile.
        let limit = (wire.session().timeout * 2 / 3).min(STALL_LIMIT);
        let answer = async {
            loop {
                wire.exchange().await?;
                if let Some(message) = wire.next_message()? {
                    return Ok(message);
                }
            }
        };
        match time::timeout(limit, answer).await {
            Ok(Ok(message)) if message.xid != xid => Err(ClientError::WrongXid {
                expected: xid,
                found: message.xid,
            }),
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Silent(limit)),
        }
    }

    /// One attempt. `None` when it has failed and another one is due.
    async fn connect(&mut self) -> Result<Option<Wire>, ClientError> {
        let server = &self.run.options.servers[self.server];
        match Wire::connect(server, &self.options).await {
            Ok(wire) => return Ok(Some(wire)),
            Err(ClientError::SessionExpired) => {
                self.sessions_lost += 1;
                self.options.resume = None;
            }
            Err(ClientError::ConnectTimeout(_)) => self.next_server(),
            Err(ClientError::Io(error))
                if error.kind() == std::io::ErrorKind::ConnectionRefused =>
            {
                self.next_server();
            }
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
        }
        time::sleep(RETRY_PAUSE).await;
        Ok(None)
    }

    fn next_server(&mut self) {
        self.server = (self.server + 1) % self.run.options.servers.len();
    }

    /// Whether the answer can follow the last one.
    fn check(&mut self, message: &Message, tally: &SharedTally) -> bool {
        let mut tally = tally.borrow_mut();
        if message.err != ErrorCode::OK {
            tally.mistake(Mistake::ErrorCode, || format!("set: {}", message.err));
            return false;
        }
        let known = self.zxid;
        if message.zxid <= known {
            tally.mistake(Mistake::ZxidWentBack, || {
                format!("0x{:x} after 0x{known:x}", message.zxid)
            });
        }
        self.zxid = self.zxid.max(message.zxid);
        let Ok(response) = message.read::<SetDataResponse>() else {
            tally.mistake(Mistake::WrongBody, || format!("{:?}", message.body));
            return false;
        };
        let version = response.stat.version;
        if let Some(before) = self.version.replace(version) {
            let rise = i64::from(version) - i64::from(before);
            if rise < 1 || rise > i64::from(self.unanswered) {
                let sent = self.unanswered;
                tally.mistake(Mistake::WrongBody, || {
                    format!("version {version} after {before} and {sent} writes")
                });
            }
        }
        true
    }

    fn note(&mut self, begun: Instant, now: Instant, schedule: &Schedule, tally: &SharedTally) {
        self.see(now);
        self.answered = Some(now);
        if schedule.is_measured(now) {
            self.writes += 1;
            tally.borrow_mut().record(now - begun, now);
        }
    }

    /// The time since the last answer, as far as it was measured.
    fn see(&mut self, now: Instant) {
        let from = self.measure_from;
        let since = self.answered.map_or(from, |answered| answered.max(from));
        let gap = now.saturating_duration_since(since);
        if gap > self.longest.1 {
            self.longest = (since, gap);
        }
    }
}

/// The connection or the server is gone, rather than wrong.
fn is_loss(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Io(_)
            | ClientError::Closed
            | ClientError::Silent(_)
            | ClientError::ConnectTimeout(_)
    )
}
