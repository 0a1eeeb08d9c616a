//! `quit` (`ZooKeeperMain.java`).

use super::{Call, Command, Failure, Needs, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "quit",
    help: "ends the session and the shell, with the exit code of the command before",
    needs: Needs::Shell,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, _: Call<'_>) -> Result<(), Failure> {
    let keeper = shell.keeper.clone();
    shell.wait(keeper.close()).await;
    shell.has_quit = true;
    Ok(())
}
