//! The connect string: `host[:port][,host[:port]…][/chroot]` (`ConnectStringParser.java`).

use std::fmt;

/// Where a host without a port listens.
const PORT_DEFAULT: u16 = 2181;

/// Servers to try, and the znode that takes the place of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    servers: Vec<Host>,
    /// Empty, or an absolute path without a slash at its end.
    chroot: String,
}

/// One server as it was written; its name is resolved at each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Why a connect string cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    #[error("not a port: {0:?}")]
    Port(String),
    #[error("no server in {0:?}")]
    Nobody(String),
    #[error("{0}")]
    Chroot(String),
}

impl Hosts {
    /// # Errors
    /// No server, a port that is no number, or a chroot that `check` refuses.
    pub fn parse(
        text: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<Self, HostsError> {
        let (list, chroot) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        let chroot = match chroot {
            "/" => "",
            other => other,
        };
        if !chroot.is_empty() {
            check(chroot).map_err(HostsError::Chroot)?;
        }
        let words = list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let servers = words.map(host).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(HostsError::Nobody(text.to_owned()));
        }
        Ok(Self {
            servers,
            chroot: chroot.to_owned(),
        })
    }

    #[must_use]
    pub fn servers(&self) -> &[Host] {
        &self.servers
    }

    #[must_use]
    pub fn has_chroot(&self) -> bool {
        !self.chroot.is_empty()
    }

    /// The path on the server of a path below the chroot.
    #[must_use]
    pub fn server_path(&self, path: &str) -> String {
        if self.chroot.is_empty() || path.is_empty() {
            path.to_owned()
        } else if path == "/" {
            self.chroot.clone()
        } else {
            format!("{}{path}", self.chroot)
        }
    }

    /// The path below the chroot of a path on the server, which stays as it is outside.
    #[must_use]
    pub fn client_path(&self, path: &str) -> String {
        match path.strip_prefix(&self.chroot) {
            Some("") => "/".to_owned(),
            Some(inside) if inside.starts_with('/') => inside.to_owned(),
            _ => path.to_owned(),
        }
    }
}

fn host(word: &str) -> Result<Host, HostsError> {
    let (name, port) = match word.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port.strip_prefix(':').unwrap_or(port)),
        None => word.rsplit_once(':').unwrap_or((word, "")),
    };
    let port = match port {
        "" => PORT_DEFAULT,
        digits => digits
            .parse()
            .map_err(|_| HostsError::Port(digits.to_owned()))?,
    };
    let name = name.to_owned();
    Ok(Host { name, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match Hosts::parse(text, |_| Ok(())) {
            Ok(hosts) => {
                let servers: Vec<String> = hosts.servers.iter().map(Host::to_string).collect();
                format!("{} {:?}", servers.join(" "), hosts.chroot)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn connect_strings_are_zookeepers() {
        check("a", "a:2181 \"\"");
        check(
            "a:1,b,[::1]:3,[::2]/x/y",
            "a:1 b:2181 [::1]:3 [::2]:2181 \"/x/y\"",
        );
        check("a:/", "a:2181 \"\"");
        check("a:x", "not a port: \"x\"");
        check("a:70000", "not a port: \"70000\"");
        check(",", "no server in \",\"");
    }

    #[test]
    fn paths_are_seen_from_the_chroot() {
        let hosts = Hosts::parse("a/x", |_| Ok(())).expect("a connect string");
        for (client, server) in [("/", "/x"), ("/y", "/x/y")] {
            assert_eq!(hosts.server_path(client), server);
            assert_eq!(hosts.client_path(server), client);
        }
        assert_eq!(hosts.client_path("/xy"), "/xy");
        assert_eq!(hosts.client_path("/zookeeper/config"), "/zookeeper/config");
    }
}
