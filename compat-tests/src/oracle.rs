//! Two servers side by side, the same script on both. Each stands alone, or is one of three that
//! act as one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::client::Admin;
use crate::compare::{Difference, first_difference};
use crate::ensemble::{Ensemble, Role};
use crate::generate;
use crate::play::{Recording, Tamper, What, play};
use crate::script::Script;
use crate::server::{Kind, Server, Settings};
use crate::shrink::shrink;
use crate::wire::{OPS, Token, spec};

/// Lines of a server's log that a report shows.
const LOG_LINES: usize = 12;

/// Servers of an ensemble here, observers among them.
const ENSEMBLE_SERVERS: usize = 3;

const START_ATTEMPTS: usize = 3;

/// Requests of one random script of an everyday check.
const SCRIPT_LENGTH: usize = 1000;

/// Which server of its kind the sessions are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// The only one.
    Alone,
    /// The leader of three voters.
    Leader,
    /// A follower of three voters.
    Follower,
    /// The observer beside two voters.
    Observer,
}

impl Seat {
    /// # Errors
    /// When the word is none of these, in lower case.
    pub fn from_word(word: &str) -> Result<Self> {
        match word {
            "alone" => Ok(Self::Alone),
            "leader" => Ok(Self::Leader),
            "follower" => Ok(Self::Follower),
            "observer" => Ok(Self::Observer),
            _ => bail!("a seat is `alone`, `leader`, `follower` or `observer`, not `{word}`"),
        }
    }

    fn role(self) -> Role {
        match self {
            Self::Alone => Role::Standalone,
            Self::Leader => Role::Leader,
            Self::Follower => Role::Follower,
            Self::Observer => Role::Observer,
        }
    }
}

/// A server to send scripts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    pub kind: Kind,
    pub seat: Seat,
}

impl Side {
    pub fn new(kind: Kind, seat: Seat) -> Self {
        Self { kind, seat }
    }
}

/// A running server that scripts are sent to, with those that it needs.
enum Target {
    Alone(Box<Server>),
    Member {
        ensemble: Box<Ensemble>,
        id: usize,
        started: SystemTime,
    },
}

impl Target {
    fn start(side: Side, config: &[String]) -> Result<Self> {
        let mut settings = Settings::default();
        for assignment in config {
            settings.set(assignment)?;
        }
        if side.seat == Seat::Alone {
            let server = Server::start(side.kind, &settings)?;
            return Ok(Self::Alone(Box::new(server)));
        }
        // Without it the configuration that everybody may read is not numbered as ours.
        if !settings.has("reconfigEnabled") {
            settings.set("reconfigEnabled=true")?;
        }
        let observers = usize::from(side.seat == Seat::Observer);
        let voters = ENSEMBLE_SERVERS - observers;
        let started = SystemTime::now();
        let mut attempts = 0;
        let mut ensemble = loop {
            attempts += 1;
            match Ensemble::start(side.kind, voters, observers, &settings) {
                // Another process can take a port that was free a moment ago.
                Err(error) if attempts < START_ATTEMPTS => eprintln!("once more: {error:#}"),
                started => break started?,
            }
        };
        ensemble.wait_for_leader()?;
        let role = side.seat.role();
        let id = ensemble.ids().find(|id| ensemble.role(*id) == Some(role));
        let id = id.with_context(|| format!("no server is {role}:\n{}", ensemble.logs()))?;
        let ensemble = Box::new(ensemble);
        Ok(Self::Member {
            ensemble,
            id,
            started,
        })
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Self::Alone(server) => server.addr(),
            Self::Member { ensemble, id, .. } => ensemble.addr(*id),
        }
    }

    /// No znode can be older.
    fn started(&self) -> SystemTime {
        match self {
            Self::Alone(server) => server.started(),
            Self::Member { started, .. } => *started,
        }
    }

    /// Why the server is not what it was: it or one that it needs has ended, or the roles have
    /// changed. None when all is well.
    fn trouble(&mut self, seat: Seat) -> Option<String> {
        match self {
            Self::Alone(server) => (!server.is_alive()).then(|| tail(&server.log())),
            Self::Member { ensemble, id, .. } => match ensemble.crashed() {
                Ok(crashed) if crashed.is_empty() => {
                    // No answer to this question within its time is no trouble by itself.
                    let other = ensemble.role(*id).filter(|role| *role != seat.role());
                    other.map(|role| format!("it is {role} now:\n{}", ensemble.logs()))
                }
                Ok(crashed) => Some(
                    crashed
                        .iter()
                        .map(|(id, log)| format!("server {id} ended: {log}\n"))
                        .collect(),
                ),
                Err(error) => Some(format!("{error:#}")),
            },
        }
    }

    /// Plays a script on it. The addresses of its ensemble stand as names in what comes back.
    fn play(&self, script: &Script, tamper: Option<&Tamper>) -> Result<Recording> {
        let mut recording = play(self.addr(), self.started(), script, tamper)?;
        if let Self::Member { ensemble, .. } = self {
            for id in ensemble.ids() {
                recording.name(&ensemble.server_spec(id)?, &format!("<server {id}>"));
            }
            recording.name_versions();
        }
        Ok(recording)
    }

    fn log(&self) -> String {
        match self {
            Self::Alone(server) => tail(&server.log()),
            Self::Member { ensemble, .. } => ensemble.logs(),
        }
    }
}

