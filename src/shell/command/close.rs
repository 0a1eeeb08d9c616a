//! `close` (`CloseCommand.java`).

use super::{Call, Command, Failure, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "close",
    help: "ends the session; its ephemeral nodes go",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, _: Call<'_>) -> Result<(), Failure> {
    let keeper = shell.keeper.clone();
    shell.wait(keeper.close()).await;
    Ok(())
}
