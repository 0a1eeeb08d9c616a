//! Sessions that end while the server is killed: by closing, and by being left alone.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use jute::proto::{CreateRequest, create_mode};
use jute::{ErrorCode, OpCode, text};

use crate::tree::{Tree, acl};
use crate::wire::{Connection, Empty, Handshake, Session};

pub(crate) const GUESTS: &str = "/crash/guests";
/// Ephemerals of each guest.
const NODES: usize = 3;
/// Longer than any outage: a visitor is gone when it closed, not before.
const VISITOR_TIMEOUT_MS: i32 = 60_000;
/// The shortest that the server grants: expiry falls on both sides of the kill.
const LEAVER_TIMEOUT_MS: i32 = 400;
/// A leaver's session may take this long to expire after a restart.
const EXPIRY_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A guest as it was when the server was killed.
pub(crate) struct Guest {
    session: Session,
    name: String,
    /// Ephemerals that were acknowledged; they were sent in order.
    created: usize,
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    NotAsked,
    Asked,
    Acknowledged,
    /// The session is left to expire.
    Left,
}

/// One visitor after the other opens a session, puts up its ephemerals and closes, until the server
/// is gone; the last one is returned with what it knows, and the names of those that closed.
pub(crate) fn visit(addr: SocketAddr, round: usize) -> Result<(Option<Guest>, Vec<String>)> {
    let mut closed = Vec::new();
    loop {
        let name = format!("{GUESTS}/visitor-{round}-{}-", closed.len());
        let wanted = Session::wanted(VISITOR_TIMEOUT_MS);
        let mut connection = match Connection::attach(addr, &wanted, 0)? {
            Handshake::Attached(connection) => connection,
            Handshake::Expired => bail!("a new session was refused"),
            // Whether the session exists nobody knows; it has no nodes.
            Handshake::Closed => return Ok((None, closed)),
        };
        let mut guest = Guest {
            session: connection.session.clone(),
            name,
            created: 0,
            closing: Closing::NotAsked,
        };
        guest.put_up(&mut connection)?;
        if guest.created < NODES {
            return Ok((Some(guest), closed));
        }
        guest.closing = Closing::Asked;
        connection.queue(OpCode::CLOSE_SESSION, &Empty);
        connection.flush();
        match connection.receive()? {
            Some(reply) => ensure!(reply.err == ErrorCode::OK, "closeSession: {}", reply.err),
            None => return Ok((Some(guest), closed)),
        }
        guest.closing = Closing::Acknowledged;
        closed.push(guest.name);
    }
}

/// A guest that puts up its ephemerals and is never heard of again.
pub(crate) fn leave(addr: SocketAddr, round: usize) -> Result<Guest> {
    let Handshake::Attached(mut connection) =
        Connection::attach(addr, &Session::wanted(LEAVER_TIMEOUT_MS), 0)?
    else {
        bail!("no session for a guest")
    };
    let mut guest = Guest {
        session: connection.session.clone(),
        name: format!("{GUESTS}/leaver-{round}-"),
        created: 0,
        closing: Closing::Left,
    };
    guest.put_up(&mut connection)?;
    ensure!(
        guest.created == NODES,
        "closed while a guest put up its nodes"
    );
    Ok(guest)
}

impl Guest {
    fn put_up(&mut self, connection: &mut Connection) -> Result<()> {
        for node in 0..NODES {
            let path = format!("{}{node}", self.name);
            let request = CreateRequest {
                path: text(&path),
                data: None,
                acl: Some(acl(0)),
                flags: create_mode::EPHEMERAL,
            };
            connection.queue(OpCode::CREATE, &request);
        }
        connection.flush();
        while self.created < NODES {
            let Some(reply) = connection.receive()? else {
                break;
            };
            ensure!(
                reply.err == ErrorCode::OK,
                "create {}{}: {}",
                self.name,
                self.created,
                reply.err
            );
            self.created += 1;
        }
        Ok(())
    }

    /// Holds the tree after the restart against what the guest knows.
    pub(crate) fn check(&self, tree: &Tree) -> Result<()> {
        let found = self.found(tree);
        for (at, (path, owner)) in found.iter().enumerate() {
            ensure!(
                *path == format!("{}{at}", self.name),
                "{path} without those before it"
            );
            ensure!(*owner == self.session.id, "{path} is owned by {owner:#x}");
        }
        let possible = match self.closing {
            Closing::NotAsked => found.len() >= self.created,
            // The close takes all or none with it.
            Closing::Asked | Closing::Left => found.is_empty() || found.len() == NODES,
            Closing::Acknowledged => found.is_empty(),
        };
        ensure!(
            possible,
            "{} of {} acknowledged ephemerals of {} are there, closing: {:?}",
            found.len(),
            self.created,
            self.name,
            self.closing
        );
        Ok(())
    }

    /// Sees the session to its end. It lives on exactly when its nodes are there, or when nothing
    /// that it has sent could have ended it; when it ends they go with it.
    pub(crate) fn see_off(
        &self,
        addr: SocketAddr,
        tree: &Tree,
        checker: &mut Connection,
    ) -> Result<()> {
        let there = !self.found(tree).is_empty();
        if self.closing == Closing::Left {
            // Attaching would renew it; its nodes tell when it has expired.
            let deadline = Instant::now() + EXPIRY_LIMIT;
            while !self.found(&Tree::read(checker, GUESTS)?).is_empty() {
                ensure!(
                    Instant::now() < deadline,
                    "the session behind {} never expires",
                    self.name
                );
                thread::sleep(POLL);
            }
        } else if there || self.closing == Closing::NotAsked {
            let Handshake::Attached(mut connection) = Connection::attach(addr, &self.session, 0)?
            else {
                bail!("the session behind {} is lost", self.name)
            };
            connection.call(OpCode::CLOSE_SESSION, &Empty)?;
            let left = Tree::read(checker, GUESTS)?;
            ensure!(
                self.found(&left).is_empty(),
                "{} outlives its session",
                self.name
            );
        }
        match Connection::attach(addr, &self.session, 0)? {
            Handshake::Expired => Ok(()),
            other => bail!(
                "the session behind {} has ended, yet attaching: {other:?}",
                self.name
            ),
        }
    }

    fn found<'a>(&'a self, tree: &'a Tree) -> Vec<(&'a str, i64)> {
        tree.below(&self.name)
            .map(|(path, znode)| (path, znode.stat.ephemeral_owner))
            .collect()
    }
}
