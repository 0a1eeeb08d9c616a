//! Who is in the ensemble: `server.N`, `group.G` and `weight.S` lines of zoo.cfg or of its dynamic
//! file.
//!
//! Upstream: `QuorumPeer.QuorumServer`, `QuorumMaj.java`, `QuorumHierarchical.java`. Names are kept
//! as they are written; resolving them is the business of whoever dials. The messages are
//! upstream's to the letter, the missing blanks included, because operators search for them.

use std::collections::BTreeMap;
use std::fmt;

use super::properties;
use super::value::{self, HostPort};

const WRONG_FORMAT: &str = " does not have the form server_config or server_config;client_config where server_config \
is the pipe separated list of host:port:port or host:port:port:type and client_config is port or host:port";

/// One `server.N` line with the group and weight that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// `N`, which that server's `myid` file holds.
    pub id: u64,
    /// Where its peers reach it, at least one; several only with `multiAddress.enabled`.
    pub addresses: Vec<ServerAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where its clients reach it, when the line says so.
    pub client: Option<HostPort>,
    /// The group that it votes in; absent when there are no groups.
    pub group: Option<u64>,
    /// Votes it has in its group; 0 never counts.
    pub weight: u64,
}

/// One `host:quorumPort:electionPort` of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// The port between servers.
    pub quorum_port: u16,
    /// Part of the grammar; elections here use the quorum port.
    pub election_port: u16,
}

/// Voter or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    #[default]
    Participant,
    /// Follows and serves, never votes.
    Observer,
}

impl Role {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "participant" => Ok(Self::Participant),
            "observer" => Ok(Self::Observer),
            _ => Err(format!("Unrecognised peertype: {text}")),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quorum = HostPort {
            host: self.host.clone(),
            port: self.quorum_port,
        };
        write!(f, "{quorum}:{}", self.election_port)
    }
}

/// As `conf`, `/zookeeper/config` and the dynamic file print the value: with the role on every
/// address.
impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            let bar = if index == 0 { "" } else { "|" };
            write!(f, "{bar}{address}:{}", self.role)?;
        }
        self.client
            .as_ref()
            .map_or(Ok(()), |client| write!(f, ";{client}"))
    }
}

impl ServerSpec {
    /// Parses `server.N=...`; `None` for anything else.
    #[must_use]
    pub fn parse_line(line: &str) -> Option<Self> {
        let (key, text) = line.split_once('=')?;
        let id = key.trim().strip_prefix("server.")?.parse().ok()?;
        Self::parse(id, text.trim())
    }

    /// Parses what stands behind `server.N=`.
    #[must_use]
    pub fn parse(id: u64, text: &str) -> Option<Self> {
        server(id, text, true).ok()
    }
}

/// Keys and values of a list of members that a client has sent, as lines of a properties file; `None`
/// when it is no such file, or an entry speaks of something else than members and their version.
#[must_use]
pub fn member_entries(text: &str) -> Option<BTreeMap<String, String>> {
    let entries = properties::parse_text(text).ok()?;
    let is_known = |key: &String| is_member_key(key) || key == "version";
    entries.keys().all(is_known).then_some(entries)
}

/// Whether a key of the file speaks of membership. Upstream asks for no dot after `group` and
/// `weight`.
pub(super) fn is_member_key(key: &str) -> bool {
    key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
}

/// The members that a dynamic configuration file lists, by id.
///
/// # Errors
/// Upstream's sentence about a line that is wrong.
pub fn parse_members(properties: &BTreeMap<String, String>) -> Result<Vec<ServerSpec>, String> {
    let entries = properties.iter();
    parse(
        entries.map(|(key, value)| (key.as_str(), value.as_str())),
        false,
    )
}

