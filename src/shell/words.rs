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

#[cfg(test)]
mod tests {
    use super::*;

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
