//! `getAllChildrenNumber path` (`GetAllChildrenNumberCommand.java`).

use serde_json::json;

use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, PLAIN, Shell, checked, form,
};

pub(super) const COMMAND: Command = Command {
    name: "getAllChildrenNumber",
    usage: "path",
    grammar: Grammar {
        options: &[OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "prints how many znodes are below one",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let form = form(&parsed)?;
    let path = checked(&parsed.words[1])?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.all_children_number(path)).await;
    let number = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    match form {
        Form::Json => shell.output.json(&json!({"path": path, "number": number})),
        Form::Text => shell.output.line(&number.to_string()),
    }
    Ok(())
}
