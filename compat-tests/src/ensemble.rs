//! Several servers that form an ensemble, ours or Apache ZooKeeper, each a process of its own.
//!
//! Servers have the ids 1, 2, 3, ... of their `server.N` lines. Each one has a directory with
//! zoo.cfg, `data/myid` and a log that all its lives append to. By default they live on loopback;
//! a [`Place`] puts a server elsewhere. All processes end, by their id, with the value.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::{self, Kind, Settings};

/// How long servers may take until they serve, an election included.
pub const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to go after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at servers that change.
const POLL: Duration = Duration::from_millis(20);
/// Between two looks whether a server stands still.
const PAUSE_POLL: Duration = Duration::from_millis(1);
/// A server that is silent for so long has no role: it is paused, cut off or gone.
const WORD_LIMIT: Duration = Duration::from_secs(1);
/// Below the range that outgoing connections take their ports from, so that nobody gets the port of
/// a server that is down.
const PORTS: std::ops::Range<u16> = 12_000..23_000;
const PORT_ATTEMPTS: usize = 1000;
/// Between where two processes with neighbouring ids begin.
const PORTS_APART: usize = 211;
/// Last bytes of each log that a failure shows.
const LOG_TAIL_BYTES: u64 = 3000;

/// What a server says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Observer,
    /// It has an ensemble of one, or none.
    Standalone,
    ReadOnly,
}

impl Role {
    fn from_mode(answer: &str) -> Option<Self> {
        let mode = answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: "))?;
        match mode.trim() {
            "leader" => Some(Self::Leader),
            "follower" => Some(Self::Follower),
            "observer" => Some(Self::Observer),
            "standalone" => Some(Self::Standalone),
            "read-only" => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
            Self::ReadOnly => "read-only",
        })
    }
}

/// Where a server lives and how its process is started.
#[derive(Clone, Debug)]
pub struct Place {
    pub addr: IpAddr,
    pub client_port: u16,
    pub peer_port: u16,
    pub election_port: u16,
    /// Words before the server's own command, such as `ip netns exec NAME`. They must become the
    /// server (exec), or signals would go to somebody else.
    pub prefix: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Place {
    /// A place on loopback with three free ports.
    ///
    /// # Errors
    /// When none are found.
    pub fn loopback() -> Result<Self> {
        let [client_port, peer_port, election_port] = free_ports()?;
        Ok(Self {
            addr: Ipv4Addr::LOCALHOST.into(),
            client_port,
            peer_port,
            election_port,
            prefix: Vec::new(),
            environment: Vec::new(),
        })
    }

    pub fn client_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr, self.client_port)
    }
}

/// Three ports, each free a moment ago and never given twice by this process: several tests start
/// their servers at once. Processes begin at places of their own.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    let begin = std::process::id() as usize * PORTS_APART;
    let mut found = Vec::new();
    for _ in 0..PORT_ATTEMPTS {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let offset = (begin + given) % PORTS.len();
        let port = PORTS.start + u16::try_from(offset)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
        if let Ok(ports) = found[..].try_into() {
            return Ok(ports);
        }
    }
    bail!("no free ports")
}

#[derive(Debug)]
struct Process {
    child: Child,
    guard: Child,
    paused: bool,
}

impl Process {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// The child has not been waited for, so its id is still its own.
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("a process without an id")?;
        kill_process(pid, signal).with_context(|| format!("{signal:?} to {pid:?}"))
    }

    /// Whether all its threads are stopped.
    fn stands_still(&self) -> Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // One that ends meanwhile does nothing more.
            let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, behind)| behind);
            if state.is_some_and(|state| !state.starts_with('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// SIGKILL, which works on a paused process too.
    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.release()
    }

    /// Waits for the child that has been told to go, the guard first: it must not aim at an id that
    /// is free again.
    fn release(mut self) -> Result<()> {
        self.guard.kill()?;
        self.guard.wait()?;
        self.child.wait()?;
        Ok(())
    }
}

#[derive(Debug)]
struct Member {
    place: Place,
    observer: bool,
    home: PathBuf,
    process: Option<Process>,
}

impl Member {
    fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.home.join("log"))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }
}

/// The servers, running or not.
#[derive(Debug)]
pub struct Ensemble {
    kind: Kind,
    settings: Settings,
    members: Vec<Member>,
    dir: TempDir,
}

impl Ensemble {
    /// Prepares servers on loopback and starts none.
    ///
    /// # Errors
    /// When there are no ports or directories.
    pub fn new(kind: Kind, voters: usize, observers: usize, settings: &Settings) -> Result<Self> {
        let places = (0..voters + observers)
            .map(|_| Place::loopback())
            .collect::<Result<_>>()?;
        Self::at(kind, places, observers, settings)
    }

