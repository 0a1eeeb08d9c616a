//! The task that keeps a session connected.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jute::proto::{SetWatches, SetWatches2, xid};
use jute::{OpCode, Str};
use tokio::time::{self, Instant};

use super::{CONFIG_PATH, Link, Notice, SessionChange, Shared};
use crate::client::ask::ask;
use crate::client::handle::push_event;
use crate::client::hosts::{Host, Hosts};
use crate::client::watches::{WatchKind, Watches};
use crate::client::{Client, ClientError, ConnectOptions, Event};

/// Between two rounds over all servers: grows from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between two searches for a server that takes writes: grows likewise.
const SEARCH_MIN: Duration = Duration::from_millis(100);
const SEARCH_MAX: Duration = Duration::from_secs(60);
/// Bytes of paths in one request that arms watches again, as upstream's.
const SET_WATCHES_LEN_MAX: usize = 128 * 1024;

pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) options: ConnectOptions,
    /// The server to try first.
    pub(super) first: usize,
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        let mut heard = Instant::now();
        loop {
            let Some(client) = self.connect(heard).await else {
                return;
            };
            self.keep(&client).await;
            heard = Instant::now();
            self.options.last_zxid_seen = client.last_zxid();
            if self.shared.is_ended() || self.shared.is_closing.load(Ordering::Relaxed) {
                return;
            }
            self.shared.status.send_modify(|status| {
                status.link = Link::Connecting;
                status.failures += 1;
            });
            self.shared
                .tell(Notice::Session(SessionChange::Disconnected));
        }
    }

    /// Tries all servers round after round; `None` when the session is gone. `heard` is when its
    /// last connection ended.
    async fn connect(&mut self, heard: Instant) -> Option<Client> {
        let mut pause = PAUSE_MIN;
        loop {
            let servers = self.shared.hosts.servers().to_vec();
            for turn in 0..servers.len() {
                let index = (self.first + turn) % servers.len();
                match self.connect_to(&servers[index]).await {
                    Ok(client) => {
                        self.first = index;
                        return Some(client);
                    }
                    Err(ClientError::SessionExpired) => {
                        self.shared.end(Link::Closed, SessionChange::Expired);
                        return None;
                    }
                    Err(error) => {
                        let server = servers[index].to_string();
                        tracing::info!(server, %error, "no connection");
                    }
                }
            }
            // The one that was left comes last in the next round.
            self.first = (self.first + 1) % servers.len();
            if let Some(session) = &self.options.resume
                && heard.elapsed() > session.timeout * 4 / 3
            {
                self.shared.end(Link::Closed, SessionChange::Expired);
                return None;
            }
            self.shared
                .status
                .send_modify(|status| status.failures += 1);
            time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect_to(&mut self, server: &Host) -> Result<Client, ClientError> {
        let shared = self.shared.clone();
        let sink = move |mut event: Event| {
            event.path = shared.hosts.client_path(&event.path);
            if !shared.watches.lock().fire(event.kind, &event.path) {
                return Ok(());
            }
            push_event(&shared.notices, Notice::Node(event))
        };
        let address = (server.name.as_str(), server.port);
        let client = Client::connect_with(address, &self.options, Box::new(sink)).await?;
        let session = *client.session();
        tracing::info!(
            server = server.to_string(),
            session = format_args!("{:#x}", session.id),
            timeout_ms = session.timeout.as_millis(),
            "session established"
        );
        // A server without a quorum has made this session up for itself.
        if !session.read_only {
            self.options.resume = Some(session);
        }
        let credentials = self.shared.credentials.lock().clone();
        for credential in &credentials {
            self.shared.send_credential(&client, credential).await?;
        }
        self.shared
            .send_watches(&client, self.options.last_zxid_seen)
            .await?;
        let change = if session.read_only {
            SessionChange::ConnectedReadOnly
        } else {
            SessionChange::SyncConnected
        };
        self.shared.tell(Notice::Session(change));
        let link = Link::Up(client.clone());
        self.shared.status.send_modify(|status| {
            if matches!(status.link, Link::Connecting) {
                status.link = link;
            }
        });
        Ok(client)
    }

    /// Until the connection ends, or a better server than this read-only one has been found.
    async fn keep(&mut self, client: &Client) {
        let mut ended = pin!(client.ended());
        if !client.session().read_only {
            return ended.await;
        }
        let mut pause = SEARCH_MIN;
        loop {
            tokio::select! {
                () = &mut ended => return,
                () = time::sleep(pause) => {}
            }
            pause = (pause * 2).min(SEARCH_MAX);
            let servers = self.shared.hosts.servers().to_vec();
            for (index, server) in servers.iter().enumerate() {
                if ask(server, "isro").await.is_ok_and(|mode| mode == "rw") {
                    self.first = index;
                    return;
                }
            }
        }
    }
}

impl Shared {
    /// Arms what the registry holds, against what has changed since `zxid`.
    async fn send_watches(&self, client: &Client, zxid: i64) -> Result<(), ClientError> {
        let batches = watch_batches(&self.watches.lock(), &self.hosts);
        for batch in batches {
            let [data, exist, child, persistent, recursive] = batch;
            let list = |paths: &'_ [String]| -> Option<Vec<Str<'static>>> {
                Some(paths.iter().map(|path| Some(path.clone().into())).collect())
            };
            // Servers before 3.6 know only the first form.
            if persistent.is_empty() && recursive.is_empty() {
                let request = SetWatches {
                    relative_zxid: zxid,
                    data_watches: list(&data),
                    exist_watches: list(&exist),
                    child_watches: list(&child),
                };
                client
                    .submit_as(Some(xid::SET_WATCHES), OpCode::SET_WATCHES, &request)
                    .await?;
            } else {
                let request = SetWatches2 {
                    relative_zxid: zxid,
                    data_watches: list(&data),
                    exist_watches: list(&exist),
                    child_watches: list(&child),
                    persistent_watches: list(&persistent),
                    persistent_recursive_watches: list(&recursive),
                };
                client
                    .submit_as(Some(xid::SET_WATCHES), OpCode::SET_WATCHES2, &request)
                    .await?;
            }
        }
        Ok(())
    }
}

/// Server paths in portions, each by kind.
fn watch_batches(watches: &Watches, hosts: &Hosts) -> Vec<[Vec<String>; 5]> {
    let mut batches = Vec::new();
    let mut batch: [Vec<String>; 5] = Default::default();
    let mut length = 0;
    for kind in [
        WatchKind::Data,
        WatchKind::Exist,
        WatchKind::Child,
        WatchKind::Persistent,
        WatchKind::PersistentRecursive,
    ] {
        for path in watches.of(kind) {
            let path = match path {
                CONFIG_PATH => path.to_owned(),
                _ => hosts.server_path(path),
            };
            length += path.len();
            batch[kind as usize].push(path);
            if length >= SET_WATCHES_LEN_MAX {
                batches.push(std::mem::take(&mut batch));
                length = 0;
            }
        }
    }
    if length > 0 {
        batches.push(batch);
    }
    batches
}
