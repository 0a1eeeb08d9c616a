//! `redo cmdno` (`ZooKeeperMain.java`).

use super::super::{number, words};
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
        number::decode(text).ok_or_else(|| Failure::new(format!("redo needs a number, not {text}")))?;
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