/// The one that knows and the one that is judged.
pub struct Pair {
    sides: [Side; 2],
    tamper: Option<Arc<Tamper>>,
    running: Option<Running>,
    coverage: Coverage,
}

/// Which answers the knowing server has given so far.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// How often each opcode ended in each code.
    answers: BTreeMap<(i32, i32), usize>,
    events: BTreeMap<String, usize>,
}

impl Coverage {
    fn count(&mut self, recording: &Recording) {
        for item in &recording.items {
            let literal = |index: usize| match item.fields.get(index).map(|field| &field.token) {
                Some(Token::Literal(text)) => text.as_str(),
                _ => "",
            };
            match &item.what {
                What::Reply { op, .. } => {
                    let err = literal(2).parse().unwrap_or(0);
                    *self.answers.entry((*op, err)).or_default() += 1;
                }
                What::Event => *self.events.entry(literal(3).to_owned()).or_default() += 1,
                What::Connected | What::Frame | What::Note(_) => {}
            }
        }
    }

    /// Opcodes that never succeeded, of those that can; error codes and event types never seen.
    pub fn unheard(&self) -> Vec<String> {
        let mut unheard = Vec::new();
        for op in OPS {
            // A lone check is refused, and a single server does not reconfigure.
            let refused = matches!(op.name, "check" | "reconfig");
            let heard = |(code, err): &(i32, i32)| *code == op.code && (refused || *err == 0);
            if !self.answers.keys().any(heard) {
                unheard.push(op.name.to_owned());
            }
        }
        for err in [
            -5, -6, -8, -101, -102, -103, -108, -110, -111, -114, -115, -121,
        ] {
            if !self.answers.keys().any(|(_, seen)| *seen == err) {
                unheard.push(format!("error {err}"));
            }
        }
        for event in ["1", "2", "3", "4"] {
            if !self.events.contains_key(event) {
                unheard.push(format!("event {event}"));
            }
        }
        unheard
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "answers, code and how often:")?;
        let mut last = None;
        for ((op, err), count) in &self.answers {
            if last != Some(op) {
                let name =
                    spec(*op).map_or_else(|| format!("opcode {op}"), |op| op.name.to_owned());
                write!(f, "\n{name:>22}")?;
                last = Some(op);
            }
            write!(f, "  {err}:{count}")?;
        }
        write!(f, "\nevents, type and how often:")?;
        self.events
            .iter()
            .try_for_each(|(event, count)| write!(f, "  {event}:{count}"))
    }
}

struct Running {
    config: Vec<String>,
    servers: [Target; 2],
    /// No script has run yet.
    fresh: bool,
}

