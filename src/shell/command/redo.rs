//! `redo cmdno` (`ZooKeeperMain.java`).

use super::super::words;
use super::{Call, Command, Failure, Needs, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "redo",
    usage: "cmdno",
    help: "runs a line of the history again",
    needs: Needs::Shell,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let Some(text) = call.words.get(1) else {
        return Ok(());
    };
    let number =
        decode(text).ok_or_else(|| Failure::new(format!("redo needs a number, not {text}")))?;
    let line = usize::try_from(number)
        .ok()
        .filter(|number| *number < shell.command_count)
        .and_then(|number| shell.history.get(&number).cloned());
    let line = line.ok_or_else(|| Failure::new("Command index out of range"))?;
    let again = words::split(&line);
    if again.first().is_some_and(|word| word == COMMAND.name) {
        return Err(Failure::new("No redoing redos"));
    }
    shell.remember(&line);
    // Upstream forgets how the line ended; a redo is always well.
    Box::pin(shell.execute(&again)).await;
    Ok(())
}

/// `Integer.decode`: decimal, `0x` or `#` hexadecimal, `0` octal.
fn decode(text: &str) -> Option<i32> {
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
