//! The commands, a file each. This table is the only registry: a name here has its `COMMAND` and its
//! `run` in the file of that name.

use super::failure::Failure;
use super::options::{Choice, Grammar, Opt, Parsed};
use super::{Shell, path};

mod quotas;
mod subtree;
mod walk;

pub(super) use subtree::Progress;

/// One command.
#[derive(Debug)]
pub(super) struct Command {
    name: &'static str,
    /// What stands behind the name in usage texts.
    usage: &'static str,
    grammar: Grammar,
    /// One sentence for `help`.
    help: &'static str,
    origin: Origin,
    needs: Needs,
    /// Whether its usage text lists the options, as upstream's does for some.
    lists_options: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// In upstream's list of commands.
    Upstream,
    /// Beyond it; upstream's texts do not name it.
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Runs without a session too, and says then that there is none.
    Shell,
    /// Does not run without one.
    Session,
}

/// What most commands are: upstream's, without options, for a session.
const PLAIN: Command = Command {
    name: "",
    usage: "",
    grammar: Grammar {
        options: &[],
        choice: Choice::Free,
    },
    help: "",
    origin: Origin::Upstream,
    needs: Needs::Session,
    lists_options: false,
};

/// The reading commands' option for another form of the same.
const OUTPUT_OPTION: Opt = Opt::value("o", "json or text").ours();

macro_rules! commands {
    ($($module:ident),* $(,)?) => {
        $( mod $module; )*

        const COMMANDS: &[&Command] = &[$( &$module::COMMAND ),*];

        async fn dispatch(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
            match call.command.name {
                $( name if name == $module::COMMAND.name => $module::run(shell, call).await, )*
                // Names come from the table.
                name => Err(Failure::not_found(name)),
            }
        }
    };
}

commands! {
    add_auth,
    add_watch,
    close,
    config,
    connect,
    cp,
    create,
    delete,
    delete_all,
    del_quota,
    export,
    get,
    get_acl,
    get_all_children_number,
    get_ephemerals,
    help,
    history,
    import,
    list_quota,
    ls,
    mv,
    owners,
    print_watches,
    quit,
    reconfig,
    redo,
    remove_watches,
    search,
    set,
    set_acl,
    set_quota,
    stat,
    sync,
    tree,
    version,
    watch,
    who_am_i,
}

/// A command with the words that it was called with, its name first.
#[derive(Clone, Copy)]
struct Call<'a> {
    command: &'static Command,
    words: &'a [String],
}

/// In which form a reading command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Runs one command line.
pub(super) async fn run(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let Some(name) = words.first() else {
        shell.output.failure(&usage());
        return Err(Failure::new("No command entered"));
    };
    let Some(command) = find(name) else {
        shell.output.note(&usage());
        return Err(Failure::not_found(name));
    };
    let call = Call { command, words };
    if command.needs != Needs::Session {
        dispatch(shell, call).await?;
        if command.needs == Needs::Nothing || shell.has_quit {
            return Ok(());
        }
    }
    if !shell.keeper.state().is_alive() {
        shell.output.line("Not connected");
        return Ok(());
    }
    if command.needs == Needs::Session {
        dispatch(shell, call).await?;
    }
    Ok(())
}

/// Whether programs read what these words print: upstream prints what the session tells between it.
pub(super) fn answers_programs(words: &[String]) -> bool {
    let Some(command) = words.first().and_then(|name| find(name)) else {
        return false;
    };
    if command.origin == Origin::Ours {
        return true;
    }
    let form = match command.name {
        name if name == who_am_i::COMMAND.name => who_am_i::form_of(words),
        _ => match command.grammar.parse(words) {
            Ok(parsed) => form(&parsed),
            Err(error) => Err(error.into()),
        },
    };
    form == Ok(Form::Json)
}

/// Undoes what a command has set up that did not get to its end.
pub(super) async fn clean_up(shell: &mut Shell) {
    // Without a connection there is nothing to undo.
    let _ = watch::end(shell).await;
}

/// All names, sorted as upstream sorts them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    names.sort_unstable();
    names.into_iter()
}

fn find(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| command.name == name)
        .copied()
}

