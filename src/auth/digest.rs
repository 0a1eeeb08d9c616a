//! Scheme `digest`: a user name and the hash of name and password
//! (`DigestAuthenticationProvider.java`).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest as _;

use super::{AuthFailed, Identity, Scheme};

/// `DigestAuthenticationProvider.digestAlg`, by its Java name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Sha3_256,
    Sha3_512,
}

impl HashAlgorithm {
    #[must_use]
    pub fn from_java_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" | "SHA" => Self::Sha1,
            "SHA-256" => Self::Sha256,
            "SHA-384" => Self::Sha384,
            "SHA-512" => Self::Sha512,
            "SHA3-256" => Self::Sha3_256,
            "SHA3-512" => Self::Sha3_512,
            _ => return None,
        })
    }

    fn hash(self, input: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha1::Sha1::digest(input).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(input).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(input).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(input).to_vec(),
            Self::Sha3_256 => sha3::Sha3_256::digest(input).to_vec(),
            Self::Sha3_512 => sha3::Sha3_512::digest(input).to_vec(),
        }
    }
}

pub struct Digest {
    algorithm: HashAlgorithm,
    /// `super:<base64>`: whoever proves this identity is `super` as well.
    super_digest: Option<String>,
}

impl Digest {
    #[must_use]
    pub fn new(algorithm: HashAlgorithm, super_digest: Option<String>) -> Self {
        Self {
            algorithm,
            super_digest,
        }
    }

    /// `user:password` to `user:base64(hash(user:password))`.
    fn identity(&self, proof: &[u8]) -> String {
        // Java decodes with the platform's charset, UTF-8 today.
        let text = String::from_utf8_lossy(proof);
        let user = text.split(':').next().unwrap_or_default();
        format!(
            "{user}:{}",
            STANDARD.encode(self.algorithm.hash(text.as_bytes()))
        )
    }
}

impl Scheme for Digest {
    fn name(&self) -> &'static str {
        "digest"
    }

    fn authenticate(&self, proof: Option<&[u8]>, _: IpAddr) -> Result<Vec<Identity>, AuthFailed> {
        // Empty is a proof like others, none is not: there upstream catches its own null pointer.
        let id = self.identity(proof.ok_or(AuthFailed)?);
        let mut identities = Vec::with_capacity(2);
        if self.super_digest.as_deref() == Some(&*id) {
            identities.push(Identity::new("super", ""));
        }
        identities.push(Identity::new("digest", &id));
        Ok(identities)
    }

    /// Exactly two parts by Java's `split(":")`, which drops empty parts at the end.
    fn is_valid_id(&self, id: &str) -> bool {
        id.trim_end_matches(':').split(':').count() == 2
    }

    fn matches(&self, proven: &str, id: &str) -> bool {
        proven == id
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn user_name<'a>(&self, id: &'a str) -> &'a str {
        id.split(':').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn identities_are_upstreams() {
        // DigestAuthenticationProvider.generateDigest("super:test")
        let digest = Digest::new(
            HashAlgorithm::Sha1,
            Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned()),
        );
        let proven = digest.authenticate(Some(b"super:test"), Ipv4Addr::LOCALHOST.into());
        assert_eq!(
            proven,
            Ok(vec![
                Identity::new("super", ""),
                Identity::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ])
        );
    }

    #[test]
    fn ids_have_two_parts() {
        let digest = Digest::new(HashAlgorithm::Sha1, None);
        for (id, valid) in [
            ("a:b", true),
            (":b", true),
            ("a:", false),
            ("a:b:c", false),
            ("a", false),
            ("a:b:", true),
        ] {
            assert_eq!(digest.is_valid_id(id), valid, "{id}");
        }
    }
}
