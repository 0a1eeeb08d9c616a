//! `printwatches on|off` (`ZooKeeperMain.java`).

use super::{Call, Command, Failure, Needs, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "printwatches",
    usage: "on|off",
    help: "turns the printing of events on or off",
    needs: Needs::Shell,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    match call.words.get(1) {
        Some(word) => shell.print_watches = word == "on",
        None => {
            let state = if shell.print_watches { "on" } else { "off" };
            shell.output.line(&format!("printwatches is {state}"));
        }
    }
    Ok(())
}
