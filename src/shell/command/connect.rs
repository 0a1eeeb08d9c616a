//! `connect [host:port]`: ends the session and begins another one (`ZooKeeperMain.java`).

use std::sync::Arc;

use super::{Call, Command, Failure, Needs, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "connect",
    usage: "host:port",
    help: "ends the session and begins another one, with the same servers unless others are named",
    needs: Needs::Shell,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let server = match call.words.get(1) {
        Some(server) => server.clone(),
        None => shell.server.clone(),
    };
    // A connect string that is none leaves the session as it is.
    let (keeper, notices) = shell.settings.connect(&server)?;
    let old = shell.keeper.clone();
    shell.wait(old.close()).await;
    shell.keeper = Arc::new(keeper);
    shell.notices = notices;
    shell.server = server;
    shell.wait_for_connection().await
}
