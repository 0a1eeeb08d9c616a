//! `history` (`ZooKeeperMain.java`).

use super::{Call, Command, Failure, Needs, PLAIN, Shell};

/// Lines before the current one.
const SHOWN: usize = 10;

pub(super) const COMMAND: Command = Command {
    name: "history",
    help: "prints the last lines with the numbers that redo takes",
    needs: Needs::Shell,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, _: Call<'_>) -> Result<(), Failure> {
    let last = shell.command_count;
    for number in last.saturating_sub(SHOWN)..=last {
        // A command of the command line is no line.
        let line = shell.history.get(&number).map_or("null", String::as_str);
        let line = format!("{number} - {line}");
        shell.output.line(&line);
    }
    Ok(())
}
