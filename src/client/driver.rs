//! The task behind a [`Client`](super::Client): it owns the connection, sends what the handle
//! submits, gives each reply to the oldest request in flight, and pings.
//!
//! It ends when all handles are gone, the session is closed or the connection fails; requests
//! still in flight then get an error.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jute::OpCode;
use jute::proto::xid;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use super::wire::{Empty, Encoded};
use super::{ClientError, Event, Message, Wire};

/// A request on its way from the handle to the connection.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) op: OpCode,
    pub(super) body: Bytes,
    /// An xid of the caller's choice; the next ordinary one otherwise.
    pub(super) xid: Option<i32>,
    /// Called with the reply before anything that the server sent behind it is looked at.
    pub(super) on_reply: Option<OnReply>,
    pub(super) reply: oneshot::Sender<Result<Message, ClientError>>,
}

/// What a caller wants done in the place of a reply in the stream, between its events.
pub(super) struct OnReply(pub(super) Box<dyn FnOnce(&Message) + Send>);

impl fmt::Debug for OnReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnReply")
    }
}

/// Where events go, in the order of the stream. An error ends the connection.
pub(super) type EventSink = Box<dyn FnMut(Event) -> Result<(), ClientError> + Send>;

/// A request that waits for its reply.
struct InFlight {
    xid: i32,
    on_reply: Option<OnReply>,
    reply: oneshot::Sender<Result<Message, ClientError>>,
}

pub(super) struct Driver {
    pub(super) wire: Wire,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: EventSink,
    /// The highest zxid of a reply; read by the handle.
    pub(super) last_zxid: Arc<AtomicI64>,
}

impl Driver {
    pub(super) async fn run(mut self) {
        let mut in_flight = VecDeque::new();
        let ended = self.drive(&mut in_flight).await;
        self.commands.close();
        // The first waiter learns the reason, the others that the connection is gone.
        let mut reason = ended.err();
        let waiting = in_flight.into_iter().map(|request| request.reply);
        for reply in waiting {
            let error = reason.take().unwrap_or(ClientError::Closed);
            // A caller that does not wait any more is not a failure.
            let _ = reply.send(Err(error));
        }
        while let Some(command) = self.commands.recv().await {
            let error = reason.take().unwrap_or(ClientError::Closed);
            let _ = command.reply.send(Err(error));
        }
    }

    async fn drive(&mut self, in_flight: &mut VecDeque<InFlight>) -> Result<(), ClientError> {
        let timeout = self.wire.session().timeout;
        let ping_after = timeout / 3;
        let mut last_sent = Instant::now();
        let mut last_heard = last_sent;
        let mut closing = false;
        loop {
            tokio::select! {
                command = self.commands.recv(), if !closing => match command {
                    Some(command) => {
                        closing = command.op == OpCode::CLOSE_SESSION;
                        self.submit(command, in_flight);
                        while !closing && let Ok(command) = self.commands.try_recv() {
                            closing = command.op == OpCode::CLOSE_SESSION;
                            self.submit(command, in_flight);
                        }
                        last_sent = Instant::now();
                    }
                    None => return Ok(()),
                },
                exchanged = self.wire.exchange() => {
                    exchanged?;
                    last_heard = Instant::now();
                    while let Some(message) = self.wire.next_message()? {
                        self.deliver(message, in_flight)?;
                    }
                    if closing && in_flight.is_empty() {
                        return Ok(());
                    }
                }
                () = time::sleep_until(last_sent + ping_after) => {
                    if last_heard.elapsed() > silence_limit(timeout) {
                        return Err(ClientError::Silent(last_heard.elapsed()));
                    }
                    self.wire.push_as(xid::PING, OpCode::PING, &Empty);
                    last_sent = Instant::now();
                }
            }
        }
    }

    fn submit(&mut self, command: Command, in_flight: &mut VecDeque<InFlight>) {
        let body = Encoded(&command.body);
        let xid = match command.xid {
            Some(xid) => {
                self.wire.push_as(xid, command.op, &body);
                xid
            }
            None => self.wire.push(command.op, &body),
        };
        in_flight.push_back(InFlight {
            xid,
            on_reply: command.on_reply,
            reply: command.reply,
        });
    }

    fn deliver(
        &mut self,
        message: Message,
        in_flight: &mut VecDeque<InFlight>,
    ) -> Result<(), ClientError> {
        match message.xid {
            xid::NOTIFICATION => (self.events)(message.event()?),
            xid::PING => Ok(()),
            // Servers answer these two out of turn: auth overtakes requests sent before it.
            found @ (xid::AUTH | xid::SET_WATCHES) => {
                let position = in_flight.iter().position(|request| request.xid == found);
                let request = position.and_then(|position| in_flight.remove(position));
                let request = request.ok_or(ClientError::Unasked(found))?;
                self.answer(request, message);
                Ok(())
            }
            found => {
                let request = in_flight.pop_front().ok_or(ClientError::Unasked(found))?;
                if request.xid != found {
                    let expected = request.xid;
                    let _ = request
                        .reply
                        .send(Err(ClientError::WrongXid { expected, found }));
                    return Err(ClientError::WrongXid { expected, found });
                }
                self.answer(request, message);
                Ok(())
            }
        }
    }

    fn answer(&self, request: InFlight, message: Message) {
        self.last_zxid.fetch_max(message.zxid, Ordering::Relaxed);
        if let Some(OnReply(call)) = request.on_reply {
            call(&message);
        }
        let _ = request.reply.send(Ok(message));
    }
}

/// Without a word for this long the server is taken for gone, as the Java client does.
fn silence_limit(session_timeout: Duration) -> Duration {
    session_timeout * 2 / 3
}
