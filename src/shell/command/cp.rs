//! `cp source target`: copies a subtree. Beyond upstream.

use super::{Call, Command, Failure, Origin, PLAIN, Shell, checked, subtree};

pub(super) const COMMAND: Command = Command {
    name: "cp",
    usage: "path target",
    help: "copies a subtree with data and ACLs, to target or below it if that exists",
    origin: Origin::Ours,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(2, 2)?;
    let (source, target) = (checked(&parsed.words[1])?, checked(&parsed.words[2])?);
    let nodes = subtree::read(shell, source).await?;
    subtree::check_hashes(&nodes, source)?;
    let target = subtree::destination(shell, source, target).await?;
    subtree::note_ephemerals(shell, &nodes, source);
    let mut changes = subtree::creations(&nodes, &target);
    let finals = subtree::open_up(shell, &mut changes).await?;
    subtree::apply(shell, &changes).await?;
    subtree::close_up(shell, finals).await?;
    shell.output.note(&format!("Created {target}"));
    Ok(())
}
