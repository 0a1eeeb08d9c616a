//! The handle: submit requests, await replies, take events.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;
use jute::proto::{
    Acl, CreateRequest, CreateResponse, DeleteRequest, ExistsRequest, ExistsResponse,
    GetChildren2Response, GetChildrenRequest, GetDataRequest, GetDataResponse, Id, SetDataRequest,
    SetDataResponse, Stat, SyncRequest, perms,
};
use jute::{Encode, ErrorCode, OpCode, Str, text};
use tokio::net::ToSocketAddrs;
use tokio::sync::{mpsc, oneshot};

use super::driver::{Command, Driver, EventSink, OnReply};
use super::wire::Empty;
use super::{ClientError, ConnectOptions, Event, Message, Session, Wire};

/// Requests that may wait for the driver; a caller above it waits.
const SUBMITTED_MAX: usize = 1024;
/// Events that may wait for the reader; above it the connection is given up, because an event
/// that was left out would never be missed.
pub(super) const EVENTS_MAX: usize = 65_536;

/// A connected session. Clones share it; when the last one is dropped the connection closes, and
/// the session stays until it expires, unless [`Client::close`] has ended it.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    session: Session,
    last_zxid: Arc<AtomicI64>,
}

/// Hands an event to whoever reads them.
pub(super) fn push_event<T>(sender: &mpsc::Sender<T>, event: T) -> Result<(), ClientError> {
    match sender.try_send(event) {
        // Nobody wants events when the receiver is gone.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        Err(mpsc::error::TrySendError::Full(_)) => {
            Err(ClientError::EventsOverflow(sender.max_capacity()))
        }
    }
}

/// The events of one connection, in order. `None` after the connection has ended.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// A reply that is yet to come. Requests leave in the order of their submission, awaited or not.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Message, ClientError>>);

impl Future for Pending {
    type Output = Result<Message, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|reply| reply.unwrap_or(Err(ClientError::Closed)))
    }
}

impl Client {
    /// Connects and starts the task that drives the connection.
    ///
    /// # Errors
    /// As [`Wire::connect`].
    pub async fn connect(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<(Self, Events), ClientError> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let sink = move |event| push_event(&sender, event);
        let client = Self::connect_with(address, options, Box::new(sink)).await?;
        Ok((client, Events(events)))
    }

    /// As [`Client::connect`], with a sink for the events.
    pub(super) async fn connect_with(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
        events: EventSink,
    ) -> Result<Self, ClientError> {
        let wire = Wire::connect(address, options).await?;
        let session = *wire.session();
        let (commands, received) = mpsc::channel(SUBMITTED_MAX);
        let last_zxid = Arc::new(AtomicI64::new(options.last_zxid_seen));
        let driver = Driver {
            wire,
            commands: received,
            events,
            last_zxid: last_zxid.clone(),
        };
        tokio::spawn(driver.run());
        Ok(Self {
            commands,
            session,
            last_zxid,
        })
    }

