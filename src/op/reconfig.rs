//! reconfig: who is a member of the ensemble.
//!
//! It takes two entries of the log. The first one, the request itself, is checked like any other;
//! when it is sound it waits in the state. The leader then changes Raft's members, which may take
//! as long as a new server needs to catch up, and ends it with the second one: that one writes
//! `/zookeeper/config` and answers the client. A leader that dies in between leaves the request in
//! the state, and the next leader goes on with it.
//!
//! ```text
//!   client          log                         leader
//!   reconfig  --->  RECONFIG   checked, waits
//!                                               learners, caught up, voters, removals
//!             <---  END        config written, watches fire, answered
//! ```
//!
//! Upstream: `PrepRequestProcessor.pRequest2Txn` (reconfig), `QuorumPeer.processReconfig`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jute::proto::{ReconfigRequest, perms};
use jute::{ErrorCode, OpCode, Reader};

use super::{Apply, ChangeKind, Flags, Reply};
use crate::config::{Role, ServerSpec, member_entries};
use crate::tree::{CONFIG_PATH, NodeId};

/// Writes the first configuration of an ensemble; its body is the member lines. Servers only.
pub const BEGIN_CONFIG: OpCode = OpCode(-100);
/// Ends the change that is under way; its body is an error code, 0 for done. Servers only.
pub const END_RECONFIG: OpCode = OpCode(-101);

/// Members by their id.
type Members = BTreeMap<u64, ServerSpec>;

