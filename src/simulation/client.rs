//! A client that reads and writes without pause, moves between servers and keeps its session.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute::frame::{begin_frame, end_frame, next_frame, put_frame};
use jute::proto::{
    ConnectRequest, ConnectResponse, CreateRequest, GetDataRequest, GetDataResponse, MultiOp,
    MultiRequest, MultiResponse, MultiResult, PASSWORD_LEN, ReplyHeader, RequestHeader,
    SetDataRequest, SetDataResponse, SyncRequest, WatcherEvent, xid,
};
use jute::{Decode, Encode, ErrorCode, OpCode, Reader, text};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use super::history::{Asked, Ephemeral, History, Seen};
use super::net::{Arrival, DIAL_PATIENCE, Network, Place};
use super::world;
use crate::client::{Empty, open_acl};

/// Registers that all clients share.
pub(super) const REGISTERS: u64 = 3;

/// What a client asks for; the servers' upper bound is 20 s.
const SESSION_TIMEOUT_MS: i32 = 8000;

/// How long an answer may take before the client tries another server.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long after the last fault every request must be answered or its connection closed.
const CALM_MS: u64 = 2500;

const FRAME_BYTES_MAX: usize = 1 << 20;

/// Ephemerals of one session.
const EPHEMERALS_MAX: u64 = 8;

/// The connection is gone, or the session is.
#[derive(Debug)]
enum Lost {
    Connection,
    Session,
}

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self::Connection
    }
}

pub(super) struct Client {
    pub id: Place,
    pub network: Network,
    pub servers: Vec<Place>,
    pub history: Arc<Mutex<History>>,
    session: Option<(i64, [u8; PASSWORD_LEN])>,
    last_zxid: i64,
    written: u64,
    ephemerals: u64,
}

struct Reply {
    err: ErrorCode,
    body: Bytes,
}

impl Reply {
    fn read<'a, T: Decode<'a>>(&'a self) -> Option<T> {
        let body = Reader::new(&self.body).read();
        (self.err == ErrorCode::OK).then_some(())?;
        body.ok()
    }
}

/// A connection with a session.
struct Connection {
    stream: DuplexStream,
    inbox: BytesMut,
    outbox: BytesMut,
    next_xid: i32,
    waiting: VecDeque<i32>,
    /// Registers that this connection watches, with the mzxid that it has seen.
    watched: BTreeMap<u64, i64>,
}

pub(super) fn register_path(register: u64) -> String {
    format!("/r{register}")
}

impl Client {
    pub(super) fn new(
        id: Place,
        network: Network,
        servers: Vec<Place>,
        history: Arc<Mutex<History>>,
    ) -> Self {
        Self {
            id,
            network,
            servers,
            history,
            session: None,
            last_zxid: 0,
            written: 0,
            ephemerals: 0,
        }
    }

    /// The session that this client has now.
    pub(super) fn session(&self) -> Option<i64> {
        self.session.map(|(id, _)| id)
    }

    /// Works until it is told to end, and then once more to see that its session goes on.
    pub(super) async fn run(mut self, mut ends: tokio::sync::watch::Receiver<bool>) -> Self {
        loop {
            let is_last = *ends.borrow_and_update();
            let Some(mut connection) = self.connect().await else {
                world::pause(5..100).await;
                continue;
            };
            let ended = if is_last {
                self.read(&mut connection, 0, true).await.map(|()| true)
            } else {
                self.work(&mut connection, &ends).await
            };
            match ended {
                Ok(true) => return self,
                Ok(false) | Err(Lost::Connection) => {}
                Err(Lost::Session) => self.forget_session(),
            }
            self.history.lock().reconnects += 1;
        }
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.ephemerals = 0;
    }

    async fn connect(&mut self) -> Option<Connection> {
        let server = world::pick(&self.servers);
        let dialling = self.network.connect(self.id, server, Arrival::Client);
        let stream = timeout(DIAL_PATIENCE, dialling).await.ok()?.ok()?;
        timeout(PATIENCE, self.establish(stream)).await.ok()?
    }

