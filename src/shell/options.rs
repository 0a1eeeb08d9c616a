//! Options inside a command, as Apache commons-cli 1.5 reads them (`DefaultParser.java`).
//!
//! Options stand anywhere, `-es` is `-e -s`, `-v5` and `-v=5` are `-v 5`, `--` ends them, and a word
//! that begins with `-` and is none of these is refused. Nothing here knows what an option means.

/// One option of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opt {
    /// Without the hyphen; more than one letter is possible.
    pub(super) name: &'static str,
    pub(super) takes_value: bool,
    /// What usage texts say about it.
    pub(super) text: &'static str,
    /// Beyond upstream's: left out of the texts that must be as upstream's.
    pub(super) is_ours: bool,
}

impl Opt {
    pub(super) const fn flag(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            takes_value: false,
            text,
            is_ours: false,
        }
    }

    pub(super) const fn value(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            takes_value: true,
            text,
            is_ours: false,
        }
    }

    pub(super) const fn ours(mut self) -> Self {
        self.is_ours = true;
        self
    }
}

/// Whether options exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// They do not.
    Free,
    /// At most one of them.
    AtMostOne,
    /// Exactly one of them.
    One,
}

/// What a command accepts.
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) options: &'static [Opt],
    pub(super) choice: Choice,
}

/// Words that are no options, the command itself first, and the options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) words: Vec<String>,
    given: Vec<(&'static str, Option<String>)>,
}

impl Parsed {
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The first value given to an option.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut given = self.given.iter().filter(|(given, _)| *given == name);
        given.find_map(|(_, value)| value.as_deref())
    }
}

/// The messages are upstream's, class names included: they reach stderr.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionError {
    #[error("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {0}")]
    Unrecognized(String),
    #[error("org.apache.commons.cli.MissingArgumentException: Missing argument for option: {0}")]
    MissingArgument(&'static str),
    #[error(
        "org.apache.commons.cli.AlreadySelectedException: The option '{0}' was specified but an \
         option from this group has already been selected: '{1}'"
    )]
    AlreadySelected(&'static str, &'static str),
    #[error("org.apache.commons.cli.MissingOptionException: Missing required option: [{0}]")]
    MissingOption(String),
}

impl Grammar {
    pub(super) fn parse(&self, words: &[String]) -> Result<Parsed, OptionError> {
        let mut parser = Parser {
            grammar: self,
            words: Vec::new(),
            given: Vec::new(),
            waiting: None,
            only_words: false,
        };
        for word in words {
            parser.word(word)?;
        }
        parser.check_waiting()?;
        if self.choice == Choice::One && parser.given.is_empty() {
            let options = self.options.iter();
            let all: Vec<String> = options
                .map(|option| format!("-{} {}", option.name, option.text))
                .collect();
            return Err(OptionError::MissingOption(all.join(", ")));
        }
        Ok(Parsed {
            words: parser.words,
            given: parser.given,
        })
    }

    fn option(&self, name: &str) -> Option<&'static Opt> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Whether a word looks like an option of ours, so that it cannot be another one's value.
    fn is_option(&self, word: &str) -> bool {
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return false;
        };
        let name = rest.split('=').next().unwrap_or(rest);
        let bare = name.strip_prefix('-').unwrap_or(name);
        let first = name.chars().next().map(String::from).unwrap_or_default();
        self.option(bare).is_some() || self.option(&first).is_some()
    }
}

struct Parser<'a> {
    grammar: &'a Grammar,
    words: Vec<String>,
    given: Vec<(&'static str, Option<String>)>,
    /// The last option, while it has no value yet and takes one.
    waiting: Option<&'static str>,
    only_words: bool,
}

