//! `addWatch [-m mode] path` (`AddWatchCommand.java`).

use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked};

pub(super) const COMMAND: Command = Command {
    name: "addWatch",
    usage: "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - \
            default is PERSISTENT_RECURSIVE",
    grammar: Grammar {
        options: &[Opt::value("m", "")],
        choice: Choice::Free,
    },
    help: "sets a watch that stays; the mode of one call is the next one's default",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse()?;
    let [_, path] = parsed.words.as_slice() else {
        return Err(call.usage());
    };
    match parsed.value("m").map(str::to_uppercase).as_deref() {
        Some("PERSISTENT") => shell.watch_recursively = false,
        Some("PERSISTENT_RECURSIVE") => shell.watch_recursively = true,
        Some(_) => return Err(call.usage()),
        None => {}
    }
    checked(path)?;
    let keeper = shell.keeper.clone();
    let recursive = shell.watch_recursively;
    let added = shell.wait(keeper.add_watch(path, recursive)).await;
    added.map_err(|code| Failure::refused(code, Some(path)))
}
