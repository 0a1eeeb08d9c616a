//! `deleteall path [-b batch size]` (`DeleteAllCommand.java`, `ZKUtil.deleteRecursive`).

use crate::client::Change;

use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked, walk};

/// Znodes in one multi unless `-b` says otherwise.
const BATCH_DEFAULT: i32 = 1000;

pub(super) const COMMAND: Command = Command {
    name: "deleteall",
    usage: "path [-b batch size]",
    grammar: Grammar {
        options: &[Opt::value("b", "batch size")],
        choice: Choice::Free,
    },
    help: "deletes a znode and all below it",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let batch: i32 = match parsed.value("b") {
        None => BATCH_DEFAULT,
        Some(text) => text
            .parse()
            .map_err(|_| Failure::new("-b argument must be an int value"))?,
    };
    let path = checked(&parsed.words[1])?;
    if !delete_subtree(shell, path, batch).await? {
        shell
            .output
            .failure("Failed to delete some node(s) in the subtree!");
    }
    Ok(())
}

/// Deletes leaves first, `batch` at a time, or one by one when that is no batch; false when a batch
/// has failed.
async fn delete_subtree(shell: &mut Shell, path: &str, batch: i32) -> Result<bool, Failure> {
    let mut tree = walk::by_level(shell, path).await?;
    tree.reverse();
    let keeper = shell.keeper.clone();
    let Some(batch) = usize::try_from(batch).ok().filter(|batch| *batch > 0) else {
        for path in &tree {
            let deleted = shell.wait(keeper.delete(path, -1)).await;
            deleted.map_err(|code| Failure::refused(code, Some(path)))?;
        }
        return Ok(true);
    };
    for paths in tree.chunks(batch) {
        let changes = paths.iter().map(|path| Change::Delete {
            path: path.clone(),
            version: -1,
        });
        let changes: Vec<Change> = changes.collect();
        if shell.wait(keeper.apply(&changes)).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
