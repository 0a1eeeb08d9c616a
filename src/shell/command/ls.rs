//! `ls [-s] [-w] [-R] path` (`LsCommand.java`).

use serde_json::json;

use super::super::output::stat_json;
use super::walk::Walk;
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, PLAIN, Shell, checked, form,
};

pub(super) const COMMAND: Command = Command {
    name: "ls",
    usage: "[-s] [-w] [-R] path",
    grammar: Grammar {
        options: &[
            Opt::flag("?", "help"),
            Opt::flag("s", "stat"),
            Opt::flag("w", "watch"),
            Opt::flag("R", "recurse"),
            OUTPUT_OPTION,
        ],
        choice: Choice::Free,
    },
    help: "prints the names of a znode's children, or with -R the paths of all below it",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse()?;
    if parsed.has("?") {
        let table = format!("usage: ls [options] path\n{}", call.command.options_table());
        shell.output.raw(table.as_bytes());
    }
    let parsed = call.old_watch_word(shell, parsed, "ls [-w] path")?;
    let form = form(&parsed)?;
    let path = checked(parsed.words.get(1).ok_or_else(|| call.usage())?)?;
    let watch = parsed.has("w");
    if parsed.has("R") {
        let mut walk = Walk::start(shell, path, watch).await?;
        while let Some(path) = walk.next(shell).await? {
            match form {
                Form::Json => shell.output.json(&json!({"path": path})),
                Form::Text => shell.output.line(&path),
            }
            if shell.output.is_closed() {
                break;
            }
        }
        return Ok(());
    }
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.children(path, watch)).await;
    let (mut names, stat) = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    // By UTF-16 units, as Java compares.
    names.sort_by(|one, other| one.encode_utf16().cmp(other.encode_utf16()));
    if form == Form::Json {
        shell.output.json(&json!({
            "path": path,
            "children": names,
            "stat": stat_json(&stat),
        }));
        return Ok(());
    }
    shell.output.line(&format!("[{}]", names.join(", ")));
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}
