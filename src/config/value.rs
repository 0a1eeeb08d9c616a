//! Small values of a configuration and the rules by which their text is read.

use std::fmt;

/// Where something listens or is reached. Never resolved here: a name may mean another address
/// tomorrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// Never 0 in a listening address: upstream takes that for "not set".
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Text that must not reach a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text itself. Compare it, do not print it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// What stands in the place of a secret wherever settings are shown.
pub(super) const HIDDEN: &str = "<hidden>";

/// The hash of scheme `digest`, named as `java.security.MessageDigest` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// The default, and what every client library assumes.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-256.
    Sha3_256,
}

/// The text of one setting beside the name that messages call it by.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) key: &'a str,
    pub(super) text: &'a str,
}

/// Why a value is not taken.
#[derive(Debug)]
pub(super) enum Rejected {
    /// It breaks a rule that ZooKeeper has too.
    Invalid(String),
    /// ZooKeeper would take it; this server cannot keep its promise yet.
    Unsupported(String),
}

impl From<String> for Rejected {
    fn from(why: String) -> Self {
        Self::Invalid(why)
    }
}

impl Setting<'_> {
    /// A whole number within bounds, both included. Where only an `int` of Java fits, a longer one
    /// is no number, as it is none for Java.
    pub(super) fn whole<T: TryFrom<i64>>(self, min: i64, max: i64) -> Result<T, String> {
        let number = if max > i64::from(i32::MAX) {
            self.text.parse().ok()
        } else {
            self.text.parse::<i32>().ok().map(i64::from)
        };
        self.bounded(number.ok_or_else(|| not_a_number(self.text))?, min, max)
    }

    /// `Integer.decode` of Java, by which a few properties are read: `0x`, `#` and a leading `0`
    /// set the base.
    pub(super) fn decoded<T: TryFrom<i64>>(self, min: i64, max: i64) -> Result<T, String> {
        let (sign, digits) = match self.text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, self.text.strip_prefix('+').unwrap_or(self.text)),
        };
        let hex = ["0x", "0X", "#"]
            .iter()
            .find_map(|prefix| digits.strip_prefix(prefix));
        let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
        let (radix, digits) = match (hex, octal) {
            (Some(hex), _) => (16, hex),
            (None, Some(octal)) => (8, octal),
            (None, None) => (10, digits),
        };
        let unsigned = u32::from_str_radix(digits, radix).map_err(|_| not_a_number(self.text))?;
        self.bounded(sign * i64::from(unsigned), min, max)
    }

    fn bounded<T: TryFrom<i64>>(self, number: i64, min: i64, max: i64) -> Result<T, String> {
        let within = (min..=max)
            .contains(&number)
            .then(|| T::try_from(number).ok())
            .flatten();
        within.ok_or_else(|| format!("must be from {min} to {max}, not {number}"))
    }

    /// A port, where 0 means that there is none.
    pub(super) fn port(self) -> Result<u16, String> {
        let number: i32 = self.text.parse().map_err(|_| not_a_number(self.text))?;
        port(number.into())
    }

    /// A boolean of a key that `QuorumPeerConfig` parses: nothing but the two words, in any case.
    pub(super) fn strict_bool(self) -> Result<bool, String> {
        match self.text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!(
                "Invalid option {} for {}. Choose 'true' or 'false.'",
                self.text, self.key
            )),
        }
    }

    /// A boolean of a system property: "true" in any case, and everything else is false.
    pub(super) fn is_true(self) -> bool {
        self.text.eq_ignore_ascii_case("true")
    }
}

/// Java's words for text that is no number.
pub(super) fn not_a_number(text: &str) -> String {
    format!("For input string: \"{text}\"")
}

/// Java's rule and words for ports.
pub(super) fn port(number: i64) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| format!("port out of range:{number}"))
}

#[cfg(test)]
mod tests {
    use super::{HostPort, Secret, Setting};

    fn check<T: std::fmt::Debug>(
        read: impl Fn(Setting<'_>) -> Result<T, String>,
        text: &str,
        expected: &str,
    ) {
        let answer = match read(Setting { key: "key", text }) {
            Ok(value) => format!("{value:?}"),
            Err(error) => error,
        };
        assert_eq!(answer, expected, "{text}");
    }

    #[test]
    fn whole_numbers_have_bounds() {
        let read = |setting: Setting<'_>| setting.whole::<u32>(1, 10);
        check(read, "1", "1");
        check(read, "+10", "10");
        check(read, "0", "must be from 1 to 10, not 0");
        check(read, "11", "must be from 1 to 10, not 11");
        check(read, "ten", "For input string: \"ten\"");
        check(
            read,
            "99999999999999999999",
            "For input string: \"99999999999999999999\"",
        );
        check(
            |setting| setting.whole::<u8>(0, 1000),
            "300",
            "must be from 0 to 1000, not 300",
        );
    }

    #[test]
    fn decoded_numbers_know_their_base() {
        let read = |setting: Setting<'_>| setting.decoded::<i64>(-100, 0xf_ffff);
        check(read, "0xfffff", "1048575");
        check(read, "#10", "16");
        check(read, "010", "8");
        check(read, "-1", "-1");
        check(read, "0", "0");
        check(read, "09", "For input string: \"09\"");
        check(read, "--1", "For input string: \"--1\"");
        check(read, "", "For input string: \"\"");
    }

    #[test]
    fn ports_are_sixteen_bits() {
        check(|setting: Setting<'_>| setting.port(), "2181", "2181");
        check(
            |setting: Setting<'_>| setting.port(),
            "65536",
            "port out of range:65536",
        );
        check(
            |setting: Setting<'_>| setting.port(),
            "-1",
            "port out of range:-1",
        );
    }

    #[test]
    fn strict_booleans_take_two_words() {
        check(|setting: Setting<'_>| setting.strict_bool(), "TRUE", "true");
        check(
            |setting: Setting<'_>| setting.strict_bool(),
            "false",
            "false",
        );
        check(
            |setting: Setting<'_>| setting.strict_bool(),
            "yes",
            "Invalid option yes for key. Choose 'true' or 'false.'",
        );
    }

    #[test]
    fn hosts_with_colons_print_in_brackets_and_secrets_never_print() {
        let address = |host: &str| {
            HostPort {
                host: host.to_owned(),
                port: 1,
            }
            .to_string()
        };
        assert_eq!(address("zk1"), "zk1:1");
        assert_eq!(address("::1"), "[::1]:1");
        assert_eq!(format!("{:?}", Secret::new("super:pw")), "<hidden>");
    }
}
