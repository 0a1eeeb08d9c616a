//! `stat [-w] path` (`StatCommand.java`).

use jute::ErrorCode;
use serde_json::json;

use super::super::output::stat_json;
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, PLAIN, Shell, checked, form,
};

pub(super) const COMMAND: Command = Command {
    name: "stat",
    usage: "[-w] path",
    grammar: Grammar {
        options: &[Opt::flag("w", "watch"), OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "prints a znode's versions, times and sizes",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let parsed = call.old_watch_word(shell, parsed, "stat [-w] path")?;
    let form = form(&parsed)?;
    let path = checked(parsed.words.get(1).ok_or_else(|| call.usage())?)?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.exists(path, parsed.has("w"))).await;
    let stat = answer.and_then(|stat| stat.ok_or(ErrorCode::NO_NODE));
    let stat = stat.map_err(|code| Failure::refused(code, Some(path)))?;
    match form {
        Form::Json => shell
            .output
            .json(&json!({"path": path, "stat": stat_json(&stat)})),
        Form::Text => shell.output.stat(&stat),
    }
    Ok(())
}
