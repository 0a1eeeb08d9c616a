//! Where lines come from: a terminal with line editing, or a pipe. A thread of its own reads, since
//! both block; it asks the shell for completions over the same channel that carries the lines.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::time::Duration;
use std::{env, fs, thread};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{DefaultHistory, History};
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};
use tokio::sync::mpsc;

use super::command;
use super::words::{self, Unfinished};

/// Bytes in one line of a pipe, above what any server accepts as a request by default.
const LINE_MAX: u64 = 4 << 20;
/// Lines kept between runs.
const HISTORY_MAX: usize = 2000;
/// How long completion may wait for a server.
const COMPLETION_LIMIT: Duration = Duration::from_secs(2);

/// What the reader's thread sends.
pub(super) enum Incoming {
    Line(String),
    /// A line too long to be one.
    TooLong,
    /// Somebody wants to know the children of a znode.
    Complete {
        dir: String,
        answer: blocking::SyncSender<Vec<String>>,
    },
    End,
}

/// The reader. A line is read for each prompt that it is given.
pub(super) struct Input {
    prompts: blocking::SyncSender<String>,
    incoming: mpsc::Receiver<Incoming>,
    is_terminal: bool,
    is_edited: bool,
}

impl Input {
    /// Starts the reader's thread.
    ///
    /// # Errors
    /// There is no thread, or the terminal cannot be used.
    pub(super) fn start() -> io::Result<(Self, Option<Box<dyn ExternalPrinter + Send>>)> {
        // One line is asked for at a time.
        let (prompts, asked) = blocking::sync_channel(1);
        let (sender, incoming) = mpsc::channel(1);
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let mut printer = None;
        if is_terminal {
            let mut editor = editor(sender.clone()).map_err(io::Error::other)?;
            if let Ok(created) = editor.create_external_printer() {
                printer = Some(Box::new(created) as Box<dyn ExternalPrinter + Send>);
            }
            thread::Builder::new()
                .name("line editor".to_owned())
                .spawn(move || edit(editor, &asked, &sender))?;
        } else {
            thread::Builder::new()
                .name("line reader".to_owned())
                .spawn(move || read(&asked, &sender))?;
        }
        let input = Self {
            prompts,
            incoming,
            is_terminal,
            is_edited: is_terminal && !is_dumb(),
        };
        Ok((input, printer))
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether Ctrl-C at the prompt is a key, which the line editor sees; otherwise it is a signal.
    pub(super) fn is_edited(&self) -> bool {
        self.is_edited
    }

    /// Asks for the next line.
    pub(super) fn prompt(&self, text: String) {
        // A reader that is gone is noticed by who waits for it.
        let _ = self.prompts.try_send(text);
    }

    pub(super) async fn next(&mut self) -> Incoming {
        self.incoming.recv().await.unwrap_or(Incoming::End)
    }
}

/// Terminals on which the line editor only reads lines.
fn is_dumb() -> bool {
    let term = env::var_os("TERM").unwrap_or_default();
    ["dumb", "cons25", "emacs"]
        .iter()
        .any(|dumb| term.eq_ignore_ascii_case(dumb))
}

// ---- a pipe ------------------------------------------------------------------------------------

fn read(prompts: &blocking::Receiver<String>, sender: &mpsc::Sender<Incoming>) {
    let mut stdin = io::stdin().lock();
    while let Ok(prompt) = prompts.recv() {
        let mut stdout = io::stdout();
        // The shell notices by itself when nobody reads its output.
        let _ = stdout.write_all(prompt.as_bytes());
        let _ = stdout.flush();
        if sender.blocking_send(read_line(&mut stdin)).is_err() {
            return;
        }
    }
}

fn read_line(stdin: &mut impl BufRead) -> Incoming {
    let mut line = Vec::new();
    let read = stdin.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
    if read.is_err() || line.is_empty() {
        return Incoming::End;
    }
    if line.ends_with(b"\n") {
        line.pop();
        if line.ends_with(b"\r") {
            line.pop();
        }
    } else if u64::try_from(line.len()).is_ok_and(|length| length == LINE_MAX) {
        return match skip_line(stdin) {
            Ok(()) => Incoming::TooLong,
            Err(_) => Incoming::End,
        };
    }
    Incoming::Line(String::from_utf8_lossy(&line).into_owned())
}

/// Reads to the end of the line and forgets it.
fn skip_line(stdin: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = stdin.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        stdin.consume(length);
        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

// ---- a terminal --------------------------------------------------------------------------------

type LineEditor = Editor<Completions, DefaultHistory>;

fn editor(sender: mpsc::Sender<Incoming>) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Completions { sender }));
    if let Some(file) = history_file() {
        // The first run has none.
        let _ = editor.load_history(&file);
    }
    Ok(editor)
}