/// A script that two servers answer differently.
#[derive(Clone, Debug)]
pub struct Finding {
    pub script: Script,
    pub difference: Difference,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.script, self.difference)
    }
}

impl Pair {
    /// Two servers that stand alone.
    pub fn new(expected: Kind, actual: Kind) -> Self {
        Self::seated(expected, actual, Seat::Alone)
    }

    /// Two servers that have the same seat.
    pub fn seated(expected: Kind, actual: Kind, seat: Seat) -> Self {
        Self::of([Side::new(expected, seat), Side::new(actual, seat)])
    }

    /// The one that knows and the one that is judged.
    pub fn of(sides: [Side; 2]) -> Self {
        Self {
            sides,
            tamper: None,
            running: None,
            coverage: Coverage::default(),
        }
    }

    /// What has been compared so far.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Changes what the judged server says, to see that it is noticed. Both servers must be of one
    /// kind then.
    #[must_use]
    pub fn tampered(mut self, tamper: Arc<Tamper>) -> Self {
        self.tamper = Some(tamper);
        self
    }

    /// Runs a script on both, on a clean tree. After a difference both servers are started anew.
    ///
    /// # Errors
    /// When a server cannot be started or the knowing one fails.
    pub fn run(&mut self, script: &Script) -> Result<Option<Difference>> {
        let mut running = self.prepare(script)?;
        let [expected, actual] = &mut running.servers;
        let tamper = self.tamper.as_deref();
        let (left, right) = thread::scope(|scope| {
            let left = scope.spawn(|| expected.play(script, None));
            let right = actual.play(script, tamper);
            (left.join(), right)
        });
        let left = left
            .map_err(|_| anyhow!("the player panicked"))?
            .with_context(|| format!("the log of {}:\n{}", self.sides[0].kind, expected.log()))?;
        if let Some(why) = expected.trouble(self.sides[0].seat) {
            bail!("{} is in trouble: {why}", self.sides[0].kind);
        }
        if let Some(step) = left.unanswered() {
            bail!(
                "{} leaves this unanswered:\n{}",
                self.sides[0].kind,
                script.steps[step]
            );
        }
        self.coverage.count(&left);
        let trouble = actual.trouble(self.sides[1].seat);
        let difference = match right {
            _ if trouble.is_some() => trouble.map(|why| stopped(why, script)),
            Ok(right) => first_difference(&left, &right),
            Err(error) => Some(Difference {
                step: script.steps.len().saturating_sub(1),
                session: "-".to_owned(),
                about: "the server cannot be talked to".to_owned(),
                expected: "answers".to_owned(),
                actual: format!("{error:#}"),
            }),
        };
        // A tampered difference is ours alone; the servers are alike.
        if difference.is_none() || self.tamper.is_some() {
            running.fresh = false;
            self.running = Some(running);
        }
        Ok(difference)
    }

    /// Two servers with the script's configuration and a clean tree.
    fn prepare(&mut self, script: &Script) -> Result<Running> {
        if let Some(running) = self
            .running
            .take()
            .filter(|running| running.config == script.config)
        {
            let cleaned = running.fresh
                || running.servers.iter().all(|server| {
                    Admin::connect(server.addr())
                        .and_then(|mut admin| admin.clean().and_then(|()| admin.close()))
                        .is_ok()
                });
            if cleaned {
                return Ok(running);
            }
        }
        self.start(&script.config)
    }

    fn start(&self, config: &[String]) -> Result<Running> {
        let [expected, actual] = self.sides;
        let (expected, actual) = thread::scope(|scope| {
            let expected = scope.spawn(|| Target::start(expected, config));
            let actual = Target::start(actual, config);
            (expected.join(), actual)
        });
        let expected = expected.map_err(|_| anyhow!("starting a server panicked"))??;
        let servers = [expected, actual?];
        Ok(Running {
            config: config.to_vec(),
            servers,
            fresh: true,
        })
    }