    /// The highest zxid that a reply has shown.
    #[must_use]
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid.load(Ordering::Relaxed)
    }

    /// Completes when the connection has ended.
    pub(super) async fn ended(&self) {
        self.commands.closed().await;
    }

    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Submits a request; the reply, error code included, is awaited on what comes back.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn submit(&self, op: OpCode, body: &impl Encode) -> Result<Pending, ClientError> {
        self.submit_as(None, op, body).await
    }

    /// As [`Client::submit`], with an xid of the caller's choice (auth, setWatches).
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn submit_as(
        &self,
        xid: Option<i32>,
        op: OpCode,
        body: &impl Encode,
    ) -> Result<Pending, ClientError> {
        self.submit_with(xid, op, body, None).await
    }

    /// As [`Client::submit_as`], with something to do in the reply's place in the stream.
    pub(super) async fn submit_with(
        &self,
        xid: Option<i32>,
        op: OpCode,
        body: &impl Encode,
        on_reply: Option<OnReply>,
    ) -> Result<Pending, ClientError> {
        let mut encoded = BytesMut::new();
        body.encode(&mut encoded);
        let (reply, pending) = oneshot::channel();
        let command = Command {
            op,
            body: encoded.freeze(),
            xid,
            on_reply,
            reply,
        };
        match self.commands.send(command).await {
            Ok(()) => Ok(Pending(pending)),
            Err(_) => Err(ClientError::Closed),
        }
    }

    /// Submits a request and waits for a reply that is no error.
    ///
    /// # Errors
    /// An error code in the reply, or the connection has ended.
    pub async fn call(&self, op: OpCode, body: &impl Encode) -> Result<Message, ClientError> {
        let message = self.submit(op, body).await?.await?;
        match message.err {
            ErrorCode::OK => Ok(message),
            code => Err(ClientError::Refused(code)),
        }
    }

    /// Creates a node open to everybody and returns its path, which a sequential `mode` extends.
    ///
    /// # Errors
    /// As [`Client::call`]; so for all that follow.
    pub async fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        mode: i32,
    ) -> Result<String, ClientError> {
        let request = CreateRequest {
            path: text(path),
            data,
            acl: Some(vec![open_acl()]),
            flags: mode,
        };
        let message = self.call(OpCode::CREATE, &request).await?;
        let response: CreateResponse<'_> = message.read()?;
        Ok(response.path.unwrap_or_default().into_owned())
    }

    pub async fn delete(&self, path: &str, version: i32) -> Result<(), ClientError> {
        let path = text(path);
        let request = DeleteRequest { path, version };
        self.call(OpCode::DELETE, &request).await.map(drop)
    }

    /// The node's stat, or `None` when there is no node.
    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, ClientError> {
        let path = text(path);
        match self
            .call(OpCode::EXISTS, &ExistsRequest { path, watch })
            .await
        {
            Ok(message) => Ok(Some(message.read::<ExistsResponse>()?.stat)),
            Err(ClientError::Refused(ErrorCode::NO_NODE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn get_data(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Vec<u8>>, Stat), ClientError> {
        let path = text(path);
        let request = GetDataRequest { path, watch };
        let message = self.call(OpCode::GET_DATA, &request).await?;
        let response: GetDataResponse<'_> = message.read()?;
        Ok((response.data.map(<[u8]>::to_vec), response.stat))
    }

    pub async fn set_data(
        &self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Stat, ClientError> {
        let request = SetDataRequest {
            path: text(path),
            data,
            version,
        };
        let message = self.call(OpCode::SET_DATA, &request).await?;
        Ok(message.read::<SetDataResponse>()?.stat)
    }

    pub async fn children(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<String>, Stat), ClientError> {
        let path = text(path);
        let request = GetChildrenRequest { path, watch };
        let message = self.call(OpCode::GET_CHILDREN2, &request).await?;
        let response: GetChildren2Response<'_> = message.read()?;
        Ok((owned(response.children), response.stat))
    }

    pub async fn sync(&self, path: &str) -> Result<(), ClientError> {
        let path = text(path);
        self.call(OpCode::SYNC, &SyncRequest { path })
            .await
            .map(drop)
    }

    /// Deletes a node and all below it; what is gone already is no error.
    pub async fn delete_all(&self, path: &str) -> Result<(), ClientError> {
        // Depth first without recursion: a node is met again once its children are gone.
        let mut stack = vec![path.to_owned()];
        while let Some(top) = stack.last() {
            match self.delete(top, -1).await {
                Ok(()) | Err(ClientError::Refused(ErrorCode::NO_NODE)) => {
                    stack.pop();
                }
                Err(ClientError::Refused(ErrorCode::NOT_EMPTY)) => {
                    let parent = top.clone();
                    let children = match self.children(&parent, false).await {
                        Ok((children, _)) => children,
                        Err(ClientError::Refused(ErrorCode::NO_NODE)) => continue,
                        Err(error) => return Err(error),
                    };
                    self.delete_leaves(&parent, children, &mut stack).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Deletes those of `children` that have none themselves, many at a time; the others go onto
    /// `stack`.
    async fn delete_leaves(
        &self,
        parent: &str,
        children: Vec<String>,
        stack: &mut Vec<String>,
    ) -> Result<(), ClientError> {
        for names in children.chunks(SUBMITTED_MAX) {
            let mut deleted = Vec::with_capacity(names.len());
            for name in names {
                let path = format!("{}/{name}", parent.trim_end_matches('/'));
                let request = DeleteRequest {
                    path: text(&path),
                    version: -1,
                };
                let pending = self.submit(OpCode::DELETE, &request).await?;
                deleted.push((path, pending));
            }
            for (path, pending) in deleted {
                match pending.await?.err {
                    ErrorCode::OK | ErrorCode::NO_NODE => {}
                    ErrorCode::NOT_EMPTY => stack.push(path),
                    code => return Err(ClientError::Refused(code)),
                }
            }
        }
        Ok(())
    }

    /// Ends the session; its ephemeral nodes are gone when this returns.
    pub async fn close(&self) -> Result<(), ClientError> {
        self.call(OpCode::CLOSE_SESSION, &Empty).await.map(drop)
    }
}

/// All rights for everybody.
#[must_use]
pub fn open_acl() -> Acl<'static> {
    Acl {
        perms: perms::ALL,
        id: Id {
            scheme: text("world"),
            id: text("anyone"),
        },
    }
}

/// Names of a reply, kept.
pub(super) fn owned(names: Option<Vec<Str<'_>>>) -> Vec<String> {
    let names = names.unwrap_or_default().into_iter();
    names
        .map(|name| name.unwrap_or_default().into_owned())
        .collect()
}
