//! A network of the test's own: each server in a network namespace, and between them a router.
//!
//! The router is this process. Every namespace has one TUN device whose packets come here, and so
//! have the clients in the namespace that the test runs in. Each directed link between two of them
//! can be cut, slow or lossy, which asks nothing of the kernel but TUN devices.
//!
//! Addresses are 198.18.X.N (a range that is set aside for such tests), N the server's id, 254 for
//! the clients.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tun_rs::{DeviceBuilder, SyncDevice};

/// Where the clients are.
pub(crate) const CLIENTS: usize = 0;
const CLIENTS_HOST: u8 = 254;
const PACKET_BYTES_MAX: usize = 70_000;
/// Packets that wait on slow links; more are lost, as a router's are.
const WAITING_MAX: usize = 20_000;
/// Names of interfaces and namespaces begin so, then comes the process id.
const PREFIX: &str = "mkf";

/// How one direction between two hosts is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Link {
    pub cut: bool,
    /// Of a packet to get lost.
    pub loss: f64,
    pub delay: Duration,
    /// Added to the delay, evenly spread.
    pub jitter: Duration,
}

pub(crate) struct Network {
    names: Vec<String>,
    subnet: u8,
    router: Arc<Router>,
}

struct Router {
    devices: Vec<SyncDevice>,
    /// `from * devices + to`
    links: RwLock<Vec<Link>>,
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
    arrived: Condvar,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    to: usize,
    packet: Vec<u8>,
}

impl Network {
    /// Namespaces for servers 1 to `servers`, and the way there from here.
    ///
    /// # Errors
    /// When the system does not let us; the message says what is needed.
    pub(crate) fn build(servers: usize, seed: u64) -> Result<Self> {
        Self::try_build(servers, seed).context(
            "no network for the test: it needs root, /dev/net/tun, the `ip` command and the right \
             to make network namespaces",
        )
    }

    fn try_build(servers: usize, seed: u64) -> Result<Self> {
        remove_left_overs()?;
        let pid = std::process::id();
        let subnet = free_subnet()?;
        let names: Vec<_> = (0..=servers)
            .map(|n| format!("{PREFIX}{pid}n{n}"))
            .collect();
        let devices = names
            .iter()
            .map(|name| DeviceBuilder::new().name(name).enable(false).build_sync())
            .collect::<std::io::Result<Vec<_>>>()
            .context("making TUN devices")?;
        let router = Arc::new(Router {
            links: RwLock::new(vec![Link::default(); devices.len() * devices.len()]),
            devices,
            waiting: Mutex::default(),
            arrived: Condvar::new(),
        });
        // From here on, dropping it cleans up.
        let network = Self {
            names,
            subnet,
            router,
        };
        network.set_up()?;
        for (from, mixed) in (0..=servers).zip(seed..) {
            let router = Arc::clone(&network.router);
            thread::spawn(move || router.drive(from, ChaCha8Rng::seed_from_u64(mixed)));
        }
        let router = Arc::clone(&network.router);
        thread::spawn(move || router.drive_waiting());
        Ok(network)
    }

    fn set_up(&self) -> Result<()> {
        for (host, name) in self.names.iter().enumerate() {
            let addr = format!("{}/24", self.addr(host));
            if host == CLIENTS {
                ip(&["addr", "add", &addr, "dev", name])?;
                ip(&["link", "set", name, "up"])?;
                continue;
            }
            ip(&["netns", "add", name])?;
            ip(&["link", "set", name, "netns", name])?;
            ip(&["-n", name, "addr", "add", &addr, "dev", name])?;
            ip(&["-n", name, "link", "set", name, "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    pub(crate) fn addr(&self, host: usize) -> IpAddr {
        let host = match host {
            CLIENTS => CLIENTS_HOST,
            // At most a handful of servers.
            server => u8::try_from(server).unwrap_or(u8::MAX),
        };
        Ipv4Addr::new(198, 18, self.subnet, host).into()
    }

    /// Words that run a command in the server's namespace.
    pub(crate) fn prefix(&self, server: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.names[server]]
            .map(str::to_owned)
            .into()
    }

    /// Changes one direction.
    pub(crate) fn set(&self, from: usize, to: usize, link: Link) {
        let hosts = self.names.len();
        let mut links = self
            .router
            .links
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        links[from * hosts + to] = link;
    }

    /// Makes all links whole and fast.
    pub(crate) fn heal(&self) {
        let mut links = self
            .router
            .links
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        links.fill(Link::default());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (host, name) in self.names.iter().enumerate() {
            // What was not made cannot be removed; the router's threads end with their devices.
            let _ = match host {
                CLIENTS => ip(&["link", "del", name]),
                _ => ip(&["netns", "del", name]),
            };
        }
    }
}

impl Router {
    /// Takes what one host sends, until its device is gone.
    fn drive(&self, from: usize, mut rng: ChaCha8Rng) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        while let Ok(length) = self.devices[from].recv(&mut buffer) {
            let packet = &buffer[..length];
            let Some(to) = self.target(packet) else {
                continue;
            };
            let link = {
                let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
                links[from * self.devices.len() + to]
            };
            if link.cut || (link.loss > 0.0 && rng.random_bool(link.loss)) {
                continue;
            }
            let jitter = link.jitter.mul_f64(rng.random());
            let delay = link.delay + jitter;
            if delay.is_zero() {
                self.deliver(to, packet);
                continue;
            }
            let mut waiting = self.waiting();
            if waiting.len() < WAITING_MAX {
                waiting.push(Reverse(Waiting {
                    due: Instant::now() + delay,
                    to,
                    packet: packet.to_vec(),
                }));
                self.arrived.notify_one();
            }
        }
    }

    /// Delivers packets of slow links when they are due. Never ends; it sleeps when there are none.
    fn drive_waiting(&self) {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let pause = match waiting.peek() {
                Some(Reverse(first)) if first.due <= now => Duration::ZERO,
                Some(Reverse(first)) => first.due - now,
                None => Duration::from_secs(1),
            };
            if !pause.is_zero() {
                let woken = self.arrived.wait_timeout(waiting, pause);
                waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if let Some(Reverse(first)) = waiting.pop() {
                drop(waiting);
                self.deliver(first.to, &first.packet);
                waiting = self.waiting();
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host that an IPv4 packet is for; what else there is on a network is dropped.
    fn target(&self, packet: &[u8]) -> Option<usize> {
        if packet.first()? >> 4 != 4 {
            return None;
        }
        match *packet.get(19)? {
            CLIENTS_HOST => Some(CLIENTS),
            host => Some(usize::from(host)).filter(|host| *host < self.devices.len()),
        }
    }

    fn deliver(&self, to: usize, packet: &[u8]) {
        // A full device loses packets, like any.
        let _ = self.devices[to].send(packet);
    }
}

fn ip(words: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .context("running `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", words.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The third number of an address range that nothing here routes to.
fn free_subnet() -> Result<u8> {
    let routes = ip(&["-4", "route", "show", "table", "all"])?;
    let mut rng = rand::rng();
    let free = (0..1000)
        .map(|_| rng.random::<u8>())
        .find(|subnet| !routes.contains(&format!("198.18.{subnet}.")));
    free.context("all address ranges for tests are in use")
}

/// Removes namespaces of runs that were killed.
fn remove_left_overs() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('n'))
            .map(|(pid, _)| pid);
        if let Some(pid) = pid
            && !Path::new("/proc").join(pid).exists()
        {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}