/// All `server.N` lines among `entries`, by id, with groups and weights resolved.
pub(super) fn parse<'a>(
    entries: impl Iterator<Item = (&'a str, &'a str)>,
    multi_address: bool,
) -> Result<Vec<ServerSpec>, String> {
    let mut servers = BTreeMap::new();
    let mut groups = BTreeMap::new();
    let mut weights = BTreeMap::new();
    let mut hierarchical = false;
    for (key, text) in entries.filter(|(key, _)| is_member_key(key)) {
        let id = number(key.split_once('.').map_or(key, |(_, id)| id))?;
        if key.starts_with("server.") {
            servers.insert(id, server(id, text, multi_address)?);
            continue;
        }
        hierarchical = true;
        if key.starts_with("weight") {
            weights.insert(id, number(text)?);
            continue;
        }
        for member in java_split(text, ':') {
            let member = number(member)?;
            if groups.insert(member, id).is_some() {
                return Err(format!("Server {member}is in multiple groups"));
            }
        }
    }
    // Upstream ends in a NullPointerException here.
    let unknown = groups
        .keys()
        .find(|id| !servers.contains_key(id) && !weights.contains_key(id));
    if let Some(unknown) = unknown {
        return Err(format!(
            "Server {unknown} is in a group but has no server line"
        ));
    }
    for server in servers.values_mut() {
        server.group = groups.get(&server.id).copied();
        server.weight = weights.get(&server.id).copied().unwrap_or(1);
        if hierarchical && server.role == Role::Participant && server.group.is_none() {
            return Err(format!("Server {}is not in a group", server.id));
        }
    }
    Ok(servers.into_values().collect())
}

fn server(id: u64, text: &str, multi_address: bool) -> Result<ServerSpec, String> {
    let wrong_format = || format!("{text}{WRONG_FORMAT}");
    let halves = java_split(text, ';');
    let (peer_side, client_side) = match halves.as_slice() {
        [peer] => (*peer, None),
        [peer, client] => (*peer, Some(*client)),
        _ => return Err(wrong_format()),
    };
    let client = client_side.map(|client| {
        let (host, port) = match host_and_ports(client).ok_or_else(wrong_format)?.as_slice() {
            [port] => ("0.0.0.0", *port),
            [host, port] => (*host, *port),
            _ => return Err(wrong_format()),
        };
        Ok(HostPort {
            host: host.to_owned(),
            port: self::port(host, port)?,
        })
    });
    let listed = java_split(peer_side, '|');
    if listed.len() > 1 && !multi_address {
        return Err(format!(
            "Multiple address feature is disabled, but multiple addresses were specified for sid {id}"
        ));
    }
    let mut addresses = Vec::with_capacity(listed.len());
    let mut role = None;
    for address in listed {
        let parts = host_and_ports(address).ok_or_else(wrong_format)?;
        let (host, quorum_port, election_port) = match parts.as_slice() {
            [host, quorum, election] | [host, quorum, election, _] => (*host, *quorum, *election),
            _ => return Err(wrong_format()),
        };
        let (quorum_port, election_port) = (port(host, quorum_port)?, port(host, election_port)?);
        if quorum_port == election_port {
            return Err(format!(
                "Client and election port must be different! Please update the configuration file on server.{id}"
            ));
        }
        if let Some(text) = parts.get(3) {
            let named = Role::parse(text)?;
            let first = *role.get_or_insert(named);
            if first != named {
                return Err(format!(
                    "Multiple addresses should have similar roles: {first} vs {named}"
                ));
            }
        }
        addresses.push(ServerAddress {
            host: host.to_owned(),
            quorum_port,
            election_port,
        });
    }
    Ok(ServerSpec {
        id,
        addresses,
        role: role.unwrap_or_default(),
        client: client.transpose()?,
        group: None,
        weight: 1,
    })
}

/// Parts between colons, the first of which may be an IPv6 address in brackets.
fn host_and_ports(text: &str) -> Option<Vec<&str>> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Some(java_split(text, ':'));
    };
    let (host, rest) = bracketed.split_once(']')?;
    let ports = rest.strip_prefix(':')?;
    let host = (!host.is_empty()).then_some(host)?;
    Some(
        std::iter::once(host)
            .chain(java_split(ports, ':'))
            .collect(),
    )
}

/// `String.split` of Java: empty parts at the end do not count, but the whole text always does.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