    async fn establish(&mut self, mut stream: DuplexStream) -> Option<Connection> {
        let (session_id, password) = self.session.unwrap_or_default();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: SESSION_TIMEOUT_MS,
            session_id,
            password: Some(&password),
            read_only: Some(false),
        };
        let mut out = BytesMut::new();
        put_frame(&mut out, &[&request]);
        stream.write_all(&out).await.ok()?;
        let mut inbox = BytesMut::new();
        let frame = loop {
            if let Some(frame) = next_frame(&mut inbox, FRAME_BYTES_MAX).ok()? {
                break frame;
            }
            if stream.read_buf(&mut inbox).await.ok()? == 0 {
                return None;
            }
        };
        let response: ConnectResponse<'_> = Reader::new(&frame).read().ok()?;
        if response.timeout_ms <= 0 {
            self.history.lock().expired += 1;
            self.forget_session();
            return None;
        }
        let password = response.password?.try_into().ok()?;
        if session_id != 0 && session_id != response.session_id {
            let why = format!("session {session_id:x} came back as another one");
            self.history.lock().violation(why);
        }
        self.session = Some((response.session_id, password));
        Some(Connection {
            stream,
            inbox,
            outbox: BytesMut::new(),
            next_xid: 1,
            waiting: VecDeque::new(),
            watched: BTreeMap::new(),
        })
    }

    /// Until the connection shall be another one; true when all is done.
    async fn work(
        &mut self,
        connection: &mut Connection,
        ends: &tokio::sync::watch::Receiver<bool>,
    ) -> Result<bool, Lost> {
        loop {
            if *ends.borrow() {
                return Ok(false);
            }
            world::pause(1..60).await;
            let register = world::number(0..REGISTERS);
            match world::number(0..100) {
                0..40 => self.set(connection, register).await?,
                40..60 => self.read(connection, register, true).await?,
                60..80 => self.read(connection, register, false).await?,
                80..86 => self.set_both(connection).await?,
                86..92 => self.read_both(connection).await?,
                92 => self.create_pair(connection).await?,
                93..96 if self.ephemerals < EPHEMERALS_MAX => {
                    self.create_ephemeral(connection).await?;
                }
                96..98 => return Ok(false),
                98 => {
                    self.call(connection, OpCode::CLOSE_SESSION, &Empty).await?;
                    if let Some((session, _)) = self.session {
                        self.history.lock().closed.insert(session);
                    }
                    return Err(Lost::Session);
                }
                _ => self.watch(connection, register).await?,
            }
        }
    }

    async fn set(&mut self, connection: &mut Connection, register: u64) -> Result<(), Lost> {
        self.written += 1;
        let value = format!("{}-{}", self.id, self.written);
        let asked = Asked::Set {
            register,
            value: value.clone(),
        };
        let ticket = self.history.lock().begin(self.id, asked);
        let path = register_path(register);
        let request = SetDataRequest {
            path: text(&path),
            data: Some(value.as_bytes()),
            version: -1,
        };
        let answer = self.call(connection, OpCode::SET_DATA, &request).await;
        let seen = match &answer {
            Ok(reply) => match reply.read::<SetDataResponse>() {
                Some(response) => {
                    self.notice(connection, register, response.stat.mzxid);
                    Seen::Version {
                        version: response.stat.version,
                        value,
                    }
                }
                None => Seen::Nothing,
            },
            Err(_) => Seen::Nothing,
        };
        self.history.lock().end(ticket, seen);
        answer.map(drop)
    }

    async fn read(
        &mut self,
        connection: &mut Connection,
        register: u64,
        latest: bool,
    ) -> Result<(), Lost> {
        let asked = if latest {
            Asked::ReadLatest { register }
        } else {
            Asked::Read { register }
        };
        let ticket = self.history.lock().begin(self.id, asked);
        let path = register_path(register);
        if latest {
            // Not waited for: the read stands behind it.
            let path = text(&path);
            connection.put(OpCode::SYNC, &SyncRequest { path });
        }
        let answer = self.get(connection, register, false).await;
        let seen = match &answer {
            Ok(Some(seen)) => seen.clone(),
            _ => Seen::Nothing,
        };
        self.history.lock().end(ticket, seen);
        answer.map(drop)
    }

    async fn watch(&mut self, connection: &mut Connection, register: u64) -> Result<(), Lost> {
        let asked = Asked::Read { register };
        let ticket = self.history.lock().begin(self.id, asked);
        let answer = self.get(connection, register, true).await;
        let seen = match &answer {
            Ok(Some(seen)) => seen.clone(),
            _ => Seen::Nothing,
        };
        self.history.lock().end(ticket, seen);
        answer.map(drop)
    }

    async fn get(
        &mut self,
        connection: &mut Connection,
        register: u64,
        watch: bool,
    ) -> Result<Option<Seen>, Lost> {
        let path = register_path(register);
        let path = text(&path);
        let request = GetDataRequest { path, watch };
        let reply = self.call(connection, OpCode::GET_DATA, &request).await?;
        let Some(response) = reply.read::<GetDataResponse<'_>>() else {
            return Ok(None);
        };
        self.notice(connection, register, response.stat.mzxid);
        if watch {
            connection.watched.insert(register, response.stat.mzxid);
        }
        Ok(Some(Seen::Version {
            version: response.stat.version,
            value: String::from_utf8_lossy(response.data.unwrap_or_default()).into_owned(),
        }))
    }

    /// An answer shows a register as of this zxid: an event must have come before it.
    fn notice(&self, connection: &Connection, register: u64, mzxid: i64) {
        if let Some(seen) = connection.watched.get(&register)
            && mzxid > *seen
        {
            let why = format!(
                "client {}: register {register} is shown as of {mzxid:x}, but the watch set at {seen:x} has not fired",
                self.id
            );
            self.history.lock().violation(why);
        }
    }

    /// Two znodes that are only ever set together.
    async fn set_both(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        self.written += 1;
        let value = format!("{}-{}", self.id, self.written);
        let set = |path| {
            MultiOp::SetData(SetDataRequest {
                path: text(path),
                data: Some(value.as_bytes()),
                version: -1,
            })
        };
        let ops = vec![set("/m/a"), set("/m/b")];
        let request = MultiRequest { ops };
        self.call(connection, OpCode::MULTI, &request)
            .await
            .map(drop)
    }

    async fn read_both(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let get = |path| {
            MultiOp::GetData(GetDataRequest {
                path: text(path),
                watch: false,
            })
        };
        let request = MultiRequest {
            ops: vec![get("/m/a"), get("/m/b")],
        };
        let reply = self.call(connection, OpCode::MULTI_READ, &request).await?;
        let Some(response) = reply.read::<MultiResponse<'_>>() else {
            return Ok(());
        };
        if let [
            MultiResult::GetData {
                data: a,
                stat: of_a,
            },
            MultiResult::GetData {
                data: b,
                stat: of_b,
            },
        ] = &response.results[..]
            && (a != b || of_a.version != of_b.version)
        {
            let why = format!("half of a multi was seen: {of_a:?} beside {of_b:?}");
            self.history.lock().violation(why);
        }
        Ok(())
    }

    /// The second must not be there without the first.
    async fn create_pair(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        self.written += 1;
        let paths = ["a", "b"].map(|name| format!("/q/{}-{}-{name}", self.id, self.written));
        self.history.lock().pairs.push(paths.clone());
        let [first, second] = paths.each_ref().map(|path| CreateRequest {
            path: text(path),
            data: None,
            acl: Some(vec![open_acl()]),
            flags: 0,
        });
        connection.put(OpCode::CREATE, &first);
        // So that they are not always in one entry.
        let out = std::mem::take(&mut connection.outbox);
        connection.stream.write_all(&out).await?;
        world::pause(0..4).await;
        self.call(connection, OpCode::CREATE, &second)
            .await
            .map(drop)
    }

    async fn create_ephemeral(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        self.written += 1;
        self.ephemerals += 1;
        let path = format!("/e/{}-{}", self.id, self.written);
        let request = CreateRequest {
            path: text(&path),
            data: None,
            acl: Some(vec![open_acl()]),
            flags: 1,
        };
        let reply = self.call(connection, OpCode::CREATE, &request).await?;
        if reply.err == ErrorCode::OK
            && let Some((session, _)) = self.session
        {
            let created = Ephemeral { path, session };
            self.history.lock().ephemerals.push(created);
        }
        Ok(())
    }

    async fn call(
        &mut self,
        connection: &mut Connection,
        op: OpCode,
        body: &impl Encode,
    ) -> Result<Reply, Lost> {
        let began = world::now_ms();
        let wanted = connection.put(op, body);
        let exchange = self.exchange(connection, wanted);
        if let Ok(answer) = timeout(PATIENCE, exchange).await {
            return answer;
        }
        let mut history = self.history.lock();
        if history
            .calm_since
            .is_some_and(|calm| began > calm + CALM_MS)
        {
            let why = format!("{op:?} of client {} at {began} ms has no answer", self.id);
            history.violation(why);
        }
        Err(Lost::Connection)
    }

    async fn exchange(&mut self, connection: &mut Connection, wanted: i32) -> Result<Reply, Lost> {
        let out = std::mem::take(&mut connection.outbox);
        connection.stream.write_all(&out).await?;
        loop {
            while let Some(frame) =
                next_frame(&mut connection.inbox, FRAME_BYTES_MAX).map_err(|_| Lost::Connection)?
            {
                let mut reader = Reader::new(&frame);
                let header: ReplyHeader = reader.read().map_err(|_| Lost::Connection)?;
                let body = frame.slice(reader.offset()..);
                if header.xid == xid::NOTIFICATION {
                    let event: Result<WatcherEvent<'_>, _> = Reader::new(&body).read();
                    let path = event.ok().and_then(|event| event.path);
                    connection
                        .watched
                        .retain(|register, _| path.as_deref() != Some(&*register_path(*register)));
                    continue;
                }
                if header.zxid > 0 {
                    if header.zxid < self.last_zxid {
                        let why = format!(
                            "client {} saw zxid {:x} after {:x}",
                            self.id, header.zxid, self.last_zxid
                        );
                        self.history.lock().violation(why);
                    }
                    self.last_zxid = header.zxid;
                }
                let due = connection.waiting.pop_front();
                if due != Some(header.xid) {
                    let why = format!("an answer to {} where {due:?} was due", header.xid);
                    self.history.lock().violation(why);
                    return Err(Lost::Connection);
                }
                let err = ErrorCode(header.err);
                if err == ErrorCode::SESSION_EXPIRED {
                    self.history.lock().expired += 1;
                    return Err(Lost::Session);
                }
                if header.xid == wanted {
                    return Ok(Reply { err, body });
                }
            }
            if connection.stream.read_buf(&mut connection.inbox).await? == 0 {
                return Err(Lost::Connection);
            }
        }
    }
}

