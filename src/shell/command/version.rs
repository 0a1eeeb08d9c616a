//! `version` (`VersionCommand.java`).

use super::{Call, Command, Failure, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "version",
    help: "prints the version of this shell",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    if call.parse()?.words.len() > 1 {
        return Err(call.usage());
    }
    let version = crate::VERSION_LINE;
    shell
        .output
        .line(&format!("ZooKeeper CLI version: {version}"));
    Ok(())
}
