//! A session that outlives its connections (`ZooKeeper.java`, `ClientCnxn.java`).
//!
//! A task of its own, the supervisor, tries the servers in turn, takes the session up again, sends
//! the credentials, arms the watches and tells of each change; requests go to the [`Client`] of the
//! day. As upstream's: a request is never sent twice. It waits while a connection is being made,
//! and gets `CONNECTION_LOSS` when that fails or a connection breaks under it.
//!
//! All paths are below the chroot of the connect string.
//!
//! **Invariant:** what the server sent before a reply is in the [`Notices`] before the reply is
//! given to its caller.

mod requests;
mod supervise;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jute::proto::{AuthPacket, xid};
use jute::{Encode, ErrorCode, OpCode, text};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time;

use self::requests::Arming;
use self::supervise::Supervisor;
use super::driver::OnReply;
use super::handle::{EVENTS_MAX, push_event};
use super::hosts::{Host, Hosts};
use super::watches::{Removed, Watches};
use super::{Client, ClientError, ConnectOptions, Event, Message, Pending};

pub use self::requests::{Change, CreateOptions};

/// The path of the ensemble's configuration, the same below every chroot.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// How long the end of a session may take before it is left to expire.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    Connecting,
    Connected,
    ConnectedReadOnly,
    /// Ended by us or expired.
    Closed,
    AuthFailed,
}

impl SessionState {
    /// Whether it can still be used, now or later.
    #[must_use]
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Closed | Self::AuthFailed)
    }
}

/// A change of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    SyncConnected,
    ConnectedReadOnly,
    Disconnected,
    Expired,
    Closed,
    AuthFailed,
}

/// What a session's holder hears without having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Session(SessionChange),
    Node(Event),
    WatchRemoved { removed: Removed, path: String },
}

/// The notices of one session, in order.
#[derive(Debug)]
pub struct Notices(mpsc::Receiver<Notice>);

impl Notices {
    /// The next one; waits for it. `None` when nobody can send one any more.
    pub async fn next(&mut self) -> Option<Notice> {
        self.0.recv().await
    }

    /// One that has arrived already.
    pub fn poll_next(&mut self) -> Option<Notice> {
        self.0.try_recv().ok()
    }
}

/// Which connection, if any. `failures` counts connections lost and rounds without one.
#[derive(Debug, Clone)]
struct Status {
    link: Link,
    failures: u64,
}

#[derive(Debug, Clone)]
enum Link {
    Connecting,
    Up(Client),
    Closed,
    AuthFailed,
}

#[derive(Debug)]
struct Shared {
    hosts: Hosts,
    status: watch::Sender<Status>,
    notices: mpsc::Sender<Notice>,
    watches: Mutex<Watches>,
    credentials: Mutex<Vec<Credential>>,
    /// The end of the session was asked for: no connection follows on this one.
    is_closing: AtomicBool,
}

#[derive(Debug, Clone)]
struct Credential {
    scheme: String,
    auth: Option<Vec<u8>>,
}

