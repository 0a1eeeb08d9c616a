//! Numbers as Java reads them.

/// `Integer.decode`: decimal, `0x` or `#` hexadecimal, `0` octal.
pub(super) fn decode(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = ["0x", "0X", "#"]
        .iter()
        .find_map(|lead| digits.strip_prefix(lead));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if !digits.starts_with(|letter: char| letter.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(digits, radix)
        .ok()
        .and_then(|number| i32::try_from(sign * number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decoded_as_javas() {
        for (text, expected) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("-1", Some(-1)),
            ("+3", Some(3)),
            ("0x1f", Some(31)),
            ("#a", Some(10)),
            ("010", Some(8)),
            ("08", None),
            ("abc", None),
            ("", None),
            ("--1", None),
            ("99999999999", None),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }
}
