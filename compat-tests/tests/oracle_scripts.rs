//! The scripts in `compat-tests/scripts`: written by hand, or left by random differences.

use std::fs;
use std::path::Path;

use meerkat_compat_tests::oracle::Pair;
use meerkat_compat_tests::script::Script;
use meerkat_compat_tests::server::Kind;

#[test]
fn scripts_are_answered_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "script")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut pair = Pair::new(Kind::ZooKeeper, Kind::Meerkat);
    let mut differing = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("it can be read");
        let script: Script = text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error:#}", file.display()));
        if let Some(difference) = pair.run(&script).expect("both servers run") {
            differing.push(format!("{}\n{difference}", file.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}