    /// Throws the servers away, so that the next script meets new ones.
    pub fn restart(&mut self) {
        self.running = None;
    }

    /// Runs a script; a difference is made small.
    ///
    /// # Errors
    /// As [`Pair::run`].
    pub fn judge(&mut self, script: &Script) -> Result<Option<Finding>> {
        match self.run(script)? {
            None => Ok(None),
            Some(difference) => shrink(self, script, difference).map(Some),
        }
    }

    /// The everyday check: so many random requests, by the seed in `ORACLE_SEED` or the first.
    ///
    /// # Panics
    /// When an answer differs, or a server does not run.
    pub fn must_answer_alike(&mut self, requests: usize) {
        let seed = std::env::var("ORACLE_SEED");
        let seed = seed.map_or(1, |seed| seed.parse().expect("a number"));
        let plan = Plan {
            seed,
            first: 0,
            requests,
            length: SCRIPT_LENGTH,
            findings_max: 1,
        };
        let findings = self.judge_random(plan, |_, _| {});
        if let Some(finding) = findings.expect("both servers run").first() {
            panic!("seed {seed}; keep this in compat-tests/scripts:\n{finding}");
        }
        // Alike says little when little was said: every opcode must have succeeded and failed.
        let quiet = self.coverage().unheard();
        assert!(quiet.is_empty(), "never seen: {quiet:?}");
    }

    /// Runs random scripts of `length` requests until `requests` have been sent or two servers
    /// have differed `findings_max` times. `progress` is told the sum so far.
    ///
    /// # Errors
    /// As [`Pair::run`].
    pub fn judge_random(
        &mut self,
        plan: Plan,
        mut progress: impl FnMut(usize, Option<&Finding>),
    ) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut sent = 0;
        let mut index = plan.first;
        while sent < plan.requests && findings.len() < plan.findings_max {
            let length = plan.length.min(plan.requests - sent);
            let together = self.sides[0].seat != Seat::Alone;
            let script = generate::script(plan.seed, index, length, together);
            let finding = self.judge(&script)?;
            sent += script.requests();
            index += 1;
            progress(sent, finding.as_ref());
            findings.extend(finding);
        }
        Ok(findings)
    }
}

/// Which random scripts to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Index of the first script of this seed.
    pub first: u64,
    pub requests: usize,
    /// Requests in one script.
    pub length: usize,
    pub findings_max: usize,
}

fn stopped(actual: String, script: &Script) -> Difference {
    Difference {
        step: script.steps.len().saturating_sub(1),
        session: "-".to_owned(),
        about: "the server has stopped".to_owned(),
        expected: "a server that goes on".to_owned(),
        actual,
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Runs the scripts in these folders below `scripts`; says what differs. Scripts with the same
/// configuration go one after another, for each other one needs servers of its own.
///
/// # Errors
/// When there are none, one is malformed, or as [`Pair::run`].
pub fn judge_scripts(pair: &mut Pair, folders: &[&str]) -> Result<Vec<String>> {
    let mut scripts = Vec::new();
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("scripts")
            .join(folder);
        let before = scripts.len();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != "script")
            {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let script: Script = text
                .parse()
                .with_context(|| format!("in {}", path.display()))?;
            scripts.push((path, script));
        }
        ensure!(scripts.len() > before, "no script in {}", folder.display());
    }
    scripts.sort_by(|a, b| (&a.1.config, &a.0).cmp(&(&b.1.config, &b.0)));
    let mut differing = Vec::new();
    for (path, script) in scripts {
        if let Some(difference) = pair.run(&script)? {
            differing.push(format!("{}\n{difference}", path.display()));
        }
    }
    Ok(differing)
}

/// Records a script on one new server.
///
/// # Errors
/// When the server fails.
pub fn record(side: Side, script: &Script) -> Result<Recording> {
    let mut server = Target::start(side, &script.config)?;
    let recording = server.play(script, None)?;
    let trouble = server.trouble(side.seat);
    ensure!(trouble.is_none(), "{trouble:?}");
    Ok(recording)
}
