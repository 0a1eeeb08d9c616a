//! `addauth scheme auth` (`AddAuthCommand.java`).

use super::{Call, Command, Failure, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "addauth",
    usage: "scheme auth",
    help: "adds an identity to the session, such as digest user:password",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let auth = parsed.words.get(2).map(String::as_bytes);
    let keeper = shell.keeper.clone();
    shell.wait(keeper.add_auth(&parsed.words[1], auth)).await;
    Ok(())
}
