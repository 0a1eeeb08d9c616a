//! The shell: upstream's `zkCli.sh` command for command (`ZooKeeperMain.java`), and some more.
//!
//! One task does everything: it runs a command, prints what the session tells meanwhile, and waits
//! for the next line. Only reading lines has a thread of its own (`input`). A command is a file in
//! `command`; the table there is the only registry.
//!
//! **Invariant:** what the server told before a reply is printed before what the reply leads to.
//! Upstream prints the two from different threads, in either order.

mod acl_text;
mod arguments;
mod command;
mod failure;
mod input;
mod number;
mod options;
mod output;
mod path;
mod session;
mod words;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use crate::client::{Keeper, Notices};

use arguments::Arguments;
use command::Progress;
use failure::{EXIT_FAILED, Failure};
use input::{Incoming, Input};
use output::Output;
use session::Settings;

/// How long the first prompt may wait for a connection, so that it shows one.
const FIRST_PROMPT_WAIT: Duration = Duration::from_millis(500);
/// How long completion may wait for a server.
const COMPLETION_LIMIT: Duration = Duration::from_secs(1);
/// Typed lines that `history` and `redo` remember.
const HISTORY_MAX: usize = 100_000;

/// Everything that commands work with.
struct Shell {
    output: Output,
    keeper: Arc<Keeper>,
    notices: Notices,
    /// The connect string in use, as the prompt shows it.
    server: String,
    settings: Settings,
    /// Typed lines by number.
    history: BTreeMap<usize, String>,
    /// Lines executed so far; the number of the next one.
    command_count: usize,
    /// Whether events are printed.
    print_watches: bool,
    /// The mode that `addWatch` takes when none is given: the last one, which is upstream's bug.
    watch_recursively: bool,
    /// What the command `watch` watches.
    watching: Option<String>,
    /// How far the running command has come, if it creates many znodes.
    progress: Option<Progress>,
    /// Of the last command.
    exit_code: u8,
    /// `quit` was said.
    has_quit: bool,
    /// Ctrl-C stops a command rather than the shell.
    is_terminal: bool,
}

/// Runs the shell with the words of its command line.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments = Arguments::parse(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot start the runtime: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let code = runtime.block_on(run_shell(arguments));
    // A name that is being looked up must not hold the end up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn run_shell(arguments: Arguments) -> u8 {
    let mut output = Output::new();
    if let Some(option) = &arguments.incomplete {
        output.note(&format!("Error: no argument found for option {option}"));
    }
    if command::answers_programs(&arguments.command) {
        output.tell_on_stderr();
    }
    output.told(&format!("Connecting to {}", arguments.server));
    output.flush();
    let mut shell = match Shell::start(output, &arguments).await {
        Ok(shell) => shell,
        Err(code) => return code,
    };
    if arguments.command.is_empty() {
        shell.interactive().await;
    } else {
        shell.execute(&arguments.command).await;
    }
    if arguments.close_session && !shell.has_quit {
        shell.keeper.close().await;
        shell.print_waiting_notices();
    }
    shell.output.flush();
    shell.exit_code
}

impl Shell {
    /// The exit code when there is no shell.
    async fn start(mut output: Output, arguments: &Arguments) -> Result<Self, u8> {
        let started = match Settings::new(arguments) {
            Ok(settings) => settings.connect(&arguments.server).map(|it| (it, settings)),
            Err(failure) => Err(failure),
        };
        let ((keeper, notices), settings) = match started {
            Ok(started) => started,
            Err(failure) => {
                output.failure(&failure.text);
                return Err(failure.exit_code);
            }
        };
        if let Some(key) = settings.ignored {
            output.note(&format!(
                "{key} has no effect: a request waits as long as its connection lives"
            ));
        }
        let mut shell = Self {
            output,
            keeper: Arc::new(keeper),
            notices,
            server: arguments.server.clone(),
            settings,
            history: BTreeMap::new(),
            command_count: 0,
            print_watches: true,
            watch_recursively: true,
            watching: None,
            progress: None,
            exit_code: 0,
            has_quit: false,
            is_terminal: false,
        };
        match shell.wait_for_connection().await {
            Ok(()) => Ok(shell),
            Err(failure) => {
                shell.output.failure(&failure.text);
                Err(failure.exit_code)
            }
        }
    }

