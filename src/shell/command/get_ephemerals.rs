//! `getEphemerals [path]` (`GetEphemeralsCommand.java`).

use serde_json::json;

use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, PLAIN, Shell, path_or_root, form,
};

pub(super) const COMMAND: Command = Command {
    name: "getEphemerals",
    usage: "path",
    grammar: Grammar {
        options: &[OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "prints this session's ephemeral znodes whose paths begin with one",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse()?;
    let form = form(&parsed)?;
    let prefix = path_or_root(&parsed)?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.ephemerals(prefix)).await;
    let paths = answer.map_err(|code| Failure::refused(code, None))?;
    match form {
        Form::Json => shell.output.json(&json!({"ephemerals": paths})),
        Form::Text => shell.output.line(&format!("[{}]", paths.join(", "))),
    }
    Ok(())
}
