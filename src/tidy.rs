//! Checks on the repository itself: who may import whom, and who may ask a clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with those that it may use. Nothing points back.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("tree", &["types"]),
    ("auth", &["tree", "types"]),
    ("watch", &["tree", "types"]),
    ("session", &["types"]),
    // Of the configuration only the grammar of server lines.
    (
        "op",
        &["auth", "config", "session", "tree", "types", "watch"],
    ),
    ("state", &["auth", "op", "session", "tree", "types"]),
    ("storage", &["types"]),
    // Of the state only how many requests an entry holds.
    ("ensemble", &["state", "storage", "types"]),
    (
        "pipeline",
        &[
            "auth", "ensemble", "op", "session", "state", "tree", "types", "watch",
        ],
    ),
    ("config", &[]),
    (
        "admin",
        &[
            "auth", "config", "convert", "ensemble", "op", "pipeline", "state", "tree", "types",
            "watch",
        ],
    ),
    (
        "server",
        &[
            "admin", "auth", "config", "ensemble", "op", "pipeline", "session", "state", "types",
        ],
    ),
    ("upstream", &["tree"]),
    (
        "convert",
        &[
            "auth", "ensemble", "session", "state", "tree", "types", "upstream",
        ],
    ),
    (
        "offline",
        &[
            "auth", "config", "convert", "ensemble", "op", "server", "session", "state", "storage",
            "tree", "types", "upstream",
        ],
    ),
    ("client", &[]),
    ("logging", &[]),
    ("collections", &[]),
    (
        "simulation",
        &[
            "client", "config", "ensemble", "server", "state", "storage", "types",
        ],
    ),
    ("load", &["client"]),
    // Of the configuration only the grammar of properties and of server lines.
    ("shell", &["client", "config"]),
];

/// What any module may use: the tables, and in a build for the simulation what it replaces.
const EVERYWHERE: [&str; 2] = ["collections", "simulation"];

/// Modules whose outcome must follow from their input alone.
const TIMELESS: [&str; 6] = ["types", "tree", "auth", "session", "op", "state"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the sources are there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file of a module, with its text.
fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&root).expect("below the root");
            let module = inside
                .components()
                .next()?
                .as_os_str()
                .to_string_lossy()
                .into_owned();
            let module = module.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("readable");
            (!["lib", "bin", "tidy"].contains(&module.as_str())).then_some((module, path, text))
        })
        .collect()
}

/// Modules that `crate::…` names in a text.
fn used(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn nothing_points_back() {
    for (module, path, text) in files() {
        let allowed = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{module} is not on the map"));
        assert!(
            !text.contains("use crate::{"),
            "{}: one module a line",
            path.display()
        );
        for name in used(&text) {
            assert!(
                name == module || allowed.contains(&name) || EVERYWHERE.contains(&name),
                "{} uses {name}, which {module} may not",
                path.display()
            );
        }
    }
}

#[test]
fn what_is_replicated_asks_no_clock() {
    for (module, path, text) in files() {
        if TIMELESS.contains(&module.as_str()) {
            for clock in ["SystemTime::now", "Instant::now", "thread_rng", "getrandom"] {
                assert!(!text.contains(clock), "{} asks {clock}", path.display());
            }
        }
    }
}

#[test]
fn openraft_stays_in_its_module() {
    for (module, path, text) in files() {
        let mentions = text.contains("openraft::") || text.contains("use openraft");
        assert!(
            !mentions || module == "ensemble",
            "{} names openraft",
            path.display()
        );
    }
}
