//! Options as upstream's tools take them (`DefaultParser` of commons-cli): `-z 1`, `-z1`, `-z=1`,
//! `--zxid 1`, `--zxid=1`, `-cz 1`, a long name with one dash, the beginning of one, `--` before what is
//! no option. Options may come behind other words, and of one that comes twice the first counts.

/// An option of a tool.
pub(super) struct Known {
    pub(super) short: char,
    pub(super) long: &'static str,
    pub(super) takes_value: bool,
}

impl Known {
    pub(super) const fn flag(short: char, long: &'static str) -> Self {
        Self {
            short,
            long,
            takes_value: false,
        }
    }

    pub(super) const fn with_value(short: char, long: &'static str) -> Self {
        Self {
            short,
            long,
            takes_value: true,
        }
    }
}

/// What a command line has.
#[derive(Debug, Default)]
pub(super) struct Given {
    options: Vec<(char, String)>,
    /// What is no option and no option's value.
    pub(super) words: Vec<String>,
}

impl Given {
    pub(super) fn has(&self, short: char) -> bool {
        self.value(short).is_some()
    }

    /// An option's value; that of a flag is empty.
    pub(super) fn value(&self, short: char) -> Option<&str> {
        let first = self.options.iter().find(|(own, _)| *own == short);
        first.map(|(_, value)| value.as_str())
    }
}

/// Takes a command line apart.
///
/// # Errors
/// Upstream's sentence about the first word that cannot be.
pub(super) fn parse(words: &[String], known: &[Known]) -> Result<Given, String> {
    let mut given = Given::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            given.words.extend(words.cloned());
            break;
        }
        let unknown = || format!("Unrecognized option: {word}");
        let found = match read(word, known) {
            Read::Word => {
                given.words.push(word.clone());
                continue;
            }
            Read::Unknown => return Err(unknown()),
            Read::Options(found) => found,
        };
        for (option, attached) in found {
            let value = match (option.takes_value, attached) {
                (false, None) => String::new(),
                (false, Some(_)) => return Err(unknown()),
                (true, Some(value)) => value.to_owned(),
                (true, None) => words
                    .next_if(|next| !is_option(next, known))
                    .cloned()
                    .ok_or_else(|| format!("Missing argument for option: {}", option.short))?,
            };
            given.options.push((option.short, value));
        }
    }
    Ok(given)
}

/// What one word is: options, each with the value that hangs on it.
enum Read<'w, 'k> {
    Word,
    Unknown,
    Options(Vec<(&'k Known, Option<&'w str>)>),
}

fn read<'w, 'k>(word: &'w str, known: &'k [Known]) -> Read<'w, 'k> {
    let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
        return Read::Word;
    };
    let (name, attached) = match word.trim_start_matches('-').split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word.trim_start_matches('-'), None),
    };
    let one = |option| Read::Options(vec![(option, attached)]);
    if letters.starts_with('-') {
        return long(name, known).map_or(Read::Unknown, one);
    }
    if let Some(option) = known.iter().find(|known| name == known.short.to_string()) {
        return one(option);
    }
    if let Some(option) = long(name, known) {
        return one(option);
    }
    // Letters behind one dash, up to one that takes the rest for its value.
    let mut options = Vec::new();
    for (at, letter) in letters.char_indices() {
        let Some(option) = known.iter().find(|known| known.short == letter) else {
            return Read::Unknown;
        };
        let rest = &letters[at + letter.len_utf8()..];
        if option.takes_value {
            options.push((option, (!rest.is_empty()).then_some(rest)));
            break;
        }
        options.push((option, None));
    }
    Read::Options(options)
}

/// The option of a long name, or of the only one that begins so.
fn long<'k>(name: &str, known: &'k [Known]) -> Option<&'k Known> {
    if name.is_empty() {
        return None;
    }
    let whole = known.iter().find(|known| known.long == name);
    whole.or_else(|| {
        let mut matching = known.iter().filter(|known| known.long.starts_with(name));
        matching.next().filter(|_| matching.next().is_none())
    })
}

/// Whether a word cannot be another option's value.
fn is_option(word: &str, known: &[Known]) -> bool {
    matches!(read(word, known), Read::Options(_))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const KNOWN: [Known; 3] = [
        Known::flag('c', "chop"),
        Known::flag('v', "verbose"),
        Known::with_value('z', "zxid"),
    ];

    fn check(line: &str, expected: Expect) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let said = match parse(&words, &KNOWN) {
            Ok(given) => format!("{:?} {:?}", given.options, given.words),
            Err(why) => why,
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn a_value_comes_in_each_of_its_forms() {
        for line in [
            "-z 1", "-z1", "-z=1", "--zxid 1", "--zxid=1", "-zxid 1", "--zx 1",
        ] {
            check(line, expect![[r#"[('z', "1")] []"#]]);
        }
        check("-z -1", expect![[r#"[('z', "-1")] []"#]]);
        check("-z -c", expect!["Missing argument for option: z"]);
        check("log -z", expect!["Missing argument for option: z"]);
    }

    #[test]
    fn letters_share_a_dash() {
        check(
            "-vcz 1 log",
            expect![[r#"[('v', ""), ('c', ""), ('z', "1")] ["log"]"#]],
        );
        check("-cz1", expect![[r#"[('c', ""), ('z', "1")] []"#]]);
        check("-cx", expect!["Unrecognized option: -cx"]);
        check("-é", expect!["Unrecognized option: -é"]);
    }

    #[test]
    fn what_is_no_option_is_a_word() {
        check(
            "log -c - -- -v",
            expect![[r#"[('c', "")] ["log", "-", "-v"]"#]],
        );
        check("--nothing", expect!["Unrecognized option: --nothing"]);
        check("--chop=1", expect!["Unrecognized option: --chop=1"]);
        check("--=1", expect!["Unrecognized option: --=1"]);
    }

    #[test]
    fn the_first_of_two_counts() {
        let words = ["-z", "1", "--zxid=2"].map(str::to_owned);
        let given = parse(&words, &KNOWN).expect("a good line");
        assert_eq!(given.value('z'), Some("1"));
        assert!(!given.has('c'));
    }
}
