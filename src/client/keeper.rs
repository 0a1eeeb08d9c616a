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

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jute::proto::{
    Acl, AddWatchRequest, AuthPacket, Create2Response, CreateRequest, CreateResponse,
    CreateTtlRequest, DeleteRequest, ExistsRequest, ExistsResponse, GetAclRequest, GetAclResponse,
    GetAllChildrenNumberRequest, GetAllChildrenNumberResponse, GetChildren2Response,
    GetChildrenRequest, GetDataRequest, GetDataResponse, GetEphemeralsRequest,
    GetEphemeralsResponse, MultiOp, MultiRequest, MultiResponse, MultiResult, ReconfigRequest,
    RemoveWatchesRequest, SetAclRequest, SetAclResponse, SetDataRequest, SetDataResponse,
    SetWatches, SetWatches2, Stat, SyncRequest, WhoAmIResponse, add_watch_mode, create_mode,
    watcher_type, xid,
};
use jute::{Decode, Encode, ErrorCode, OpCode, Str, text};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{self, Instant};

use super::driver::OnReply;
use super::handle::{EVENTS_MAX, push_event};
use super::hosts::{Host, Hosts};
use super::watches::{Removed, WatchKind, Watches};
use super::wire::Empty;
use super::{Client, ClientError, ConnectOptions, Event, Message};

/// The path of the ensemble's configuration, the same below every chroot.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// Between two rounds over all servers: grows from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between two searches for a server that takes writes: grows likewise.
const SEARCH_MIN: Duration = Duration::from_millis(100);
const SEARCH_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to answer a four-letter word, and how much it may say, in bytes.
const ASK_LIMIT: Duration = Duration::from_secs(1);
const ANSWER_MAX: u64 = 16 << 20;
/// How long the end of a session may take before it is left to expire.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of paths in one request that arms watches again, as upstream's.
const SET_WATCHES_LEN_MAX: usize = 128 * 1024;

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

/// How a node is created.
#[derive(Debug, Clone, Copy, Default)]
pub struct CreateOptions {
    pub ephemeral: bool,
    pub sequential: bool,
    pub container: bool,
    pub ttl_ms: Option<i64>,
}

/// One change of several that are applied together.
#[derive(Debug, Clone)]
pub enum Change {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        acl: Vec<Acl<'static>>,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
}

