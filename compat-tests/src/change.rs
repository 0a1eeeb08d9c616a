//! Changes of members as a client asks for them, and what comes of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::Admin;
use crate::ensemble::Ensemble;
use crate::server::{Kind, Settings};
use crate::wire::{Blob, Request, Value};
use anyhow::{Context as _, Result, bail, ensure};

/// How long anything may take that should be a matter of seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what changes.
pub const POLL: Duration = Duration::from_millis(100);

/// `NewConfigNoQuorum`.
pub const NO_QUORUM: i32 = -13;

/// Three servers that allow members to change, or do not.
///
/// # Errors
/// When one does not start.
pub fn start(kind: Kind, enabled: bool) -> Result<Ensemble> {
    let mut settings = Settings::default();
    settings.set(&format!("reconfigEnabled={enabled}"))?;
    Ensemble::start(kind, 3, 0, &settings)
}

/// One change, as the request carries it; what is absent is null there.
#[derive(Clone, Debug)]
pub struct Change {
    joining: Option<String>,
    leaving: Option<String>,
    members: Option<String>,
    from: i64,
}

impl Default for Change {
    fn default() -> Self {
        Self {
            joining: None,
            leaving: None,
            members: None,
            from: -1,
        }
    }
}

impl Change {
    /// These servers come, or change.
    pub fn joining(text: &str) -> Self {
        Self::default().and_joining(text)
    }

    /// These servers go.
    pub fn leaving(text: &str) -> Self {
        Self::default().and_leaving(text)
    }

    /// These are all members.
    pub fn members(text: &str) -> Self {
        let members = Some(text.to_owned());
        Self {
            members,
            ..Self::default()
        }
    }

    pub fn and_joining(mut self, text: &str) -> Self {
        self.joining = Some(text.to_owned());
        self
    }

    pub fn and_leaving(mut self, text: &str) -> Self {
        self.leaving = Some(text.to_owned());
        self
    }

    pub fn from(mut self, version: i64) -> Self {
        self.from = version;
        self
    }

    pub fn request(&self) -> Request {
        let text = |text: &Option<String>| {
            Value::Blob(match text {
                Some(text) => Blob::text(text),
                None => Blob::Null,
            })
        };
        Request::named("reconfig")
            .with("joining", text(&self.joining))
            .with("leaving", text(&self.leaving))
            .with("members", text(&self.members))
            .with("from", Value::Long(self.from))
    }
}

/// The data at the front of a reply.
///
/// # Errors
/// When there is none.
pub fn data(body: &[u8]) -> Result<String> {
    let (length, rest) = body.split_first_chunk::<4>().context("a short reply")?;
    let length = usize::try_from(i32::from_be_bytes(*length))?;
    let data = rest.get(..length).context("a short reply")?;
    Ok(String::from_utf8(data.to_vec())?)
}

/// Asks until the answer is not that the new members have no quorum: a server that has just been
/// started may not be connected yet. Returns the configuration in the reply.
///
/// # Errors
/// When the change is refused or there is no answer.
pub fn change(addr: SocketAddr, change: &Change) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (err, body) = Admin::connect(addr)?.ask(&change.request())?;
        match err {
            0 => return data(&body),
            NO_QUORUM if Instant::now() < deadline => std::thread::sleep(POLL),
            _ => bail!("{change:?}: {err}"),
        }
    }
}

/// What a client of this server sees behind a sync.
///
/// # Errors
/// When it does not answer.
pub fn config(addr: SocketAddr) -> Result<String> {
    let mut admin = Admin::connect(addr)?;
    let path = "/zookeeper/config";
    let (err, _) = admin.ask(&Request::named("sync").path(path))?;
    ensure!(err == 0, "sync: {err}");
    let (err, body) = admin.ask(&Request::named("getData").path(path))?;
    ensure!(err == 0, "getData: {err}");
    admin.close()?;
    data(&body)
}

/// The version at the end of a configuration.
///
/// # Errors
/// When there is none.
pub fn version(config: &str) -> Result<i64> {
    let (_, hex) = config.rsplit_once("\nversion=").context("no version")?;
    Ok(i64::from_str_radix(hex, 16)?)
}

/// The lines of these servers, in the order that the configuration has them in.
///
/// # Errors
/// When there is no such server.
pub fn lines(ensemble: &Ensemble, ids: &[usize]) -> Result<String> {
    let line = |id: &usize| Ok(format!("server.{id}={}", ensemble.server_spec(*id)?));
    let lines = ids.iter().map(line).collect::<Result<Vec<_>>>()?;
    Ok(lines.join("\n"))
}

/// # Errors
/// When the configuration is not that of these servers.
pub fn expect(ensemble: &Ensemble, config: &str, ids: &[usize]) -> Result<()> {
    let expected = format!("{}\nversion={:x}", lines(ensemble, ids)?, version(config)?);
    ensure!(config == expected, "{config}\ninstead of\n{expected}");
    Ok(())
}
