//! `export path [file]`: a subtree as JSON. Beyond upstream.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::output::acl_json;
use super::subtree::{self, Node, hides_a_hash};
use super::{Call, Command, Failure, Origin, PLAIN, Shell, checked};

/// Tells the file from other JSON.
pub(super) const FORMAT: &str = "meerkat-subtree-1";

pub(super) const COMMAND: Command = Command {
    name: "export",
    usage: "path [file]",
    help: "writes a subtree with data and ACLs as JSON, to stdout unless a file is named",
    origin: Origin::Ours,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(1, 2)?;
    let root = checked(&parsed.words[1])?;
    let nodes = subtree::read(shell, root).await?;
    let listed: Vec<Value> = nodes.iter().map(node_json).collect();
    let document = json!({"format": FORMAT, "path": root, "nodes": listed});
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    if nodes.iter().any(|node| hides_a_hash(&node.acl)) {
        shell.output.note(
            "Some digest ACLs show x instead of the hash: addauth somebody with read and admin \
             rights to export them.",
        );
    }
    match parsed.words.get(2) {
        None => shell.output.line(&text),
        Some(file) => {
            fs::write(file, text + "\n")
                .map_err(|error| Failure::new(format!("{file}: {error}")))?;
            shell
                .output
                .note(&format!("{} znodes written to {file}", nodes.len()));
        }
    }
    Ok(())
}

fn node_json(node: &Node) -> Value {
    let mut fields = Map::new();
    fields.insert("path".to_owned(), node.relative.clone().into());
    if let Some(data) = &node.data {
        let (name, text) = match str::from_utf8(data) {
            Ok(text) => ("data", text.to_owned()),
            Err(_) => ("dataBase64", STANDARD.encode(data)),
        };
        fields.insert(name.to_owned(), text.into());
    }
    fields.insert("acl".to_owned(), acl_json(&node.acl));
    if node.is_ephemeral() {
        fields.insert("ephemeral".to_owned(), true.into());
    }
    Value::Object(fields)
}