impl Change {
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. } | Self::SetData { path, .. } | Self::Delete { path, .. } => {
                path
            }
        }
    }

    fn op<'a>(&'a self, server_path: &'a str) -> MultiOp<'a> {
        let path = text(server_path);
        match self {
            Self::Create { data, acl, .. } => {
                let request = CreateRequest {
                    path,
                    data: data.as_deref(),
                    acl: Some(acl.clone()),
                    flags: create_mode::PERSISTENT,
                };
                MultiOp::Create(OpCode::CREATE, request)
            }
            Self::SetData { data, version, .. } => MultiOp::SetData(SetDataRequest {
                path,
                data: data.as_deref(),
                version: *version,
            }),
            Self::Delete { version, .. } => MultiOp::Delete(DeleteRequest {
                path,
                version: *version,
            }),
        }
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

/// What a reply arms: a kind for success, another one for `NO_NODE`.
struct Arming {
    path: String,
    on_ok: WatchKind,
    on_no_node: Option<WatchKind>,
}

impl Arming {
    fn new(wanted: bool, path: &str, on_ok: WatchKind) -> Option<Self> {
        wanted.then(|| Self {
            path: path.to_owned(),
            on_ok,
            on_no_node: None,
        })
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

    // ---- requests --------------------------------------------------------------------------

    /// Creates a node and returns its path.
    ///
    /// # Errors
    /// The server's code, or why there is no reply; so for all that follow.
    pub async fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: Vec<Acl<'_>>,
        options: CreateOptions,
    ) -> Result<String, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let flags = mode(options);
        let path = text(&server_path);
        let acl = Some(acl);
        let (op, reply) = if let Some(ttl_ms) = options.ttl_ms {
            let request = CreateTtlRequest {
                path,
                data,
                acl,
                flags,
                ttl_ms,
            };
            let op = OpCode::CREATE_TTL;
            (op, self.call(op, &request).await?)
        } else {
            let request = CreateRequest {
                path,
                data,
                acl,
                flags,
            };
            let op = match options.container {
                true => OpCode::CREATE_CONTAINER,
                false => OpCode::CREATE,
            };
            (op, self.call(op, &request).await?)
        };
        let created = match op {
            OpCode::CREATE => read::<CreateResponse<'_>>(&reply)?.path,
            _ => read::<Create2Response<'_>>(&reply)?.path,
        };
        Ok(self.shared.hosts.client_path(&created.unwrap_or_default()))
    }

    pub async fn delete(&self, path: &str, version: i32) -> Result<(), ErrorCode> {
        // The root stays, a chroot's too: the server refuses `/`.
        let server_path = match path {
            "/" => "/".to_owned(),
            _ => self.shared.hosts.server_path(path),
        };
        let request = DeleteRequest {
            path: text(&server_path),
            version,
        };
        self.call(OpCode::DELETE, &request).await.map(drop)
    }

    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = ExistsRequest {
            path: text(&server_path),
            watch,
        };
        let arming = watch.then(|| Arming {
            path: path.to_owned(),
            on_ok: WatchKind::Data,
            on_no_node: Some(WatchKind::Exist),
        });
        match self.call_arming(OpCode::EXISTS, &request, arming).await {
            Ok(reply) => Ok(Some(read::<ExistsResponse>(&reply)?.stat)),
            Err(ErrorCode::NO_NODE) => Ok(None),
            Err(code) => Err(code),
        }
    }

    pub async fn data(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Vec<u8>>, Stat), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        self.data_at(&server_path, path, watch).await
    }

    /// The ensemble's configuration, which no chroot hides.
    pub async fn config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat), ErrorCode> {
        self.data_at(CONFIG_PATH, CONFIG_PATH, watch).await
    }

    async fn data_at(
        &self,
        server_path: &str,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Vec<u8>>, Stat), ErrorCode> {
        let request = GetDataRequest {
            path: text(server_path),
            watch,
        };
        let arming = Arming::new(watch, path, WatchKind::Data);
        let reply = self.call_arming(OpCode::GET_DATA, &request, arming).await?;
        let response: GetDataResponse<'_> = read(&reply)?;
        Ok((response.data.map(<[u8]>::to_vec), response.stat))
    }

    pub async fn set_data(
        &self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = SetDataRequest {
            path: text(&server_path),
            data,
            version,
        };
        let reply = self.call(OpCode::SET_DATA, &request).await?;
        Ok(read::<SetDataResponse>(&reply)?.stat)
    }

    /// Names in the server's order.
    pub async fn children(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<String>, Stat), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = GetChildrenRequest {
            path: text(&server_path),
            watch,
        };
        let arming = Arming::new(watch, path, WatchKind::Child);
        let reply = self
            .call_arming(OpCode::GET_CHILDREN2, &request, arming)
            .await?;
        let response: GetChildren2Response<'_> = read(&reply)?;
        Ok((owned(response.children), response.stat))
    }

    pub async fn acl(&self, path: &str) -> Result<(Vec<Acl<'static>>, Stat), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = GetAclRequest {
            path: text(&server_path),
        };
        let reply = self.call(OpCode::GET_ACL, &request).await?;
        let response: GetAclResponse<'_> = read(&reply)?;
        let entries = response.acl.unwrap_or_default().into_iter();
        Ok((entries.map(owned_acl).collect(), response.stat))
    }

    pub async fn set_acl(
        &self,
        path: &str,
        acl: Vec<Acl<'_>>,
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = SetAclRequest {
            path: text(&server_path),
            acl: Some(acl),
            version,
        };
        let reply = self.call(OpCode::SET_ACL, &request).await?;
        Ok(read::<SetAclResponse>(&reply)?.stat)
    }

    pub async fn sync(&self, path: &str) -> Result<(), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let path = text(&server_path);
        self.call(OpCode::SYNC, &SyncRequest { path })
            .await
            .map(drop)
    }

    /// Applies all changes, in order, or none of them.
    ///
    /// # Errors
    /// The code of the change that failed, and its number where there is one.
    pub async fn apply(&self, changes: &[Change]) -> Result<(), (Option<usize>, ErrorCode)> {
        let paths = changes.iter().map(Change::path);
        let paths: Vec<String> = paths
            .map(|path| self.shared.hosts.server_path(path))
            .collect();
        let ops = changes
            .iter()
            .zip(&paths)
            .map(|(change, path)| change.op(path));
        let request = MultiRequest { ops: ops.collect() };
        let reply = self.call(OpCode::MULTI, &request).await;
        let reply = reply.map_err(|code| (None, code))?;
        let response: MultiResponse<'_> = read(&reply).map_err(|code| (None, code))?;
        // Those before the one that failed say 0 in its place, those behind it
        // RUNTIME_INCONSISTENCY.
        let failed = response
            .results
            .iter()
            .enumerate()
            .find_map(|(index, result)| match result {
                MultiResult::Error(ErrorCode::OK | ErrorCode::RUNTIME_INCONSISTENCY) => None,
                MultiResult::Error(code) => Some((Some(index), *code)),
                _ => None,
            });
        failed.map_or(Ok(()), Err)
    }

    /// The ephemeral nodes of this session whose paths begin with `prefix`. Paths are the
    /// server's: upstream's client leaves the chroot out of this one.
    pub async fn ephemerals(&self, prefix: &str) -> Result<Vec<String>, ErrorCode> {
        let request = GetEphemeralsRequest {
            prefix_path: text(prefix),
        };
        let reply = self.call(OpCode::GET_EPHEMERALS, &request).await?;
        Ok(owned(read::<GetEphemeralsResponse<'_>>(&reply)?.ephemerals))
    }

    pub async fn all_children_number(&self, path: &str) -> Result<i32, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = GetAllChildrenNumberRequest {
            path: text(&server_path),
        };
        let reply = self.call(OpCode::GET_ALL_CHILDREN_NUMBER, &request).await?;
        Ok(read::<GetAllChildrenNumberResponse>(&reply)?.total_number)
    }

    /// Scheme and user of each identity of this connection.
    pub async fn who_am_i(&self) -> Result<Vec<(String, String)>, ErrorCode> {
        let reply = self.call(OpCode::WHO_AM_I, &Empty).await?;
        let response: WhoAmIResponse<'_> = read(&reply)?;
        let infos = response.client_info.unwrap_or_default().into_iter();
        let own = |text: Str<'_>| text.unwrap_or_default().into_owned();
        Ok(infos
            .map(|info| (own(info.auth_scheme), own(info.user)))
            .collect())
    }

    /// Replaces or changes the members; returns the new configuration.
    pub async fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        version: i64,
    ) -> Result<(Vec<u8>, Stat), ErrorCode> {
        let request = ReconfigRequest {
            joining_servers: joining.and_then(text),
            leaving_servers: leaving.and_then(text),
            new_members: members.and_then(text),
            cur_config_id: version,
        };
        let reply = self.call(OpCode::RECONFIG, &request).await?;
        let response: GetDataResponse<'_> = read(&reply)?;
        Ok((response.data.unwrap_or_default().to_vec(), response.stat))
    }

    /// Sends a credential, now and on each new connection. A refused one ends the session, which
    /// the notices tell.
    pub async fn add_auth(&self, scheme: &str, auth: Option<&[u8]>) {
        let credential = Credential {
            scheme: scheme.to_owned(),
            auth: auth.map(<[u8]>::to_vec),
        };
        let link = self.shared.status.borrow().link.clone();
        self.shared.credentials.lock().push(credential.clone());
        if let Link::Up(client) = link
            && let Ok(pending) = self.shared.send_credential(&client, &credential).await
        {
            // What the reply says is done by now; a lost connection sends it again.
            let _ = pending.await;
        }
    }

    /// Sets a persistent watch, recursive or not.
    pub async fn add_watch(&self, path: &str, recursive: bool) -> Result<(), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let (mode, kind) = if recursive {
            (
                add_watch_mode::PERSISTENT_RECURSIVE,
                WatchKind::PersistentRecursive,
            )
        } else {
            (add_watch_mode::PERSISTENT, WatchKind::Persistent)
        };
        let request = AddWatchRequest {
            path: text(&server_path),
            mode,
        };
        let arming = Arming::new(true, path, kind);
        self.call_arming(OpCode::ADD_WATCH, &request, arming)
            .await
            .map(drop)
    }

    /// Removes the watches of a kind at a path, or of all kinds; the notices tell which. With
    /// `locally` a server that cannot be asked is no obstacle.
    ///
    /// # Errors
    /// `NO_WATCHER` when there was none.
    pub async fn remove_watches(
        &self,
        path: &str,
        kind: Option<WatchKind>,
        locally: bool,
    ) -> Result<(), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let (wire_kind, kinds): (i32, &'static [WatchKind]) = match kind {
            None => (
                watcher_type::ANY,
                &[
                    WatchKind::Child,
                    WatchKind::Data,
                    WatchKind::Exist,
                    WatchKind::Persistent,
                    WatchKind::PersistentRecursive,
                ],
            ),
            Some(WatchKind::Child) => (watcher_type::CHILDREN, &[WatchKind::Child]),
            Some(WatchKind::Data | WatchKind::Exist) => {
                (watcher_type::DATA, &[WatchKind::Data, WatchKind::Exist])
            }
            Some(WatchKind::Persistent) => (watcher_type::PERSISTENT, &[WatchKind::Persistent]),
            Some(WatchKind::PersistentRecursive) => (
                watcher_type::PERSISTENT_RECURSIVE,
                &[WatchKind::PersistentRecursive],
            ),
        };
        let request = RemoveWatchesRequest {
            path: text(&server_path),
            kind: wire_kind,
        };
        let answer = self.call(OpCode::REMOVE_WATCHES, &request).await;
        if let Err(code) = answer
            && !locally
        {
            return Err(code);
        }
        let removed = self.shared.watches.lock().forget(kinds, path);
        for removed in &removed {
            let path = path.to_owned();
            let removed = *removed;
            self.shared.tell(Notice::WatchRemoved { removed, path });
        }
        if removed.is_empty() {
            return Err(ErrorCode::NO_WATCHER);
        }
        Ok(())
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
    ) -> Result<super::Pending, ClientError> {
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

    /// Arms what the registry holds, against what has changed since `zxid`.
    async fn send_watches(&self, client: &Client, zxid: i64) -> Result<(), ClientError> {
        let batches = watch_batches(&self.watches.lock(), &self.hosts);
        for batch in batches {
            let [data, exist, child, persistent, recursive] = batch;
            let list = |paths: &'_ [String]| -> Option<Vec<Str<'static>>> {
                Some(paths.iter().map(|path| Some(path.clone().into())).collect())
            };
            // Servers before 3.6 know only the first form.
            if persistent.is_empty() && recursive.is_empty() {
                let request = SetWatches {
                    relative_zxid: zxid,
                    data_watches: list(&data),
                    exist_watches: list(&exist),
                    child_watches: list(&child),
                };
                client
                    .submit_as(Some(xid::SET_WATCHES), OpCode::SET_WATCHES, &request)
                    .await?;
            } else {
                let request = SetWatches2 {
                    relative_zxid: zxid,
                    data_watches: list(&data),
                    exist_watches: list(&exist),
                    child_watches: list(&child),
                    persistent_watches: list(&persistent),
                    persistent_recursive_watches: list(&recursive),
                };
                client
                    .submit_as(Some(xid::SET_WATCHES), OpCode::SET_WATCHES2, &request)
                    .await?;
            }
        }
        Ok(())
    }
}

