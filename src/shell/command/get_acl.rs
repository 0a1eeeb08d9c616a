//! `getAcl [-s] path` (`GetAclCommand.java`).

use jute::proto::perms;

use serde_json::json;

use super::super::output::{acl_json, stat_json};
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, PLAIN, Shell, checked, form,
};

pub(super) const COMMAND: Command = Command {
    name: "getAcl",
    usage: "[-s] path",
    grammar: Grammar {
        options: &[Opt::flag("s", "stats"), OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "prints who may do what with a znode",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let form = form(&parsed)?;
    let path = checked(&parsed.words[1])?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.acl(path)).await;
    let (acl, stat) = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    if form == Form::Json {
        shell.output.json(&json!({
            "path": path,
            "acl": acl_json(&acl),
            "stat": stat_json(&stat),
        }));
        return Ok(());
    }
    for entry in &acl {
        let scheme = entry.id.scheme.as_deref().unwrap_or_default();
        let id = entry.id.id.as_deref().unwrap_or_default();
        // Two lines for each: upstream's record ends in a line break of its own.
        shell.output.line(&format!("'{scheme},'{id}"));
        shell.output.line(&format!(": {}", perms::letters(entry.perms)));
    }
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}
