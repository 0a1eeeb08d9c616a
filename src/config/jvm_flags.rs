//! `-Dname=value` words of `SERVER_JVMFLAGS` and `JVMFLAGS`: how operators set what zoo.cfg cannot.
//!
//! The scripts of ZooKeeper put both variables unquoted on the command line of the JVM, first
//! `SERVER_JVMFLAGS`, then `JVMFLAGS`. So words are split at white space, quotes mean nothing, and
//! a later word wins. Words that are not `-D` (heap sizes, `-XX` flags, agents) speak to a JVM that
//! is not there and are left out.

use std::env;

/// The system properties that the JVM flags set, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JvmFlags {
    /// Name and value of each `-D` word. A later one wins.
    words: Vec<(String, String)>,
}

impl JvmFlags {
    /// Flags of the process's own environment.
    #[must_use]
    pub fn from_env() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::parse(&variable("SERVER_JVMFLAGS"), &variable("JVMFLAGS"))
    }

    /// Flags as the two variables spell them.
    #[must_use]
    pub fn parse(server_jvm_flags: &str, jvm_flags: &str) -> Self {
        let words = server_jvm_flags
            .split_whitespace()
            .chain(jvm_flags.split_whitespace());
        let pairs = words
            .filter_map(|word| word.strip_prefix("-D"))
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name.to_owned(), value.to_owned())
            });
        Self {
            words: pairs.collect(),
        }
    }

    /// Name and value of each word, later ones winning.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::JvmFlags;

    fn check(server_jvm_flags: &str, jvm_flags: &str, expected: Expect) {
        let flags = JvmFlags::parse(server_jvm_flags, jvm_flags);
        let words = flags
            .properties()
            .map(|(name, value)| format!("{name}={value}"));
        expected.assert_eq(&words.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn server_flags_come_first_so_that_the_common_ones_win() {
        check(
            "-Xmx1000m -Djute.maxbuffer=1",
            "-XX:+UseG1GC  -Djute.maxbuffer=2",
            expect![[r"
            jute.maxbuffer=1
            jute.maxbuffer=2"]],
        );
    }

    #[test]
    fn quotes_mean_nothing_and_a_name_alone_is_empty() {
        check(
            "-Da=\"b c\" -Dempty -Dx=y=z",
            "",
            expect![[r#"
            a="b
            empty=
            x=y=z"#]],
        );
    }

    #[test]
    fn no_flags_set_nothing() {
        check("", " ", expect![""]);
    }
}