/// A session. It connects and reconnects by itself until it is closed, expired or dropped.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Keeper {
    /// Begins to connect and returns at once.
    #[must_use]
    pub fn start(hosts: Hosts, options: ConnectOptions) -> (Self, Notices) {
        let (notices, received) = mpsc::channel(EVENTS_MAX);
        let status = Status {
            link: Link::Connecting,
            failures: 0,
        };
        let shared = Arc::new(Shared {
            hosts,
            status: watch::Sender::new(status),
            notices,
            watches: Mutex::default(),
            credentials: Mutex::default(),
            is_closing: AtomicBool::new(false),
        });
        let supervisor = Supervisor {
            shared: shared.clone(),
            options,
            first: 0,
        };
        let supervisor = tokio::spawn(supervisor.run()).abort_handle();
        (Self { shared, supervisor }, Notices(received))
    }

    #[must_use]
    pub fn state(&self) -> SessionState {
        match &self.shared.status.borrow().link {
            Link::Connecting => SessionState::Connecting,
            Link::Up(client) if client.session().read_only => SessionState::ConnectedReadOnly,
            Link::Up(_) => SessionState::Connected,
            Link::Closed => SessionState::Closed,
            Link::AuthFailed => SessionState::AuthFailed,
        }
    }

    /// The id that the server gave; `None` while there is no connection.
    #[must_use]
    pub fn session_id(&self) -> Option<i64> {
        match &self.shared.status.borrow().link {
            Link::Up(client) => Some(client.session().id),
            _ => None,
        }
    }

    /// Those of the connect string.
    #[must_use]
    pub fn servers(&self) -> &[Host] {
        self.shared.hosts.servers()
    }

    /// Whether another znode takes the place of the root.
    #[must_use]
    pub fn has_chroot(&self) -> bool {
        self.shared.hosts.has_chroot()
    }

    /// Waits until a connection stands, or the first round over all servers has failed, or the
    /// session is no more.
    pub async fn settled(&self) {
        let mut status = self.shared.status.subscribe();
        // The sender lives as long as `self`.
        let _ = status
            .wait_for(|status| !matches!(status.link, Link::Connecting) || status.failures > 0)
            .await;
    }

    /// Waits until the session stands and takes writes.
    pub async fn writable(&self) {
        let mut status = self.shared.status.subscribe();
        let stands = |status: &Status| match &status.link {
            Link::Up(client) => !client.session().read_only,
            _ => false,
        };
        let _ = status.wait_for(stands).await;
    }

    /// Ends the session. Its ephemeral nodes are gone when this returns, unless the server cannot
    /// be reached. A connection under way is waited for: there may be a session by now.
    pub async fn close(&self) {
        if !self.state().is_alive() {
            return;
        }
        let ended = async {
            if let Ok(client) = self.connected().await {
                self.shared.is_closing.store(true, Ordering::Relaxed);
                // A server that does not answer lets the session expire.
                let _ = client.close().await;
            }
        };
        let _ = time::timeout(CLOSE_LIMIT, ended).await;
        self.supervisor.abort();
        if self.state().is_alive() {
            self.shared.end(Link::Closed, SessionChange::Closed);
        }
    }

    async fn call(&self, op: OpCode, body: &impl Encode) -> Result<Message, ErrorCode> {
        self.call_arming(op, body, None).await
    }

    async fn call_arming(
        &self,
        op: OpCode,
        body: &impl Encode,
        arming: Option<Arming>,
    ) -> Result<Message, ErrorCode> {
        let client = self.connected().await?;
        let on_reply = arming.map(|arming| {
            let shared = self.shared.clone();
            OnReply(Box::new(move |reply: &Message| {
                let kind = match reply.err {
                    ErrorCode::OK => Some(arming.on_ok),
                    ErrorCode::NO_NODE => arming.on_no_node,
                    _ => None,
                };
                if let Some(kind) = kind {
                    shared.watches.lock().add(kind, &arming.path);
                }
            }))
        });
        let pending = client.submit_with(None, op, body, on_reply).await;
        let lost = |_| self.shared.lost_code();
        let reply = pending.map_err(lost)?.await.map_err(lost)?;
        match reply.err {
            ErrorCode::OK => Ok(reply),
            code => Err(code),
        }
    }

    /// The connection, once there is one; a code when the attempt under way fails.
    async fn connected(&self) -> Result<Client, ErrorCode> {
        let mut status = self.shared.status.subscribe();
        let failures = status.borrow().failures;
        let decided = |status: &Status| {
            !matches!(status.link, Link::Connecting) || status.failures != failures
        };
        match status.wait_for(decided).await {
            Ok(status) => match &status.link {
                Link::Up(client) => Ok(client.clone()),
                Link::Connecting => Err(ErrorCode::CONNECTION_LOSS),
                Link::Closed => Err(ErrorCode::SESSION_EXPIRED),
                Link::AuthFailed => Err(ErrorCode::AUTH_FAILED),
            },
            // The sender is `self`'s.
            Err(_) => Err(ErrorCode::SESSION_EXPIRED),
        }
    }
}

impl Shared {
    fn tell(&self, notice: Notice) {
        // Above the limit only a holder that never looks at them misses any.
        let _ = push_event(&self.notices, notice);
    }

    /// Why a request has got no reply.
    fn lost_code(&self) -> ErrorCode {
        match self.status.borrow().link {
            Link::AuthFailed => ErrorCode::AUTH_FAILED,
            Link::Closed => ErrorCode::SESSION_EXPIRED,
            Link::Up(_) | Link::Connecting => ErrorCode::CONNECTION_LOSS,
        }
    }

    /// The session is no more.
    fn end(&self, link: Link, change: SessionChange) {
        self.status.send_modify(|status| status.link = link);
        self.tell(Notice::Session(change));
    }

    fn is_ended(&self) -> bool {
        matches!(self.status.borrow().link, Link::Closed | Link::AuthFailed)
    }

    async fn send_credential(
        self: &Arc<Self>,
        client: &Client,
        credential: &Credential,
    ) -> Result<Pending, ClientError> {
        let packet = AuthPacket {
            kind: 0,
            scheme: text(&credential.scheme),
            auth: credential.auth.as_deref(),
        };
        let shared = self.clone();
        let on_reply = OnReply(Box::new(move |reply: &Message| {
            if reply.err == ErrorCode::AUTH_FAILED {
                shared.end(Link::AuthFailed, SessionChange::AuthFailed);
            }
        }));
        client
            .submit_with(Some(xid::AUTH), OpCode::AUTH, &packet, Some(on_reply))
            .await
    }
}
