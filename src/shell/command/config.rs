//! `config [-c] [-w] [-s]` (`GetConfigCommand.java`, `ConfigUtils.java`).

use std::net::IpAddr;

use serde_json::json;

use crate::client::{CONFIG_PATH, Host};
use crate::config::{ServerSpec, parse_properties};

use super::super::output::stat_json;
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, PLAIN, Shell, form,
};

pub(super) const COMMAND: Command = Command {
    name: "config",
    usage: "[-c] [-w] [-s]",
    grammar: Grammar {
        options: &[
            Opt::flag("s", "stats"),
            Opt::flag("w", "watch"),
            Opt::flag("c", "client connection string"),
            OUTPUT_OPTION,
        ],
        choice: Choice::Free,
    },
    help: "prints the members of the ensemble, or with -c where clients reach them",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse()?;
    let form = form(&parsed)?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.config(parsed.has("w"))).await;
    let (data, stat) = answer.map_err(|code| Failure::refused(code, Some(CONFIG_PATH)))?;
    let text = data.map_or_else(
        || "null".to_owned(),
        |data| String::from_utf8_lossy(&data).into_owned(),
    );
    if form == Form::Json {
        let (version, servers) = client_servers(&text);
        let members: Vec<&str> = text.lines().filter(|line| line.contains('=')).collect();
        shell.output.json(&json!({
            "version": version,
            "members": members,
            "clients": servers,
            "stat": stat_json(&stat),
        }));
        return Ok(());
    }
    if parsed.has("c") {
        let (version, servers) = client_servers(&text);
        shell.output.line(&format!("{version} {}", servers.join(",")));
    } else {
        shell.output.line(&text);
    }
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}

/// The version and where clients reach each server, by id; an empty word where no line says it.
fn client_servers(text: &str) -> (String, Vec<String>) {
    let (version, servers) = members(text);
    let clients = servers.into_iter().map(|server| match server.client {
        Some(client) => format!("{}:{}", client.host, client.port),
        None => String::new(),
    });
    (version, clients.collect())
}

/// Where each server can be reached as a client does, as far as the lines say it.
pub(super) fn client_hosts(text: &str) -> Vec<Host> {
    let (_, servers) = members(text);
    let hosts = servers.into_iter().filter_map(|server| {
        let client = server.client?;
        let listens_everywhere = client
            .host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified());
        let name = match server.addresses.into_iter().next() {
            Some(address) if listens_everywhere => address.host,
            _ => client.host,
        };
        let port = client.port;
        Some(Host { name, port })
    });
    hosts.collect()
}

/// The version and the servers by id.
fn members(text: &str) -> (String, Vec<ServerSpec>) {
    let Ok(properties) = parse_properties(text.as_bytes()) else {
        return (String::new(), Vec::new());
    };
    let version = properties.get("version").cloned().unwrap_or_default();
    let mut servers: Vec<ServerSpec> = properties
        .iter()
        .filter_map(|(key, value)| ServerSpec::parse_line(&format!("{key}={value}")))
        .collect();
    servers.sort_by_key(|server| server.id);
    (version, servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_addresses_come_in_the_order_of_ids() {
        let text = "server.10=a:1:2:participant;b:10\nserver.2=a:1:3:participant\nversion=1a";
        let (version, servers) = client_servers(text);
        assert_eq!(version, "1a");
        assert_eq!(servers, ["", "b:10"]);
        let text = format!("{text}\nserver.11=c:1:2:participant;0.0.0.0:11");
        let hosts: Vec<String> = client_hosts(&text).iter().map(Host::to_string).collect();
        assert_eq!(hosts, ["b:10", "c:11"]);
    }
}
