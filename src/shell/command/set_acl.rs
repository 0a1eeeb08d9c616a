//! `setAcl [-s] [-v version] [-R] path acl` (`SetAclCommand.java`).

use jute::ErrorCode;

use super::super::acl_text;
use super::super::failure::keeper_message;
use super::walk::Walk;
use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked, version_option};

pub(super) const COMMAND: Command = Command {
    name: "setAcl",
    usage: "[-s] [-v version] [-R] path acl",
    grammar: Grammar {
        options: &[
            Opt::flag("s", "stats"),
            Opt::value("v", "version"),
            Opt::flag("R", "recursive"),
        ],
        choice: Choice::Free,
    },
    help: "sets who may do what with a znode, or with -R with all below it too",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(2)?;
    let path = &parsed.words[1];
    let acl = acl_text::parse(shell, &parsed.words[2]);
    let version = version_option(&parsed)?;
    checked(path)?;
    let keeper = shell.keeper.clone();
    if parsed.has("R") {
        let mut walk = Walk::start(shell, path, false).await?;
        while let Some(path) = walk.next(shell).await? {
            let (code, at) = match acl.is_empty() {
                true => (Err(ErrorCode::INVALID_ACL), None),
                false => {
                    let set = shell.wait(keeper.set_acl(&path, acl.clone(), version)).await;
                    (set.map(drop), Some(path.as_str()))
                }
            };
            if let Err(code) = code {
                // On stdout and without an end of line: so does upstream.
                shell.output.raw(keeper_message(code, at).as_bytes());
            }
        }
        return Ok(());
    }
    if acl.is_empty() {
        return Err(Failure::refused(ErrorCode::INVALID_ACL, None));
    }
    let answer = shell.wait(keeper.set_acl(path, acl, version)).await;
    let stat = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}
