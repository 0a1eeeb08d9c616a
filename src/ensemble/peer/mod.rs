//! Connections between servers.
//!
//! Each purpose has a connection of its own, so that bulk never delays a heartbeat. A connection
//! begins with a handshake; nothing of a stranger gets beyond it.
//!
//! ```text
//!   dialling                                    accepting
//!   HELLO    magic, versions, class,    --->    class known? addressed to us? a member?
//!            from, to, cluster, nonce           same cluster?
//!                                       <---    WELCOME version, cluster, nonce, proof
//!   proof right?                                (or REFUSED, why)
//!   PROOF    (with a secret)            --->    proof right?
//!   frames                              <-->    frames
//! ```
//!
//! With a shared secret both prove that they know it, by HMAC-SHA256 over both nonces; a server
//! that has one refuses those that have none. What follows is checked but not encrypted.

pub(crate) mod codec;
pub(crate) mod frame;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use hmac::{Hmac, Mac as _};
use parking_lot::{Mutex, RwLock};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub use frame::Stream;
pub(crate) use frame::{FRAME_BYTES_MAX, FrameReader, FrameWriter, HELLO_BYTES_MAX};

/// How long a peer may take to be reached.
pub(crate) const DIAL_PATIENCE: Duration = Duration::from_millis(1000);
/// How long the handshake may take on either side.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(2);

const MAGIC: [u8; 6] = *b"MKPEER";
/// Versions of the protocol between servers that this one speaks.
const VERSION_MIN: u16 = 1;
const VERSION_MAX: u16 = 1;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;
const PROOF: u8 = 4;

const NONCE_LEN: usize = 32;
const PROOF_LEN: usize = 32;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Entries and heartbeats of the leader; answers in order.
    Append = 1,
    /// One question at a time: votes, status.
    Ask = 2,
    /// A snapshot file.
    Snapshot = 3,
    /// Requests to the leader and its answers.
    Link = 4,
}

impl Class {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Append, Self::Ask, Self::Snapshot, Self::Link]
            .into_iter()
            .find(|class| *class as u8 == byte)
    }
}

/// What is returned by [`Net::dial`].
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// How servers reach each other.
pub trait Net: Send + Sync + 'static {
    /// Opens a connection to a member; `spec` is its `server.N` value.
    fn dial(&self, target: u64, spec: &str) -> Dialing;
}

