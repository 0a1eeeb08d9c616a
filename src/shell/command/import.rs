//! `import [-f] file [path]`: creates what [`export`](super::export) has written. Beyond upstream.

use std::collections::HashSet;
use std::fs;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jute::proto::{Acl, Id, perms};
use serde::Deserialize;

use crate::client::{Change, open_acl};

use super::export::FORMAT;
use super::{
    Call, Choice, Command, Failure, Grammar, Opt, Origin, PLAIN, Shell, checked, subtree,
};

/// Of a file.
const FILE_BYTES_MAX: u64 = 1 << 30;

pub(super) const COMMAND: Command = Command {
    name: "import",
    usage: "[-f] file [path]",
    grammar: Grammar {
        options: &[Opt::flag(
            "f",
            "replace the data of znodes that exist already, write ACLs whose hash is x",
        )],
        choice: Choice::Free,
    },
    help: "creates the subtree that export has written, where it was or at another path",
    origin: Origin::Ours,
    ..PLAIN
};

#[derive(Deserialize)]
struct Document {
    format: String,
    path: String,
    nodes: Vec<ExportedNode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedNode {
    path: String,
    data: Option<String>,
    data_base64: Option<String>,
    #[serde(default)]
    acl: Vec<ExportedAcl>,
    #[serde(default)]
    ephemeral: bool,
}

#[derive(Deserialize)]
struct ExportedAcl {
    scheme: String,
    id: String,
    perms: String,
}

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(1, 2)?;
    let file = &parsed.words[1];
    let document = read(file)?;
    let root = checked(parsed.words.get(2).unwrap_or(&document.path))?.to_owned();
    let replaces = parsed.has("f");
    let mut changes = Vec::with_capacity(document.nodes.len());
    let mut left_out = 0;
    for node in document.nodes {
        if node.ephemeral {
            left_out += 1;
            continue;
        }
        changes.push(creation(node, &root).map_err(|why| Failure::new(format!("{file}: {why}")))?);
    }
    let paths: Vec<String> = changes.iter().map(|change| change.path().to_owned()).collect();
    for path in &paths {
        checked(path)?;
    }
    let masked = changes.iter().find(|change| match change {
        Change::Create { acl, .. } => subtree::hides_a_hash(acl),
        _ => false,
    });
    if let Some(change) = masked {
        let what = format!(
            "The ACL of {} has x instead of a password's hash",
            change.path()
        );
        if !replaces {
            return Err(Failure::new(format!(
                "{what}, so it would be nobody's; nothing was imported (-f imports it so)"
            )));
        }
        shell.output.note(&what);
    }
    let existing = subtree::stats(shell, &paths, None).await?;
    let existing: HashSet<String> = existing.into_iter().map(|(path, _)| path).collect();
    // The root of all is there before anything else.
    let mut taken = paths.iter().filter(|path| *path != "/" && existing.contains(*path));
    if let Some(path) = taken.next().filter(|_| !replaces) {
        return Err(Failure::new(format!(
            "Node already exists: {path}; nothing was imported (-f replaces data)"
        )));
    }
    if !replaces && existing.contains("/") {
        changes.retain(|change| change.path() != "/");
        shell.output.note("The data of / is left as it is (-f replaces data)");
    }
    for change in &mut changes {
        replace_creation(change, &existing);
    }
    let finals = subtree::open_up(shell, &mut changes).await?;
    subtree::apply(shell, &changes).await?;
    subtree::close_up(shell, finals).await?;
    if left_out > 0 {
        shell
            .output
            .note(&format!("{left_out} ephemeral znodes left out"));
    }
    shell
        .output
        .note(&format!("{} znodes imported at {root}", changes.len()));
    Ok(())
}

fn read(file: &str) -> Result<Document, Failure> {
    let failed = |why: String| Failure::new(format!("{file}: {why}"));
    let opened = fs::File::open(file).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    opened
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(error.to_string()))?;
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if document.format != FORMAT {
        let format = &document.format;
        return Err(failed(format!("the format is {format}, not {FORMAT}")));
    }
    Ok(document)
}

fn creation(node: ExportedNode, root: &str) -> Result<Change, String> {
    let path = match (root, node.path.as_str()) {
        (root, "") => root.to_owned(),
        (_, relative) if !relative.starts_with('/') => {
            return Err(format!("a path that does not begin with a slash: {relative}"));
        }
        ("/", relative) => relative.to_owned(),
        (root, relative) => format!("{root}{relative}"),
    };
    let data = match (node.data, node.data_base64) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(text)) => {
            let decoded = STANDARD.decode(text);
            Some(decoded.map_err(|error| format!("{path}: dataBase64: {error}"))?)
        }
        (None, None) => None,
        (Some(_), Some(_)) => return Err(format!("{path}: both data and dataBase64")),
    };
    let mut acl = Vec::with_capacity(node.acl.len());
    for entry in node.acl {
        acl.push(Acl {
            perms: permissions(&entry.perms)
                .ok_or_else(|| format!("{path}: no permissions: {}", entry.perms))?,
            id: Id {
                scheme: Some(entry.scheme.into()),
                id: Some(entry.id.into()),
            },
        });
    }
    if acl.is_empty() {
        acl.push(open_acl());
    }
    Ok(Change::Create { path, data, acl })
}

fn permissions(letters: &str) -> Option<i32> {
    letters.chars().try_fold(0, |granted, letter| {
        let bit = match letter {
            'c' => perms::CREATE,
            'd' => perms::DELETE,
            'r' => perms::READ,
            'w' => perms::WRITE,
            'a' => perms::ADMIN,
            _ => return None,
        };
        Some(granted | bit)
    })
}

/// A node that is there already gets the data.
fn replace_creation(change: &mut Change, existing: &HashSet<String>) {
    if let Change::Create { path, data, .. } = change
        && existing.contains(path)
    {
        *change = Change::SetData {
            path: std::mem::take(path),
            data: data.take(),
            version: -1,
        };
    }
}
