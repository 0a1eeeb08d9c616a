//! One running server, ours or Apache ZooKeeper, on a loopback port with a directory of its own.
//!
//! Both read the same zoo.cfg text. The process is stopped by its id when the value is dropped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// How long a server may take from its start until it serves.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a server that is starting or stopping.
const POLL: Duration = Duration::from_millis(20);
/// How long a server may take to go after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Starts tried, because another process can take the port that was free a moment ago. ZooKeeper
/// does not say why it ends, so any end at the start counts.
const PORT_ATTEMPTS: usize = 3;

/// The password of the super user that every server here knows, as an `auth` packet carries it.
pub const SUPER_AUTH: &[u8] = b"super:meerkat";
/// `super:` and the base64 SHA-1 of [`SUPER_AUTH`].
const SUPER_DIGEST: &str = "super:FAinkl9dklNLTgD1KcfghZYczI0=";

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Meerkat,
    ZooKeeper,
}

impl Kind {
    /// # Errors
    /// When the word is neither `meerkat` nor `zookeeper`.
    pub fn from_word(word: &str) -> Result<Self> {
        match word {
            "meerkat" => Ok(Self::Meerkat),
            "zookeeper" => Ok(Self::ZooKeeper),
            _ => bail!("a server is `meerkat` or `zookeeper`, not `{word}`"),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Meerkat => "meerkat",
            Self::ZooKeeper => "zookeeper",
        })
    }
}

/// Stands in a value for a port that nobody uses, another one each time a configuration is written.
pub const FREE_PORT: &str = "{free port}";

/// Puts ports in the place of [`FREE_PORT`].
pub(crate) fn with_ports(text: &str, mut port: impl FnMut() -> Result<u16>) -> Result<String> {
    let mut parts = text.split(FREE_PORT);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filled.push_str(&port()?.to_string());
        filled.push_str(part);
    }
    Ok(filled)
}

/// The value of a key in the text of a zoo.cfg.
pub(crate) fn value_in(text: &str, key: &str) -> Result<String> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value
        .map(str::to_owned)
        .with_context(|| format!("no {key}"))
}

