//! The test's own session, with the super user's rights: it prepares the tree and reads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meerkat_compat_tests::client::{Connection, Received, framed};
use meerkat_compat_tests::history::{Stat, Tree};
use meerkat_compat_tests::server::SUPER_AUTH;
use meerkat_compat_tests::wire::{Blob, Connect, Request, Value};

use crate::client::Reader;

/// Requests in flight at a time.
const WINDOW: usize = 500;
/// How long servers may go on closing connections.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Desk {
    connection: Connection,
    next_xid: i32,
}

/// The server has closed the connection, as it may when the leader changes.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server has closed the connection")
    }
}

impl std::error::Error for Lost {}

/// Does something with a session of its own, and all of it again when the server closes that.
///
/// # Errors
/// When that goes on for long, and at once when the server is silent.
pub(crate) fn with_desk<T>(
    addr: SocketAddr,
    mut work: impl FnMut(&mut Desk) -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let outcome = Desk::open(addr).and_then(|mut desk| {
            let outcome = work(&mut desk)?;
            desk.close()?;
            Ok(outcome)
        });
        match outcome {
            Err(error) if error.is::<Lost>() && Instant::now() < deadline => thread::sleep(PAUSE),
            outcome => return outcome.with_context(|| format!("at {addr}")),
        }
    }
}

/// zxid, err and body.
type Reply = (i64, i32, Vec<u8>);

impl Desk {
    fn open(addr: SocketAddr) -> Result<Self> {
        let mut desk = Self {
            connection: Connection::open(addr).map_err(|_| Lost)?,
            next_xid: 1,
        };
        desk.connection
            .send(&framed(&Connect::default().encode(0, &[0; 16], 0)));
        desk.receive().context("no session")?;
        let auth = Value::Blob(Blob::Bytes(SUPER_AUTH.to_vec()));
        desk.ask(&Request::named("auth").with("auth", auth))?;
        Ok(desk)
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        match self.connection.receive()? {
            Received::Frame(frame) => Ok(frame),
            Received::Closed(_) => Err(Lost.into()),
            Received::Silent => bail!("the server is silent"),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        let mut replies = self.ask_all(std::slice::from_ref(request))?;
        replies.pop().context("no reply")
    }

    fn ask_all(&mut self, requests: &[Request]) -> Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(requests.len());
        for some in requests.chunks(WINDOW) {
            for request in some {
                let xid = request.xid_or(self.next_xid);
                self.next_xid += 1;
                self.connection.send(&framed(&request.encode(xid, 0)));
            }
            for request in some {
                let reply = self.receive();
                let frame = reply.with_context(|| format!("no reply to {request}"))?;
                let mut reader = Reader(&frame);
                let (_, zxid, err) = (reader.int()?, reader.long()?, reader.int()?);
                replies.push((zxid, err, reader.0.to_vec()));
            }
        }
        Ok(replies)
    }

    pub(crate) fn sync(&mut self) -> Result<()> {
        let (_, err, _) = self.ask(&Request::named("sync").path("/"))?;
        ensure!(err == 0, "sync: error {err}");
        Ok(())
    }

    /// Creates a znode with this number.
    pub(crate) fn create(&mut self, path: &str, value: u64) -> Result<Stat> {
        let data = Value::Blob(Blob::Bytes(value.to_be_bytes().to_vec()));
        let request = Request::named("create2").path(path).with("data", data);
        let (_, err, body) = self.ask(&request)?;
        ensure!(err == 0, "create {path}: error {err}");
        let mut reader = Reader(&body);
        let _path = reader.text()?;
        reader.stat()
    }

    /// Full paths of a znode's children; none when it is absent.
    pub(crate) fn children(&mut self, path: &str) -> Result<Vec<String>> {
        let (_, err, body) = self.ask(&Request::named("getChildren").path(path))?;
        if err != 0 {
            return Ok(Vec::new());
        }
        let names = Reader(&body).names()?;
        let base = path.trim_end_matches('/');
        Ok(names.iter().map(|name| format!("{base}/{name}")).collect())
    }

    /// The paths of a znode and of all below it, each before those below it.
    fn below(&mut self, path: &str) -> Result<Vec<String>> {
        let mut found = vec![path.to_owned()];
        let mut next = 0;
        // Deeper than two levels there is nothing.
        while let Some(path) = found.get(next).cloned() {
            next += 1;
            if path.matches('/').count() < 3 {
                found.extend(self.children(&path)?);
            }
        }
        Ok(found)
    }

    /// Deletes a znode with all below it.
    pub(crate) fn delete_all(&mut self, path: &str) -> Result<()> {
        let mut paths = self.below(path)?;
        paths.reverse();
        let requests: Vec<_> = paths
            .iter()
            .map(|path| Request::named("delete").path(path))
            .collect();
        for (path, (_, err, _)) in paths.iter().zip(self.ask_all(&requests)?) {
            ensure!(matches!(err, 0 | -101), "delete {path}: error {err}");
        }
        Ok(())
    }

    /// Values and stats of a znode and all below it.
    pub(crate) fn tree(&mut self, path: &str, server: usize) -> Result<Tree> {
        let paths = self.below(path)?;
        let requests: Vec<_> = paths
            .iter()
            .map(|path| Request::named("getData").path(path))
            .collect();
        let mut znodes = BTreeMap::new();
        for (path, (_, err, body)) in paths.into_iter().zip(self.ask_all(&requests)?) {
            // Listed and then gone: an ephemeral.
            if err == 0 {
                let mut reader = Reader(&body);
                znodes.insert(path, (reader.value()?, reader.stat()?));
            }
        }
        Ok(Tree { server, znodes })
    }

    /// The err of a reconfig that takes servers out and in.
    pub(crate) fn reconfig(&mut self, joining: &str, leaving: &str) -> Result<i32> {
        let text = |text: &str| {
            Value::Blob(match text {
                "" => Blob::Null,
                text => Blob::text(text),
            })
        };
        let request = Request::named("reconfig")
            .with("joining", text(joining))
            .with("leaving", text(leaving));
        Ok(self.ask(&request)?.1)
    }

    fn close(mut self) -> Result<()> {
        self.ask(&Request::named("closeSession")).map(drop)
    }
}
