//! The file format of zoo.cfg: `java.util.Properties`, read byte for byte as Java reads it.
//!
//! ISO-8859-1 bytes; a key ends at the first unescaped `=`, `:` or white space; `#` and `!` start a
//! comment line; an odd number of backslashes at the end of a line continues it; `\uXXXX`, `\t`,
//! `\n`, `\r`, `\f` and `\` before anything else are escapes; of two equal keys the last one wins.
//! On top of that `QuorumPeerConfig.java` trims keys and values, so this does too. Nothing here
//! knows what a key means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The one way in which text can fail to be a properties file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Malformed \\uxxxx encoding. (line {line})")]
pub struct MalformedEscape {
    /// Counted from 1: where the logical line begins.
    pub line: usize,
}

/// Keys and values of a properties file, trimmed; of equal keys the last.
///
/// # Errors
/// A `\u` without four hexadecimal digits.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>, MalformedEscape> {
    let mut entries = BTreeMap::new();
    for line in logical_lines(bytes) {
        let value_start = value_start(&line.text, key_end(&line.text));
        let value = unescape(&line.text[value_start..]).map_err(|Malformed| line.malformed())?;
        entries.insert(line.key()?, java_trim(&value).to_owned());
    }
    Ok(entries)
}

/// The same from text that is characters already, as Java reads it from a string.
pub(super) fn parse_text(text: &str) -> Result<BTreeMap<String, String>, MalformedEscape> {
    let mut latin = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => latin.push(char::from(byte)),
            _ => {
                let _ = write!(latin, "\\u{unit:04x}");
            }
        }
    }
    parse(latin.as_bytes())
}

