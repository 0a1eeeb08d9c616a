//! What is done to the servers, and when: by a seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use meerkat_compat_tests::ensemble::{Ensemble, Place};
use meerkat_compat_tests::server::{Kind, Settings};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::desk::{Desk, with_desk};
use crate::network::{CLIENTS, Link, Network};

/// How long a fault lasts.
const HOLD_MS: std::ops::Range<u64> = 300..4500;
/// From one fault to the next.
const PAUSE_MS: std::ops::Range<u64> = 100..1500;
/// A reconfig is asked for again so often: it may meet an election.
const RECONFIG_ATTEMPTS: usize = 40;
const RECONFIG_PAUSE: Duration = Duration::from_millis(250);
/// How far a clock jumps.
const CLOCK_JUMPS: [&str; 4] = ["+3600s", "-3600s", "+30s", "-86400s"];
/// reconfig is not known, or switched off.
const UNIMPLEMENTED: i32 = -6;
const RECONFIG_DISABLED: i32 = -123;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    KillMajority,
    Pause,
    CutOff,
    Minority,
    OneWay,
    Ring,
    Slow,
    Lossy,
    Roll,
    Wipe,
    Clock,
    Membership,
}

const FAULTS: [Fault; 13] = [
    Fault::Kill,
    Fault::KillMajority,
    Fault::Pause,
    Fault::CutOff,
    Fault::Minority,
    Fault::OneWay,
    Fault::Ring,
    Fault::Slow,
    Fault::Lossy,
    Fault::Roll,
    Fault::Wipe,
    Fault::Clock,
    Fault::Membership,
];

/// The servers on their network, and who disturbs them.
pub(crate) struct Stage {
    pub(crate) ensemble: Ensemble,
    network: Network,
    clocks: Option<Clocks>,
    rng: ChaCha8Rng,
    /// Faults in the order of their next turns: all come before one comes again.
    queue: Vec<Fault>,
    left_out: Vec<Fault>,
    started: Instant,
}

/// The clocks of the servers, moved by libfaketime.
struct Clocks {
    dir: tempfile::TempDir,
}

