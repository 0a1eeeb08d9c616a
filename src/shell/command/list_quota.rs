//! `listquota path` (`ListQuotaCommand.java`).

use jute::ErrorCode;
use serde_json::{Value, json};

use super::quotas::{self, Track};
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, PLAIN, Shell, checked, form,
};

pub(super) const COMMAND: Command = Command {
    name: "listquota",
    usage: "path",
    grammar: Grammar {
        options: &[OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "prints the quota of a znode and what is used of it",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let form = form(&parsed)?;
    let path = &parsed.words[1];
    let limits_path = quotas::limits_of(path);
    shell
        .output
        .note(&format!("absolute path is {limits_path}"));
    let mut tracks = Vec::new();
    for node in [limits_path, quotas::stats_of(path)] {
        checked(&node)?;
        let keeper = shell.keeper.clone();
        match shell.wait(keeper.data(&node, false)).await {
            Ok((data, _)) => tracks.push(Track::parse(&data.unwrap_or_default())?),
            Err(ErrorCode::NO_NODE) => {
                shell
                    .output
                    .failure(&format!("quota for {path} does not exist."));
                return Ok(());
            }
            Err(code) => return Err(Failure::refused(code, Some(&node))),
        }
    }
    let [quota, used] = tracks.as_slice() else {
        return Ok(());
    };
    match form {
        Form::Json => {
            let fields = |track: &Track| -> Value {
                let fields = track.fields().map(|(name, value)| (name.to_owned(), value.into()));
                Value::Object(fields.collect())
            };
            shell
                .output
                .json(&json!({"path": path, "quota": fields(quota), "used": fields(used)}));
        }
        Form::Text => {
            shell.output.line(&format!("Output quota for {path} {quota}"));
            shell.output.line(&format!("Output stat for {path} {used}"));
        }
    }
    Ok(())
}
