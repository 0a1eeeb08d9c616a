//! Everything that a server shows to those who may see all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::ParseIntError;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::client::{Admin, Connection, Received, framed};
use meerkat_compat_tests::server::Server;
use meerkat_compat_tests::wire::{
    Blob, Connect, Cutter, Request, SessionNames, Value, ZxidValue, hex,
};

/// A session as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub id: i64,
    pub password: Vec<u8>,
    /// The highest zxid in any reply.
    pub seen: i64,
}

/// What a server shows. Two of them are equal or something was lost on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Path to data, Stat, list and children.
    pub znodes: BTreeMap<String, String>,
    /// Sessions by when they expire: those with the shortest time-out first.
    pub expiry: Vec<Vec<String>>,
    /// Znodes that can be read although their parent does not list them: a fault of ZooKeeper's
    /// when it reads a snapshot that was written while they were created.
    pub unlisted: BTreeSet<String>,
    /// Session to its ephemerals, or to nothing when the server does not know it.
    pub sessions: BTreeMap<i64, Option<Vec<String>>>,
}

impl View {
    pub(crate) fn of(server: &Server, sessions: &[Session]) -> Result<Self> {
        // Before anything is written: a server does not speak with a client that has seen more.
        if let Some(newest) = sessions.iter().max_by_key(|session| session.seen) {
            attach(server.addr(), newest)?;
        }
        let expiry = expiry(&server.word("dump")?)?;
        let mut view = Self::of_address(server.addr(), sessions)?;
        view.expiry = expiry;
        Ok(view)
    }

    /// Looks for znodes that another server lists and this one does not.
    pub(crate) fn look_for(&mut self, server: &Server, other: &Self) -> Result<()> {
        let mut admin = Admin::connect(server.addr())?;
        for path in other.znodes.keys() {
            let (err, _) = admin.ask(&Request::named("exists").path(path))?;
            if err == 0 && !self.znodes.contains_key(path) {
                let (znode, _) = znode(&mut admin, path)?;
                self.znodes.insert(path.clone(), znode);
                self.unlisted.insert(path.clone());
            }
        }
        admin.close()
    }

    /// Whether children of this znode are not listed: its Stat counts them wrongly, too.
    fn forgets_children(&self, path: &str) -> bool {
        let parent = |child: &String| child.rsplit_once('/').is_some_and(|(dir, _)| dir == path);
        self.unlisted.iter().any(parent)
    }

    /// Without the order of expiry, which only a leader knows.
    pub(crate) fn of_address(addr: SocketAddr, sessions: &[Session]) -> Result<Self> {
        let mut view = Self::default();
        let mut admin = Admin::connect(addr)?;
        let mut paths = vec!["/".to_owned()];
        while let Some(path) = paths.pop() {
            let (znode, children) = znode(&mut admin, &path)?;
            for child in children {
                paths.push(format!("{}/{child}", path.trim_end_matches('/')));
            }
            view.znodes.insert(path, znode);
        }
        admin.close()?;
        for session in sessions {
            let ephemerals = match attach(addr, session)? {
                Some(mut connection) => Some(ephemerals(&mut connection)?),
                None => None,
            };
            view.sessions.insert(session.id, ephemerals);
        }
        Ok(view)
    }

    /// # Errors
    /// The first difference, in words.
    pub(crate) fn compare(&self, other: &Self) -> Result<()> {
        for (path, expected) in &self.znodes {
            let found = other.znodes.get(path);
            if self.forgets_children(path) && found.is_some() {
                continue;
            }
            ensure!(
                found == Some(expected),
                "{path}:\n  {expected}\n  {found:?}"
            );
        }
        let more = other
            .znodes
            .keys()
            .find(|path| !self.znodes.contains_key(*path));
        ensure!(more.is_none(), "{more:?} is too much");
        for (id, expected) in &self.sessions {
            let found = other.sessions.get(id);
            ensure!(
                found == Some(expected),
                "session {id:x}:\n  {expected:?}\n  {found:?}"
            );
        }
        ensure!(
            self.expiry == other.expiry,
            "sessions expire in another order:\n  {:?}\n  {:?}",
            self.expiry,
            other.expiry
        );
        Ok(())
    }
}

/// Sessions with the same time-out are tracked one after the other, and may fall into two ticks.
const TOGETHER_S: i64 = 10;
const DAY_S: i64 = 86_400;

