//! `get [-s] [-w] [-b] [-x] path` (`GetCommand.java`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::output::{data_json, hex_dump, stat_json};
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, PLAIN, Shell, checked, form,
};

pub(super) const COMMAND: Command = Command {
    name: "get",
    usage: "[-s] [-w] [-b] [-x] path",
    grammar: Grammar {
        options: &[
            Opt::flag("s", "Print znode stats additionally"),
            Opt::flag("w", "Watch for changes on the znode"),
            Opt::flag("b", "Output data in base64 format"),
            Opt::flag("x", "Output data in hexdump format"),
            OUTPUT_OPTION,
        ],
        choice: Choice::Free,
    },
    help: "prints the data of a znode",
    lists_options: true,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let parsed = call.old_watch_word(shell, parsed, "get [-s] [-w] path")?;
    let form = form(&parsed)?;
    let path = checked(parsed.words.get(1).ok_or_else(|| call.usage())?)?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.data(path, parsed.has("w"))).await;
    let (data, stat) = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    if form == Form::Json {
        let (text, base64) = data_json(data.as_deref());
        shell.output.json(&json!({
            "path": path,
            "data": text,
            "dataBase64": base64,
            "stat": stat_json(&stat),
        }));
        return Ok(());
    }
    // No data shows as these four letters, in the other forms too.
    let data = data.unwrap_or_else(|| b"null".to_vec());
    if parsed.has("x") {
        shell.output.line(&hex_dump(&data));
    } else if parsed.has("b") {
        shell.output.line(&STANDARD.encode(&data));
    } else {
        shell.output.line(&String::from_utf8_lossy(&data));
    }
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}
