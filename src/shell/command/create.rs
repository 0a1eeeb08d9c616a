//! `create [-s] [-e] [-c] [-t ttl] path [data] [acl]` (`CreateCommand.java`).

use jute::ErrorCode;

use crate::client::{CreateOptions, open_acl};

use super::super::acl_text;
use super::super::failure::keeper_message;
use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked};

/// 40 bits, of which `EphemeralType.TTL` makes an owner.
const TTL_MS_MAX: i64 = 0xff_ffff_ffff;

pub(super) const COMMAND: Command = Command {
    name: "create",
    usage: "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
    grammar: Grammar {
        options: &[
            Opt::flag("e", "ephemeral"),
            Opt::flag("s", "sequential"),
            Opt::flag("c", "container"),
            Opt::value("t", "ttl"),
        ],
        choice: Choice::Free,
    },
    help: "creates a znode: sequential, ephemeral, a container, or with a time to live in ms",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let ttl = parsed.value("t");
    let mut options = CreateOptions {
        ephemeral: parsed.has("e"),
        sequential: parsed.has("s"),
        container: parsed.has("c"),
        ttl_ms: None,
    };
    if options.container && (options.ephemeral || options.sequential) {
        return Err(Failure::new(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    if let Some(text) = ttl {
        let ttl_ms: i64 = text
            .parse()
            .map_err(|_| Failure::new("-t argument must be a long value"))?;
        if options.ephemeral {
            return Err(Failure::new("TTLs cannot be used with Ephemeral znodes"));
        }
        if options.container {
            return Err(Failure::new("TTLs cannot be used with Container znodes"));
        }
        if !(1..=TTL_MS_MAX).contains(&ttl_ms) {
            return Err(Failure::new(format!(
                "ttl must be positive and cannot be larger than: {TTL_MS_MAX}"
            )));
        }
        options.ttl_ms = Some(ttl_ms);
    }
    let path = &parsed.words[1];
    let data = parsed.words.get(2).map(String::as_bytes);
    let acl = match parsed.words.get(3) {
        Some(text) => acl_text::parse(shell, text),
        None => vec![open_acl()],
    };
    // A name that the server ends with a number may be empty.
    let suffix = if options.sequential { "1" } else { "" };
    checked(&format!("{path}{suffix}"))?;
    if acl.is_empty() {
        shell.output.failure(&keeper_message(ErrorCode::INVALID_ACL, None));
        return Err(Failure::refused(ErrorCode::INVALID_ACL, None));
    }
    let keeper = shell.keeper.clone();
    match shell.wait(keeper.create(path, data, acl, options)).await {
        Ok(created) => {
            shell.output.note(&format!("Created {created}"));
            Ok(())
        }
        Err(code) => {
            match code {
                ErrorCode::EPHEMERAL_ON_LOCAL_SESSION => shell
                    .output
                    .failure("Unable to create ephemeral node on a local session"),
                ErrorCode::INVALID_ACL => {
                    shell.output.failure(&keeper_message(code, Some(path)));
                }
                _ => {}
            }
            Err(Failure::refused(code, Some(path)))
        }
    }
}
