//! `mv source target`: moves a subtree. Beyond upstream.

use jute::ErrorCode;

use crate::client::Change;

use super::{Call, Command, Failure, Origin, PLAIN, Shell, checked, subtree};

pub(super) const COMMAND: Command = Command {
    name: "mv",
    usage: "path target",
    help: "moves a subtree at once, to target or below it if that exists",
    origin: Origin::Ours,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(2, 2)?;
    let (source, target) = (checked(&parsed.words[1])?, checked(&parsed.words[2])?);
    let nodes = subtree::read(shell, source).await?;
    subtree::check_hashes(&nodes, source)?;
    let target = subtree::destination(shell, source, target).await?;
    if subtree::is_within(&target, source) {
        return Err(Failure::new(format!("{target} is within {source}")));
    }
    if let Some(node) = nodes.iter().find(|node| node.is_ephemeral()) {
        let path = node.path(source);
        return Err(Failure::new(format!(
            "{path} is ephemeral and belongs to its session; nothing was moved"
        )));
    }
    let mut changes = subtree::creations(&nodes, &target);
    // Whoever changes one of them meanwhile keeps the change: the deletion is of what was read.
    changes.extend(nodes.iter().rev().map(|node| Change::Delete {
        path: node.path(source),
        version: node.stat.version,
    }));
    if nodes.len() > 1 && !subtree::fit_together(&changes) {
        return Err(Failure::new(format!(
            "{source} is too large to be moved at once; copy it with cp, then use deleteall"
        )));
    }
    let keeper = shell.keeper.clone();
    let mut moved = shell.wait(keeper.apply(&changes)).await;
    let mut finals = Vec::new();
    if let Err((Some(_), ErrorCode::NO_AUTH)) = moved {
        // Perhaps a parent's list is in the way of its children. No request can hold the final lists
        // too, so they come behind it.
        finals = subtree::open_up(shell, &mut changes).await?;
        moved = shell.wait(keeper.apply(&changes)).await;
    }
    moved.map_err(|(index, code)| {
        let path = index.and_then(|index| changes.get(index)).map(Change::path);
        Failure::refused(code, path.or(Some(&target)))
    })?;
    subtree::close_up(shell, finals).await?;
    shell.output.note(&format!("Created {target}"));
    Ok(())
}
