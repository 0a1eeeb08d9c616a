//! The configuration files follow the members.
//!
//! With `reconfigEnabled` each configuration that the ensemble agrees on is written beside zoo.cfg,
//! as `zoo.cfg.dynamic.VERSION`, and zoo.cfg is made to point at it: a server that starts again
//! knows who its peers are and where it listens itself. Members that stood in zoo.cfg itself move
//! there; zoo.cfg as it was is kept as `zoo.cfg.bak`. Files of older versions stay.
//!
//! Each file is written under another name, flushed and renamed, the dynamic file first: whenever
//! the machine stops, zoo.cfg points at a whole file. A file that cannot be written is the
//! operator's to hear of and stops nobody, for the log knows the members too.
//!
//! Upstream: `QuorumPeer.setQuorumVerifier`, `QuorumPeerConfig.writeDynamicConfig`. It keeps a change
//! that is under way in `zoo.cfg.dynamic.next`; here that stands in the log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::agreed::{Agreed, Agreements};
use crate::config::{Config, ConfigError, ServerSpec, pointing_at};
use crate::pipeline::Core;

/// Why a file is as it was.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Text(#[from] ConfigError),
}

impl WriteError {
    fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, error }
    }
}

/// zoo.cfg and the file that it points at.
#[derive(Debug, Clone)]
pub(super) struct DynamicFile {
    /// zoo.cfg, absolute.
    static_file: PathBuf,
    me: u64,
    /// Of the file that zoo.cfg points at, 0 without one.
    version: u64,
    /// A configuration of the ensemble has had this server in it. One that joins sees some that do
    /// not have it yet, and could not start again with those.
    was_member: bool,
}

impl DynamicFile {
    /// Takes over the files that the server has started with. None when they are not to be changed.
    pub(super) fn open(config: &Config) -> Option<Self> {
        let file = config.file.as_ref()?;
        if !config.is_distributed() || !config.ensemble.reconfig_enabled {
            return None;
        }
        let static_file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let version = config.ensemble.config_version;
        let opened = Self {
            static_file,
            me: config.my_id.map_or(0, u64::from),
            version,
            was_member: version != 0,
        };
        if config.ensemble.dynamic_config_file.is_none()
            && let Err(error) = opened.back_up()
        {
            tracing::error!(%error, "the configuration file cannot be copied");
        }
        if opened.beside(".dynamic.next").exists() {
            tracing::warn!(
                path = %opened.beside(".dynamic.next").display(),
                "a change of members that never ended has left a file; what the log says counts"
            );
        }
        Some(opened)
    }

    /// Writes what the ensemble agrees on, for as long as the server lives.
    pub(super) async fn follow(mut self, core: Arc<Core>) {
        let mut agreements = Agreements::of(&core);
        loop {
            let agreed = agreements.look().filter(|agreed| self.is_due(agreed));
            if let Some(due) = agreed {
                // Disks may be slow, and nobody waits for this one.
                let (mut file, version) = (self.clone(), due.version);
                let writing = tokio::task::spawn_blocking(move || {
                    let written = file.write(&due);
                    (file, written)
                });
                let Ok((file, written)) = writing.await else {
                    return;
                };
                self = file;
                if let Err(error) = written {
                    tracing::error!(
                        %error,
                        version = format!("{version:x}"),
                        "the members have changed and cannot be written down; a restart begins with those in the file"
                    );
                }
            }
            if !agreements.changed().await {
                return;
            }
        }
    }

    /// Whether this is to be written.
    fn is_due(&mut self, agreed: &Agreed) -> bool {
        let has_me = agreed.own_line(self.me).is_some();
        self.was_member |= has_me && agreed.version >= self.version;
        self.was_member && agreed.overrules(self.version)
    }