impl Connection {
    /// Appends a request to what is sent with the next call.
    fn put(&mut self, op: OpCode, body: &impl Encode) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        let mark = begin_frame(&mut self.outbox);
        RequestHeader { xid, op: op.0 }.encode(&mut self.outbox);
        body.encode(&mut self.outbox);
        end_frame(&mut self.outbox, mark);
        self.waiting.push_back(xid);
        xid
    }
}

/// Makes the znodes that clients share, as soon as anybody serves.
pub(super) async fn set_up(network: Network, servers: Vec<Place>) {
    let mut client = Client::new(99, network, servers, Arc::default());
    'again: loop {
        world::pause(20..50).await;
        let Some(mut connection) = client.connect().await else {
            continue;
        };
        let registers = (0..REGISTERS).map(register_path);
        let others = ["/m", "/m/a", "/m/b", "/e", "/q"].map(str::to_owned);
        for path in registers.chain(others) {
            let request = CreateRequest {
                path: text(&path),
                data: Some(b"-"),
                acl: Some(vec![open_acl()]),
                flags: 0,
            };
            let created = client.call(&mut connection, OpCode::CREATE, &request).await;
            if created.is_err() {
                continue 'again;
            }
        }
        let _ = client
            .call(&mut connection, OpCode::CLOSE_SESSION, &Empty)
            .await;
        return;
    }
}