/// The list that upstream prints for a word that is no command.
fn usage() -> String {
    let mut text =
        String::from("ZooKeeper -server host:port -client-configuration properties-file cmd args");
    let upstream = names().filter_map(find);
    for command in upstream.filter(|command| command.origin == Origin::Upstream) {
        text.push_str(&format!("\n\t{} {}", command.name, command.usage));
    }
    text
}

impl Command {
    /// Upstream's options with their meanings, as its `HelpFormatter` writes them.
    fn options_table(&self) -> String {
        let options = self.grammar.options.iter().filter(|option| !option.is_ours);
        let mut rows: Vec<(String, &str)> = options
            .map(|option| {
                let value = if option.takes_value { " <arg>" } else { "" };
                (format!(" -{}{value}", option.name), option.text)
            })
            .collect();
        rows.sort_by_key(|(option, _)| option.to_lowercase());
        let width = rows
            .iter()
            .map(|(option, _)| option.len())
            .max()
            .unwrap_or(0);
        let lines = rows
            .iter()
            .map(|(option, text)| format!("{option:<width$}   {text}\n"));
        lines.collect()
    }
}

impl Call<'_> {
    /// Options and words apart.
    fn parse(&self) -> Result<Parsed, Failure> {
        Ok(self.command.grammar.parse(self.words)?)
    }

    /// As [`Call::parse`], with `words` at least behind the name.
    fn parse_words(&self, words: usize) -> Result<Parsed, Failure> {
        let parsed = self.parse()?;
        match parsed.words.len() > words {
            true => Ok(parsed),
            false => Err(self.usage()),
        }
    }

    /// As [`Call::parse`], with so many words behind the name at least and at most. Upstream's commands
    /// do not mind more.
    fn parse_own(&self, least: usize, most: usize) -> Result<Parsed, Failure> {
        let parsed = self.parse_words(least)?;
        match parsed.words.len() - 1 > most {
            true => Err(self.usage()),
            false => Ok(parsed),
        }
    }

    /// Takes a third word for `-w`, which commands of old had in that place.
    fn old_watch_word(
        &self,
        shell: &mut Shell,
        parsed: Parsed,
        new: &str,
    ) -> Result<Parsed, Failure> {
        if parsed.words.len() <= 2 {
            return Ok(parsed);
        }
        let name = self.command.name;
        shell.output.note(&format!(
            "'{name} path [watch]' has been deprecated. Please use '{new}' instead."
        ));
        // The third word of all, an option perhaps: so does upstream.
        let mut words = self.words.to_vec();
        if let Some(third) = words.get_mut(2) {
            *third = "-w".to_owned();
        }
        Ok(self.command.grammar.parse(&words)?)
    }

    fn usage(&self) -> Failure {
        let Command { name, usage, .. } = self.command;
        let mut text = format!("{name} {usage}");
        if self.command.lists_options {
            text.push('\n');
            text.push_str(&self.command.options_table());
        }
        Failure::new(text)
    }
}

/// A path that the client library would take.
fn checked(path: &str) -> Result<&str, Failure> {
    path::check(path).map_err(Failure::new)?;
    Ok(path)
}

/// The path behind the command's name, or the root without one.
fn path_or_root(parsed: &Parsed) -> Result<&str, Failure> {
    parsed.words.get(1).map_or(Ok("/"), |path| checked(path))
}

/// What `-o` says.
fn form(parsed: &Parsed) -> Result<Form, Failure> {
    parsed.value("o").map_or(Ok(Form::Text), form_named)
}

fn form_named(name: &str) -> Result<Form, Failure> {
    match name {
        "text" => Ok(Form::Text),
        "json" => Ok(Form::Json),
        other => Err(Failure::new(format!("-o takes json or text, not {other}"))),
    }
}

/// The version behind `-v`; -1, any, without one.
fn version_option(parsed: &Parsed) -> Result<i32, Failure> {
    match parsed.value("v") {
        None => Ok(-1),
        Some(text) => text
            .parse()
            .map_err(|_| Failure::new(format!("-v needs a version number, not {text}"))),
    }
}
