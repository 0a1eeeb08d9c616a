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
use crate::config::{Role, ServerSpec};
use crate::tree::{CONFIG_PATH, NodeId};

/// Writes the first configuration of an ensemble; its body is the member lines. Servers only.
pub const BEGIN_CONFIG: OpCode = OpCode(-100);
/// Ends the change that is under way; its body is an error code, 0 for done. Servers only.
pub const END_RECONFIG: OpCode = OpCode(-101);

/// Fewer voters tolerate nothing; upstream refuses them unless `standaloneEnabled` is off.
const VOTERS_MIN: usize = 2;

/// # Errors
/// First match wins: `RECONFIG_DISABLED`, `SESSION_EXPIRED`, `UNIMPLEMENTED` (no ensemble),
/// `RECONFIG_IN_PROGRESS`, `BAD_VERSION`, `MARSHALLING_ERROR` (a leaving id that is no number),
/// `BAD_ARGUMENTS`, `NO_AUTH`. Whether the new members have a quorum is for the leader to say.
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
    let members = changed(members, request)?;
    let is_voter = |server: &&ServerSpec| server.role == Role::Participant;
    if members.values().filter(is_voter).count() < VOTERS_MIN {
        return Err(ErrorCode::BAD_ARGUMENTS);
    }
    tx.check_acl(id, perms::WRITE)?;
    Ok(Reply::Reconfigure(lines(&members)))
}

fn changed(
    mut members: BTreeMap<u64, ServerSpec>,
    request: &ReconfigRequest<'_>,
) -> Result<BTreeMap<u64, ServerSpec>, ErrorCode> {
    let new_members = request.new_members.as_deref().unwrap_or_default();
    if !new_members.is_empty() {
        members.clear();
        return joined(members, new_members);
    }
    let leaving = request.leaving_servers.as_deref().unwrap_or_default();
    for id in leaving.split(',').filter(|id| !id.is_empty()) {
        let id: u64 = id
            .trim()
            .parse()
            .map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
        members.remove(&id);
    }
    joined(
        members,
        request.joining_servers.as_deref().unwrap_or_default(),
    )
}

fn joined(
    mut members: BTreeMap<u64, ServerSpec>,
    text: &str,
) -> Result<BTreeMap<u64, ServerSpec>, ErrorCode> {
    for line in text.split([',', '\n']).map(str::trim) {
        if line.is_empty() || line.starts_with("version=") {
            continue;
        }
        let server = ServerSpec::parse_line(line).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        if server.client.is_none() {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let takes_place_of_another = members.values().any(|other| {
            let taken = endpoints(other);
            other.id != server.id && endpoints(&server).any(|own| taken.clone().any(|t| t == own))
        });
        if takes_place_of_another {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        members.insert(server.id, server);
    }
    Ok(members)
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
fn parse(text: &str) -> Option<(BTreeMap<u64, ServerSpec>, i64)> {
    let mut members = BTreeMap::new();
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
fn lines(members: &BTreeMap<u64, ServerSpec>) -> String {
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
