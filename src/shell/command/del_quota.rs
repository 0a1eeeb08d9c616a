//! `delquota [-n|-b|-N|-B] path` (`DelQuotaCommand.java`).

use jute::ErrorCode;

use super::super::path::{join, parent};
use super::quotas::{self, FIELDS, Track};
use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked};

pub(super) const COMMAND: Command = Command {
    name: "delquota",
    usage: "[-n|-b|-N|-B] path",
    grammar: Grammar {
        options: &[
            Opt::flag("n", "num soft quota"),
            Opt::flag("b", "bytes soft quota"),
            Opt::flag("N", "num hard quota"),
            Opt::flag("B", "bytes hard quota"),
        ],
        choice: Choice::AtMostOne,
    },
    help: "removes a quota, or one of its limits",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let path = &parsed.words[1];
    let chosen = FIELDS.iter().find(|(option, _)| parsed.has(option));
    let limits = quotas::limits_of(path);
    checked(&limits)?;
    let keeper = shell.keeper.clone();
    let refused = |at: &str, code| Failure::refused(code, Some(at));
    let found = shell.wait(keeper.exists(&limits, false)).await;
    if found.map_err(|code| refused(&limits, code))?.is_none() {
        shell.output.line(&format!("Quota does not exist for {path}"));
        return Ok(());
    }
    let deleted = match chosen {
        Some((_, field)) => {
            let (data, _) = match shell.wait(keeper.data(&limits, false)).await {
                Ok(read) => read,
                Err(code) => return gone(shell, path, &limits, code),
            };
            let mut track = Track::parse(&data.unwrap_or_default())?;
            track.set(field, -1);
            let text = track.to_string();
            let set = shell.wait(keeper.set_data(&limits, Some(text.as_bytes()), -1)).await;
            set.map(drop).map_err(|code| (limits, code))
        }
        None => delete_nodes(shell, &quotas::node_of(path)).await,
    };
    match deleted {
        Ok(()) => Ok(()),
        Err((at, code)) => gone(shell, path, &at, code),
    }
}

/// Somebody else may have removed it meanwhile.
fn gone(shell: &mut Shell, path: &str, at: &str, code: ErrorCode) -> Result<(), Failure> {
    if code == ErrorCode::NO_NODE {
        shell.output.failure(&format!("quota for {path} does not exist."));
        return Ok(());
    }
    Err(Failure::refused(code, Some(at)))
}

/// Deletes what is below a quota's node, the node, and those above it that have no child left.
async fn delete_nodes(shell: &mut Shell, node: &str) -> Result<(), (String, ErrorCode)> {
    let keeper = shell.keeper.clone();
    let at = |path: &str| {
        let path = path.to_owned();
        move |code| (path, code)
    };
    let (names, _) = shell.wait(keeper.children(node, false)).await.map_err(at(node))?;
    for name in names {
        let child = join(node, &name);
        shell.wait(keeper.delete(&child, -1)).await.map_err(at(&child))?;
    }
    let mut node = node;
    while node != quotas::ROOT && node != "/" {
        let (names, _) = shell.wait(keeper.children(node, false)).await.map_err(at(node))?;
        if !names.is_empty() {
            break;
        }
        shell.wait(keeper.delete(node, -1)).await.map_err(at(node))?;
        node = parent(node);
    }
    Ok(())
}
