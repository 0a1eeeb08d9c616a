//! `reconfig`: other members (`ReconfigCommand.java`).

use std::fs;

use crate::config::{self, Role};

use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell};

pub(super) const COMMAND: Command = Command {
    name: "reconfig",
    usage: "[-s] [-v version] [[-file path] | \
            [-members serverID=host:port1:port2;port3[,...]*]] | \
            [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
    grammar: Grammar {
        options: &[
            Opt::flag("s", "stats"),
            Opt::value("v", "required current config version"),
            Opt::value("file", "path of config file to parse for membership"),
            Opt::value(
                "members",
                "comma-separated list of config strings for non-incremental reconfig",
            ),
            Opt::value(
                "add",
                "comma-separated list of config strings for new servers",
            ),
            Opt::value("remove", "comma-separated list of server IDs to remove"),
        ],
        choice: Choice::Free,
    },
    help: "changes the members of the ensemble",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse()?;
    let lower = |name| parsed.value(name).map(str::to_lowercase);
    let (joining, leaving) = (lower("add"), lower("remove"));
    let replaces = parsed.has("file") || parsed.has("members");
    let changes = joining.is_some() || leaving.is_some();
    if !replaces && !changes {
        return Err(call.usage());
    }
    let version = match parsed.value("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16).map_err(|_| {
            Failure::new("-v must be followed by a long (configuration version)")
        })?,
    };
    if replaces && changes {
        return Err(Failure::new(
            "Can't use -file or -members together with -add or -remove (mixing incremental and \
             non-incremental modes is not allowed)",
        ));
    }
    if parsed.has("file") && parsed.has("members") {
        return Err(Failure::new(
            "Can't use -file and -members together (conflicting non-incremental modes)",
        ));
    }
    let members = match parsed.value("file") {
        Some(file) => Some(
            members_of(file).map_err(|why| Failure::new(format!("Error processing {file}{why}")))?,
        ),
        None => lower("members"),
    };
    let keeper = shell.keeper.clone();
    let request = keeper.reconfig(
        joining.as_deref(),
        leaving.as_deref(),
        members.as_deref(),
        version,
    );
    let answer = shell.wait(request).await;
    let (configuration, stat) = answer.map_err(|code| Failure::refused(code, Some("")))?;
    shell.output.line("Committed new configuration:");
    shell.output.line(&String::from_utf8_lossy(&configuration));
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}

/// The members that a dynamic configuration file lists, as a request carries them
/// (`QuorumPeerConfig.parseDynamicConfig`).
fn members_of(file: &str) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|error| {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        format!("{file} ({text})")
    })?;
    let properties = config::parse_properties(&bytes).map_err(|error| error.to_string())?;
    let known = |key: &str| {
        key == "version" || ["server.", "group", "weight"].iter().any(|known| key.starts_with(known))
    };
    if let Some(key) = properties.keys().find(|key| !known(key)) {
        return Err(format!("Unrecognised parameter: {key}"));
    }
    let servers = config::parse_members(&properties)?;
    let voters = servers.iter().filter(|server| server.role == Role::Participant);
    match (voters.count(), servers.len()) {
        (0, 1..) => return Err("Observers w/o participants is an invalid configuration".to_owned()),
        (1, 2..) => return Err("Observers w/o quorum is an invalid configuration".to_owned()),
        _ => {}
    }
    let mut text = String::new();
    for server in &servers {
        text.push_str(&format!("server.{}={server}\n", server.id));
    }
    // Groups and weights as they were written.
    let others = properties.iter().filter(|(key, _)| !key.starts_with("server.") && *key != "version");
    for (key, value) in others {
        text.push_str(&format!("{key}={value}\n"));
    }
    text.push_str("version=0");
    Ok(text)
}
