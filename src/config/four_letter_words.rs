//! Which four-letter words may be asked: `4lw.commands.whitelist`.

use std::collections::BTreeSet;

/// The words that clients may send. `srvr` is always among them because `zkServer.sh status` needs
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FourLetterWords {
    /// `*` stood in the list: every word that the server has.
    all: bool,
    words: BTreeSet<String>,
}

impl FourLetterWords {
    /// The list as the key gives it, plus what is always allowed.
    pub(super) fn parse(list: &str, read_only_mode: bool) -> Self {
        let mut all = false;
        let mut words = BTreeSet::from(["srvr".to_owned()]);
        // Clients that look for a writable server ask a read-only one this.
        words.extend(read_only_mode.then(|| "isro".to_owned()));
        for word in list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            all |= word == "*";
            words.insert(word.to_owned());
        }
        Self { all, words }
    }

    /// Every word, for tests.
    #[cfg(test)]
    pub(crate) fn all() -> Self {
        Self::parse("*", false)
    }

    /// Whether this word is answered. Case matters, as it does on the wire.
    #[must_use]
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.contains(word)
    }
}

#[cfg(test)]
mod tests {
    use super::FourLetterWords;

    fn check(list: &str, read_only_mode: bool, allowed: &[&str], refused: &[&str]) {
        let words = FourLetterWords::parse(list, read_only_mode);
        for word in allowed {
            assert!(words.allows(word), "{list:?} should allow {word}");
        }
        for word in refused {
            assert!(!words.allows(word), "{list:?} should refuse {word}");
        }
    }

    #[test]
    fn srvr_is_always_allowed() {
        check("", false, &["srvr"], &["ruok", "isro", "", "*"]);
    }

    #[test]
    fn lists_are_trimmed_and_may_have_holes() {
        check(
            " stat ,, ruok",
            false,
            &["stat", "ruok", "srvr"],
            &["mntr", "STAT"],
        );
    }

    #[test]
    fn a_star_anywhere_allows_everything() {
        check("stat, *", false, &["stat", "mntr", "dump"], &[]);
    }

    #[test]
    fn read_only_mode_allows_isro() {
        check("", true, &["isro", "srvr"], &["ruok"]);
    }
}