/// Server paths in portions, each by kind.
fn watch_batches(watches: &Watches, hosts: &Hosts) -> Vec<[Vec<String>; 5]> {
    let mut batches = Vec::new();
    let mut batch: [Vec<String>; 5] = Default::default();
    let mut length = 0;
    for kind in [
        WatchKind::Data,
        WatchKind::Exist,
        WatchKind::Child,
        WatchKind::Persistent,
        WatchKind::PersistentRecursive,
    ] {
        for path in watches.of(kind) {
            let path = match path {
                CONFIG_PATH => path.to_owned(),
                _ => hosts.server_path(path),
            };
            length += path.len();
            batch[kind as usize].push(path);
            if length >= SET_WATCHES_LEN_MAX {
                batches.push(std::mem::take(&mut batch));
                length = 0;
            }
        }
    }
    if length > 0 {
        batches.push(batch);
    }
    batches
}

// ---- keeping a connection ----------------------------------------------------------------------

struct Supervisor {
    shared: Arc<Shared>,
    options: ConnectOptions,
    /// The server to try first.
    first: usize,
}

impl Supervisor {
    async fn run(mut self) {
        let mut heard = Instant::now();
        loop {
            let Some(client) = self.connect(heard).await else {
                return;
            };
            self.keep(&client).await;
            heard = Instant::now();
            self.options.last_zxid_seen = client.last_zxid();
            if self.shared.is_ended() || self.shared.is_closing.load(Ordering::Relaxed) {
                return;
            }
            self.shared.status.send_modify(|status| {
                status.link = Link::Connecting;
                status.failures += 1;
            });
            self.shared
                .tell(Notice::Session(SessionChange::Disconnected));
        }
    }

