//! `owners [path]`: which session holds which ephemeral znodes, and from where. Beyond upstream.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::client::{Host, ask};

use super::super::output::{Colour, hex};
use super::config::client_hosts;
use super::walk::{Unreadable, Walk};
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Origin, PLAIN, Shell, path_or_root,
    form, subtree,
};

/// Nodes looked at together.
const PORTION: usize = 1024;
/// Servers of a configuration that are asked.
const SERVERS_MAX: usize = 100;
/// Of the answer of a server that does not allow the word.
const NOT_ALLOWED: &str = "is not executed because it is not in the whitelist";

pub(super) const COMMAND: Command = Command {
    name: "owners",
    usage: "[path]",
    grammar: Grammar {
        options: &[OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "prints which session holds which ephemeral znodes, and from where as far as the \
           servers' word cons tells",
    origin: Origin::Ours,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(0, 1)?;
    let form = form(&parsed)?;
    let root = path_or_root(&parsed)?;
    let mut owned: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut unreadable = Unreadable::default();
    let mut walk = Walk::start(shell, root, false).await?;
    loop {
        let mut portion = Vec::new();
        while portion.len() < PORTION {
            match walk.next_readable(shell, &mut unreadable).await? {
                Some(path) => portion.push(path),
                None => break,
            }
        }
        if portion.is_empty() {
            break;
        }
        for (path, stat) in subtree::stats(shell, &portion, Some(&mut unreadable)).await? {
            if stat.ephemeral_owner != 0 {
                owned.entry(stat.ephemeral_owner).or_default().push(path);
            }
        }
    }
    let Addresses { known, is_refused } = addresses(shell).await;
    if is_refused && owned.keys().any(|session| !known.contains_key(session)) {
        shell.output.note(
            "A server does not tell who is connected: its 4lw.commands.whitelist is without cons.",
        );
    }
    let own = shell.keeper.session_id();
    for (session, paths) in owned {
        let address = known.get(&session);
        if form == Form::Json {
            shell.output.json(&json!({
                "session": hex(session),
                "address": address,
                "isOwn": own == Some(session),
                "paths": paths,
            }));
            continue;
        }
        let address = address.map_or("address unknown", String::as_str);
        let own = if own == Some(session) { " (this shell)" } else { "" };
        let id = shell.output.paint(Colour::Cyan, &hex(session));
        shell.output.line(&format!("{id} {address}{own}"));
        for path in paths {
            shell.output.line(&format!("    {path}"));
        }
    }
    unreadable.outcome()
}

/// Where sessions are connected from.
struct Addresses {
    known: BTreeMap<i64, String>,
    /// A server does not say it.
    is_refused: bool,
}

/// What the servers tell: those of the connect string and those of the ensemble's configuration.
async fn addresses(shell: &mut Shell) -> Addresses {
    let keeper = shell.keeper.clone();
    let mut servers = keeper.servers().to_vec();
    // Who may not read it asks those that he knows.
    if let Ok((Some(text), _)) = shell.wait(keeper.config(false)).await {
        let members = client_hosts(&String::from_utf8_lossy(&text));
        servers.extend(members.into_iter().take(SERVERS_MAX));
    }
    servers.sort_by_key(Host::to_string);
    servers.dedup();
    let asked = servers.iter().map(|server| ask(server, "cons"));
    let answers = shell.wait(join_all(asked)).await;
    // A server that is down knows nothing.
    let answers: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.as_deref().ok())
        .collect();
    Addresses {
        known: answers
            .iter()
            .flat_map(|answer| answer.lines())
            .filter_map(connection)
            .collect(),
        is_refused: answers.iter().any(|answer| answer.contains(NOT_ALLOWED)),
    }
}

/// Session and address of a line such as ` /127.0.0.1:4711[1](queued=0,…,sid=0x1001,…)`.
fn connection(line: &str) -> Option<(i64, String)> {
    let (address, rest) = line.trim_start().strip_prefix('/')?.rsplit_once('[')?;
    let (_, sid) = rest.split_once("sid=0x")?;
    let digits = sid.split([',', ')']).next()?;
    let session = u64::from_str_radix(digits, 16).ok()?;
    Some((session.cast_signed(), address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_read_from_cons() {
        let line = " /127.0.0.1:40060[1](queued=0,recved=6,sent=6,sid=0x100001c1d820002,lop=PING)";
        let expected = (0x0100_001c_1d82_0002, "127.0.0.1:40060".to_owned());
        assert_eq!(connection(line), Some(expected));
        let line = " /[0:0:0:0:0:0:0:1]:5[1](queued=0,sid=0xff00000000000001,lop=NA)";
        let expected = (-0x00ff_ffff_ffff_ffff, "[0:0:0:0:0:0:0:1]:5".to_owned());
        assert_eq!(connection(line), Some(expected));
        assert_eq!(connection(" /127.0.0.1:40060[0](queued=0,recved=1,sent=0)"), None);
    }
}
