//! `tree [-L depth] [path]`: draws a subtree. Beyond upstream.

use jute::ErrorCode;
use serde_json::{Value, json};

use super::super::output::Colour;
use super::super::path::join;
use super::walk::Unreadable;
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, Origin, PLAIN, Shell,
    path_or_root, form,
};

pub(super) const COMMAND: Command = Command {
    name: "tree",
    usage: "[-L depth] [path]",
    grammar: Grammar {
        options: &[Opt::value("L", "levels to show"), OUTPUT_OPTION],
        choice: Choice::Free,
    },
    help: "draws a subtree",
    origin: Origin::Ours,
    ..PLAIN
};

/// A node that is to be shown.
struct Branch {
    path: String,
    depth: usize,
    /// What stands before its own connector.
    indent: String,
    is_last: bool,
}

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(0, 1)?;
    let form = form(&parsed)?;
    let root = path_or_root(&parsed)?;
    let depth_max: usize = match parsed.value("L") {
        Some(text) => text
            .parse()
            .map_err(|_| Failure::new(format!("-L needs a number of levels, not {text}")))?,
        None => usize::MAX,
    };
    let keeper = shell.keeper.clone();
    let mut unreadable = Unreadable::default();
    let mut branches = vec![Branch {
        path: root.to_owned(),
        depth: 0,
        indent: String::new(),
        is_last: true,
    }];
    while let Some(branch) = branches.pop() {
        let names = match shell.wait(keeper.children(&branch.path, false)).await {
            Ok((mut names, _)) => {
                names.sort();
                names
            }
            // Gone since its parent was listed.
            Err(ErrorCode::NO_NODE) if branch.depth > 0 => continue,
            // Its name is known at least.
            Err(code) if branch.depth > 0 => {
                unreadable.note(shell, &branch.path, code)?;
                Vec::new()
            }
            Err(code) => return Err(Failure::refused(code, Some(&branch.path))),
        };
        match form {
            Form::Text => draw(shell, &branch),
            Form::Json => shell.output.json(&described(&branch, &names)),
        }
        if shell.output.is_closed() || branch.depth >= depth_max {
            continue;
        }
        let indent = match (branch.depth, branch.is_last) {
            (0, _) => String::new(),
            (_, true) => format!("{}    ", branch.indent),
            (_, false) => format!("{}│   ", branch.indent),
        };
        // The last one first onto the stack.
        for (index, name) in names.iter().rev().enumerate() {
            branches.push(Branch {
                path: join(&branch.path, name),
                depth: branch.depth + 1,
                indent: indent.clone(),
                is_last: index == 0,
            });
        }
    }
    unreadable.outcome()
}

fn draw(shell: &mut Shell, branch: &Branch) {
    if branch.depth == 0 {
        shell.output.line(&branch.path);
        return;
    }
    let connector = if branch.is_last { "└── " } else { "├── " };
    let lead = format!("{}{connector}", branch.indent);
    let lead = shell.output.paint(Colour::Grey, &lead);
    let name = branch.path.rsplit('/').next().unwrap_or_default();
    shell.output.line(&format!("{lead}{name}"));
}

fn described(branch: &Branch, names: &[String]) -> Value {
    json!({"path": branch.path, "depth": branch.depth, "children": names})
}
