//! `whoami` (`WhoAmICommand.java`).

use serde_json::json;

use super::{Call, Command, Failure, Form, PLAIN, Shell, form_named};

pub(super) const COMMAND: Command = Command {
    name: "whoami",
    help: "prints the identities of this connection",
    ..PLAIN
};

/// Upstream takes any words here, so that only the option is looked for.
pub(super) fn form_of(words: &[String]) -> Result<Form, Failure> {
    let option = words.get(1).and_then(|word| word.strip_prefix("-o"));
    let chosen = match option {
        None => return Ok(Form::Text),
        Some("") => words.get(2).map(String::as_str).unwrap_or_default(),
        Some(attached) => attached.strip_prefix('=').unwrap_or(attached),
    };
    form_named(chosen)
}

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let form = form_of(call.words)?;
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
