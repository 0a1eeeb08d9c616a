//! `delete [-v version] path` (`DeleteCommand.java`).

use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked, version_option};

pub(super) const COMMAND: Command = Command {
    name: "delete",
    usage: "[-v version] path",
    grammar: Grammar {
        options: &[Opt::value("v", "version")],
        choice: Choice::Free,
    },
    help: "deletes a znode without children",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    if parsed.words.len() > 2 {
        // The old form's version is ignored, as upstream does.
        shell.output.note(
            "'delete path [version]' has been deprecated. \
             Please use 'delete [-v version] path' instead.",
        );
    }
    let path = &parsed.words[1];
    let version = version_option(&parsed)?;
    checked(path)?;
    let keeper = shell.keeper.clone();
    let deleted = shell.wait(keeper.delete(path, version)).await;
    deleted.map_err(|code| Failure::refused(code, Some(path)))
}