impl Clocks {
    /// None when the library is not there.
    fn find() -> Result<Option<(Self, PathBuf)>> {
        for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
            let library = entry.path().join("faketime/libfaketimeMT.so.1");
            if library.exists() {
                let dir = tempfile::Builder::new()
                    .prefix("meerkat-clocks-")
                    .tempdir()?;
                return Ok(Some((Self { dir }, library)));
            }
        }
        Ok(None)
    }

    fn set(&self, server: usize, offset: &str) -> Result<()> {
        // In one step: a server reads the file at any time.
        let part = self.dir.path().join(format!("{server}.part"));
        fs::write(&part, offset)?;
        fs::rename(&part, self.file(server)).context("setting a clock")
    }

    fn file(&self, server: usize) -> PathBuf {
        self.dir.path().join(server.to_string())
    }

    /// Only what reads the time of day is moved, as when an operator sets the clock.
    fn environment(&self, server: usize, library: &Path) -> Vec<(String, String)> {
        let file = self.file(server);
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

impl Stage {
    /// Servers that serve, each in its namespace.
    ///
    /// # Errors
    /// When the network or the servers cannot be had.
    pub(crate) fn set(
        kind: Kind,
        servers: usize,
        settings: &Settings,
        seed: u64,
        only: &[Fault],
    ) -> Result<Self> {
        let network = Network::build(servers, seed)?;
        let mut left_out: Vec<_> = FAULTS
            .into_iter()
            .filter(|fault| !only.is_empty() && !only.contains(fault))
            .collect();
        // A Java machine under libfaketime is too slow to be of use: it asks for the time all the time.
        if kind == Kind::ZooKeeper {
            left_out.push(Fault::Clock);
        }
        let found = match left_out.contains(&Fault::Clock) {
            true => None,
            false => Clocks::find()?,
        };
        if found.is_none() && !left_out.contains(&Fault::Clock) {
            println!("No clock jumps: libfaketime is not installed.");
            left_out.push(Fault::Clock);
        }
        let mut places = Vec::new();
        for server in 1..=servers {
            let mut environment = Vec::new();
            if let Some((clocks, library)) = &found {
                clocks.set(server, "+0s")?;
                environment = clocks.environment(server, library);
            }
            places.push(Place {
                addr: network.addr(server),
                client_port: 2181,
                peer_port: 2888,
                election_port: 3888,
                prefix: network.prefix(server),
                environment,
            });
        }
        let mut ensemble = Ensemble::at(kind, places, 0, settings)?;
        ensemble.start_all()?;
        ensemble.wait_for_leader()?;
        Ok(Self {
            ensemble,
            network,
            clocks: found.map(|(clocks, _)| clocks),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: Vec::new(),
            left_out,
            started: Instant::now(),
        })
    }

    /// From now on the schedule counts its seconds.
    pub(crate) fn begin(&mut self, started: Instant) {
        self.started = started;
    }

    /// One fault after the other for so long, and everything whole again at the end.
    ///
    /// # Errors
    /// When servers do not come back.
    pub(crate) fn disturb(&mut self, duration: Duration) -> Result<()> {
        while self.started.elapsed() < duration {
            let Some(fault) = self.next() else {
                bail!("no faults are left")
            };
            self.perform(fault).with_context(|| format!("{fault:?}"))?;
            self.check_alive()?;
            let pause = self.rng.random_range(PAUSE_MS);
            thread::sleep(Duration::from_millis(pause));
        }
        self.note("everything is whole again");
        self.network.heal();
        self.ensemble.start_all()?;
        self.ensemble.wait_for_leader()?;
        Ok(())
    }

    fn next(&mut self) -> Option<Fault> {
        if self.queue.is_empty() {
            self.queue = FAULTS
                .into_iter()
                .filter(|fault| !self.left_out.contains(fault))
                .collect();
            self.queue.shuffle(&mut self.rng);
        }
        self.queue.pop()
    }

    fn note(&self, what: &str) {
        println!("{:8.2} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// A server that ends by itself is a bug whatever clients see of it.
    fn check_alive(&mut self) -> Result<()> {
        let crashed = self.ensemble.crashed()?;
        if let Some((id, how)) = crashed.first() {
            bail!("server {id} ended by itself, {how}");
        }
        Ok(())
    }

    fn hold(&mut self) {
        let hold = self.rng.random_range(HOLD_MS);
        thread::sleep(Duration::from_millis(hold));
    }

    fn ids(&self) -> Vec<usize> {
        self.ensemble.ids().collect()
    }

    /// The leader half of the time, else anyone.
    fn victim(&mut self) -> Result<(usize, &'static str)> {
        let leader = self.ensemble.leader();
        match leader.filter(|_| self.rng.random()) {
            Some(leader) => Ok((leader, ", the leader")),
            None => {
                let ids = self.ids();
                let id = *ids.choose(&mut self.rng).context("no servers")?;
                let role = match Some(id) == leader {
                    true => ", the leader",
                    false => "",
                };
                Ok((id, role))
            }
        }
    }

    fn leader(&mut self) -> Result<usize> {
        match self.ensemble.leader() {
            Some(leader) => Ok(leader),
            None => self.ensemble.wait_for_leader(),
        }
    }

    fn perform(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => {
                let (id, role) = self.victim()?;
                self.note(&format!("kill server {id}{role}"));
                self.ensemble.kill(id)?;
                self.hold();
                self.note(&format!("start server {id}"));
                self.ensemble.launch(id)
            }
            Fault::KillMajority => self.kill_majority(),
            Fault::Pause => {
                let (id, role) = self.victim()?;
                self.note(&format!("pause server {id}{role}"));
                self.ensemble.pause(id)?;
                self.hold();
                self.note(&format!("resume server {id}"));
                self.ensemble.resume(id)
            }
            Fault::CutOff => {
                let leader = self.leader()?;
                self.part(&[leader], "the leader")
            }
            Fault::Minority => {
                let mut ids = self.ids();
                ids.shuffle(&mut self.rng);
                ids.truncate(ids.len().saturating_sub(1) / 2);
                self.part(&ids, "a minority")
            }
            Fault::OneWay => self.one_way(),
            Fault::Ring => self.ring(),
            Fault::Slow => {
                let delay = Duration::from_millis(self.rng.random_range(5..80));
                let jitter = Duration::from_millis(self.rng.random_range(0..80));
                self.note(&format!("all packets take {delay:?} and up to {jitter:?}"));
                let link = Link {
                    delay,
                    jitter,
                    ..Link::default()
                };
                self.everywhere(link)
            }
            Fault::Lossy => {
                let loss = self.rng.random_range(0.01..0.15);
                self.note(&format!("{:.0} % of the packets get lost", loss * 100.0));
                let link = Link {
                    loss,
                    ..Link::default()
                };
                self.everywhere(link)
            }
            Fault::Roll => {
                self.whole()?;
                self.note("stop and start one server after the other");
                self.ensemble.roll()
            }
            Fault::Wipe => self.wipe(),
            Fault::Clock => self.clock(),
            Fault::Membership => self.membership(),
        }
    }

    /// Waits until all servers serve.
    fn whole(&mut self) -> Result<()> {
        self.ensemble.start_all()?;
        self.ensemble.wait_for_leader().map(drop)
    }

    fn kill_majority(&mut self) -> Result<()> {
        let mut ids = self.ids();
        ids.shuffle(&mut self.rng);
        let majority = ids.len() / 2 + 1;
        ids.truncate(self.rng.random_range(majority..=ids.len()));
        self.note(&format!("kill servers {ids:?}"));
        for id in &ids {
            self.ensemble.kill(*id)?;
        }
        self.hold();
        self.note(&format!("start servers {ids:?}"));
        ids.iter().try_for_each(|id| self.ensemble.launch(*id))
    }

    /// These servers and the others do not reach each other. Clients reach all.
    fn part(&mut self, some: &[usize], who: &str) -> Result<()> {
        self.note(&format!("cut off {some:?}, {who}"));
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        for id in self.ids() {
            for inside in some.iter().filter(|_| !some.contains(&id)) {
                self.network.set(*inside, id, cut);
                self.network.set(id, *inside, cut);
            }
        }
        self.hold();
        self.note("heal the network");
        self.network.heal();
        Ok(())
    }

    fn one_way(&mut self) -> Result<()> {
        let (id, role) = self.victim()?;
        let deaf = self.rng.random();
        let what = if deaf { "hears" } else { "is heard by" };
        self.note(&format!("server {id}{role} {what} no other"));
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        for other in self.ids().into_iter().filter(|other| *other != id) {
            match deaf {
                true => self.network.set(other, id, cut),
                false => self.network.set(id, other, cut),
            }
        }
        self.hold();
        self.note("heal the network");
        self.network.heal();
        Ok(())
    }

    /// Each server reaches its neighbours in a circle only. Three are all neighbours: there one link
    /// is cut, so that one server reaches two that do not reach each other.
    fn ring(&mut self) -> Result<()> {
        let mut ids = self.ids();
        ids.shuffle(&mut self.rng);
        self.note(&format!("only neighbours reach each other in {ids:?}"));
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        for (place, one) in ids.iter().enumerate() {
            for (other_place, other) in ids.iter().enumerate() {
                let apart = place.abs_diff(other_place);
                let neighbours = apart == 1 || (ids.len() > 3 && apart == ids.len() - 1);
                if one != other && !neighbours {
                    self.network.set(*one, *other, cut);
                }
            }
        }
        self.hold();
        self.note("heal the network");
        self.network.heal();
        Ok(())
    }

    /// All links like this, those of the clients half of the time; now and then a server dies, too.
    fn everywhere(&mut self, link: Link) -> Result<()> {
        let clients = self.rng.random();
        let mut hosts = self.ids();
        if clients {
            hosts.push(CLIENTS);
        }
        for from in &hosts {
            for to in hosts.iter().filter(|to| *to != from) {
                self.network.set(*from, *to, link);
            }
        }
        self.hold();
        if self.rng.random() {
            self.perform(Fault::Kill)?;
            self.hold();
        }
        self.note("heal the network");
        self.network.heal();
        Ok(())
    }

    /// A server loses its disk and gets everything from the others. They are whole meanwhile: what a
    /// majority has promised may need every one of them.
    fn wipe(&mut self) -> Result<()> {
        self.whole()?;
        for id in self.ids() {
            with_desk(self.ensemble.addr(id), Desk::sync)?;
        }
        let (id, role) = self.victim()?;
        self.note(&format!("wipe server {id}{role}"));
        self.ensemble.wipe(id)?;
        self.ensemble.wait_for_leader()?;
        self.hold();
        self.note(&format!("start server {id} without data"));
        self.ensemble.start_one(id)
    }

    fn clock(&mut self) -> Result<()> {
        let (id, role) = self.victim()?;
        let jump = *CLOCK_JUMPS.choose(&mut self.rng).context("no jumps")?;
        let Some(clocks) = &self.clocks else {
            return Ok(());
        };
        self.note(&format!("the clock of server {id}{role} jumps by {jump}"));
        clocks.set(id, jump)?;
        self.hold();
        self.note(&format!("the clock of server {id} jumps back"));
        let Some(clocks) = &self.clocks else {
            return Ok(());
        };
        clocks.set(id, "+0s")
    }

    /// A server leaves the ensemble and joins again, while it runs.
    fn membership(&mut self) -> Result<()> {
        self.whole()?;
        let (id, role) = self.victim()?;
        self.note(&format!("server {id}{role} leaves the ensemble"));
        if !self.reconfig(id, "", &id.to_string())? {
            self.note("reconfig is not offered and left out from now on");
            self.left_out.push(Fault::Membership);
            return Ok(());
        }
        self.hold();
        self.note(&format!("server {id} joins the ensemble"));
        let joining = format!("server.{id}={}", self.ensemble.server_spec(id)?);
        self.reconfig(id, &joining, "")?;
        self.whole()
    }

    /// Asks a server other than this one. False when there is no such operation.
    fn reconfig(&mut self, id: usize, joining: &str, leaving: &str) -> Result<bool> {
        let mut last = String::new();
        for _ in 0..RECONFIG_ATTEMPTS {
            let others: Vec<_> = self
                .ids()
                .into_iter()
                .filter(|other| *other != id)
                .collect();
            let asked = *others.choose(&mut self.rng).context("one server only")?;
            let addr = self.ensemble.addr(asked);
            let outcome = with_desk(addr, |desk| desk.reconfig(joining, leaving));
            match outcome {
                Ok(0) => return Ok(true),
                Ok(UNIMPLEMENTED | RECONFIG_DISABLED) => return Ok(false),
                Ok(err) => last = format!("error {err} from server {asked}"),
                Err(error) => last = format!("server {asked}: {error:#}"),
            }
            thread::sleep(RECONFIG_PAUSE);
        }
        bail!("reconfig +{joining} -{leaving}: {last}")
    }
}

impl std::str::FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        let named = FAULTS
            .into_iter()
            .find(|fault| format!("{fault:?}").eq_ignore_ascii_case(&word.replace('-', "")));
        named.with_context(|| format!("no fault is called {word}; there are {FAULTS:?}"))
    }
}
