//! The shell's session: how it connects, and how what it tells is written.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jute::proto::event_type;
use tokio::time;

use crate::client::{
    ConnectOptions, Hosts, Keeper, Notice, Notices, Removed, SessionChange, SessionState,
};
use crate::config;

use super::arguments::Arguments;
use super::failure::{EXIT_INVALID_INVOCATION, Failure};
use super::{Shell, number, path};

/// What connecting needs to know.
pub(super) struct Settings {
    timeout: Duration,
    read_only: bool,
    wait_for_connection: bool,
    max_frame_bytes: usize,
    /// Of the client's configuration, and without effect here.
    pub(super) ignored: Option<&'static str>,
}

/// A key that bounds how long upstream's client waits for a reply.
const REQUEST_TIMEOUT: &str = "zookeeper.request.timeout";

impl Settings {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let properties = match &arguments.client_configuration {
            Some(file) => properties(file)?,
            None => BTreeMap::new(),
        };
        if properties
            .get("zookeeper.client.secure")
            .is_some_and(|value| value == "true")
        {
            return Err(Failure {
                text: "zookeeper.client.secure: TLS is not supported yet".to_owned(),
                exit_code: EXIT_INVALID_INVOCATION,
            });
        }
        let max_frame_bytes = match properties.get("jute.maxbuffer") {
            Some(text) => number::decode(text.trim())
                .and_then(|bytes| usize::try_from(bytes).ok())
                .ok_or_else(|| Failure {
                    text: format!("jute.maxbuffer: not a number of bytes: {text}"),
                    exit_code: EXIT_INVALID_INVOCATION,
                })?,
            None => ConnectOptions::default().max_frame_bytes,
        };
        let timeout = &arguments.timeout;
        let timeout_ms: i32 = timeout
            .parse()
            .map_err(|_| Failure::new(format!("-timeout needs milliseconds, not {timeout}")))?;
        Ok(Self {
            timeout: Duration::from_millis(timeout_ms.max(0).unsigned_abs().into()),
            read_only: arguments.read_only,
            wait_for_connection: arguments.wait_for_connection,
            max_frame_bytes,
            ignored: properties
                .get(REQUEST_TIMEOUT)
                .is_some_and(|value| value.trim() != "0")
                .then_some(REQUEST_TIMEOUT),
        })
    }

    /// Begins to connect.
    pub(super) fn connect(&self, server: &str) -> Result<(Keeper, Notices), Failure> {
        let hosts = Hosts::parse(server, path::check);
        let hosts = hosts.map_err(|error| Failure::new(error.to_string()))?;
        let turns = u32::try_from(hosts.servers().len()).unwrap_or(u32::MAX);
        let options = ConnectOptions {
            session_timeout: self.timeout,
            connect_timeout: (self.timeout / turns).max(Duration::from_millis(1)),
            read_only: self.read_only,
            max_frame_bytes: self.max_frame_bytes,
            ..ConnectOptions::default()
        };
        Ok(Keeper::start(hosts, options))
    }
}

fn properties(file: &str) -> Result<BTreeMap<String, String>, Failure> {
    let failed = |why: String| Failure {
        text: format!("Error while processing {file}: {why}"),
        exit_code: EXIT_INVALID_INVOCATION,
    };
    let bytes = fs::read(file).map_err(|error| failed(error.to_string()))?;
    config::parse_properties(&bytes).map_err(|error| failed(error.to_string()))
}

impl Shell {
    /// With `-waitforconnection`: until a server that takes writes is there.
    pub(super) async fn wait_for_connection(&mut self) -> Result<(), Failure> {
        if !self.settings.wait_for_connection {
            return Ok(());
        }
        let keeper = self.keeper.clone();
        let limit = self.settings.timeout;
        match self.wait(time::timeout(limit, keeper.writable())).await {
            Ok(()) => Ok(()),
            Err(_) => {
                self.wait(keeper.close()).await;
                Err(Failure::new("KeeperErrorCode = ConnectionLoss"))
            }
        }
    }

    pub(super) fn print_notice(&mut self, notice: &Notice) {
        if self.print_watches {
            self.output.event(&watched_event(notice));
        }
    }
}

pub(super) fn is_connected(state: SessionState) -> bool {
    matches!(
        state,
        SessionState::Connected | SessionState::ConnectedReadOnly
    )
}

/// `ZooKeeper.States`.
pub(super) fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "CONNECTING",
        SessionState::Connected => "CONNECTED",
        SessionState::ConnectedReadOnly => "CONNECTEDREADONLY",
        SessionState::Closed => "CLOSED",
        SessionState::AuthFailed => "AUTH_FAILED",
    }
}

/// `WatchedEvent.toString`.
pub(super) fn watched_event(notice: &Notice) -> String {
    let line = |state: &str, kind: &str, path: &str, zxid: i64| {
        format!("WatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}")
    };
    match notice {
        Notice::Session(change) => {
            let state = match change {
                SessionChange::SyncConnected => "SyncConnected",
                SessionChange::ConnectedReadOnly => "ConnectedReadOnly",
                SessionChange::Disconnected => "Disconnected",
                SessionChange::Expired => "Expired",
                SessionChange::Closed => "Closed",
                SessionChange::AuthFailed => "AuthFailed",
            };
            line(state, "None", "null", -1)
        }
        Notice::Node(event) => {
            let kind = event_name(event.kind);
            line("SyncConnected", &kind, &event.path, event.zxid)
        }
        Notice::WatchRemoved { removed, path } => {
            let kind = match removed {
                Removed::Child => "ChildWatchRemoved",
                Removed::Data => "DataWatchRemoved",
                Removed::Persistent => "PersistentWatchRemoved",
            };
            line("SyncConnected", kind, path, -1)
        }
    }
}

/// `EventType`.
pub(super) fn event_name(kind: i32) -> String {
    let name = match kind {
        event_type::NODE_CREATED => "NodeCreated",
        event_type::NODE_DELETED => "NodeDeleted",
        event_type::NODE_DATA_CHANGED => "NodeDataChanged",
        event_type::NODE_CHILDREN_CHANGED => "NodeChildrenChanged",
        other => return other.to_string(),
    };
    name.to_owned()
}
