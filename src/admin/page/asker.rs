//! Who asks, and under which name they found this server.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header, uri::Authority};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Asked, Refusal};
use crate::admin::Sources;
use crate::admin::json::Json;
use crate::auth::{Identity, Scheme, textual};
use crate::config::{Config, ServerSpec};
use crate::op::Flags;
use crate::pipeline::Core;
use crate::state::State;
use crate::tree::{AclEntry, NodeId};

/// What a sign-in proves, as an auth packet has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) scheme: String,
    pub(super) auth: Vec<u8>,
}

/// Whoever sent a request.
pub(super) struct Asker {
    pub(super) peer: SocketAddr,
    /// Its address, and what it has proven.
    identities: Vec<Identity>,
    pub(super) proof: Option<Proof>,
}

impl Asker {
    pub(super) fn of(core: &Core, peer: SocketAddr, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut identities = vec![Identity::new("ip", &textual(peer.ip()))];
        let refusal = || Refusal::new(StatusCode::UNAUTHORIZED, "Not authenticated");
        let proof = match headers.get(header::AUTHORIZATION) {
            None => None,
            Some(text) => Some(proof(text.as_bytes()).ok_or_else(refusal)?),
        };
        if let Some(proof) = &proof {
            let proven = core.look(|state| {
                let scheme = state.schemes().get(&proof.scheme);
                let scheme = scheme.filter(|scheme| scheme.is_authenticated())?;
                scheme.authenticate(Some(&proof.auth), peer.ip()).ok()
            });
            identities.extend(proven.ok_or_else(refusal)?);
        }
        Ok(Self {
            peer,
            identities,
            proof,
        })
    }

    pub(super) fn identities(&self) -> &[Identity] {
        &self.identities
    }

    pub(super) fn is_signed_in(&self) -> bool {
        self.proof.is_some()
    }

    /// Whether somebody who would be the super user has the wrong password.
    pub(super) fn is_failed_super(&self, config: &Config) -> bool {
        let is_meant =
            |proof: &Proof| proof.scheme == "digest" && proof.auth.starts_with(b"super:");
        config.auth.super_digest.is_some()
            && self.proof.as_ref().is_some_and(is_meant)
            && !self.is_super()
    }

    fn is_super(&self) -> bool {
        let mut identities = self.identities.iter();
        identities.any(|identity| &*identity.scheme == "super")
    }

    /// As for any client.
    pub(super) fn may(&self, state: &State, id: NodeId, wanted: i32) -> bool {
        state.flags().contains(Flags::SKIP_ACL)
            || state
                .schemes()
                .grants(state.tree.acl(id), wanted, &self.identities)
    }

    /// Whether the list itself names an identity that was proven; what everybody may does not count,
    /// nor an address: whoever is behind a proxy has that one's.
    pub(super) fn is_named(&self, state: &State, id: NodeId, wanted: i32) -> bool {
        if !self.is_signed_in() {
            return false;
        }
        let schemes = state.schemes();
        let proven = |entry: &&AclEntry| {
            let scheme = schemes.get(&entry.scheme);
            scheme.is_some_and(Scheme::is_authenticated)
        };
        let list = state.tree.acl(id).iter();
        let named: Vec<AclEntry> = list.filter(proven).cloned().collect();
        // An empty list grants everything.
        self.is_super() || !named.is_empty() && schemes.grants(&named, wanted, &self.identities)
    }
}

/// `SCHEME PROOF` as for the commands, or `Basic`, which has room for any user and password.
fn proof(text: &[u8]) -> Option<Proof> {
    let text = str::from_utf8(text).ok()?;
    let (scheme, proof) = text.split_once(' ')?;
    let proof = proof.trim();
    let found = match scheme {
        "Basic" => Proof {
            scheme: "digest".to_owned(),
            auth: STANDARD.decode(proof).ok()?,
        },
        _ => Proof {
            scheme: scheme.to_owned(),
            auth: proof.as_bytes().to_vec(),
        },
    };
    let is_whole = found.scheme != "digest" || found.auth.contains(&b':');
    (is_whole && !found.auth.is_empty()).then_some(found)
}

/// Who the request proves to come from.
pub(super) fn identity(asked: &Asked) -> Result<Json, Refusal> {
    let core = &asked.sources.core;
    let identities = core.look(|state| {
        let identities = asked.asker.identities.iter();
        let shown = identities.map(|Identity { scheme, id }| {
            let known = state.schemes().get(scheme);
            let name = known.map_or(&**id, |known| known.user_name(id));
            Json::object([("scheme", (&**scheme).into()), ("name", name.into())])
        });
        Json::list(shown)
    });
    Ok(Json::object([
        ("identities", identities),
        ("is_super", asked.asker.is_super().into()),
    ]))
}

/// Names that this server is configured with, or that its machine has.
pub(super) fn own_names(sources: &Sources) -> Vec<String> {
    let config = &sources.config;
    let mut names = config.admin.names.clone();
    names.push(config.admin.listen.host.clone());
    names.extend(
        config
            .client_listen
            .iter()
            .map(|listen| listen.host.clone()),
    );
    let hosts = |spec: &ServerSpec| {
        let client = spec.client.iter().map(|client| client.host.clone());
        let peers = spec.addresses.iter().map(|address| address.host.clone());
        client.chain(peers).collect::<Vec<_>>()
    };
    names.extend(config.own_server().iter().flat_map(|own| hosts(own)));
    let agreed = sources.core.configuration();
    let agreed = agreed.borrow();
    names.extend(
        agreed
            .lines()
            .filter_map(ServerSpec::parse_line)
            .flat_map(|spec| hosts(&spec)),
    );
    names.extend(
        std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()),
    );
    names
}

/// Whether the header `Host` names this server: by an address, by a name without a dot, which no
/// site of the Internet has, or by a name of its own.
pub(super) fn is_ours(host: &str, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || !name.is_empty() && !name.contains('.')
        || name.ends_with(".localhost")
        || names.iter().any(|own| own.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_sites_are_refused() {
        let own = ["zk1.example.org".to_owned()];
        let ours = |host| is_ours(host, &own);
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost:8080",
            "zk1",
            "ZK1.example.org:8080",
            "zk1.example.org.",
            "a.localhost",
        ] {
            assert!(ours(host), "{host}");
        }
        for host in [
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "",
            ":8080",
            "a b",
        ] {
            assert!(!ours(host), "{host}");
        }
    }

    #[test]
    fn proofs_are_read() {
        let digest = |auth: &str| {
            Some(Proof {
                scheme: "digest".to_owned(),
                auth: auth.as_bytes().to_vec(),
            })
        };
        assert_eq!(proof(b"digest u:p"), digest("u:p"));
        assert_eq!(proof(b"Basic dTpwIMO2"), digest("u:p ö"));
        for wrong in ["", "digest", "digest ", "digest u", "Basic dQ==", "Basic !"] {
            assert_eq!(proof(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
