//! From a typed line to words: what JLine takes away, then `ZooKeeperMain`'s two regular
//! expressions.

/// What JLine hands on: a backslash goes and what stands behind it stays.
pub(super) fn unescape(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            plain.extend(letters.next());
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// `\s` of Java's regular expressions.
fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Words of a line: each a run of non-blanks that begins with no quote, or what stands in quotes. A
/// quote without its partner is dropped, and a line of blanks is one word, a blank.
pub(super) fn split(line: &str) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let run_end = |from: usize| {
        let run = letters[from..]
            .iter()
            .take_while(|letter| !is_blank(**letter));
        from + run.count()
    };
    let mut words = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let blanks = letters[at..].iter().take_while(|letter| is_blank(**letter));
        let start = at + blanks.count();
        let (from, to, end) = match letters.get(start) {
            Some(quote @ ('"' | '\'')) => {
                let partner = letters[start + 1..]
                    .iter()
                    .position(|letter| letter == quote);
                match partner {
                    Some(length) => (start + 1, start + 1 + length, start + length + 2),
                    // The expression takes the last blank for the beginning of a run.
                    None if start > at => (start - 1, run_end(start), run_end(start)),
                    None => {
                        at = start + 1;
                        continue;
                    }
                }
            }
            Some(_) => (start, run_end(start), run_end(start)),
            None => (start - 1, start, start),
        };
        words.push(letters[from..to].iter().collect());
        at = end;
        while letters.get(at).is_some_and(|letter| is_blank(*letter)) {
            at += 1;
        }
    }
    words
}

/// The word at the end of a line that is still being typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Where it begins in the line, with its quote.
    pub(super) start: usize,
    /// The quote that it begins with.
    pub(super) quote: Option<char>,
    pub(super) text: String,
}

/// What follows the last word that is complete.
pub(super) fn unfinished(line: &str) -> Unfinished {
    // As `unescape`, with the place of each letter.
    let mut letters = Vec::new();
    let mut typed = line.char_indices();
    while let Some((at, letter)) = typed.next() {
        if letter == '\\' {
            letters.extend(typed.next().map(|(_, letter)| (at, letter)));
        } else {
            letters.push((at, letter));
        }
    }
    let text = |from: usize| letters[from..].iter().map(|(_, letter)| letter).collect();
    let mut at = 0;
    while let Some((start, letter)) = letters.get(at).copied() {
        let behind = &letters[at + 1..];
        match letter {
            '"' | '\'' => match behind.iter().position(|(_, other)| *other == letter) {
                Some(length) => at += length + 2,
                None => {
                    return Unfinished {
                        start,
                        quote: Some(letter),
                        text: text(at + 1),
                    };
                }
            },
            letter if is_blank(letter) => at += 1,
            _ => match behind.iter().position(|(_, other)| is_blank(*other)) {
                Some(length) => at += length + 1,
                None => {
                    return Unfinished {
                        start,
                        quote: None,
                        text: text(at),
                    };
                }
            },
        }
    }
    Unfinished {
        start: line.len(),
        quote: None,
        text: String::new(),
    }
}

/// Words as they may be typed behind an open `quote` or none, so that [`split`] finds them again. When
/// one of them needs quotes all get some, to begin alike. One that no quotes can hold is left out.
pub(super) fn quoted(words: &[String], quote: Option<char>) -> Vec<String> {
    let needs_quotes = quote.is_some() || words.iter().any(|word| word.contains(is_blank));
    let quotes = match &quote {
        Some(quote) => std::slice::from_ref(quote),
        None => &['"', '\''],
    };
    let typed = words.iter().filter_map(|word| {
        let escaped = word.replace('\\', "\\\\");
        if !needs_quotes {
            return Some(escaped);
        }
        let quote = quotes.iter().find(|quote| !word.contains(**quote))?;
        Some(format!("{quote}{escaped}{quote}"))
    });
    typed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_being_typed_is_found() {
        for (line, start, quote, text) in [
            ("get /a", 4, None, "/a"),
            ("get ", 4, None, ""),
            ("", 0, None, ""),
            ("get \"/a b", 4, Some('"'), "/a b"),
            ("get 'x y' '/ü \"", 10, Some('\''), "/ü \""),
            ("get \"/a\"", 8, None, ""),
            ("get \"/a\"b", 8, None, "b"),
            ("get /a\"b", 4, None, "/a\"b"),
            (r#"get "/a\ b\\"#, 4, Some('"'), r"/a b\"),
        ] {
            let expected = Unfinished {
                start,
                quote,
                text: text.to_owned(),
            };
            assert_eq!(unfinished(line), expected, "{line}");
        }
    }

    #[test]
    fn a_completed_word_is_split_off_again() {
        for name in [
            "/a",
            "/a b",
            "/a\tb",
            "/it's",
            "/it's \"",
            "/say \"x\"",
            r"/c:\d e\",
            r"/\",
        ] {
            for quote in [None, Some('"'), Some('\'')] {
                let typed = quoted(&[name.to_owned()], quote);
                let possible = match quote {
                    Some(quote) => !name.contains(quote),
                    None => name != "/it's \"",
                };
                assert_eq!(typed.len(), usize::from(possible), "{name} {quote:?}");
                for typed in typed {
                    assert!(
                        quote.is_none_or(|quote| typed.starts_with(quote)),
                        "{typed}"
                    );
                    check(&unescape(&format!("get {typed} x")), &["get", name, "x"]);
                }
            }
        }
        let both = ["/two".to_owned(), "/two words".to_owned()];
        assert_eq!(quoted(&both, None), ["\"/two\"", "\"/two words\""]);
    }

    fn check(line: &str, expected: &[&str]) {
        assert_eq!(split(line), expected, "{line:?}");
    }

    #[test]
    fn words_are_split_as_upstream_does() {
        check("get /a", &["get", "/a"]);
        check("  get\t/a  ", &["get", "/a"]);
        check(
            "set /a 'b \"c\"' \"d 'e'\"",
            &["set", "/a", "b \"c\"", "d 'e'"],
        );
        check("set /a \"\" ''", &["set", "/a", "", ""]);
        check("set /a \"b c", &["set", "/a", "b", "c"]);
        check("set /a b\"c d\"", &["set", "/a", "b\"c", "d\""]);
        check("\"a\"b", &["a", "b"]);
        check("   ", &[" "]);
        check("\"", &[]);
        check("", &[]);
        check(" \"a", &[" \"a"]);
        check("set /ü ünï", &["set", "/ü", "ünï"]);
    }

    #[test]
    fn backslashes_go() {
        assert_eq!(unescape(r"a\ b\\c\"), r"a b\c");
    }
}