/// Keys and values of zoo.cfg. Starts with what all tests want; [`Settings::set`] changes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    keys: BTreeMap<String, String>,
    /// Java system properties without a place in zoo.cfg, passed as `-D` words.
    properties: BTreeMap<String, String>,
    /// The release of ZooKeeper; `None` is the one that everything is measured by.
    version: Option<&'static str>,
    logs: bool,
    /// Of our server's process.
    environment: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        let keys = [
            ("tickTime", "2000"),
            ("maxClientCnxns", "0"),
            ("admin.enableServer", "false"),
            ("4lw.commands.whitelist", "*"),
            ("extendedTypesEnabled", "true"),
            ("DigestAuthenticationProvider.superDigest", SUPER_DIGEST),
            // Only ZooKeeper goes faster by it; nothing here survives a crash on purpose.
            ("forceSync", "no"),
        ];
        Self {
            keys: keys
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            // Reaping at its own pace would make zxids differ from run to run.
            properties: [(
                "znode.container.checkIntervalMs".to_owned(),
                "86400000".to_owned(),
            )]
            .into(),
            version: None,
            logs: false,
            environment: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// The same settings for another release of ZooKeeper.
    #[must_use]
    pub fn of_version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    /// The same settings for a ZooKeeper that logs; otherwise it does not, for it is faster so.
    #[must_use]
    pub fn with_logs(mut self) -> Self {
        self.logs = true;
        self
    }

    /// The same settings with a variable in the environment of our server.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets `KEY=VALUE`. A key that begins with `-D` is a Java system property.
    ///
    /// # Errors
    /// When there is no `=`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let (key, value) = assignment.split_once('=').context("expected KEY=VALUE")?;
        match key.strip_prefix("-D") {
            Some(name) => self.properties.insert(name.to_owned(), value.to_owned()),
            None => self.keys.insert(key.to_owned(), value.to_owned()),
        };
        Ok(())
    }

    fn text(&self, data_dir: &Path, port: u16) -> String {
        format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n{}",
            data_dir.display(),
            self.lines()
        )
    }

    /// What is the same wherever the server runs, but for [`FREE_PORT`].
    pub(crate) fn lines(&self) -> String {
        self.keys
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    fn flags(&self) -> Vec<String> {
        self.properties
            .iter()
            .map(|(name, value)| format!("-D{name}={value}"))
            .collect()
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    addr: SocketAddr,
    child: Child,
    guard: Child,
    dir: TempDir,
    started: SystemTime,
}

impl Server {
    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    /// When it cannot be built, started, or does not answer in time; the message holds its log.
    pub fn start(kind: Kind, settings: &Settings) -> Result<Self> {
        Self::start_in(kind, settings, None)
    }

    /// Starts a server on a data directory that is there and stays there.
    ///
    /// # Errors
    /// When it cannot be built, started, or does not answer in time; the message holds its log.
    pub fn start_on(kind: Kind, settings: &Settings, data_dir: &Path) -> Result<Self> {
        Self::start_in(kind, settings, Some(data_dir))
    }

    fn start_in(kind: Kind, settings: &Settings, data_dir: Option<&Path>) -> Result<Self> {
        let mut last = None;
        for _ in 0..PORT_ATTEMPTS {
            match Self::start_once(kind, settings, data_dir) {
                Ok(server) => return Ok(server),
                Err(error) if format!("{error:#}").contains("at its start") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.context("no port")?)
    }

    fn start_once(kind: Kind, settings: &Settings, data_dir: Option<&Path>) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("meerkat-compat-")
            .tempdir()?;
        let free_port = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            Ok(listener.local_addr()?.port())
        };
        let port = free_port()?;
        let config = dir.path().join("zoo.cfg");
        let own = dir.path().join("data");
        let text = settings.text(data_dir.unwrap_or(&own), port);
        fs::write(&config, with_ports(&text, free_port)?)?;
        let log = File::create(dir.path().join("log"))?;
        let mut command = command(kind, settings)?;
        command
            .arg(&config)
            .current_dir(dir.path())
            .stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let started = SystemTime::now();
        let child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let guard = guard(child.id(), "TERM")?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self {
            kind,
            addr,
            child,
            guard,
            dir,
            started,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} at its start:\n{}",
                    self.kind,
                    self.log()
                );
            }
            // ZooKeeper says `imok` before it serves, and `srvr` names its mode only then.
            if self
                .word("srvr")
                .is_ok_and(|answer| answer.contains("Mode: "))
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not answer:\n{}",
                self.kind,
                self.log()
            );
            thread::sleep(POLL);
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process id, for tests that kill or measure it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When the process was started: no znode can be older.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// What the server has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// SIGTERM, and waits until the process is gone.
    ///
    /// # Errors
    /// When it stays.
    pub fn terminate(&mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while self.is_alive() {
            ensure!(Instant::now() < deadline, "it stays:\n{}", self.log());
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        // The guard first: it must not aim at an id that is free again.
        self.guard.kill()?;
        self.guard.wait()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// False once the process has ended by itself.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What the server's zoo.cfg says for a key.
    ///
    /// # Errors
    /// When it has no such key.
    pub fn setting(&self, key: &str) -> Result<String> {
        let text = fs::read_to_string(self.dir.path().join("zoo.cfg"))?;
        value_in(&text, key)
    }

    /// The answer to a four-letter word.
    ///
    /// # Errors
    /// When the server cannot be reached or does not end its answer.
    pub fn word(&self, word: &str) -> Result<String> {
        ask_word(self.addr, word, Duration::from_secs(5))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The guard sends SIGTERM when its input ends.
        drop(self.guard.stdin.take());
        let asked = self.guard.wait().is_ok_and(|status| status.success());
        let deadline = Instant::now() + STOP_LIMIT;
        while asked && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a four-letter word of the server at this address, within `limit` of each step.
pub(crate) fn ask_word(addr: SocketAddr, word: &str, limit: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, limit.min(Duration::from_secs(2)))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A shell that sends the server a signal when our end of its input is closed: by us, or by the
/// system because we are gone, however that came.
pub(crate) fn guard(pid: u32, signal: &str) -> Result<Child> {
    let mut guard = Command::new("sh");
    guard.args([
        "-c",
        "read -r _; kill -\"$2\" \"$1\"",
        "guard",
        &pid.to_string(),
        signal,
    ]);
    guard
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    guard.spawn().context("starting a shell")
}

/// The program and what comes before the name of its configuration.
pub(crate) fn command(kind: Kind, settings: &Settings) -> Result<Command> {
    match kind {
        Kind::ZooKeeper => zookeeper_command(settings),
        Kind::Meerkat => meerkat_command(settings),
    }
}

fn zookeeper_command(settings: &Settings) -> Result<Command> {
    static CLASS_PATH: OnceLock<Result<String, String>> = OnceLock::new();
    let class_path = if settings.logs || settings.version.is_some() {
        zookeeper_class_path(settings.logs, settings.version)?
    } else {
        CLASS_PATH
            .get_or_init(|| zookeeper_class_path(false, None).map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(anyhow::Error::msg)?
    };
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(settings.flags()).args(["-cp", &class_path]);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    Ok(command)
}

/// One of ZooKeeper's tools, to be given its arguments.
///
/// # Errors
/// When its jars cannot be had.
pub fn zookeeper_tool(class: &str) -> Result<Command> {
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC"]);
    command
        .args(["-cp", &zookeeper_class_path(false, None)?])
        .arg(class);
    Ok(command)
}

fn zookeeper_class_path(logs: bool, version: Option<&str>) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("zookeeper/classpath");
    let output = Command::new(&script)
        .args(logs.then_some("--logging"))
        .args(version)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{} failed", script.display());
    let file = String::from_utf8(output.stdout)?;
    Ok(fs::read_to_string(file.trim())?.trim().to_owned())
}

fn meerkat_command(settings: &Settings) -> Result<Command> {
    let mut command = Command::new(meerkat_binary()?);
    command.env("SERVER_JVMFLAGS", settings.flags().join(" "));
    command.envs(&settings.environment);
    Ok(command)
}

/// The server's program.
///
/// # Errors
/// When it cannot be built.
pub fn meerkat_binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| find_meerkat_binary().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// `MEERKAT_BIN`, or what `cargo build` makes of this workspace.
fn find_meerkat_binary() -> Result<PathBuf> {
    if let Some(binary) = env::var_os("MEERKAT_BIN") {
        return Ok(binary.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(workspace).stderr(Stdio::inherit());
    build.args(["build", "-p", "meerkat", "--bin", "zk-server"]);
    build.arg("--message-format=json-render-diagnostics");
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let output = build.output()?;
    ensure!(output.status.success(), "{build:?} failed");
    let executable = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back();
    executable.context("cargo named no executable")
}
