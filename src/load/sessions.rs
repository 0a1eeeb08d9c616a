//! A storm of sessions: connect, close, again. An operation is one session from the first packet
//! of its connection to the reply to its closeSession.

use std::sync::Arc;
use std::time::Instant;

use jute::{ErrorCode, OpCode};
use tokio::time;

use super::crew::{Run, SharedTally};
use super::schedule::{STALL_LIMIT, Schedule};
use super::tally::Mistake;
use crate::client::{ClientError, Empty, Message, Wire};

pub(super) async fn drive(
    run: Arc<Run>,
    lane: u32,
    schedule: Schedule,
    tally: SharedTally,
) -> Result<(), ClientError> {
    let options = run.options.connect();
    let sessions = run.options.share(lane).unwrap_or(u64::MAX);
    for _ in 0..sessions {
        let begun = Instant::now();
        if !schedule.is_open(begun) {
            break;
        }
        let mut wire = Wire::connect(run.options.server_of(lane), &options).await?;
        let xid = wire.push(OpCode::CLOSE_SESSION, &Empty);
        let reply = match time::timeout(STALL_LIMIT, answer(&mut wire)).await {
            Ok(reply) => reply?,
            Err(_) => return Err(ClientError::Silent(STALL_LIMIT)),
        };
        let now = Instant::now();
        let mut tally = tally.borrow_mut();
        if reply.xid != xid {
            tally.mistake(Mistake::WrongXid, || {
                format!("{} where {xid} was due", reply.xid)
            });
        }
        if reply.err != ErrorCode::OK {
            tally.mistake(Mistake::ErrorCode, || {
                format!("closeSession: {}", reply.err)
            });
        }
        if schedule.is_measured(now) {
            tally.record(now - begun, now);
        }
    }
    Ok(())
}

async fn answer(wire: &mut Wire) -> Result<Message, ClientError> {
    loop {
        wire.exchange().await?;
        if let Some(message) = wire.next_message()? {
            return Ok(message);
        }
    }
}