    /// Prepares servers at these places, the last `observers` of them as observers.
    ///
    /// # Errors
    /// When there are no directories.
    pub fn at(
        kind: Kind,
        places: Vec<Place>,
        observers: usize,
        settings: &Settings,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("meerkat-ensemble-")
            .tempdir()?;
        let mut settings = settings.clone();
        // Without these ZooKeeper does not start as an ensemble.
        for (key, value) in [("initLimit", 10), ("syncLimit", 5)] {
            if !settings.has(key) {
                settings.set(&format!("{key}={value}"))?;
            }
        }
        let voters = places.len().saturating_sub(observers);
        let members = (1..)
            .zip(places)
            .map(|(id, place)| Member {
                place,
                observer: id > voters,
                home: dir.path().join(format!("server-{id}")),
                process: None,
            })
            .collect();
        let ensemble = Self {
            kind,
            settings,
            members,
            dir,
        };
        for id in ensemble.ids() {
            ensemble.write_config(id)?;
        }
        Ok(ensemble)
    }

    /// Starts all servers and waits until they serve.
    ///
    /// # Errors
    /// When one does not; the message holds its log.
    pub fn start(kind: Kind, voters: usize, observers: usize, settings: &Settings) -> Result<Self> {
        let mut ensemble = Self::new(kind, voters, observers, settings)?;
        ensemble.start_all()?;
        Ok(ensemble)
    }

    /// Prepares one more server, whose configuration names those that are there and itself. The
    /// others do not know of it. Returns its id.
    ///
    /// # Errors
    /// When there are no ports or directories.
    pub fn add(&mut self, observer: bool) -> Result<usize> {
        let id = self.members.len() + 1;
        self.members.push(Member {
            place: Place::loopback()?,
            observer,
            home: self.dir.path().join(format!("server-{id}")),
            process: None,
        });
        self.write_config(id)?;
        Ok(id)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// 1, 2, 3, ...
    pub fn ids(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.members.len()
    }

    /// The directory of everything; it goes with this value.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn member(&self, id: usize) -> Result<&Member> {
        let member = id.checked_sub(1).and_then(|index| self.members.get(index));
        member.with_context(|| format!("there is no server {id}"))
    }

    fn member_mut(&mut self, id: usize) -> Result<&mut Member> {
        let member = id
            .checked_sub(1)
            .and_then(|index| self.members.get_mut(index));
        member.with_context(|| format!("there is no server {id}"))
    }

    fn process(&mut self, id: usize) -> Result<&mut Process> {
        let process = self.member_mut(id)?.process.as_mut();
        process.with_context(|| format!("server {id} does not run"))
    }

    /// Where clients of this server connect to.
    ///
    /// # Panics
    /// When there is no such server.
    pub fn addr(&self, id: usize) -> SocketAddr {
        self.members[id - 1].place.client_addr()
    }

    /// `host:port,host:port,...` of all servers.
    pub fn connect_string(&self) -> String {
        let addrs: Vec<_> = self.ids().map(|id| self.addr(id).to_string()).collect();
        addrs.join(",")
    }