/// The file without the entries whose key is not to be kept. Everything else stays as it is
/// written, comments too; only the ends of lines become those of this system.
pub(super) fn retain(
    bytes: &[u8],
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<u8>, MalformedEscape> {
    let mut goes = BTreeSet::new();
    for line in logical_lines(bytes) {
        if !keep(&line.key()?) {
            goes.extend(line.first..=line.last);
        }
    }
    let mut kept = Vec::with_capacity(bytes.len());
    for (index, natural) in natural_lines(bytes).into_iter().enumerate() {
        if !goes.contains(&index) {
            kept.extend_from_slice(natural);
            kept.push(b'\n');
        }
    }
    Ok(kept)
}

/// A value as it has to be written to be read back.
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (index, unit) in value.encode_utf16().enumerate() {
        match u8::try_from(unit).map(char::from) {
            Ok('\\') => escaped.push_str("\\\\"),
            Ok(' ') if index == 0 => escaped.push_str("\\ "),
            Ok(plain @ ' '..='~') => escaped.push(plain),
            _ => {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// `String.trim` of Java: everything up to U+0020 goes, and nothing above it.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

/// One entry as it is written, continuations joined.
struct Line {
    /// Indexes of the first and the last natural line of it.
    first: usize,
    last: usize,
    text: Vec<u8>,
}

impl Line {
    fn key(&self) -> Result<String, MalformedEscape> {
        let key = unescape(&self.text[..key_end(&self.text)]);
        let key = key.map_err(|Malformed| self.malformed())?;
        Ok(java_trim(&key).to_owned())
    }

    fn malformed(&self) -> MalformedEscape {
        MalformedEscape {
            line: self.first + 1,
        }
    }
}

/// Lines after comments and blank lines are gone and continuations are joined.
fn logical_lines(bytes: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    // The line so far, while a backslash continues it.
    let mut begun: Option<Line> = None;
    for (index, natural) in natural_lines(bytes).into_iter().enumerate() {
        let piece = skip_blanks(natural);
        let mut line = begun.take().unwrap_or(Line {
            first: index,
            last: index,
            text: Vec::new(),
        });
        // Nothing but backslashes so far: Java still takes this for the beginning of a line.
        if line.text.is_empty() && matches!(piece.first(), None | Some(b'#' | b'!')) {
            continue;
        }
        line.last = index;
        if ends_in_continuation(piece) {
            line.text.extend_from_slice(&piece[..piece.len() - 1]);
            begun = Some(line);
        } else {
            line.text.extend_from_slice(piece);
            lines.push(line);
        }
    }
    // A backslash that ends the file continues into nothing, and if it is alone, that is an entry.
    lines.extend(begun);
    lines
}

fn natural_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let crlf = rest[end..].starts_with(b"\r\n");
        lines.push(&rest[..end]);
        rest = &rest[end + if crlf { 2 } else { 1 }..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(*byte));
    start.map_or(&[], |start| &line[start..])
}

fn ends_in_continuation(line: &[u8]) -> bool {
    let backslashes = line.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

/// The first separator that no backslash protects.
fn key_end(line: &[u8]) -> usize {
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        let ends = !escaped && (matches!(byte, b'=' | b':') || is_blank(*byte));
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(line.len())
}

/// Past the white space after the key, at most one `=` or `:`, and the white space after that.
fn value_start(line: &[u8], key_end: usize) -> usize {
    let blanks = |from: usize| {
        line[from..]
            .iter()
            .take_while(|byte| is_blank(**byte))
            .count()
    };
    let mut at = key_end + blanks(key_end);
    if matches!(line.get(at), Some(b'=' | b':')) {
        at += 1;
        at += blanks(at);
    }
    at
}

struct Malformed;

fn unescape(raw: &[u8]) -> Result<String, Malformed> {
    // Java strings are UTF-16: a character outside the first plane is written as two escapes.
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            units.push(byte.into());
            continue;
        }
        let Some((&escape, tail)) = rest.split_first() else {
            break;
        };
        rest = tail;
        units.push(match escape {
            b't' => 0x09,
            b'n' => 0x0a,
            b'f' => 0x0c,
            b'r' => 0x0d,
            b'u' => {
                let digits = rest.get(..4).ok_or(Malformed)?;
                rest = &rest[4..];
                hex(digits).ok_or(Malformed)?
            }
            other => other.into(),
        });
    }
    Ok(String::from_utf16_lossy(&units))
}

fn hex(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value: u16, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::parse;

    fn check(text: &str, expected: Expect) {
        check_bytes(text.as_bytes(), expected);
    }

    fn check_bytes(bytes: &[u8], expected: Expect) {
        expected.assert_eq(&match parse(bytes) {
            Ok(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| format!("{key:?} -> {value:?}"));
                entries.collect::<Vec<_>>().join("\n")
            }
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn separators_are_equals_colon_and_white_space() {
        check(
            "a=1\nb:2\nc 3\nd\t=\t4\ne : 5\nf",
            expect![[r#"
            "a" -> "1"
            "b" -> "2"
            "c" -> "3"
            "d" -> "4"
            "e" -> "5"
            "f" -> """#]],
        );
    }

    #[test]
    fn only_the_first_separator_separates() {
        check(
            "a==1\nb = : 2\nc  d=3",
            expect![[r#"
            "a" -> "=1"
            "b" -> ": 2"
            "c" -> "d=3""#]],
        );
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        check(
            "# a=1\n  ! b=2\n\n \t\x0c\nc=3 # not a comment\n#d\\\ne=5",
            expect![[r#"
            "c" -> "3 # not a comment"
            "e" -> "5""#]],
        );
    }

    #[test]
    fn a_trailing_backslash_continues_and_two_do_not() {
        check(
            "a=1,\\\n   2,\\\r\n\t3\nb=x\\\\\nc=y\\\n#z\nd=q\\\n\ne=5\nf=end\\",
            expect![[r##"
            "a" -> "1,2,3"
            "b" -> "x\\"
            "c" -> "y#z"
            "d" -> "q"
            "e" -> "5"
            "f" -> "end""##]],
        );
    }

    #[test]
    fn a_lone_backslash_does_not_begin_a_line() {
        check(
            "\\\n#comment\na=1\n\\\n\nb=2\n\\\nc=3\n\\",
            expect![[r#"
                "" -> ""
                "a" -> "1"
                "b" -> "2"
                "c" -> "3""#]],
        );
    }

    #[test]
    fn every_line_end_ends_a_line() {
        check(
            "a=1\rb=2\r\nc=3\n\rd=4",
            expect![[r#"
            "a" -> "1"
            "b" -> "2"
            "c" -> "3"
            "d" -> "4""#]],
        );
    }

    #[test]
    fn escapes_are_those_of_java() {
        check(
            r"a\ b\=c=\u0041\t\q\\ \ud83d\ude00 C:\\zk",
            expect![[r#""a b=c" -> "A\tq\\ 😀 C:\\zk""#]],
        );
    }

    #[test]
    fn a_malformed_unicode_escape_is_an_error_with_its_line() {
        check(
            "a=1\nb=\\u12",
            expect![[r"Malformed \uxxxx encoding. (line 2)"]],
        );
        check(
            "a=\\u12g4",
            expect![[r"Malformed \uxxxx encoding. (line 1)"]],
        );
    }

    #[test]
    fn bytes_are_iso_8859_1() {
        check_bytes(b"a=caf\xe9", expect![[r#""a" -> "café""#]]);
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_both_sides_are_trimmed() {
        check("a=1\na=2  \n\\ a=3\\t", expect![[r#""a" -> "3""#]]);
    }

    fn check_retain(text: &str, expected: Expect) {
        let kept = super::retain(text.as_bytes(), |key| key != "gone");
        expected.assert_eq(&match kept {
            Ok(kept) => String::from_utf8_lossy(&kept).into_owned(),
            Err(error) => error.to_string(),
        });
    }

    #[test]
    fn what_is_kept_stays_as_it_is_written() {
        check_retain(
            "# why\ngone=1\n a \\\n  = b\\\n   c\n! gone=2\ngon\\\n  e = \\\n  3\n\nd=\\u0041\r\ngone",
            expect![[r"
                # why
                 a \
                  = b\
                   c
                ! gone=2

                d=\u0041
            "]],
        );
        check_retain(
            "a=\\u12",
            expect![[r"
            a=\u12
        "]],
        );
        check_retain("\\u12=a", expect![[r"Malformed \uxxxx encoding. (line 1)"]]);
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(value in ".{0,40}") {
            let text = format!("a={}", super::escape(&value));
            let entries = parse(text.as_bytes());
            let expected = super::java_trim(&value).to_owned();
            prop_assert_eq!(entries, Ok([("a".to_owned(), expected)].into()));
        }

        #[test]
        fn text_is_taken_as_characters(value in "[^\\x00-\\x20\\\\\x7f]{0,20}") {
            let entries = super::parse_text(&format!("é={value}"));
            prop_assert_eq!(entries, Ok([("é".to_owned(), value)].into()));
        }

        #[test]
        fn entries_that_are_kept_do_not_change(text in r"[abg=:\\u0 \n\r#!]{0,60}") {
            let Ok(mut expected) = parse(text.as_bytes()) else { return Ok(()) };
            expected.retain(|key, _| !key.starts_with('g'));
            let kept = super::retain(text.as_bytes(), |key| !key.starts_with('g'));
            let kept = kept.and_then(|kept| parse(&kept));
            prop_assert_eq!(kept, Ok(expected));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn line_noise_never_panics(text in r"[a=:\\u0 \n\r#!]{0,60}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn plain_pairs_come_back(pairs in proptest::collection::btree_map("[a-zA-Z.]{1,12}", "[!-~&&[^\\\\]]{0,20}", 0..8)) {
            let text: String = pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            prop_assert_eq!(parse(text.as_bytes()), Ok(pairs));
        }
    }
}