    async fn interactive(&mut self) {
        self.output.line("Welcome to ZooKeeper!");
        let (mut input, printer) = match Input::start() {
            Ok(started) => started,
            Err(error) => {
                self.output.failure(&format!("cannot read lines: {error}"));
                self.exit_code = EXIT_FAILED;
                return;
            }
        };
        // Upstream's name for line editing; programs wait for this line.
        self.output.line("JLine support is enabled");
        self.output.flush();
        self.is_terminal = input.is_terminal();
        let keeper = self.keeper.clone();
        let settled = time::timeout(FIRST_PROMPT_WAIT, keeper.settled());
        // Without a connection the prompt says so.
        let _ = self.wait(settled).await;
        if let Some(printer) = printer {
            self.output.set_printer(printer);
        }
        while !self.has_quit && !self.output.is_closed() {
            self.output.flush();
            input.prompt(self.prompt());
            match self.next_line(&mut input).await {
                Some(Ok(line)) => self.execute_line(&words::unescape(&line)).await,
                Some(Err(failure)) => self.report(failure),
                None => break,
            }
        }
    }

    fn prompt(&self) -> String {
        let state = session::state_name(self.keeper.state());
        format!("[zk: {}({state}) {}] ", self.server, self.command_count)
    }

    /// The next line; events are printed and completions answered meanwhile.
    async fn next_line(&mut self, input: &mut Input) -> Option<Result<String, Failure>> {
        // Once a command has asked for them, signals do not end the process any more.
        let is_signal = self.is_terminal && !input.is_edited();
        loop {
            tokio::select! {
                biased;
                Some(notice) = self.notices.next() => self.print_notice(&notice),
                _ = tokio::signal::ctrl_c(), if is_signal => return None,
                incoming = input.next() => match incoming {
                    Incoming::Line(line) => return Some(Ok(line)),
                    Incoming::TooLong => {
                        return Some(Err(Failure::new("the line is too long")));
                    }
                    Incoming::Complete { dir, answer } => {
                        // Nobody waits any more when it took too long.
                        let _ = answer.try_send(self.completions(&dir).await);
                    }
                    Incoming::End => return None,
                },
            }
        }
    }

    async fn completions(&mut self, dir: &str) -> Vec<String> {
        if path::check(dir).is_err() || !session::is_connected(self.keeper.state()) {
            return Vec::new();
        }
        let keeper = self.keeper.clone();
        let children = time::timeout(COMPLETION_LIMIT, keeper.children(dir, false));
        match self.wait(children).await {
            Ok(Ok((mut names, _))) => {
                names.sort();
                names
            }
            _ => Vec::new(),
        }
    }

    async fn execute_line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        let words = words::split(line);
        self.remember(line);
        self.execute(&words).await;
        self.command_count += 1;
    }

    fn remember(&mut self, line: &str) {
        self.history.insert(self.command_count, line.to_owned());
        while self.history.len() > HISTORY_MAX {
            self.history.pop_first();
        }
    }

    /// Runs one command and keeps its exit code.
    async fn execute(&mut self, words: &[String]) {
        let outcome = if self.is_terminal {
            tokio::select! {
                outcome = Box::pin(command::run(self, words)) => outcome,
                _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
            }
        } else {
            Box::pin(command::run(self, words)).await
        };
        match outcome {
            // `quit` ends with the code of the command before it.
            Ok(()) if self.has_quit => {}
            Ok(()) => self.exit_code = 0,
            Err(failure) => {
                command::clean_up(self).await;
                self.report(failure);
                if let Some(told) = self.progress.take().and_then(Progress::told) {
                    self.output.note(&told);
                }
            }
        }
        self.output.flush();
    }

    fn report(&mut self, failure: Failure) {
        self.exit_code = failure.exit_code;
        self.output.failure(&failure.text);
    }

    /// Waits for a request and prints what the session tells before its reply.
    async fn wait<T>(&mut self, request: impl Future<Output = T>) -> T {
        let mut request = std::pin::pin!(request);
        loop {
            tokio::select! {
                biased;
                Some(notice) = self.notices.next() => self.print_notice(&notice),
                answer = &mut request => {
                    self.print_waiting_notices();
                    return answer;
                }
            }
        }
    }

    fn print_waiting_notices(&mut self) {
        while let Some(notice) = self.notices.poll_next() {
            self.print_notice(&notice);
        }
    }
}
