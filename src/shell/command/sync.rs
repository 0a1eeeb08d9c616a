//! `sync path` (`SyncCommand.java`).

use std::time::Duration;

use tokio::time;

use super::{Call, Command, Failure, PLAIN, Shell, checked};

/// How long the server may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) const COMMAND: Command = Command {
    name: "sync",
    usage: "path",
    help: "waits until the server has caught up with the leader",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let path = checked(&parsed.words[1])?;
    let keeper = shell.keeper.clone();
    match shell.wait(time::timeout(LIMIT, keeper.sync(path))).await {
        Ok(Ok(())) => shell.output.line("Sync is OK"),
        Ok(Err(code)) => shell
            .output
            .line(&format!("Sync has failed. rc={}", code.0)),
        Err(_) => return Err(Failure::new(format!("no answer within {LIMIT:?}"))),
    }
    Ok(())
}
