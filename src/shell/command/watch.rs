//! `watch [-d] [-n count] [path]`: prints changes until Ctrl-C. Beyond upstream.

use std::time::Duration;

use jiff::Timestamp;
use jute::ErrorCode;
use serde_json::json;
use tokio::time;

use crate::client::{Event, Notice, WatchKind};

use super::super::output::{Colour, data_json, hex};
use super::super::session::event_name;
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, Origin, PLAIN, Shell,
    path_or_root, form, subtree,
};

/// How long somebody who has typed Ctrl-C waits for a server that does not answer.
const END_LIMIT: Duration = Duration::from_millis(500);

pub(super) const COMMAND: Command = Command {
    name: "watch",
    usage: "[-d] [-n count] [path]",
    grammar: Grammar {
        options: &[
            Opt::flag("d", "print the new data too"),
            Opt::value("n", "stop after so many changes"),
            OUTPUT_OPTION,
        ],
        choice: Choice::Free,
    },
    help: "prints each change of a subtree until Ctrl-C",
    origin: Origin::Ours,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(0, 1)?;
    let form = form(&parsed)?;
    let root = path_or_root(&parsed)?;
    let mut left: u64 = match parsed.value("n") {
        Some(text) => text
            .parse()
            .map_err(|_| Failure::new(format!("-n needs a number of changes, not {text}")))?,
        None => u64::MAX,
    };
    let keeper = shell.keeper.clone();
    // One that addWatch has set outlives the command.
    let had_one = keeper.has_watch(root, WatchKind::PersistentRecursive);
    let armed = shell.wait(keeper.add_watch(root, true)).await;
    armed.map_err(|code| Failure::refused(code, Some(root)))?;
    shell.watching = (!had_one).then(|| root.to_owned());
    shell.output.note(&format!("Watching {root}"));
    while left > 0 && !shell.output.is_closed() {
        let Some(notice) = shell.notices.next().await else {
            break;
        };
        let event = match notice {
            Notice::Node(event) if subtree::is_within(&event.path, root) => event,
            other => {
                shell.print_notice(&other);
                if !keeper.state().is_alive() {
                    return Err(Failure::new("the session is gone"));
                }
                continue;
            }
        };
        left -= 1;
        print(shell, &event, parsed.has("d"), form).await?;
        shell.output.flush();
    }
    end(shell).await
}

/// Removes the watch; Ctrl-C may have left it behind.
pub(super) async fn end(shell: &mut Shell) -> Result<(), Failure> {
    let Some(root) = shell.watching.take() else {
        return Ok(());
    };
    let keeper = shell.keeper.clone();
    let kind = Some(WatchKind::PersistentRecursive);
    let removed = keeper.remove_watches(&root, kind, false);
    let Ok(removed) = time::timeout(END_LIMIT, removed).await else {
        keeper.forget_watch(&root, WatchKind::PersistentRecursive);
        return Ok(());
    };
    // What came until now is printed as any event is.
    while let Some(notice) = shell.notices.poll_next() {
        if !matches!(&notice, Notice::WatchRemoved { path, .. } if *path == root) {
            shell.print_notice(&notice);
        }
    }
    removed.map_err(|code| Failure::refused(code, Some(&root)))
}

async fn print(
    shell: &mut Shell,
    event: &Event,
    with_data: bool,
    form: Form,
) -> Result<(), Failure> {
    let kind = event_name(event.kind);
    let now = Timestamp::now();
    let mut data = None;
    if with_data && kind != "NodeDeleted" {
        // Not by `wait`, which would print events that this command is to print.
        let keeper = shell.keeper.clone();
        data = match keeper.data(&event.path, false).await {
            Ok((data, _)) => data,
            Err(ErrorCode::NO_NODE) => None,
            Err(code) => return Err(Failure::refused(code, Some(&event.path))),
        };
    }
    match form {
        Form::Json => {
            let mut fields = json!({
                "time": now.to_string(),
                "type": kind,
                "path": event.path,
                // Old servers do not tell.
                "zxid": (event.zxid >= 0).then(|| hex(event.zxid)),
            });
            if with_data {
                let (text, base64) = data_json(data.as_deref());
                fields["data"] = text;
                fields["dataBase64"] = base64;
            }
            shell.output.json(&fields);
        }
        Form::Text => {
            let time = shell.output.paint(Colour::Grey, &format!("{now:.3}"));
            let kind = shell.output.paint(Colour::Yellow, &kind);
            let data = data.map(|data| format!(" {}", String::from_utf8_lossy(&data)));
            let data = data.unwrap_or_default();
            let line = format!("{time} {kind} {} zxid: {}{data}", event.path, event.zxid);
            shell.output.line(&line);
        }
    }
    Ok(())
}
