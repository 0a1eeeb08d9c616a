//! What happens to the servers of a run, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::cluster::{Cluster, Planted};
use super::history::History;
use super::net::Place;
use super::world;

/// Clients have numbers from here on.
const CLIENTS_FROM: Place = 100;
const CLIENTS: u64 = 5;

/// Faults of one run.
const FAULTS: u64 = 12;

/// How long a healed ensemble may take to serve every client, and then to agree.
const RECOVERY: Duration = Duration::from_secs(60);

/// What came of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub violations: Vec<String>,
    /// The same for each run of a seed.
    pub fingerprint: u64,
    pub answered: usize,
    pub faults: Vec<String>,
}

/// One run, from nothing to the end.
pub(super) fn run(seed: u64, planted: Option<Planted>) -> Outcome {
    world::run(seed, planted, simulate(3 + 2 * (seed % 2)))
}

async fn simulate(servers: u64) -> Outcome {
    let history: Arc<Mutex<History>> = Arc::default();
    let mut cluster = Cluster::new(servers);
    for id in cluster.servers.clone() {
        cluster.start(id).await;
        world::pause(0..50).await;
    }
    let (ends, ending) = watch::channel(false);
    let mut outcome = Outcome {
        violations: Vec::new(),
        fingerprint: 0,
        answered: 0,
        faults: Vec::new(),
    };
    let network = cluster.network.clone();
    let setting_up = super::client::set_up(network, cluster.servers.clone());
    if timeout(RECOVERY, setting_up).await.is_err() {
        outcome
            .violations
            .push("the ensemble does not form".to_owned());
        return outcome;
    }
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(
                CLIENTS_FROM + number,
                cluster.network.clone(),
                cluster.servers.clone(),
                Arc::clone(&history),
            );
            tokio::spawn(client.run(ending.clone()))
        })
        .collect();
    for _ in 0..FAULTS {
        world::pause(100..1500).await;
        let fault = inflict(&mut cluster).await;
        outcome
            .faults
            .push(format!("{} ms: {fault}", world::now_ms()));
    }
    cluster.heal();
    for id in cluster.servers.clone() {
        if !cluster.is_up(id) {
            cluster.start(id).await;
        }
    }
    history.lock().calm_since = Some(world::now_ms());
    world::pause(6000..7000).await;
    ends.send_replace(true);
    let mut alive = Vec::new();
    for client in clients {
        match timeout(RECOVERY, client).await {
            Ok(Ok(client)) => alive.extend(client.session()),
            Ok(Err(panic)) => outcome.violations.push(format!("a client failed: {panic}")),
            Err(_) => outcome
                .violations
                .push("a client is not served again".to_owned()),
        }
    }
    agree(&cluster, &mut outcome.violations).await;
    check_tree(&cluster, &history.lock(), &alive, &mut outcome.violations);
    let mut history = history.lock();
    let digests: Vec<u64> = states(&cluster)
        .into_iter()
        .map(|(_, digest)| digest)
        .collect();
    history.trace(&format!(
        "{digests:?} {:?} {}",
        outcome.faults,
        world::now_ms()
    ));
    outcome.violations.extend(history.check());
    outcome.fingerprint = history.fingerprint();
    outcome.answered = history.answered();
    outcome
}

/// How far each server has applied the log, and the digest there.
fn states(cluster: &Cluster) -> Vec<(u64, u64)> {
    let servers = cluster.servers.iter().filter_map(|id| cluster.server(*id));
    let look = |state: &crate::state::State| (state.position().index, state.digest());
    servers.map(|server| server.core.look(look)).collect()
}

