//! `find [path] [-name pattern] [-data text] [-e]`: paths of znodes. Beyond upstream.

use jute::proto::Stat;
use serde_json::json;

use super::super::output::stat_json;
use super::walk::{Unreadable, Walk};
use super::{
    Call, Choice, Command, Failure, Form, Grammar, OUTPUT_OPTION, Opt, Origin, PLAIN, Shell,
    path_or_root, form, subtree,
};

/// Nodes looked at together.
const PORTION: usize = 1024;

pub(super) const COMMAND: Command = Command {
    name: "find",
    usage: "[path] [-name pattern] [-data text] [-e]",
    grammar: Grammar {
        options: &[
            Opt::value("name", "its name matches: * for any letters, ? for one"),
            Opt::value("data", "its data contains this text"),
            Opt::flag("e", "it is ephemeral"),
            OUTPUT_OPTION,
        ],
        choice: Choice::Free,
    },
    help: "prints the paths of a subtree's znodes of which all of this is true",
    origin: Origin::Ours,
    ..PLAIN
};

/// What a node must have.
struct Wanted<'a> {
    name: Option<&'a str>,
    data: Option<&'a str>,
    ephemeral: bool,
}

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_own(0, 1)?;
    let form = form(&parsed)?;
    let root = path_or_root(&parsed)?;
    let wanted = Wanted {
        name: parsed.value("name"),
        data: parsed.value("data"),
        ephemeral: parsed.has("e"),
    };
    let mut unreadable = Unreadable::default();
    let mut walk = Walk::start(shell, root, false).await?;
    loop {
        let mut portion = Vec::new();
        while portion.len() < PORTION {
            let Some(path) = walk.next_readable(shell, &mut unreadable).await? else {
                break;
            };
            let name = path.rsplit('/').next().unwrap_or_default();
            if wanted.name.is_none_or(|pattern| matches(pattern, name)) {
                portion.push(path);
            }
        }
        if portion.is_empty() || shell.output.is_closed() {
            return unreadable.outcome();
        }
        for (path, stat) in chosen(shell, &wanted, form, portion, &mut unreadable).await? {
            match (form, stat) {
                (Form::Json, Some(stat)) => shell
                    .output
                    .json(&json!({"path": path, "stat": stat_json(&stat)})),
                _ => shell.output.line(&path),
            }
        }
    }
}

/// Those that have what only the server can tell; with their stats when they were asked for.
async fn chosen(
    shell: &mut Shell,
    wanted: &Wanted<'_>,
    form: Form,
    paths: Vec<String>,
    unreadable: &mut Unreadable,
) -> Result<Vec<(String, Option<Stat>)>, Failure> {
    let is_wanted = |stat: &Stat| !wanted.ephemeral || stat.ephemeral_owner != 0;
    if let Some(text) = wanted.data {
        let contains = |data: &Option<Vec<u8>>| {
            let data = data.as_deref().unwrap_or_default();
            text.is_empty() || data.windows(text.len()).any(|part| part == text.as_bytes())
        };
        let found = subtree::data(shell, &paths, Some(unreadable)).await?;
        let found = found.into_iter();
        let found = found.filter(|(_, data, stat)| contains(data) && is_wanted(stat));
        return Ok(found.map(|(path, _, stat)| (path, Some(stat))).collect());
    }
    if wanted.ephemeral || form == Form::Json {
        let found = subtree::stats(shell, &paths, Some(unreadable)).await?;
        let found = found.into_iter();
        let found = found.filter(|(_, stat)| is_wanted(stat));
        return Ok(found.map(|(path, stat)| (path, Some(stat))).collect());
    }
    Ok(paths.into_iter().map(|path| (path, None)).collect())
}

/// Whether a name fits a pattern in which `*` stands for any letters and `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut letter) = (0, 0);
    // Where to go on when the last star has to stand for one letter more.
    let mut retry = None;
    while letter < name.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, letter));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[letter] => {
                at += 1;
                letter += 1;
            }
            _ => {
                let Some((behind, from)) = retry else {
                    return false;
                };
                retry = Some((behind, from + 1));
                at = behind;
                letter = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|wanted| *wanted == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("**x*y", "axbxcy", true),
            ("*x", "xxa", false),
            ("ü*", "ünï", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