    /// What stands behind `server.N=`, as zoo.cfg and reconfig have it.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn server_spec(&self, id: usize) -> Result<String> {
        let member = self.member(id)?;
        let place = &member.place;
        let role = if member.observer {
            "observer"
        } else {
            "participant"
        };
        let (addr, client) = (place.addr, place.client_addr());
        let (peer, election) = (place.peer_port, place.election_port);
        Ok(format!("{addr}:{peer}:{election}:{role};{client}"))
    }

    /// The directory of this server, with its zoo.cfg.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn home(&self, id: usize) -> Result<PathBuf> {
        Ok(self.member(id)?.home.clone())
    }

    /// The end of a server's log.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn log_tail(&self, id: usize) -> Result<String> {
        Ok(self.member(id)?.log_tail())
    }

    /// Takes note that a server has been given another place or role. Its files are its own affair.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn moved(&mut self, id: usize, place: Place, observer: bool) -> Result<()> {
        let member = self.member_mut(id)?;
        member.place = place;
        member.observer = observer;
        Ok(())
    }

    /// Where a server is.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn place(&self, id: usize) -> Result<Place> {
        Ok(self.member(id)?.place.clone())
    }

    /// Where this server keeps its data.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn data_dir(&self, id: usize) -> Result<PathBuf> {
        Ok(self.member(id)?.home.join("data"))
    }

    /// What this server's zoo.cfg says for a key.
    ///
    /// # Errors
    /// When it has no such key.
    pub fn setting(&self, id: usize, key: &str) -> Result<String> {
        let text = fs::read_to_string(self.member(id)?.home.join("zoo.cfg"))?;
        server::value_in(&text, key)
    }

    fn write_config(&self, id: usize) -> Result<()> {
        let member = self.member(id)?;
        let data = member.home.join("data");
        fs::create_dir_all(&data)?;
        fs::write(data.join("myid"), format!("{id}\n"))?;
        let mut text = format!("dataDir={}\n{}", data.display(), self.settings.lines());
        for other in self.ids() {
            writeln!(text, "server.{other}={}", self.server_spec(other)?)?;
        }
        let text = server::with_ports(&text, || free_ports::<1>().map(|[port]| port))?;
        fs::write(member.home.join("zoo.cfg"), text)?;
        Ok(())
    }

    // ---- starting and waiting ---------------------------------------------------------------

    /// Starts all servers that do not run and waits until all serve.
    ///
    /// # Errors
    /// When one does not; the message holds its log.
    pub fn start_all(&mut self) -> Result<()> {
        let ids: Vec<_> = self.ids().collect();
        self.start_some(&ids)
    }

    /// Starts these servers in this order, waits until they serve. Those of them that run already
    /// are left alone.
    ///
    /// # Errors
    /// When one does not; the message holds its log.
    pub fn start_some(&mut self, ids: &[usize]) -> Result<()> {
        for id in ids {
            if !self.is_running(*id) {
                self.launch(*id)?;
            }
        }
        ids.iter().try_for_each(|id| self.wait_serving(*id))
    }

    /// Starts a server and waits until it serves, for which it needs a quorum.
    ///
    /// # Errors
    /// When it does not; the message holds its log.
    pub fn start_one(&mut self, id: usize) -> Result<()> {
        self.launch(id)?;
        self.wait_serving(id)
    }

    /// Starts a server and does not wait for it.
    ///
    /// # Errors
    /// When it runs already or its program cannot be started.
    pub fn launch(&mut self, id: usize) -> Result<()> {
        let member = self.member(id)?;
        ensure!(member.process.is_none(), "server {id} runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(member.home.join("log"))?;
        let plain = server::command(self.kind, &self.settings)?;
        let mut command = prefixed(&member.place.prefix, &plain);
        command.envs(member.place.environment.iter().cloned());
        command
            .arg(member.home.join("zoo.cfg"))
            .current_dir(&member.home)
            .stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let guard = server::guard(child.id(), "KILL")?;
        self.member_mut(id)?.process = Some(Process {
            child,
            guard,
            paused: false,
        });
        Ok(())
    }

    /// # Errors
    /// When the server ends or does not serve in time; the message holds its log.
    pub fn wait_serving(&mut self, id: usize) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while self.role(id).is_none() {
            let kind = self.kind;
            if let Some(status) = self.process(id)?.child.try_wait()? {
                let log = self.member(id)?.log_tail();
                bail!("{kind} server {id} ended with {status}:\n{log}");
            }
            ensure!(
                Instant::now() < deadline,
                "{kind} server {id} does not serve:\n{}",
                self.member(id)?.log_tail()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The leader, as soon as exactly one server says that it is.
    ///
    /// # Errors
    /// When none does in time.
    pub fn wait_for_leader(&mut self) -> Result<usize> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(id) = self.leader() {
                return Ok(id);
            }
            ensure!(
                Instant::now() < deadline,
                "there is no leader:\n{}",
                self.logs()
            );
            thread::sleep(POLL);
        }
    }

    /// The server that says it leads. None when two do: one of them has lost the others and does not
    /// know yet.
    pub fn leader(&self) -> Option<usize> {
        let mut leaders = self.ids().filter(|id| self.role(*id) == Some(Role::Leader));
        let leader = leaders.next();
        leader.filter(|_| leaders.next().is_none())
    }

    /// A server of this role, as soon as one says that it has it. Servers may change it, or serve
    /// nobody for a moment, shortly after they have formed.
    ///
    /// # Errors
    /// When none does in time.
    pub fn wait_for_role(&self, role: Role) -> Result<usize> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(id) = self.ids().find(|id| self.role(*id) == Some(role)) {
                return Ok(id);
            }
            ensure!(
                Instant::now() < deadline,
                "there is no {role}:\n{}",
                self.logs()
            );
            thread::sleep(POLL);
        }
    }

    /// Requests that the server has not answered yet.
    ///
    /// # Errors
    /// When it does not say.
    pub fn outstanding(&self, id: usize) -> Result<usize> {
        let answer = server::ask_word(self.addr(id), "srvr", WORD_LIMIT)?;
        let mut lines = answer.lines();
        let count = lines.find_map(|line| line.strip_prefix("Outstanding: "));
        Ok(count.context("no count")?.parse()?)
    }

    /// What the server says it is; none when it does not serve, or not answer for a second.
    pub fn role(&self, id: usize) -> Option<Role> {
        let process = self.member(id).ok()?.process.as_ref()?;
        if process.paused {
            return None;
        }
        Role::from_mode(&server::ask_word(self.addr(id), "srvr", WORD_LIMIT).ok()?)
    }

    /// The answer of a server to a four-letter word.
    ///
    /// # Errors
    /// When the server cannot be reached or does not end its answer.
    pub fn word(&self, id: usize, word: &str) -> Result<String> {
        server::ask_word(self.member(id)?.place.client_addr(), word, WORD_LIMIT)
    }

    /// Has been started and not been stopped by us. It may be paused, or have died by itself.
    pub fn is_running(&self, id: usize) -> bool {
        self.member(id).is_ok_and(|member| member.process.is_some())
    }

    pub fn is_paused(&self, id: usize) -> bool {
        let process = self.member(id).ok().and_then(|m| m.process.as_ref());
        process.is_some_and(|process| process.paused)
    }

    /// The process id of a running server.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self, id: usize) -> Result<u32> {
        let process = self.member(id)?.process.as_ref();
        let process = process.with_context(|| format!("server {id} does not run"))?;
        Ok(process.child.id())
    }

    /// Servers that ended though nobody stopped them, with the end of their logs.
    ///
    /// # Errors
    /// When the system does not know the process.
    pub fn crashed(&mut self) -> Result<Vec<(usize, String)>> {
        let mut crashed = Vec::new();
        for (id, member) in (1..).zip(&mut self.members) {
            let Some(process) = &mut member.process else {
                continue;
            };
            if let Some(status) = process.child.try_wait()? {
                crashed.push((id, format!("{status}:\n{}", member.log_tail())));
            }
        }
        Ok(crashed)
    }

    /// The end of every server's log.
    pub fn logs(&self) -> String {
        self.ids()
            .zip(&self.members)
            .map(|(id, member)| format!("---- server {id}\n{}\n", member.log_tail()))
            .collect()
    }

    // ---- faults -----------------------------------------------------------------------------

    /// SIGKILL; the process is gone on return.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, id: usize) -> Result<()> {
        let process = self.member_mut(id)?.process.take();
        process
            .with_context(|| format!("server {id} does not run"))?
            .kill()
    }

    /// SIGTERM; the process is gone on return. A paused server goes on first.
    ///
    /// # Errors
    /// When it does not run or does not go.
    pub fn terminate(&mut self, id: usize) -> Result<()> {
        let process = self.process(id)?;
        process.signal(Signal::TERM)?;
        if process.paused {
            process.signal(Signal::CONT)?;
            process.paused = false;
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while process.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "server {id} ignores SIGTERM");
            thread::sleep(POLL);
        }
        let process = self.member_mut(id)?.process.take();
        process.context("stopped meanwhile")?.release()
    }

    /// SIGSTOP. Returns when the server stands still: until one of its threads has seen the signal, all
    /// of them go on, and may answer what is sent behind it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&mut self, id: usize) -> Result<()> {
        let process = self.process(id)?;
        process.signal(Signal::STOP)?;
        process.paused = true;
        let deadline = Instant::now() + STOP_LIMIT;
        while !process.stands_still()? {
            ensure!(Instant::now() < deadline, "server {id} does not stop");
            thread::sleep(PAUSE_POLL);
        }
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self, id: usize) -> Result<()> {
        let process = self.process(id)?;
        process.signal(Signal::CONT)?;
        process.paused = false;
        Ok(())
    }

    /// Stops the server if it runs and removes all that it has stored, but for `myid`.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn wipe(&mut self, id: usize) -> Result<()> {
        if self.is_running(id) {
            self.kill(id)?;
        }
        for entry in fs::read_dir(self.data_dir(id)?)? {
            let entry = entry?;
            if entry.file_name() == "myid" {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Stops (SIGTERM) and starts every running server, one after the other, the leader last; each
    /// serves before the next one goes.
    ///
    /// # Errors
    /// When one does not stop or not serve again.
    pub fn roll(&mut self) -> Result<()> {
        let leader = self.leader();
        let mut ids: Vec<_> = self.ids().filter(|id| self.is_running(*id)).collect();
        ids.sort_by_key(|id| Some(*id) == leader);
        for id in ids {
            self.terminate(id)?;
            self.start_one(id)?;
        }
        Ok(())
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Nobody reads the directories again, so nobody needs a clean stop.
            if let Some(process) = member.process.take() {
                let _ = process.kill();
            }
        }
    }
}

/// The command with words in front of it.
fn prefixed(prefix: &[String], plain: &Command) -> Command {
    let Some((program, words)) = prefix.split_first() else {
        return copied(Command::new(plain.get_program()), plain);
    };
    let mut command = Command::new(program);
    command.args(words).arg(plain.get_program());
    copied(command, plain)
}

fn copied(mut command: Command, plain: &Command) -> Command {
    command.args(plain.get_args());
    for (key, value) in plain.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    command
}
