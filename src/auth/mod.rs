//! Who a connection is, and what an access control list lets it do.
//!
//! Each scheme is one [`Scheme`]; adding x509 or SASL means adding one here. Nothing in this
//! module knows sessions, znodes or sockets. Upstream: `AuthenticationProvider.java`,
//! `ProviderRegistry.java`, `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`.

mod digest;
mod ip;

use std::net::IpAddr;
use std::sync::Arc;

use jute::ErrorCode;
use jute::proto::Acl;

use crate::tree::AclEntry;

pub use digest::{Digest, HashAlgorithm};
pub use ip::{Ip, textual};

/// A proven identity: what an `Id` on the wire is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub scheme: Box<str>,
    pub id: Box<str>,
}

impl Identity {
    #[must_use]
    pub fn new(scheme: &str, id: &str) -> Self {
        Self {
            scheme: scheme.into(),
            id: id.into(),
        }
    }
}

/// The identities of a connection: its address, and what it has proven since. Only ever grows.
pub type Identities = Arc<[Identity]>;

/// The answer to an auth packet that proved nothing: error -115, then the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthFailed;

/// One way to prove an identity and to name it in an access control list.
pub trait Scheme: Send + Sync {
    fn name(&self) -> &'static str;
    /// Identities that `proof` gives to a connection from `peer`; a packet may come without one.
    fn authenticate(&self, proof: Option<&[u8]>, peer: IpAddr)
    -> Result<Vec<Identity>, AuthFailed>;
    /// Whether `id` may stand in an access control list.
    fn is_valid_id(&self, id: &str) -> bool;
    /// Whether the identity `proven` of this scheme is meant by the list's `id`.
    fn matches(&self, proven: &str, id: &str) -> bool;
    /// Whether the list entry `auth` stands for identities of this scheme.
    fn is_authenticated(&self) -> bool;
    /// What whoAmI shows of an identity.
    fn user_name<'a>(&self, id: &'a str) -> &'a str {
        id
    }
}

/// The schemes of a server.
pub struct Schemes {
    schemes: Vec<Box<dyn Scheme>>,
}