fn port(host: &str, text: &str) -> Result<u16, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| format!("Address unresolved: {host}:{text}"))?;
    value::port(number)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| value::not_a_number(text))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::parse;

    fn check(lines: &str, expected: Expect) {
        check_with(lines, false, expected);
    }

    fn check_with(lines: &str, multi_address: bool, expected: Expect) {
        let entries = lines
            .split_whitespace()
            .filter_map(|line| line.split_once('='));
        expected.assert_eq(&match parse(entries, multi_address) {
            Ok(servers) => {
                let lines = servers.iter().map(|server| {
                    let group = server
                        .group
                        .map_or(String::new(), |group| format!(" group {group}"));
                    format!("{}: {server}{group} weight {}", server.id, server.weight)
                });
                lines.collect::<Vec<_>>().join("\n")
            }
            Err(error) => error,
        });
    }

    #[test]
    fn the_short_form_is_a_participant() {
        check(
            "server.1=zk1:2888:3888",
            expect!["1: zk1:2888:3888:participant weight 1"],
        );
    }

    #[test]
    fn role_client_and_ipv6_print_in_full() {
        check(
            "server.2=[::1]:2888:3888:OBSERVER;2181 server.1=h:1:2;[fe80::1]:2182 server.3=h:1:2;",
            expect![[r"
                1: h:1:2:participant;[fe80::1]:2182 weight 1
                2: [::1]:2888:3888:observer;0.0.0.0:2181 weight 1
                3: h:1:2:participant weight 1"]],
        );
    }

    #[test]
    fn several_addresses_need_their_switch() {
        let lines = "server.1=a:1:2|b:3:4:participant";
        check(
            lines,
            expect![
                "Multiple address feature is disabled, but multiple addresses were specified for sid 1"
            ],
        );
        check_with(
            lines,
            true,
            expect!["1: a:1:2:participant|b:3:4:participant weight 1"],
        );
        check_with(
            "server.1=a:1:2:observer|b:3:4:participant",
            true,
            expect!["Multiple addresses should have similar roles: observer vs participant"],
        );
    }

    #[test]
    fn other_shapes_are_refused_in_upstreams_words() {
        let wrong = "does not have the form server_config or server_config;client_config where server_config is the \
            pipe separated list of host:port:port or host:port:port:type and client_config is port or host:port";
        for shape in [
            "h",
            "h:1",
            "h:1:2:participant:x",
            "h:1:2;3;4",
            "h:1:2;a:b:c",
            "[::1:1:2",
            "[]:1:2",
            "",
        ] {
            let error = parse(std::iter::once(("server.1", shape)), false);
            assert_eq!(error, Err(format!("{shape} {wrong}")));
        }
        check(
            "server.1=h:1:1",
            expect![
                "Client and election port must be different! Please update the configuration file on server.1"
            ],
        );
        check("server.1=h:a:1", expect!["Address unresolved: h:a"]);
        check("server.1=h:1:70000", expect!["port out of range:70000"]);
        check(
            "server.1=h:1:2:king",
            expect!["Unrecognised peertype: king"],
        );
        check("server.x=h:1:2", expect![[r#"For input string: "x""#]]);
    }

    #[test]
    fn groups_and_weights_belong_to_servers() {
        check(
            "server.1=a:1:2 server.2=b:1:2 server.3=c:1:2:observer group.1=1 group.2=2 weight.2=5",
            expect![[r"
                1: a:1:2:participant group 1 weight 1
                2: b:1:2:participant group 2 weight 5
                3: c:1:2:observer weight 1"]],
        );
        check(
            "server.1=a:1:2 weight.1=0",
            expect!["Server 1is not in a group"],
        );
        check(
            "server.1=a:1:2 group.1=1 group.2=1",
            expect!["Server 1is in multiple groups"],
        );
        check(
            "server.1=a:1:2 group.1=1:2",
            expect!["Server 2 is in a group but has no server line"],
        );
        check(
            "server.1=a:1:2 groupies=1",
            expect![[r#"For input string: "groupies""#]],
        );
    }
}
