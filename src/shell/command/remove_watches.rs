//! `removewatches path [-c|-d|-a] [-l]` (`RemoveWatchesCommand.java`).

use crate::client::WatchKind;

use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked};

pub(super) const COMMAND: Command = Command {
    name: "removewatches",
    usage: "path [-c|-d|-a] [-l]",
    grammar: Grammar {
        options: &[
            Opt::flag("c", "child watcher type"),
            Opt::flag("d", "data watcher type"),
            Opt::flag("p", "persistent watcher type"),
            Opt::flag("r", "persistent recursive watcher type"),
            Opt::flag("a", "any watcher type"),
            Opt::flag("l", "remove locally when there is no server connection"),
        ],
        choice: Choice::Free,
    },
    help: "removes the watches of a znode: of children, of data, persistent, recursive, or any",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let path = checked(&parsed.words[1])?;
    let kinds = [
        ("c", WatchKind::Child),
        ("d", WatchKind::Data),
        ("p", WatchKind::Persistent),
        ("r", WatchKind::PersistentRecursive),
    ];
    let kind = kinds.iter().find(|(option, _)| parsed.has(option));
    let kind = kind.map(|(_, kind)| *kind);
    let keeper = shell.keeper.clone();
    let removed = shell.wait(keeper.remove_watches(path, kind, parsed.has("l"))).await;
    removed.map_err(|code| Failure::refused(code, Some(path)))
}