impl Schemes {
    #[must_use]
    pub fn new(schemes: Vec<Box<dyn Scheme>>) -> Self {
        Self { schemes }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn Scheme> {
        self.schemes
            .iter()
            .find(|scheme| scheme.name() == name)
            .map(|scheme| &**scheme)
    }

    /// Whether `list` grants any bit of `wanted` to one of `identities`.
    ///
    /// Upstream grants when *any* wanted bit is there, which getACL relies on. An empty list
    /// grants everything, and so does an identity of the scheme `super`.
    #[must_use]
    pub fn grants(&self, list: &[AclEntry], wanted: i32, identities: &[Identity]) -> bool {
        list.is_empty()
            || list
                .iter()
                .any(|entry| entry.perms & wanted != 0 && entry.is_world())
            || identities
                .iter()
                .any(|identity| &*identity.scheme == "super")
            || list.iter().any(|entry| {
                entry.perms & wanted != 0
                    && self.get(&entry.scheme).is_some_and(|scheme| {
                        identities.iter().any(|identity| {
                            identity.scheme == entry.scheme
                                && scheme.matches(&identity.id, &entry.id)
                        })
                    })
            })
    }

    /// A list as it is stored: duplicates removed, `auth` replaced by the caller's identities.
    ///
    /// # Errors
    /// `INVALID_ACL` for an empty list, an unknown scheme, an id that the scheme refuses, or `auth`
    /// without an authenticated identity; `MARSHALLING_ERROR` for a null id.
    pub fn fix_up(
        &self,
        list: Option<&[Acl<'_>]>,
        identities: &[Identity],
    ) -> Result<Vec<AclEntry>, ErrorCode> {
        let list = list.unwrap_or_default();
        if list.is_empty() {
            return Err(ErrorCode::INVALID_ACL);
        }
        let mut fixed: Vec<AclEntry> = Vec::with_capacity(list.len());
        for (at, acl) in list.iter().enumerate() {
            if list[..at].contains(acl) {
                continue;
            }
            let scheme = acl.id.scheme.as_deref().ok_or(ErrorCode::INVALID_ACL)?;
            if scheme == "auth" {
                let before = fixed.len();
                let authenticated = identities.iter().filter(|identity| {
                    self.get(&identity.scheme)
                        .is_some_and(Scheme::is_authenticated)
                });
                fixed.extend(
                    authenticated
                        .map(|identity| AclEntry::new(acl.perms, &identity.scheme, &identity.id)),
                );
                if fixed.len() == before {
                    return Err(ErrorCode::INVALID_ACL);
                }
                continue;
            }
            let known = scheme == "world" || self.get(scheme).is_some();
            let id = match acl.id.id.as_deref() {
                Some(id) => id,
                None if known => return Err(ErrorCode::MARSHALLING_ERROR),
                None => return Err(ErrorCode::INVALID_ACL),
            };
            let valid = match scheme {
                "world" => id == "anyone",
                _ => self
                    .get(scheme)
                    .is_some_and(|scheme| scheme.is_valid_id(id)),
            };
            if !valid {
                return Err(ErrorCode::INVALID_ACL);
            }
            fixed.push(AclEntry::new(acl.perms, scheme, id));
        }
        Ok(fixed)
    }
}

#[cfg(test)]
mod tests {
    use jute::proto::{Id, perms};
    use jute::text;

    use super::*;

    fn schemes() -> Schemes {
        Schemes::new(vec![
            Box::new(Digest::new(HashAlgorithm::Sha1, None)),
            Box::new(Ip),
        ])
    }

    fn acl<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Acl<'a> {
        Acl {
            perms,
            id: Id {
                scheme: text(scheme),
                id: text(id),
            },
        }
    }

    #[test]
    fn auth_stands_for_the_callers_identities() {
        let caller = [
            Identity::new("ip", "127.0.0.1"),
            Identity::new("digest", "u:hash"),
        ];
        let fixed = schemes().fix_up(Some(&[acl(31, "auth", "")]), &caller);
        assert_eq!(fixed, Ok(vec![AclEntry::new(31, "digest", "u:hash")]));
        let stranger = &caller[..1];
        let fixed = schemes().fix_up(Some(&[acl(31, "auth", "")]), stranger);
        assert_eq!(fixed, Err(ErrorCode::INVALID_ACL));
    }

    #[test]
    fn lists_are_checked_as_upstream_does() {
        let check = |list: &[Acl<'_>], expected: Result<usize, ErrorCode>| {
            let fixed = schemes().fix_up(Some(list), &[]).map(|list| list.len());
            assert_eq!(fixed, expected, "{list:?}");
        };
        check(&[], Err(ErrorCode::INVALID_ACL));
        check(
            &[acl(31, "world", "anyone"), acl(31, "world", "anyone")],
            Ok(1),
        );
        check(&[acl(31, "world", "someone")], Err(ErrorCode::INVALID_ACL));
        check(&[acl(31, "super", "x")], Err(ErrorCode::INVALID_ACL));
        check(&[acl(31, "digest", "a:b:c")], Err(ErrorCode::INVALID_ACL));
        check(&[acl(31, "digest", ":b")], Ok(1));
        check(&[acl(31, "ip", "10.0.0.0/8")], Ok(1));
    }

    #[test]
    fn any_wanted_bit_is_enough() {
        let list = [AclEntry::new(perms::ADMIN, "digest", "u:h")];
        let user = [Identity::new("digest", "u:h")];
        assert!(schemes().grants(&list, perms::READ | perms::ADMIN, &user));
        assert!(!schemes().grants(&list, perms::READ, &user));
        assert!(schemes().grants(&list, perms::READ, &[Identity::new("super", "")]));
        assert!(!schemes().grants(&list, perms::ADMIN, &[Identity::new("digest", "u:other")]));
    }
}
