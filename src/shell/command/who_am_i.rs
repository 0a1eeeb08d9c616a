//! `whoami` (`WhoAmICommand.java`).

use serde_json::json;

use super::{Call, Command, Failure, Form, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "whoami",
    help: "prints the identities of this connection",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    // Upstream takes any words here, so they are not parsed.
    let form = match call.words {
        [_, option, form] if option == "-o" && form == "json" => Form::Json,
        _ => Form::Text,
    };
    let keeper = shell.keeper.clone();
    // Without an answer there is nobody to list, which upstream takes for well.
    let identities = shell.wait(keeper.who_am_i()).await.unwrap_or_default();
    if form == Form::Json {
        let listed = identities
            .iter()
            .map(|(scheme, user)| json!({"scheme": scheme, "user": user}));
        let listed: Vec<_> = listed.collect();
        shell.output.json(&json!({"identities": listed}));
        return Ok(());
    }
    shell.output.line("Auth scheme: User");
    for (scheme, user) in identities {
        shell.output.line(&format!("{scheme}: {user}"));
    }
    Ok(())
}