/// # Errors
/// First match wins: `RECONFIG_DISABLED`, `SESSION_EXPIRED`, `UNIMPLEMENTED` (no ensemble),
/// `RECONFIG_IN_PROGRESS`, `BAD_VERSION`, what the list of members is refused with, `BAD_ARGUMENTS`
/// (too few voters), `NO_AUTH`. Whether the new members have a quorum is for the leader to say.
pub(super) fn reconfig(tx: &Apply<'_>, request: &ReconfigRequest<'_>) -> Result<Reply, ErrorCode> {
    if !tx.flags.contains(Flags::RECONFIG_ENABLED) {
        return Err(ErrorCode::RECONFIG_DISABLED);
    }
    tx.check_session()?;
    if !tx.flags.contains(Flags::ENSEMBLE) {
        return Err(ErrorCode::UNIMPLEMENTED);
    }
    if tx.is_reconfiguring {
        return Err(ErrorCode::RECONFIG_IN_PROGRESS);
    }
    let id = tx.find(CONFIG_PATH)?;
    let current = String::from_utf8_lossy(tx.tree.data(id).unwrap_or_default()).into_owned();
    let (members, version) = parse(&current).ok_or(ErrorCode::BAD_ARGUMENTS)?;
    if request.cur_config_id != -1 && request.cur_config_id != version {
        return Err(ErrorCode::BAD_VERSION);
    }
    let voters_min = if tx.flags.contains(Flags::STANDALONE_DISABLED) {
        1
    } else {
        2
    };
    let members = match request.new_members.as_deref() {
        // Even an empty list is one, and the rest of the request counts for nothing.
        Some(list) => listed(list, voters_min)?,
        None => changed(members, request)?,
    };
    if voters(&members) < voters_min {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    tx.check_acl(id, perms::WRITE)?;
    Ok(Reply::Reconfigure(lines(&members)))
}

fn voters(members: &Members) -> usize {
    let is_voter = |server: &&ServerSpec| server.role == Role::Participant;
    members.values().filter(is_voter).count()
}

/// The members of a whole list, which is a dynamic file with commas for ends of lines.
///
/// # Errors
/// `BAD_ARGUMENTS`: it is no such file, or has groups, which no ensemble here has; and for a line
/// that describes no server. `MARSHALLING_ERROR`, for an exception that upstream does not catch: an id
/// that is no number, or observers without enough voters.
fn listed(list: &str, voters_min: usize) -> Result<Members, ErrorCode> {
    let entries = member_entries(&list.replace(',', "\n")).ok_or(ErrorCode::BAD_ARGUMENTS)?;
    let mut members = Members::new();
    for (key, text) in &entries {
        if key == "version" {
            continue;
        }
        let id = key
            .strip_prefix("server.")
            .ok_or(ErrorCode::BAD_ARGUMENTS)?;
        add(&mut members, server_id(id)?, text)?;
    }
    let voters = voters(&members);
    if voters < voters_min && (members.len() > voters || voters_min == 1) {
        return Err(ErrorCode::MARSHALLING_ERROR);
    }
    Ok(members)
}

/// The members after some have left and some have come, or come back as something else.
///
/// # Errors
/// First match wins: `MARSHALLING_ERROR` for a leaving id that is no number; for each server that joins
/// `BAD_ARGUMENTS` unless it is `ID=SERVER`, `MARSHALLING_ERROR` for its id, and `BAD_ARGUMENTS` unless it
/// describes a server with a client port at a place of its own.
fn changed(mut members: Members, request: &ReconfigRequest<'_>) -> Result<Members, ErrorCode> {
    for id in parts(request.leaving_servers.as_deref(), ',') {
        let id: i64 = id.parse().map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
        if let Ok(id) = u64::try_from(id) {
            members.remove(&id);
        }
    }
    for line in parts(request.joining_servers.as_deref(), ',') {
        let mut halves = parts(Some(line), '=');
        let (Some(key), Some(text), None) = (halves.next(), halves.next(), halves.next()) else {
            return Err(ErrorCode::BAD_ARGUMENTS);
        };
        let id = server_id(key.rsplit('.').next().unwrap_or_default())?;
        if add(&mut members, id, text)?.client.is_none() {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
    }
    Ok(members)
}

/// What is between separators, without blanks around it and without what is empty then
/// (`StringUtils.split`).
fn parts(text: Option<&str>, separator: char) -> impl Iterator<Item = &str> {
    let parts = text.unwrap_or_default().split(separator);
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn server_id(text: &str) -> Result<u64, ErrorCode> {
    let id: i64 = text.parse().map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    u64::try_from(id).map_err(|_| ErrorCode::BAD_ARGUMENTS)
}

/// Adds a server, or gives one that is there another place or role. Upstream takes a whole list in
/// which two servers are at one place; nobody could reach both.
fn add<'a>(members: &'a mut Members, id: u64, text: &str) -> Result<&'a ServerSpec, ErrorCode> {
    let server = ServerSpec::parse(id, text).ok_or(ErrorCode::BAD_ARGUMENTS)?;
    let takes_place_of_another = members.values().any(|other| {
        let taken = endpoints(other);
        other.id != id && endpoints(&server).any(|own| taken.clone().any(|t| t == own))
    });
    if takes_place_of_another {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    members.remove(&id);
    Ok(members.entry(id).or_insert(server))
}

/// Where a server listens, but for addresses that every machine has: `;2181` is `0.0.0.0:2181` on
/// all of them. Upstream: `QuorumServer.excludedSpecialAddresses`. Names are not resolved, for every
/// server has to find the same.
fn endpoints(server: &ServerSpec) -> impl Iterator<Item = (&str, u16)> + Clone {
    let between = server.addresses.iter().flat_map(|address| {
        let host = address.host.as_str();
        [(host, address.quorum_port), (host, address.election_port)]
    });
    let client = server.client.iter().map(|at| (at.host.as_str(), at.port));
    between.chain(client).filter(|(host, _)| {
        let is_everywhere = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback();
        *host != "localhost" && !host.parse().is_ok_and(is_everywhere)
    })
}

/// Members and version of a configuration's text.
fn parse(text: &str) -> Option<(Members, i64)> {
    let mut members = Members::new();
    let mut version = 0;
    for line in text.lines() {
        if let Some(hex) = line.strip_prefix("version=") {
            version = i64::from_str_radix(hex, 16).ok()?;
        } else {
            let server = ServerSpec::parse_line(line)?;
            members.insert(server.id, server);
        }
    }
    Some((members, version))
}

/// One `server.N=` line each, in the order of text.
fn lines(members: &Members) -> String {
    let mut lines: Vec<String> = members
        .values()
        .map(|server| format!("server.{}={server}", server.id))
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Writes the configuration. Its version is this request's zxid, unless the one before has a higher
/// one from a life that the log knows nothing of.
pub(super) fn write(tx: &mut Apply<'_>, members: &str) -> Result<Reply, ErrorCode> {
    let id = tx.find(CONFIG_PATH)?;
    let before = String::from_utf8_lossy(tx.tree.data(id).unwrap_or_default());
    let before = parse(&before).map_or(0, |(_, version)| version);
    let version = tx.zxid.0.max(before.saturating_add(1));
    write_version(tx, id, members, version)
}

fn write_version(
    tx: &mut Apply<'_>,
    id: NodeId,
    members: &str,
    version: i64,
) -> Result<Reply, ErrorCode> {
    let text = format!("{members}\nversion={version:x}");
    tx.tree.set_config(id, text.as_bytes(), tx.zxid, tx.time_ms);
    tx.changed(ChangeKind::DataChanged, id, CONFIG_PATH.into());
    Ok(Reply::DataStat(text.into_bytes().into(), tx.tree.stat(id)))
}

/// The first configuration, unless there is one. It has the version of the dynamic file that it
/// comes from, if that has one.
pub(super) fn begin(tx: &mut Apply<'_>, body: &[u8]) -> Result<Reply, ErrorCode> {
    let id = tx.find(CONFIG_PATH)?;
    if !tx.tree.data(id).unwrap_or_default().is_empty() {
        return Ok(Reply::Empty);
    }
    let text = str::from_utf8(body).map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    let (members, version) = match text.rsplit_once("\nversion=") {
        Some((members, hex)) => (members, i64::from_str_radix(hex, 16)),
        None => (text, Ok(tx.zxid.0)),
    };
    let version = version.map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    write_version(tx, id, members, version)
}

/// The outcome that an [`END_RECONFIG`] carries.
pub(super) fn outcome(body: &[u8]) -> Result<(), ErrorCode> {
    match Reader::new(body).read::<i32>() {
        Ok(0) => Ok(()),
        Ok(code) => Err(ErrorCode(code)),
        Err(_) => Err(ErrorCode::MARSHALLING_ERROR),
    }
}