impl Parser<'_> {
    fn word(&mut self, word: &str) -> Result<(), OptionError> {
        if self.only_words {
            self.words.push(word.to_owned());
        } else if word == "--" {
            self.only_words = true;
        } else if self.waiting.is_some()
            && (!self.grammar.is_option(word) || word.parse::<f64>().is_ok())
        {
            self.take_value(unquoted(word));
        } else if word.starts_with('-') && word.len() > 1 {
            self.hyphened(word)?;
        } else {
            self.words.push(word.to_owned());
        }
        Ok(())
    }

    fn hyphened(&mut self, word: &str) -> Result<(), OptionError> {
        let unrecognized = || OptionError::Unrecognized(word.to_owned());
        // No command has a long option.
        let name = word.strip_prefix('-').filter(|name| !name.starts_with('-'));
        let name = name.ok_or_else(unrecognized)?;
        if let Some((name, value)) = name.split_once('=') {
            let option = match name.chars().count() {
                1 => self
                    .grammar
                    .option(name)
                    .filter(|option| option.takes_value),
                _ => None,
            };
            self.begin(option.ok_or_else(unrecognized)?)?;
            self.take_value(value);
            return Ok(());
        }
        if let Some(option) = self.grammar.option(name) {
            return self.begin(option);
        }
        for (at, letter) in name.char_indices() {
            let option = self.grammar.option(&letter.to_string());
            self.begin(option.ok_or_else(unrecognized)?)?;
            let rest = &name[at + letter.len_utf8()..];
            if self.waiting.is_some() && !rest.is_empty() {
                self.take_value(rest);
                break;
            }
        }
        Ok(())
    }

    fn begin(&mut self, option: &'static Opt) -> Result<(), OptionError> {
        self.check_waiting()?;
        if self.grammar.choice != Choice::Free
            && !option.is_ours
            && let Some((other, _)) = self.given.iter().find(|(given, _)| *given != option.name)
        {
            return Err(OptionError::AlreadySelected(option.name, other));
        }
        self.given.push((option.name, None));
        self.waiting = option.takes_value.then_some(option.name);
        Ok(())
    }

    fn take_value(&mut self, value: &str) {
        if let Some((_, last)) = self.given.last_mut() {
            *last = Some(value.to_owned());
        }
        self.waiting = None;
    }

    fn check_waiting(&self) -> Result<(), OptionError> {
        match self.waiting {
            Some(name) => Err(OptionError::MissingArgument(name)),
            None => Ok(()),
        }
    }
}

/// Without the double quotes around it, when there are none inside.
fn unquoted(word: &str) -> &str {
    let inside = word
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('"') => inside,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const CREATE: Grammar = Grammar {
        options: &[
            Opt::flag("e", "ephemeral"),
            Opt::flag("s", "sequential"),
            Opt::value("t", "ttl"),
            Opt::value("file", "file"),
        ],
        choice: Choice::Free,
    };

    fn check_with(grammar: &Grammar, line: &str, expected: Expect) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = match grammar.parse(&words) {
            Ok(Parsed { words, given }) => {
                let given = given.iter().map(|(name, value)| match value {
                    Some(value) => format!("{name}={value}"),
                    None => (*name).to_owned(),
                });
                format!(
                    "{} | {}",
                    words.join(" "),
                    given.collect::<Vec<_>>().join(" ")
                )
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(found.trim_end());
    }

    fn check(line: &str, expected: Expect) {
        check_with(&CREATE, line, expected);
    }

    #[test]
    fn options_stand_anywhere_and_together() {
        check("create -es /a -t 5 d", expect!["create /a d | e s t=5"]);
        check("create -t5 -file x", expect!["create | t=5 file=x"]);
        check("create -t=5", expect!["create | t=5"]);
        check("create -st5", expect!["create | s t=5"]);
        check("create - -- -e --", expect!["create - -e -- |"]);
    }

    #[test]
    fn values_may_be_negative_or_quoted_but_no_options() {
        check("create -t -5 /a", expect!["create /a | t=-5"]);
        check("create -t -zz", expect!["create | t=-zz"]);
        check(r#"create -t "5""#, expect!["create | t=5"]);
        check(
            "create -t -e",
            expect![
                "org.apache.commons.cli.MissingArgumentException: Missing argument for option: t"
            ],
        );
        check(
            "create -t",
            expect![
                "org.apache.commons.cli.MissingArgumentException: Missing argument for option: t"
            ],
        );
    }

    #[test]
    fn what_is_unknown_is_named_in_full() {
        for word in ["-z", "-ez", "--e", "-e=5", "-file=x", "-5"] {
            let expected = OptionError::Unrecognized(word.to_owned());
            let words = ["create".to_owned(), word.to_owned()];
            assert_eq!(CREATE.parse(&words), Err(expected));
        }
    }

    #[test]
    fn groups_allow_one() {
        const QUOTA: Grammar = Grammar {
            options: &[Opt::value("n", "soft"), Opt::value("b", "bytes")],
            choice: Choice::One,
        };
        check_with(&QUOTA, "q -n 1 -n 2", expect!["q | n=1 n=2"]);
        check_with(
            &QUOTA,
            "q -n 1 -b 2",
            expect![
                "org.apache.commons.cli.AlreadySelectedException: The option 'b' was specified but an option from this group has already been selected: 'n'"
            ],
        );
        check_with(
            &QUOTA,
            "q /a",
            expect![
                "org.apache.commons.cli.MissingOptionException: Missing required option: [-n soft, -b bytes]"
            ],
        );
    }
}