/// TCP, with names resolved at each dial.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Net for Tcp {
    fn dial(&self, _: u64, spec: &str) -> Dialing {
        let addresses = quorum_addresses(spec);
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::InvalidInput, "it has no address");
            for (host, port) in addresses {
                match TcpStream::connect((host, port)).await {
                    Ok(stream) => return Ok(tcp_stream(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

/// Wraps a connected socket.
#[must_use]
pub(crate) fn tcp_stream(stream: TcpStream) -> Stream {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_keepalive(true);
    let (reader, writer) = stream.into_split();
    Stream {
        reader: Box::new(reader),
        writer: Box::new(writer),
    }
}

/// Hosts and quorum ports of a `server.N` value: `host:quorum:election[:role]`, several of them
/// between bars, and perhaps a client address behind a semicolon.
pub(crate) fn quorum_addresses(spec: &str) -> Vec<(String, u16)> {
    let peer_side = spec.split(';').next().unwrap_or_default();
    peer_side
        .split('|')
        .filter_map(|address| {
            let (host, ports) = match address.strip_prefix('[') {
                Some(bracketed) => {
                    let (host, rest) = bracketed.split_once(']')?;
                    (host, rest.strip_prefix(':')?)
                }
                None => address.split_once(':')?,
            };
            Some((host.to_owned(), ports.split(':').next()?.parse().ok()?))
        })
        .collect()
}

/// A server of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    /// The value of its `server.N` line.
    pub spec: String,
    /// Observers do not vote.
    pub is_voter: bool,
}

/// What was said about others lately: a peer that is refused comes again ten times a second.
#[derive(Default)]
pub(crate) struct Complaints {
    last: Mutex<BTreeMap<String, Instant>>,
}

/// How long a complaint is not repeated, and how many are remembered.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(30);
const COMPLAINTS_MAX: usize = 64;

impl Complaints {
    /// Whether this is worth saying now.
    pub(crate) fn is_due(&self, what: String) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock();
        last.retain(|_, at| now.duration_since(*at) < COMPLAINT_PAUSE);
        let is_due = last.len() < COMPLAINTS_MAX && !last.contains_key(&what);
        if is_due {
            last.insert(what, now);
        }
        is_due
    }
}

/// Who this server is, and whom it talks to.
pub(crate) struct Identity {
    pub me: u64,
    pub secret: Option<Bytes>,
    /// 0 while it is not known.
    pub cluster: Arc<AtomicU64>,
    pub members: RwLock<BTreeMap<u64, Member>>,
    pub net: Arc<dyn Net>,
    pub complaints: Complaints,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("it speaks another protocol")]
    Stranger,
    #[error("refused by the other side: {0}")]
    Refused(String),
    #[error("{0}")]
    Refuses(&'static str),
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Io(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

/// A connection whose other end is known.
pub(crate) struct Peer {
    pub id: u64,
    pub class: Class,
    pub reader: FrameReader,
    pub writer: FrameWriter,
}

struct Hello {
    versions: (u16, u16),
    class: u8,
    from: u64,
    to: u64,
    cluster: u64,
    has_secret: bool,
    nonce: [u8; NONCE_LEN],
}

impl Hello {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&MAGIC);
        out.put_u16(self.versions.0);
        out.put_u16(self.versions.1);
        out.put_u8(self.class);
        out.put_u64(self.from);
        out.put_u64(self.to);
        out.put_u64(self.cluster);
        out.put_u8(u8::from(self.has_secret));
        out.put_slice(&self.nonce);
        out.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let magic = bytes.first_chunk::<6>()?;
        if *magic != MAGIC {
            return None;
        }
        bytes.advance(MAGIC.len());
        Some(Self {
            versions: (bytes.try_get_u16().ok()?, bytes.try_get_u16().ok()?),
            class: bytes.try_get_u8().ok()?,
            from: bytes.try_get_u64().ok()?,
            to: bytes.try_get_u64().ok()?,
            cluster: bytes.try_get_u64().ok()?,
            has_secret: bytes.try_get_u8().ok()? != 0,
            // Later versions may say more behind it.
            nonce: *bytes.first_chunk()?,
        })
    }
}

fn nonce() -> io::Result<[u8; NONCE_LEN]> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(nonce)
}

/// What one side shows to prove that it knows the secret: bound to both nonces, to the direction
/// and to what the connection is for.
fn proof(secret: &[u8], side: &[u8], hello: &[u8], welcome: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    for part in [side, hello, welcome] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

const NO_SECRET: &str = "this server has a peer secret and the other has none";
const ONLY_THEIRS: &str = "the other server has a peer secret and this one has none";
const WRONG_SECRET: &str = "the peer secrets differ";

impl Identity {
    /// Opens a connection to a member and proves each other's identity.
    ///
    /// # Errors
    /// It cannot be reached, or one refuses the other.
    pub(crate) async fn connect(&self, target: u64, class: Class) -> io::Result<Peer> {
        let spec = self.members.read().get(&target).map(|m| m.spec.clone());
        let spec = spec.ok_or_else(|| {
            let why = format!("server {target} is no member");
            io::Error::new(io::ErrorKind::NotFound, why)
        })?;
        let stream = timeout(DIAL_PATIENCE, self.net.dial(target, &spec))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        timeout(HANDSHAKE_PATIENCE, self.greet(stream, target, class))
            .await
            .unwrap_or(Err(HandshakeError::Timeout))
            .map_err(|error| {
                if !matches!(error, HandshakeError::Io(_))
                    && self.complaints.is_due(format!("{target} {error}"))
                {
                    tracing::warn!(server = target, %error, "handshake failed");
                }
                error.into()
            })
    }

    async fn greet(
        &self,
        stream: Stream,
        target: u64,
        class: Class,
    ) -> Result<Peer, HandshakeError> {
        let mut reader = FrameReader::new(stream.reader, HELLO_BYTES_MAX);
        let mut writer = FrameWriter::new(stream.writer);
        let hello = Hello {
            versions: (VERSION_MIN, VERSION_MAX),
            class: class as u8,
            from: self.me,
            to: target,
            cluster: self.cluster.load(Ordering::Relaxed),
            has_secret: self.secret.is_some(),
            nonce: nonce()?,
        }
        .encode();
        writer.send(HELLO, &hello).await?;
        let answer = reader
            .next()
            .await?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match answer.kind {
            WELCOME => {}
            REFUSED => {
                let why = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(HandshakeError::Refused(why));
            }
            _ => return Err(HandshakeError::Stranger),
        }
        // Version, cluster, whether it has a secret, nonce; then the proof.
        const WELCOME_LEN: usize = 2 + 8 + 1 + NONCE_LEN;
        let body = answer.body;
        if body.len() < WELCOME_LEN {
            return Err(HandshakeError::Stranger);
        }
        let (welcome, shown) = body.split_at(WELCOME_LEN);
        let mut fields = welcome;
        let version = fields.get_u16();
        let cluster = fields.get_u64();
        let has_secret = fields.get_u8() != 0;
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(HandshakeError::Refuses("no common protocol version"));
        }
        self.check_cluster(cluster)?;
        match (&self.secret, has_secret) {
            (None, false) => {}
            (None, true) => return Err(HandshakeError::Refuses(ONLY_THEIRS)),
            (Some(_), false) => return Err(HandshakeError::Refuses(NO_SECRET)),
            (Some(secret), true) => {
                proof(secret, b"accepting", &hello, welcome)
                    .verify_slice(shown)
                    .map_err(|_| HandshakeError::Refuses(WRONG_SECRET))?;
                let shown = proof(secret, b"dialling", &hello, welcome).finalize();
                writer.send(PROOF, &shown.into_bytes()).await?;
            }
        }
        reader.limit = FRAME_BYTES_MAX;
        Ok(Peer {
            id: target,
            class,
            reader,
            writer,
        })
    }

    fn check_cluster(&self, theirs: u64) -> Result<(), HandshakeError> {
        let ours = self.cluster.load(Ordering::Relaxed);
        if ours != 0 && theirs != 0 && ours != theirs {
            return Err(HandshakeError::Refuses(
                "the servers belong to different clusters",
            ));
        }
        Ok(())
    }

    /// Takes a connection that somebody has opened.
    ///
    /// # Errors
    /// It is no member of this cluster, or cannot prove it.
    pub(crate) async fn accept(&self, stream: Stream) -> Result<Peer, HandshakeError> {
        timeout(HANDSHAKE_PATIENCE, self.answer(stream))
            .await
            .unwrap_or(Err(HandshakeError::Timeout))
    }

    async fn answer(&self, stream: Stream) -> Result<Peer, HandshakeError> {
        let mut reader = FrameReader::new(stream.reader, HELLO_BYTES_MAX);
        let mut writer = FrameWriter::new(stream.writer);
        // Whoever gives up dialling says nothing.
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let frame = reader.next().await?.ok_or_else(ended)?;
        let hello = Hello::decode(frame.body.clone())
            .filter(|_| frame.kind == HELLO)
            .ok_or(HandshakeError::Stranger)?;
        let (class, version) = match self.judge(&hello) {
            Ok(accepted) => accepted,
            Err(why) => {
                let told = match why {
                    // From the other side's point of view.
                    HandshakeError::Refuses(NO_SECRET) => ONLY_THEIRS.to_owned(),
                    HandshakeError::Refuses(ONLY_THEIRS) => NO_SECRET.to_owned(),
                    ref why => why.to_string(),
                };
                writer.send(REFUSED, told.as_bytes()).await?;
                writer.shutdown().await;
                return Err(why);
            }
        };
        let mut welcome = BytesMut::new();
        welcome.put_u16(version);
        welcome.put_u64(self.cluster.load(Ordering::Relaxed));
        welcome.put_u8(u8::from(self.secret.is_some()));
        welcome.put_slice(&nonce()?);
        let Some(secret) = &self.secret else {
            writer.send(WELCOME, &welcome).await?;
            reader.limit = FRAME_BYTES_MAX;
            return Ok(Peer {
                id: hello.from,
                class,
                reader,
                writer,
            });
        };
        let said = welcome.clone().freeze();
        let shown = proof(secret, b"accepting", &frame.body, &said).finalize();
        welcome.put_slice(&shown.into_bytes());
        writer.send(WELCOME, &welcome).await?;
        let shown = reader.next().await?.ok_or(HandshakeError::Stranger)?;
        if shown.kind != PROOF || shown.body.len() != PROOF_LEN {
            return Err(HandshakeError::Stranger);
        }
        proof(secret, b"dialling", &frame.body, &said)
            .verify_slice(&shown.body)
            .map_err(|_| HandshakeError::Refuses(WRONG_SECRET))?;
        reader.limit = FRAME_BYTES_MAX;
        Ok(Peer {
            id: hello.from,
            class,
            reader,
            writer,
        })
    }

    fn judge(&self, hello: &Hello) -> Result<(Class, u16), HandshakeError> {
        let refuses = |why| Err(HandshakeError::Refuses(why));
        let version = hello.versions.1.min(VERSION_MAX);
        if version < hello.versions.0.max(VERSION_MIN) {
            return refuses("no common protocol version");
        }
        let Some(class) = Class::from_byte(hello.class) else {
            return refuses("a connection of unknown purpose");
        };
        if hello.to != self.me {
            return refuses("addressed to another server; check host and port of server.N");
        }
        if hello.from == self.me || !self.members.read().contains_key(&hello.from) {
            return refuses("not a member of this ensemble");
        }
        self.check_cluster(hello.cluster)?;
        match (&self.secret, hello.has_secret) {
            (Some(_), false) => refuses(NO_SECRET),
            (None, true) => refuses(ONLY_THEIRS),
            _ => Ok((class, version)),
        }
    }
}