/// The sessions in the answer to `dump`, in the order of their expiry; those that expire at about
/// the same time together.
fn expiry(dump: &str) -> Result<Vec<Vec<String>>> {
    let sets = dump.split("ephemeral nodes dump").next();
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut previous = None;
    for line in sets.unwrap_or_default().lines() {
        if let Some((_, date)) = line.split_once(" expire at ") {
            let clock = date.split(' ').nth(3).context("no time of day")?;
            let at = clock.split(':').try_fold(0, |sum, part| {
                Ok::<i64, ParseIntError>(sum * 60 + part.parse::<i64>()?)
            })?;
            let is_far = |before: i64| (at - before).rem_euclid(DAY_S) > TOGETHER_S;
            if previous.is_none_or(is_far) {
                groups.push(Vec::new());
            }
            previous = Some(at);
        } else if let (Some(id), Some(group)) = (line.strip_prefix('\t'), groups.last_mut()) {
            group.push(id.to_owned());
        }
    }
    groups.retain(|group| !group.is_empty());
    for group in &mut groups {
        group.sort();
    }
    Ok(groups)
}

fn znode(admin: &mut Admin, path: &str) -> Result<(String, Vec<String>)> {
    let mut told = Vec::new();
    let mut children = Vec::new();
    for name in ["getData", "getACL", "getChildren"] {
        let (err, mut body) = admin.ask(&Request::named(name).path(path))?;
        if name == "getChildren" {
            ensure!(err == 0, "{name} {path}: {err}");
            let names = SessionNames::new();
            let found = Cutter::new(&body, &names).strings();
            children = found.map_err(|_| anyhow::anyhow!("a bad reply"))?;
            children.sort();
            body = children.join(" ").into_bytes();
        }
        told.push(format!("{name} {err} {}", hex(&body)));
    }
    Ok((told.join("; "), children))
}

/// Goes on with a session; `None` when the server says that it has expired.
pub(crate) fn attach(addr: SocketAddr, session: &Session) -> Result<Option<Connection>> {
    let mut connection = Connection::open(addr)?;
    let connect = Connect {
        zxid: ZxidValue::At(session.seen),
        ..Connect::default()
    };
    connection.send(&framed(&connect.encode(session.id, &session.password, 0)));
    let Received::Frame(frame) = connection.receive()? else {
        anyhow::bail!("session {:x} gets no answer", session.id)
    };
    let names = SessionNames::new();
    let response = Cutter::new(&frame, &names).connect_response();
    let (id, _) = response.map_err(|_| anyhow::anyhow!("a bad answer"))?;
    ensure!(
        id == session.id || id == 0,
        "session {:x} became {id:x}",
        session.id
    );
    Ok((id != 0).then_some(connection))
}

/// The reply of a connection that asks one thing: zxid, err, body.
pub(crate) fn ask(connection: &mut Connection, request: &Request) -> Result<(i64, i32, Vec<u8>)> {
    connection.send(&framed(&request.encode(1, 0)));
    reply(connection)?.with_context(|| format!("no reply to {request}"))
}

/// The next reply; `None` when the server is gone.
pub(crate) fn reply(connection: &mut Connection) -> Result<Option<(i64, i32, Vec<u8>)>> {
    let Received::Frame(frame) = connection.receive()? else {
        return Ok(None);
    };
    let (header, body) = frame.split_first_chunk::<16>().context("a short reply")?;
    let [.., a, b, c, d] = *header;
    let zxid = header[4..12].try_into().map(i64::from_be_bytes)?;
    Ok(Some((
        zxid,
        i32::from_be_bytes([a, b, c, d]),
        body.to_vec(),
    )))
}

fn ephemerals(connection: &mut Connection) -> Result<Vec<String>> {
    let (_, err, body) = ask(connection, &Request::named("getEphemerals").path("/"))?;
    ensure!(err == 0, "getEphemerals: {err}");
    let names = SessionNames::new();
    let found = Cutter::new(&body, &names).strings();
    let mut found = found.map_err(|_| anyhow::anyhow!("a bad reply"))?;
    found.sort();
    Ok(found)
}

/// What each server calls the next sequential znodes below these paths.
pub(crate) fn next_names(server: &Server, parents: &[&str]) -> Result<Vec<String>> {
    let mut admin = Admin::connect(server.addr())?;
    let mut names = Vec::new();
    for parent in parents {
        let create = Request::named("create")
            .path(&format!("{parent}/next-"))
            .with("data", Value::Blob(Blob::text("")))
            .with("flags", Value::Int(2));
        let (err, body) = admin.ask(&create)?;
        names.push(format!("{err} {}", hex(&body)));
    }
    admin.close()?;
    Ok(names)
}
