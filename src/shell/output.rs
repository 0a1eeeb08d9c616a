//! What the shell prints: results on stdout, the rest on stderr, colours on a terminal only.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use jute::proto::{Acl, Stat, perms};
use rustyline::ExternalPrinter;
use serde_json::{Value, json};

/// Bytes in a row of a hex dump.
const HEX_ROW: usize = 16;

/// Where and how to print.
pub(super) struct Output {
    stdout: BufWriter<Stdout>,
    /// Prints above the line that is being edited.
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    stdout_colours: bool,
    stderr_colours: bool,
    /// What the session tells goes to stderr: stdout is for programs.
    tells_on_stderr: bool,
    /// Nobody reads stdout any more.
    is_closed: bool,
}

/// Select Graphic Rendition numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Red = 31,
    Yellow = 33,
    Cyan = 36,
    Grey = 90,
}

impl Output {
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            stdout: BufWriter::new(io::stdout()),
            printer: None,
            stdout_colours: wanted && io::stdout().is_terminal(),
            stderr_colours: wanted && io::stderr().is_terminal(),
            tells_on_stderr: false,
            is_closed: false,
        }
    }

    pub(super) fn set_printer(&mut self, printer: Box<dyn ExternalPrinter + Send>) {
        self.printer = Some(printer);
    }

    /// Leaves stdout to what the command answers.
    pub(super) fn tell_on_stderr(&mut self) {
        self.tells_on_stderr = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Text in a colour, where stdout shows any.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        paint(self.stdout_colours, colour, text)
    }

    /// A line on stdout.
    pub(super) fn line(&mut self, text: &str) {
        self.raw(text.as_bytes());
        self.raw(b"\n");
    }

    /// A line about the session.
    pub(super) fn told(&mut self, text: &str) {
        if self.tells_on_stderr {
            self.note(text);
        } else {
            self.line(text);
        }
    }

    /// Bytes on stdout, as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if self.stdout.write_all(bytes).is_err() {
            self.is_closed = true;
        }
    }

    pub(super) fn flush(&mut self) {
        if self.stdout.flush().is_err() {
            self.is_closed = true;
        }
    }

    /// A line on stderr that is no failure.
    pub(super) fn note(&mut self, text: &str) {
        // In the order of happening, where both are one terminal or one file.
        self.flush();
        eprintln_quietly(text);
    }

    /// A line on stderr that tells of a failure.
    pub(super) fn failure(&mut self, text: &str) {
        self.flush();
        eprintln_quietly(&paint(self.stderr_colours, Colour::Red, text));
    }

    /// An event's block, above the line that is being edited if there is one.
    pub(super) fn event(&mut self, text: &str) {
        if self.tells_on_stderr {
            let title = paint(self.stderr_colours, Colour::Yellow, "WATCHER::");
            self.note(&format!("\n{title}\n\n{text}"));
            return;
        }
        let title = self.paint(Colour::Yellow, "WATCHER::");
        let block = format!("\n{title}\n\n{text}\n");
        self.flush();
        match &mut self.printer {
            Some(printer) => {
                if printer.print(block).is_err() {
                    self.is_closed = true;
                }
            }
            None => {
                self.raw(block.as_bytes());
                self.flush();
            }
        }
    }

    /// A value as JSON on one line.
    pub(super) fn json(&mut self, value: &Value) {
        self.line(&value.to_string());
    }

    pub(super) fn stat(&mut self, stat: &Stat) {
        for (name, value) in [
            ("cZxid", hex(stat.czxid)),
            ("ctime", java_date(stat.ctime)),
            ("mZxid", hex(stat.mzxid)),
            ("mtime", java_date(stat.mtime)),
            ("pZxid", hex(stat.pzxid)),
            ("cversion", stat.cversion.to_string()),
            ("dataVersion", stat.version.to_string()),
            ("aclVersion", stat.aversion.to_string()),
            ("ephemeralOwner", hex(stat.ephemeral_owner)),
            ("dataLength", stat.data_length.to_string()),
            ("numChildren", stat.num_children.to_string()),
        ] {
            let name = self.paint(Colour::Cyan, name);
            self.line(&format!("{name} = {value}"));
        }
    }
}

fn paint(is_on: bool, colour: Colour, text: &str) -> String {
    if is_on && !text.is_empty() {
        format!("\x1b[{}m{text}\x1b[0m", colour as u8)
    } else {
        text.to_owned()
    }
}

/// Nobody is left to hear of a stderr that is closed.
fn eprintln_quietly(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// `Date.toString` of Java, in the local time zone.
fn java_date(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => {
            let local = time.to_zoned_datetime(TimeZone::system());
            local.strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
        }
        // Only a date beyond the year 9999.
        Err(_) => format!("{ms} ms"),
    }
}

/// Netty's `ByteBufUtil.prettyHexDump`.
pub(super) fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let mut dump = String::from(concat!(
        "         +-------------------------------------------------+\n",
        "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n",
        "+--------+-------------------------------------------------+----------------+",
    ));
    for (row, bytes) in data.chunks(HEX_ROW).enumerate() {
        let mut hex = String::new();
        for byte in bytes {
            let _ = write!(hex, " {byte:02x}");
        }
        let shown = bytes.iter().map(|byte| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '.',
        });
        let shown: String = shown.collect();
        let _ = write!(dump, "\n|{:08x}|{hex:<48} |{shown:<16}|", row * HEX_ROW);
    }
    dump.push_str(
        "\n+--------+-------------------------------------------------+----------------+",
    );
    dump
}

// ---- JSON --------------------------------------------------------------------------------------

/// A number of 64 bits, as a string: many readers of JSON round what is above 2^53.
pub(super) fn hex(number: i64) -> String {
    format!("{number:#x}")
}

/// Data under the names that every command uses: text where it is some, and always as it is.
pub(super) fn data_json(data: Option<&[u8]>) -> (Value, Value) {
    let text = data.and_then(|data| str::from_utf8(data).ok());
    (text.into(), data.map(|data| STANDARD.encode(data)).into())
}

pub(super) fn stat_json(stat: &Stat) -> Value {
    json!({
        "cZxid": hex(stat.czxid),
        "ctime": stat.ctime,
        "mZxid": hex(stat.mzxid),
        "mtime": stat.mtime,
        "pZxid": hex(stat.pzxid),
        "cversion": stat.cversion,
        "dataVersion": stat.version,
        "aclVersion": stat.aversion,
        "ephemeralOwner": hex(stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

pub(super) fn acl_json(acl: &[Acl<'_>]) -> Value {
    let entries = acl.iter().map(|entry| {
        json!({
            "scheme": entry.id.scheme.as_deref().unwrap_or_default(),
            "id": entry.id.id.as_deref().unwrap_or_default(),
            "perms": perms::letters(entry.perms),
        })
    });
    Value::Array(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_dumps_are_nettys() {
        let expected = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| c3 bc 6e 00 30 31 32 33 34 35 36 37 38 39 61 7e |..n.0123456789a~|
|00000010| 7f                                              |.               |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"\xc3\xbcn\x000123456789a~\x7f"), expected);
        assert_eq!(hex_dump(b""), "");
    }
}
