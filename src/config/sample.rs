//! The text of `conf/zoo_sample.cfg`, written from the table of keys so that the two agree.

use std::fmt::Write as _;

use super::keys::{self, Absent, Honoured, Origin, Row, Treatment};

/// Widest line of prose in the file.
const COLUMNS_MAX: usize = 100;

/// Keys that the sample sets; every other one shows its default behind a comment sign.
const LIVE: &[(&str, &str)] = &[("dataDir", "./data"), ("clientPort", "2181")];

const HEAD: &str = "\
Sample configuration of Meerkat. It works as it stands: copy it to zoo.cfg and change what you need.
The file is a Java properties file, read as ZooKeeper 3.9 reads its own: key=value, key:value or key value; # and ! \
begin comments; a backslash at the end continues a line and elsewhere escapes, so a backslash is written twice; the \
last of equal keys wins; keys are case sensitive.
A key behind a comment sign shows what holds without it, or an example where nothing does. \"Property\" tells the \
system property of ZooKeeper, which -D words in SERVER_JVMFLAGS or JVMFLAGS set; zoo.cfg overrules them.";

/// Every key with meaning, unit, default and upstream name.
#[must_use]
pub fn sample_file() -> String {
    let mut out = String::new();
    for paragraph in HEAD.lines() {
        prose(&mut out, "# ", paragraph);
    }
    for section in keys::SECTIONS {
        let _ = write!(out, "\n# ---- {} ----\n", section.title);
        let mut last_reason = "";
        for row in section.rows {
            match &row.treatment {
                Treatment::Honoured(honoured) => {
                    out.push('\n');
                    explain(&mut out, row, honoured);
                }
                Treatment::Accepted { why } | Treatment::Refused { why, .. } => {
                    // Rows differ in where ZooKeeper looks; the reader wants each reason once.
                    if *why != last_reason {
                        out.push('\n');
                        prose(&mut out, "# ", &format!("Because {why}:"));
                        last_reason = why;
                    }
                    list(&mut out, row);
                }
            }
        }
    }
    out
}

fn explain(out: &mut String, row: &Row, honoured: &Honoured) {
    let Honoured {
        unit,
        absent,
        meaning,
        ..
    } = honoured;
    for (name, _) in row.names {
        let _ = writeln!(out, "# {}", name.replace('*', "N"));
        prose(out, "#   ", meaning);
        let default = match absent {
            Absent::Default(text) => text,
            Absent::Unset(_) => "unset",
        };
        let _ = writeln!(
            out,
            "#   Unit: {unit}. Default: {default}. {}.",
            upstream_name(name, row.origin)
        );
        let live = LIVE.iter().find(|(live, _)| live == name);
        let (Absent::Default(shown) | Absent::Unset(shown)) = *absent;
        let _ = match live {
            Some((_, value)) => writeln!(out, "{name}={value}"),
            None => writeln!(out, "#{}={shown}", name.replace('*', "1")),
        };
    }
}

fn list(out: &mut String, row: &Row) {
    for (name, default) in row.names {
        let upstream = upstream_name(name, row.origin);
        let _ = writeln!(out, "#   {name}. Default: {default}. {upstream}.");
    }
}

fn upstream_name(name: &str, origin: Origin) -> String {
    match origin {
        Origin::File => "ZooKeeper: this key".to_owned(),
        Origin::Property => format!("Property: zookeeper.{name}"),
        Origin::Flag => format!("Property: {name} (ZooKeeper takes it as a -D word only)"),
        Origin::Anywhere => format!("Property: zookeeper.{name} or {name}"),
    }
}

