//! Writes the audit log: with all other lines, or into a file of its own that is rolled by its size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::admin::own_user;
use crate::config::AuditConfig;
use crate::op::audit::Deed;
use crate::pipeline::{AUDIT_WAITING_MAX, Audit, Record};

/// A file of this size gets another name, and the files before it, as upstream's logger is set up.
const FILE_BYTES_MAX: u64 = 10 << 20;
const FILES_MAX: u32 = 10;

/// How long the last lines may take.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The audit log of a server; says when it has started and when it stops.
pub(super) struct AuditLog {
    pub(super) audit: Audit,
    ended: Receiver<()>,
    _thread: JoinHandle<()>,
}

impl AuditLog {
    /// # Errors
    /// The file cannot be written to, or there is no thread to be had.
    pub(super) fn start(config: &AuditConfig) -> io::Result<Option<Self>> {
        if !config.enabled {
            return Ok(None);
        }
        let mut sink = match &config.file {
            Some(file) => Sink::File(Rolled::open(config.dir.join(file))?),
            None => Sink::Log,
        };
        let (records, waiting) = sync_channel(AUDIT_WAITING_MAX);
        let (end, ended) = sync_channel(1);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || {
            sink.run(&waiting);
            let _ = end.send(());
        })?;
        let audit = Audit {
            records,
            own_user: own_user().into(),
        };
        Ok(Some(Self {
            audit,
            ended,
            _thread: thread,
        }))
    }

    /// The only line of a server that could not start.
    pub(super) fn start_failed(&self) {
        self.audit
            .put_own(Deed::of_server("serverStart", false), false);
        self.wait_for_end();
    }

    /// The last line; returns once it is written.
    pub(super) fn stop(&self) {
        self.audit
            .put_own(Deed::of_server("serverStop", true), true);
        self.wait_for_end();
    }

    /// The line that says so ends the writer.
    fn wait_for_end(&self) {
        let _ = self.ended.recv_timeout(END_LIMIT);
    }
}

enum Sink {
    Log,
    File(Rolled),
}

impl Sink {
    /// Until the server stops or nobody is left to write for.
    fn run(&mut self, waiting: &Receiver<Record>) {
        while let Ok(first) = waiting.recv() {
            let mut next = Some(first);
            let mut is_last = false;
            while let Some(record) = next {
                is_last |= record.is_last();
                self.put(&record);
                next = waiting.try_recv().ok();
            }
            if let Self::File(file) = self
                && let Err(error) = file.out.flush()
            {
                file.failed(&error);
            }
            if is_last {
                return;
            }
        }
    }

    fn put(&mut self, record: &Record) {
        match self {
            // Upstream's logger by its name, and its levels.
            Self::Log if record.deed.is_done => {
                tracing::info!(target: "org.apache.zookeeper.audit.Slf4jAuditLogger", "{record}");
            }
            Self::Log => {
                tracing::error!(target: "org.apache.zookeeper.audit.Slf4jAuditLogger", "{record}");
            }
            Self::File(file) => {
                if let Err(error) = file.put(record) {
                    file.failed(&error);
                }
            }
        }
    }
}

/// A file that becomes `name.1` when it is large, and that `name.2`, up to a limit.
struct Rolled {
    path: PathBuf,
    out: BufWriter<File>,
    bytes: u64,
}

impl Rolled {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = append_to(&path)?;
        Ok(Self {
            bytes: file.metadata()?.len(),
            out: BufWriter::new(file),
            path,
        })
    }

    fn put(&mut self, record: &Record) -> io::Result<()> {
        if self.bytes >= FILE_BYTES_MAX {
            self.roll()?;
        }
        let level = if record.deed.is_done { "INFO" } else { "ERROR" };
        let now = jiff::ZonedDateTime::now();
        let now = now.strftime("%Y-%m-%d %H:%M:%S,%3f");
        let line = format!("{now} {level} audit.Slf4jAuditLogger: {record}\n");
        self.bytes += line.len() as u64;
        self.out.write_all(line.as_bytes())
    }

    fn roll(&mut self) -> io::Result<()> {
        self.out.flush()?;
        for older in (1..FILES_MAX).rev() {
            rename(&self.numbered(older), &self.numbered(older + 1))?;
        }
        rename(&self.path, &self.numbered(1))?;
        *self = Self::open(std::mem::take(&mut self.path))?;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Said each time: what is not in the audit log is in this one.
    fn failed(&self, error: &io::Error) {
        metrics::counter!("meerkat_audit_failures").increment(1);
        tracing::error!(path = %self.path.display(), %error, "the audit log cannot be written");
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        Record {
            session: None,
            users: "zk".into(),
            ip: None,
            deed: Deed::ephemeral_gone(text),
            is_invoked: false,
        }
    }

    #[test]
    fn a_large_file_makes_way_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.log");
        let mut file = Rolled::open(path.clone()).expect("writable");
        for round in 0..FILES_MAX + 3 {
            file.put(&record(&format!("/{round}"))).expect("writable");
            file.out.flush().expect("writable");
            file.bytes = FILE_BYTES_MAX;
        }
        let read = |path: &Path| fs::read_to_string(path).expect("there");
        assert!(read(&path).contains("znode=/12\t"));
        assert!(read(&file.numbered(1)).contains("znode=/11\t"));
        assert!(read(&file.numbered(FILES_MAX)).contains("znode=/2\t"));
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 11);
        // What is there already counts.
        let again = Rolled::open(path.clone()).expect("writable");
        assert_eq!(again.bytes, read(&path).len() as u64);
    }
}