    /// Tries all servers round after round; `None` when the session is gone. `heard` is when its
    /// last connection ended.
    async fn connect(&mut self, heard: Instant) -> Option<Client> {
        let mut pause = PAUSE_MIN;
        loop {
            let servers = self.shared.hosts.servers().to_vec();
            for turn in 0..servers.len() {
                let index = (self.first + turn) % servers.len();
                match self.connect_to(&servers[index]).await {
                    Ok(client) => {
                        self.first = index;
                        return Some(client);
                    }
                    Err(ClientError::SessionExpired) => {
                        self.shared.end(Link::Closed, SessionChange::Expired);
                        return None;
                    }
                    Err(error) => {
                        let server = servers[index].to_string();
                        tracing::info!(server, %error, "no connection");
                    }
                }
            }
            // The one that was left comes last in the next round.
            self.first = (self.first + 1) % servers.len();
            if let Some(session) = &self.options.resume
                && heard.elapsed() > session.timeout * 4 / 3
            {
                self.shared.end(Link::Closed, SessionChange::Expired);
                return None;
            }
            self.shared
                .status
                .send_modify(|status| status.failures += 1);
            time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect_to(&mut self, server: &Host) -> Result<Client, ClientError> {
        let shared = self.shared.clone();
        let sink = move |mut event: Event| {
            event.path = shared.hosts.client_path(&event.path);
            if !shared.watches.lock().fire(event.kind, &event.path) {
                return Ok(());
            }
            push_event(&shared.notices, Notice::Node(event))
        };
        let address = (server.name.as_str(), server.port);
        let client = Client::connect_with(address, &self.options, Box::new(sink)).await?;
        let session = *client.session();
        tracing::info!(
            server = server.to_string(),
            session = format_args!("{:#x}", session.id),
            timeout_ms = session.timeout.as_millis(),
            "session established"
        );
        // A server without a quorum has made this session up for itself.
        if !session.read_only {
            self.options.resume = Some(session);
        }
        let credentials = self.shared.credentials.lock().clone();
        for credential in &credentials {
            self.shared.send_credential(&client, credential).await?;
        }
        self.shared
            .send_watches(&client, self.options.last_zxid_seen)
            .await?;
        let change = if session.read_only {
            SessionChange::ConnectedReadOnly
        } else {
            SessionChange::SyncConnected
        };
        self.shared.tell(Notice::Session(change));
        let link = Link::Up(client.clone());
        self.shared.status.send_modify(|status| {
            if matches!(status.link, Link::Connecting) {
                status.link = link;
            }
        });
        Ok(client)
    }

    /// Until the connection ends, or a better server than this read-only one has been found.
    async fn keep(&mut self, client: &Client) {
        let mut ended = pin!(client.ended());
        if !client.session().read_only {
            return ended.await;
        }
        let mut pause = SEARCH_MIN;
        loop {
            tokio::select! {
                () = &mut ended => return,
                () = time::sleep(pause) => {}
            }
            pause = (pause * 2).min(SEARCH_MAX);
            let servers = self.shared.hosts.servers().to_vec();
            for (index, server) in servers.iter().enumerate() {
                if ask(server, "isro").await.is_ok_and(|mode| mode == "rw") {
                    self.first = index;
                    return;
                }
            }
        }
    }
}

/// What a server answers to a four-letter word.
///
/// # Errors
/// It cannot be reached, does not answer in time, or says more than anybody reads.
pub async fn ask(server: &Host, word: &str) -> io::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect((server.name.as_str(), server.port)).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match time::timeout(ASK_LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

// ---- records -----------------------------------------------------------------------------------

fn read<'a, T: Decode<'a>>(message: &'a Message) -> Result<T, ErrorCode> {
    message.read().map_err(|_| ErrorCode::MARSHALLING_ERROR)
}

fn owned(names: Option<Vec<Str<'_>>>) -> Vec<String> {
    let names = names.unwrap_or_default().into_iter();
    names
        .map(|name| name.unwrap_or_default().into_owned())
        .collect()
}

fn owned_acl(acl: Acl<'_>) -> Acl<'static> {
    let own = |text: Str<'_>| text.map(|text| text.into_owned().into());
    Acl {
        perms: acl.perms,
        id: jute::proto::Id {
            scheme: own(acl.id.scheme),
            id: own(acl.id.id),
        },
    }
}

fn mode(options: CreateOptions) -> i32 {
    let CreateOptions {
        ephemeral,
        sequential,
        container,
        ttl_ms,
    } = options;
    match (ephemeral, sequential, ttl_ms.is_some()) {
        (true, true, _) => create_mode::EPHEMERAL_SEQUENTIAL,
        (true, false, _) => create_mode::EPHEMERAL,
        (false, true, true) => create_mode::PERSISTENT_SEQUENTIAL_WITH_TTL,
        (false, true, false) => create_mode::PERSISTENT_SEQUENTIAL,
        (false, false, true) => create_mode::PERSISTENT_WITH_TTL,
        (false, false, false) if container => create_mode::CONTAINER,
        (false, false, false) => create_mode::PERSISTENT,
    }
}