fn edit(
    mut editor: LineEditor,
    prompts: &blocking::Receiver<String>,
    sender: &mpsc::Sender<Incoming>,
) {
    while let Ok(prompt) = prompts.recv() {
        let line = match editor.readline(&prompt) {
            Ok(line) => {
                remember(&mut editor, &line);
                Incoming::Line(line)
            }
            // Upstream's shell ends with Ctrl-C as with Ctrl-D.
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => Incoming::End,
            Err(error) => {
                eprintln!("the terminal cannot be read: {error}");
                Incoming::End
            }
        };
        if sender.blocking_send(line).is_err() {
            return;
        }
    }
}

/// Keeps a line for later runs, unless it holds a password or begins with a blank.
fn remember(editor: &mut LineEditor, line: &str) {
    let is_secret = line.trim_start().starts_with("addauth");
    if is_secret || line.trim().is_empty() || line.starts_with(' ') {
        return;
    }
    if !editor.history_mut().add(line).unwrap_or(false) {
        return;
    }
    if let Some(file) = history_file() {
        if let Some(dir) = file.parent() {
            let _ = fs::create_dir_all(dir);
        }
        // A history that cannot be kept is no reason to stop.
        let _ = editor.append_history(&file);
    }
}

/// `MEERKAT_CLI_HISTORY` (empty: none), or a file in the user's directory for such things.
fn history_file() -> Option<PathBuf> {
    if let Some(file) = env::var_os("MEERKAT_CLI_HISTORY") {
        return (!file.is_empty()).then(|| file.into());
    }
    let state = match env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME")?).join(".local/state"),
    };
    Some(state.join("meerkat/zkcli_history"))
}

/// Commands for the first word, children for a path.
struct Completions {
    sender: mpsc::Sender<Incoming>,
}

impl Completer for Completions {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let Unfinished { start, quote, text } = words::unfinished(&line[..position]);
        if let Some(slash) = text.rfind('/').filter(|_| text.starts_with('/')) {
            let (dir, prefix) = (&text[..slash], &text[slash + 1..]);
            let names = self.children(if dir.is_empty() { "/" } else { dir });
            let names = names.iter().filter(|name| name.starts_with(prefix));
            let paths: Vec<String> = names.map(|name| format!("{dir}/{name}")).collect();
            return Ok((start, words::quoted(&paths, quote)));
        }
        if quote.is_some() {
            return Ok((start, Vec::new()));
        }
        let names = command::names().filter(|name| name.starts_with(&text));
        Ok((start, names.map(|name| format!("{name} ")).collect()))
    }
}

impl Completions {
    fn children(&self, dir: &str) -> Vec<String> {
        let (answer, answered) = blocking::sync_channel(1);
        let request = Incoming::Complete {
            dir: dir.to_owned(),
            answer,
        };
        if self.sender.blocking_send(request).is_err() {
            return Vec::new();
        }
        answered.recv_timeout(COMPLETION_LIMIT).unwrap_or_default()
    }
}

impl Helper for Completions {}
impl Hinter for Completions {
    type Hint = String;
}
impl Highlighter for Completions {}
impl Validator for Completions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_pipe_end_as_they_may_and_long_ones_are_skipped() {
        let mut text = b"a\r\nb\n\n".to_vec();
        text.extend(vec![b'x'; usize::try_from(LINE_MAX).expect("small") + 7]);
        text.extend(b"\nend");
        let mut input = text.as_slice();
        let mut lines = Vec::new();
        loop {
            lines.push(match read_line(&mut input) {
                Incoming::Line(line) => line,
                Incoming::TooLong => "(too long)".to_owned(),
                Incoming::End | Incoming::Complete { .. } => break,
            });
        }
        assert_eq!(lines, ["a", "b", "", "(too long)", "end"]);
    }
}