    fn write(&mut self, agreed: &Agreed) -> Result<(), WriteError> {
        let target = self.beside(&format!(".dynamic.{:x}", agreed.version));
        self.replace(&target, agreed.members.as_bytes())?;
        let target = target
            .canonicalize()
            .map_err(|error| WriteError::io(&target, error))?;
        let has_client = |line: ServerSpec| line.client.is_some();
        let text = pointing_at(
            &self.read_static()?,
            &target,
            agreed.own_line(self.me).is_some_and(has_client),
        )?;
        self.replace(&self.static_file, &text)?;
        self.version = agreed.version;
        let next = self.beside(".dynamic.next");
        if let Err(error) = fs::remove_file(&next)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %next.display(), %error, "cannot be removed");
        }
        tracing::info!(path = %target.display(), "the members are written down");
        Ok(())
    }

    fn back_up(&self) -> Result<(), WriteError> {
        self.replace(&self.beside(".bak"), &self.read_static()?)
    }

    fn read_static(&self) -> Result<Vec<u8>, WriteError> {
        fs::read(&self.static_file).map_err(|error| WriteError::io(&self.static_file, error))
    }

    /// The name of zoo.cfg with this behind it.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.static_file.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Puts a file in place whole, readable for whoever may read zoo.cfg.
    fn replace(&self, target: &Path, content: &[u8]) -> Result<(), WriteError> {
        let mut unfinished = target.as_os_str().to_owned();
        unfinished.push(".tmp");
        let unfinished = PathBuf::from(unfinished);
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                // There may be secrets in it.
                .mode(0o600)
                .open(&unfinished)?;
            file.set_permissions(fs::metadata(&self.static_file)?.permissions())?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(|error| WriteError::io(&unfinished, error))?;
        let rename = || {
            fs::rename(&unfinished, target)?;
            let dir = target.parent().unwrap_or_else(|| Path::new("/"));
            fs::File::open(dir)?.sync_all()
        };
        rename().map_err(|error| WriteError::io(target, error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use expect_test::{Expect, expect};

    use super::super::agreed::Agreed;
    use super::DynamicFile;

    const LINES: &str = "server.1=a:1:2:participant;a:3\nserver.2=b:1:2:participant;b:3";

    fn file(dir: &Path, me: u64, version: u64) -> DynamicFile {
        DynamicFile {
            static_file: dir.join("zoo.cfg"),
            me,
            version,
            was_member: version != 0,
        }
    }

    /// Versions that server 3 writes, of those that it sees one after the other. `+` marks those
    /// that have it as a member, `!` those that it sees when it is up to date.
    fn check(own_version: u64, seen: &str, expected: Expect) {
        let mut file = file(Path::new("/"), 3, own_version);
        let mut written = Vec::new();
        for word in seen.split_whitespace() {
            let own = word.contains('+').then_some("\nserver.3=c:1:2");
            let version = word.trim_matches(['+', '!']);
            let text = format!("{LINES}{}\nversion={version}", own.unwrap_or_default());
            let agreed = Agreed::parse(&text, word.contains('!')).expect("a configuration");
            if file.is_due(&agreed) {
                written.push(word);
                file.version = agreed.version;
            }
        }
        expected.assert_eq(&written.join(" "));
    }

    #[test]
    fn what_is_newer_is_written_and_what_is_right() {
        check(0, "1+ 2+ 2+! 3+! 4! 5!", expect!["1+ 2+ 3+! 4! 5!"]);
        // A replay of the log, then the truth.
        check(5, "1+ 4+ 5+ 6+", expect!["6+"]);
        check(5, "1+ 4+ 4+!", expect!["4+!"]);
        // A server that joins is not in the first ones.
        check(0, "1 2 3+ 4", expect!["3+ 4"]);
        check(0, "1 1! 3+!", expect!["3+!"]);
    }

    #[test]
    fn files_are_whole_and_as_secret_as_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let text = "# ours\nsecret=1\nclientPort=3\nserver.1=a:1:2;a:3\nserver.2=b:1:2;b:3\n";
        fs::write(path("zoo.cfg"), text).expect("written");
        let only_me = fs::Permissions::from_mode(0o640);
        fs::set_permissions(path("zoo.cfg"), only_me).expect("changed");
        fs::write(path("zoo.cfg.dynamic.next"), "junk").expect("written");
        // What a crash has left.
        fs::write(
            path("zoo.cfg.tmp"),
            "a much longer file, cut off in the middle",
        )
        .expect("written");
        let mut file = file(dir.path(), 1, 0);
        file.back_up().expect("written");
        let agreed = Agreed::parse(&format!("{LINES}\nversion=1f"), true).expect("a configuration");
        file.write(&agreed).expect("written");
        let read = |name: &str| fs::read_to_string(path(name)).expect("readable");
        assert_eq!(read("zoo.cfg.bak"), text);
        assert_eq!(read("zoo.cfg.dynamic.1f"), LINES);
        let dynamic = path("zoo.cfg.dynamic.1f").canonicalize().expect("there");
        let expected = format!(
            "# ours\nsecret=1\ndynamicConfigFile={}\n",
            dynamic.display()
        );
        assert_eq!(read("zoo.cfg"), expected);
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .expect("readable")
            .map(|entry| entry.expect("readable"))
            .map(|entry| {
                let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
                format!("{mode:o} {}", entry.file_name().to_string_lossy())
            })
            .collect();
        names.sort();
        expect![[r"
            640 zoo.cfg
            640 zoo.cfg.bak
            640 zoo.cfg.dynamic.1f"]]
        .assert_eq(&names.join("\n"));
    }

    #[test]
    fn zoo_cfg_is_left_alone_when_the_dynamic_file_cannot_be_written() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("zoo.cfg"), LINES).expect("written");
        fs::create_dir(dir.path().join("zoo.cfg.dynamic.1f")).expect("created");
        let mut file = file(dir.path(), 1, 0);
        let agreed = Agreed::parse(&format!("{LINES}\nversion=1f"), true).expect("a configuration");
        let error = file.write(&agreed).expect_err("a directory is in the way");
        assert!(error.to_string().contains("zoo.cfg.dynamic.1f"), "{error}");
        let left = fs::read_to_string(dir.path().join("zoo.cfg")).expect("readable");
        assert_eq!((left.as_str(), file.version), (LINES, 0));
    }
}
