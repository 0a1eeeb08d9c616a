//! Log lines of the server: text or JSON, each event one line on stdout.
//!
//! Clients choose paths, and peers what they say of themselves: whatever is in an event, it cannot
//! end its line or speak to a terminal. JSON escapes by itself; text is cleaned here.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

/// What is logged unless `MEERKAT_LOG` says otherwise.
const LOG_DEFAULT: &str = "info,openraft=error";

/// Begins to log: what, as `MEERKAT_LOG` says, and how, as `MEERKAT_LOG_FORMAT` says.
///
/// # Errors
/// A sentence: what to log is not understood, or the format is neither `text` nor `json`.
pub fn install() -> Result<(), String> {
    let wanted = std::env::var("MEERKAT_LOG").unwrap_or_default();
    let wanted = match wanted.trim() {
        "" => LOG_DEFAULT,
        wanted => wanted,
    };
    let level = EnvFilter::try_new(wanted)
        .map_err(|error| format!("MEERKAT_LOG is {wanted:?}, which says nothing: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_ansi(false);
    let format = std::env::var("MEERKAT_LOG_FORMAT").unwrap_or_default();
    match format.as_str() {
        "" | "text" => builder.with_writer(Lines::stdout).init(),
        "json" => {
            builder.json().flatten_event(true).init();
            std::panic::set_hook(Box::new(|panic| {
                let backtrace = std::backtrace::Backtrace::capture();
                tracing::error!(%panic, %backtrace, "a thread has panicked");
            }));
        }
        _ => {
            return Err(format!(
                "MEERKAT_LOG_FORMAT is {format:?}; it can be text or json"
            ));
        }
    }
    Ok(())
}

/// Writes events without the control characters in them.
struct Lines<W>(W);

impl Lines<io::Stdout> {
    fn stdout() -> Self {
        Self(io::stdout())
    }
}

impl<W: Write> Write for Lines<W> {
    /// An event comes whole, with the line's end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        // A tab stands between the fields of the audit log.
        let is_clean = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        if text.iter().all(is_clean) {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let mut clean = Vec::with_capacity(event.len() + 16);
        for byte in text {
            if is_clean(byte) {
                clean.push(*byte);
            } else {
                clean.extend(std::ascii::escape_default(*byte));
            }
        }
        clean.extend(&event[text.len()..]);
        self.0.write_all(&clean)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let check = |event: &str, expected: &str| {
            let mut lines = Lines(Vec::new());
            lines.write_all(event.as_bytes()).expect("memory takes all");
            assert_eq!(String::from_utf8_lossy(&lines.0), expected);
        };
        check("INFO a\tb é\n", "INFO a\tb é\n");
        check("INFO /a\nINFO forged\n", "INFO /a\\nINFO forged\n");
        check("INFO \x1b[31m\r\x07\n", "INFO \\x1b[31m\\r\\x07\n");
    }
}
