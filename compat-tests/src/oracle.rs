//! Two servers side by side, the same script on both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::client::Admin;
use crate::compare::{Difference, first_difference};
use crate::generate;
use crate::play::{Recording, Tamper, What, play};
use crate::script::Script;
use crate::server::{Kind, Server, Settings};
use crate::shrink::shrink;
use crate::wire::{OPS, Token, spec};

/// Lines of a server's log that a report shows.
const LOG_LINES: usize = 12;

/// The one that knows and the one that is judged.
pub struct Pair {
    kinds: [Kind; 2],
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
    servers: [Server; 2],
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
    pub fn new(expected: Kind, actual: Kind) -> Self {
        Self {
            kinds: [expected, actual],
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
            let left = scope.spawn(|| play(expected.addr(), expected.started(), script, None));
            let right = play(actual.addr(), actual.started(), script, tamper);
            (left.join(), right)
        });
        let left = left
            .map_err(|_| anyhow!("the player panicked"))?
            .with_context(|| {
                format!("the log of {}:\n{}", expected.kind(), tail(&expected.log()))
            })?;
        self.coverage.count(&left);
        let difference = match right {
            _ if !actual.is_alive() => Some(died(actual, script)),
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
        let [expected, actual] = self.kinds;
        let (expected, actual) = thread::scope(|scope| {
            let expected = scope.spawn(|| start(expected, config));
            let actual = start(actual, config);
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
            let script = generate::script(plan.seed, index, plan.length.min(plan.requests - sent));
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

fn died(server: &Server, script: &Script) -> Difference {
    Difference {
        step: script.steps.len().saturating_sub(1),
        session: "-".to_owned(),
        about: "the server has stopped".to_owned(),
        expected: "a server that goes on".to_owned(),
        actual: tail(&server.log()),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Records a script on one new server.
///
/// # Errors
/// When the server fails.
pub fn record(kind: Kind, script: &Script) -> Result<Recording> {
    let server = start(kind, &script.config)?;
    play(server.addr(), server.started(), script, None)
}

fn start(kind: Kind, config: &[String]) -> Result<Server> {
    let mut settings = Settings::default();
    for assignment in config {
        settings.set(assignment)?;
    }
    Server::start(kind, &settings)
}