fn prose(out: &mut String, indent: &str, text: &str) {
    let mut line = indent.trim_end().to_owned();
    let mut gap = &indent[line.len()..];
    for word in text.split_whitespace() {
        if line.len() + gap.len() + word.len() > COLUMNS_MAX && line.len() >= indent.len() {
            out.push_str(&line);
            out.push('\n');
            indent.trim_end().clone_into(&mut line);
            gap = &indent[line.len()..];
        }
        line.push_str(gap);
        line.push_str(word);
        gap = " ";
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect_file;

    use super::{LIVE, sample_file};
    use crate::config::keys::{Absent, SECTIONS, Treatment};
    use crate::config::{Config, HostPort, JvmFlags, Notice};

    fn read(text: &str) -> Result<(Config, Vec<Notice>), String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("zoo.cfg");
        std::fs::write(&path, text).expect("the directory is writable");
        let read = Config::from_file(&path, &JvmFlags::default());
        read.map(|(config, notices)| {
            (
                Config {
                    file: None,
                    ..config
                },
                notices,
            )
        })
        .map_err(|error| error.to_string())
    }

    fn live_lines() -> String {
        LIVE.iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    /// `UPDATE_EXPECT=1` writes the file anew.
    #[test]
    fn the_file_in_conf_is_what_the_table_says() {
        expect_file!["../../conf/zoo_sample.cfg"].assert_eq(&sample_file());
    }

    #[test]
    fn the_sample_works_as_it_stands_and_changes_no_default() {
        let (config, notices) = read(&sample_file()).expect("the sample is valid");
        assert_eq!(notices, []);
        let default = Config {
            data_dir: "./data".into(),
            data_log_dir: "./data".into(),
            client_listen: Some(HostPort {
                host: "0.0.0.0".to_owned(),
                port: 2181,
            }),
            ..Config::default()
        };
        assert_eq!(config, default);
    }

    #[test]
    fn each_default_that_the_sample_shows_is_the_default() {
        let (without, _) = read(&live_lines()).expect("the live keys alone are valid");
        for row in SECTIONS.iter().flat_map(|section| section.rows) {
            let Treatment::Honoured(honoured) = &row.treatment else {
                continue;
            };
            let Absent::Default(default) = honoured.absent else {
                continue;
            };
            let key = row.names[0].0;
            let (with, notices) = read(&format!("{}{key}={default}\n", live_lines())).expect(key);
            let with = Config {
                system_properties: without.system_properties.clone(),
                ..with
            };
            assert_eq!(
                with, without,
                "{key}={default} is not what holds without it"
            );
            assert!(
                notices.iter().all(|notice| notice.text.contains("-D word")),
                "{key}: {notices:?}"
            );
        }
    }

    #[test]
    fn each_example_that_the_sample_shows_is_valid_and_does_something() {
        let (without, _) = read(&live_lines()).expect("the live keys alone are valid");
        let needs_more = ["dynamicConfigFile", "group.*", "weight.*"];
        for row in SECTIONS.iter().flat_map(|section| section.rows) {
            let Treatment::Honoured(honoured) = &row.treatment else {
                continue;
            };
            let Absent::Unset(example) = honoured.absent else {
                continue;
            };
            let key = row.names[0].0;
            if needs_more.contains(&key)
                || key.starts_with("authProvider")
                || key == "jute.maxbuffer.extrasize"
            {
                continue;
            }
            let value = if key == "clientPort" { "2182" } else { example };
            let (with, _) = read(&format!(
                "{}{}={value}\n",
                live_lines(),
                key.replace('*', "1")
            ))
            .expect(key);
            let with = Config {
                system_properties: without.system_properties.clone(),
                ..with
            };
            assert_ne!(with, without, "{key}={value} changes nothing");
        }
    }

    #[test]
    fn every_key_is_documented_in_full() {
        let text = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/zoo_sample.cfg"),
        )
        .expect("the sample is there");
        for row in SECTIONS.iter().flat_map(|section| section.rows) {
            for (name, _) in row.names {
                let documented = match row.treatment {
                    Treatment::Honoured(_) => {
                        text.contains(&format!("\n# {}\n", name.replace('*', "N")))
                    }
                    _ => text.contains(&format!("\n#   {name}. Default: ")),
                };
                assert!(documented, "{name} is not in conf/zoo_sample.cfg");
            }
        }
    }
}