/// All servers come to the same state.
async fn agree(cluster: &Cluster, violations: &mut Vec<String>) {
    let same = timeout(RECOVERY, async {
        loop {
            let states = states(cluster);
            if states.iter().all(|(index, _)| *index == states[0].0) {
                return states;
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    match same.await {
        Err(_) => violations.push(format!("servers do not catch up: {:?}", states(cluster))),
        Ok(states) if states.iter().any(|(_, digest)| *digest != states[0].1) => {
            violations.push(format!("servers differ at the same entry: {states:?}"));
        }
        Ok(_) => {}
    }
}

/// Ephemerals are there as long as their session, and no longer; the second of a pair not without
/// the first.
fn check_tree(cluster: &Cluster, history: &History, alive: &[i64], violations: &mut Vec<String>) {
    let Some(server) = cluster.servers.first().and_then(|id| cluster.server(*id)) else {
        return;
    };
    server.core.look(|state| {
        let is_there = |path: &str| state.tree.find(path).is_some();
        for [first, second] in &history.pairs {
            if is_there(second) && !is_there(first) {
                violations.push(format!("{second} is there without {first}"));
            }
        }
        for ephemeral in &history.ephemerals {
            let is_there = is_there(&ephemeral.path);
            let knows = state
                .sessions
                .get(crate::types::SessionId(ephemeral.session))
                .is_some();
            if is_there != knows {
                violations.push(format!(
                    "{ephemeral:?} is there: {is_there}; its session: {knows}"
                ));
            }
            if alive.contains(&ephemeral.session) && !knows {
                violations.push(format!(
                    "session {:x} lives and is not known",
                    ephemeral.session
                ));
            }
            if history.closed.contains(&ephemeral.session) && knows {
                violations.push(format!(
                    "session {:x} was closed and lives",
                    ephemeral.session
                ));
            }
        }
    });
}

fn both_ways(of: &[Place], others: &[Place]) -> Vec<(Place, Place)> {
    let pairs = of.iter().flat_map(|a| others.iter().map(move |b| (*a, *b)));
    pairs
        .filter(|(a, b)| a != b)
        .flat_map(|(a, b)| [(a, b), (b, a)])
        .collect()
}

/// One fault, until it is over.
async fn inflict(cluster: &mut Cluster) -> String {
    let servers = cluster.servers.clone();
    let any = world::pick(&servers);
    let leader = cluster.leader().unwrap_or(any);
    let one = if world::happens(50) { leader } else { any };
    let told = match world::number(0..9) {
        0 | 1 => {
            cluster.crash(one);
            world::pause(50..3000).await;
            cluster.start(one).await;
            format!("server {one} crashes")
        }
        2 => {
            let two = world::pick(&servers);
            cluster.crash(one);
            world::pause(0..30).await;
            cluster.crash(two);
            world::pause(50..2000).await;
            for id in [one, two] {
                if !cluster.is_up(id) {
                    cluster.start(id).await;
                }
            }
            format!("servers {one} and {two} crash")
        }
        3 => {
            for id in &servers {
                cluster.crash(*id);
            }
            for id in &servers {
                world::pause(0..200).await;
                cluster.start(*id).await;
            }
            "all servers crash".to_owned()
        }
        4 => {
            cluster.network.cut(both_ways(&[one], &servers));
            world::pause(200..4000).await;
            format!("server {one} is cut off from the others")
        }
        5 => {
            let outwards = world::happens(50);
            let cut = servers.iter().filter(|id| **id != one);
            let cut = cut.map(|id| if outwards { (one, *id) } else { (*id, one) });
            cluster.network.cut(cut);
            world::pause(200..4000).await;
            let way = if outwards { "say" } else { "hear" };
            format!("server {one} can {way} nothing")
        }
        6 => {
            // Each server reaches only the next and the one before.
            let count = servers.len();
            let apart =
                |a: usize, b: usize| (a + count - b) % count > 1 && (b + count - a) % count > 1;
            let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
            let cut = pairs.filter(|(a, b)| apart(*a, *b));
            cluster
                .network
                .cut(cut.map(|(a, b)| (servers[a], servers[b])));
            world::pause(200..4000).await;
            "the servers stand in a ring".to_owned()
        }
        7 => {
            cluster.flush_slowly(one, world::number(50..1500));
            cluster.network.slow_down(world::number(1..80));
            world::pause(200..3000).await;
            format!("server {one} has a slow disk, the network is slow")
        }
        _ => {
            let is_whole = cluster.network.is_whole() && cluster.up().len() == servers.len();
            if let Some(server) = cluster.server(one) {
                server.hand_over().await;
            }
            cluster.crash(one);
            let wiped = is_whole && world::happens(50);
            if wiped {
                cluster.wipe(one);
            }
            world::pause(50..1000).await;
            cluster.start(one).await;
            if wiped {
                // Only one server at a time may have forgotten.
                world::pause(5000..5001).await;
            }
            format!("server {one} is stopped in good order; wiped: {wiped}")
        }
    };
    cluster.heal();
    told
}
