//! The process that is killed: one configuration, one data directory, one port, many lives.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Context, Result, ensure};
use meerkat_compat_tests::server::meerkat_binary;
use tempfile::TempDir;

/// How long recovery may take.
const START_LIMIT: Duration = Duration::from_secs(60);
const WORD_LIMIT: Duration = Duration::from_millis(500);
/// How long a clean stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Below the range that outgoing connections take their ports from, so that nobody gets ours while
/// the server is down, least of all a client that would connect to itself.
const PORTS: std::ops::Range<u16> = 23_000..32_000;
/// Last bytes of the log that a failure shows.
const LOG_TAIL_BYTES: usize = 4_000;

#[derive(Debug)]
pub(crate) struct Server {
    binary: PathBuf,
    home: TempDir,
    addr: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Prepares everything but starts nothing.
    pub(crate) fn prepare() -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("meerkat-crash-")
            .tempdir()?;
        let port = free_port()?;
        let config = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             tickTime=200\nminSessionTimeout=400\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n\
             4lw.commands.whitelist=*\nadmin.enableServer=false\nsnapCount=2000\n",
            home.path().join("data").display()
        );
        fs::write(home.path().join("zoo.cfg"), config)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self {
            binary: meerkat_binary()?,
            home,
            addr,
            child: None,
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = Command::new(&self.binary);
        command
            .arg(self.home.path().join("zoo.cfg"))
            .current_dir(self.home.path());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and the process is gone on return.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("no server to kill")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the process is gone on return.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("no server to stop")?;
        // std can only send SIGKILL.
        let asked = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()?;
        ensure!(asked.success(), "kill -TERM failed");
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the server ignores SIGTERM");
            thread::sleep(POLL);
        }
    }

    /// Waits until `srvr` tells a mode: the server has recovered and takes sessions.
    ///
    /// A client that comes earlier is closed; Apache ZooKeeper forgets even that when it is still
    /// opening its data, and leaves the connection hanging.
    pub(crate) fn await_serving(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            self.check_alive()?;
            if self
                .word("srvr")
                .is_ok_and(|answer| answer.contains("Mode: "))
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the server does not serve");
            thread::sleep(POLL);
        }
    }

    /// The hash over the whole tree that our server keeps at each change, sessions' ephemerals and
    /// all; `None` for Apache ZooKeeper, which tells none.
    pub(crate) fn digest(&self) -> Result<Option<String>> {
        let mntr = self.word("mntr")?;
        let digest = mntr
            .lines()
            .find_map(|line| line.strip_prefix("zk_meerkat_tree_digest\t"));
        ensure!(
            digest.is_some() || !mntr.contains("-meerkat-"),
            "our server tells no digest"
        );
        Ok(digest.map(str::to_owned))
    }

    /// The answer to a four-letter word.
    fn word(&self, word: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(WORD_LIMIT))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Fails when the process has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("no server")?;
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("the server ended by itself with {status}");
        }
        Ok(())
    }

    /// The end of what all lives have printed.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}

fn free_port() -> Result<u16> {
    // Starting at a place of our own keeps tests that run side by side apart.
    let first = usize::try_from(process::id())? % PORTS.len();
    let mut candidates = PORTS.cycle().skip(first).take(PORTS.len());
    candidates
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .context("no free port")
}
