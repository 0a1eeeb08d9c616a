//! `whoami` (`WhoAmICommand.java`).

use super::{Call, Command, Failure, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "whoami",
    help: "prints the identities of this connection",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, _: Call<'_>) -> Result<(), Failure> {
    let keeper = shell.keeper.clone();
    // Without an answer there is nobody to list, which upstream takes for well.
    let identities = shell.wait(keeper.who_am_i()).await.unwrap_or_default();
    shell.output.line("Auth scheme: User");
    for (scheme, user) in identities {
        shell.output.line(&format!("{scheme}: {user}"));
    }
    Ok(())
}
