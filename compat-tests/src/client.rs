//! One TCP connection that sends any bytes and receives frames, each wait bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::server::SUPER_AUTH;
use crate::wire::{Blob, Connect, Cutter, Request, SessionNames, Value};

/// How long a server may be silent before that counts as its answer.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The largest frame that is believed.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Read from the socket at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// What came from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Frame(Vec<u8>),
    /// The server has closed, with so many bytes of an unfinished frame.
    Closed(usize),
    /// Nothing for [`SILENCE`].
    Silent,
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// # Errors
    /// When nobody listens there.
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, SILENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// The same connection, for somebody who sends while this one receives.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            received: Vec::new(),
        })
    }

    /// Writes bytes as they are. A connection that broke meanwhile shows itself at the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the length of a frame is absurd.
    pub fn receive(&mut self) -> Result<Received> {
        let deadline = Instant::now() + SILENCE;
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Received::Frame(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Received::Silent);
            }
            self.stream.set_read_timeout(Some(left))?;
            let start = self.received.len();
            self.received.resize(start + CHUNK_BYTES, 0);
            let outcome = self.stream.read(&mut self.received[start..]);
            self.received
                .truncate(start + *outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(0) => return Ok(Received::Closed(self.received.len())),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => return Ok(Received::Closed(self.received.len())),
                },
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(prefix) = self.received.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        ensure!(
            length <= FRAME_BYTES_MAX,
            "the server announced a frame of {length} bytes"
        );
        if self.received.len() < 4 + length {
            return Ok(None);
        }
        let frame = self.received[4..4 + length].to_vec();
        self.received.drain(..4 + length);
        Ok(Some(frame))
    }
}

/// A frame around a message.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(message.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
        .to_vec();
    frame.extend(message);
    frame
}

/// A session that asks one thing after another.
#[derive(Debug)]
pub struct Admin {
    connection: Connection,
    next_xid: i32,
}

impl Admin {
    /// With the super user's rights.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        Self::connect_as(addr, &[SUPER_AUTH])
    }

    /// With users of scheme digest, each as `user:password`.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub fn connect_as(addr: SocketAddr, users: &[&[u8]]) -> Result<Self> {
        let mut admin = Self {
            connection: Connection::open(addr)?,
            next_xid: 1,
        };
        admin
            .connection
            .send(&framed(&Connect::default().encode(0, &[0; 16], 0)));
        let Received::Frame(_) = admin.connection.receive()? else {
            bail!("no session")
        };
        for user in users {
            let auth = Value::Blob(Blob::Bytes(user.to_vec()));
            let (err, _) = admin.ask(&Request::named("auth").with("auth", auth))?;
            ensure!(err == 0, "auth: {err}");
        }
        Ok(admin)
    }

    /// The err of the reply and its body.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn ask(&mut self, request: &Request) -> Result<(i32, Vec<u8>)> {
        let xid = request.xid_or(self.next_xid);
        self.next_xid += 1;
        self.connection.send(&framed(&request.encode(xid, 0)));
        let Received::Frame(frame) = self.connection.receive()? else {
            bail!("no reply to {request}")
        };
        let (header, body) = frame.split_first_chunk::<16>().context("a short reply")?;
        let err = header
            .last_chunk::<4>()
            .map_or(0, |bytes| i32::from_be_bytes(*bytes));
        Ok((err, body.to_vec()))
    }

    /// # Errors
    /// When the server refuses or does not answer.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>> {
        let (err, body) = self.ask(&Request::named("getChildren").path(path))?;
        ensure!(err == 0, "getChildren {path}: {err}");
        let names = SessionNames::new();
        let children = Cutter::new(&body, &names).strings();
        children.map_err(|_| anyhow::anyhow!("getChildren {path}: a bad reply"))
    }

    fn delete_below(&mut self, path: &str, keep: &[&str]) -> Result<()> {
        let mut children = self.children(path)?;
        // Each server lists them in an order of its own, and what goes last shows in a pzxid.
        children.sort();
        for child in children {
            let child = format!("{}/{child}", path.trim_end_matches('/'));
            self.delete_below(&child, keep)?;
            if !keep.contains(&child.as_str()) {
                let (err, _) = self.ask(&Request::named("delete").path(&child))?;
                ensure!(err == 0, "delete {child}: {err}");
            }
        }
        Ok(())
    }

    /// Brings the tree back to how a new server has it, but for the root's counters.
    ///
    /// # Errors
    /// When a request fails, or a znode that cannot be deleted has been written to.
    pub fn clean(&mut self) -> Result<()> {
        let special = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        self.delete_below("/", &special)?;
        for path in &special[..3] {
            let (err, body) = self.ask(&Request::named("exists").path(path))?;
            let untouched = body.get(8..16) == Some(&[0; 8]) && body.get(40..44) == Some(&[0; 4]);
            ensure!(err == 0 && untouched, "{path} has been written to");
        }
        Ok(())
    }

    /// Closes the session.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn close(mut self) -> Result<()> {
        self.ask(&Request::named("closeSession")).map(drop)
    }
}
