//! Where the server listens, when a change of members moves it.
//!
//! A server that is given another client port or another port between servers listens there as soon
//! as the change is made, and no more where it did. Connections stay. Upstream does the same
//! (`QuorumPeer.processReconfig`), but for the port between servers, which is its leader's alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::agreed::Agreements;
use super::listen;
use crate::config::{HostPort, ServerSpec};
use crate::pipeline::Core;

/// Pause before a port that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where a member's line has a port.
type Place = Box<dyn Fn(&ServerSpec) -> Option<HostPort> + Send + Sync>;
/// Accepts from a listener, in a task of its own.
type Open = Box<dyn Fn(TcpListener) -> JoinHandle<()> + Send + Sync>;

/// One port that the server listens on.
pub(super) struct Door {
    /// What the log calls it.
    pub name: &'static str,
    /// Where it is; nowhere when the configuration names no port.
    pub at: Option<HostPort>,
    pub backlog: Option<u32>,
    /// Who accepts there.
    pub accepting: Option<JoinHandle<()>>,
    pub place: Place,
    /// Where others look for it while this server does not hear what is agreed on.
    pub sought: watch::Receiver<String>,
    pub open: Open,
}

impl Door {
    /// Keeps it where the ensemble says until the server stops. `version` is that of the members in
    /// the configuration file.
    pub(super) async fn follow(
        mut self,
        core: Arc<Core>,
        version: u64,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut agreements = Agreements::of(&core);
        let me = core.settings.server.0;
        let mut refused = None;
        loop {
            let agreed = agreements.look().filter(|agreed| agreed.overrules(version));
            let sought = ServerSpec::parse(me, &self.sought.borrow_and_update());
            let line = match agreed {
                Some(agreed) => agreed.own_line(me),
                None => sought,
            };
            let place = line.and_then(|line| (self.place)(&line));
            let place = place.filter(|place| self.at.as_ref() != Some(place));
            let is_refused = match &place {
                None => false,
                Some(place) => {
                    let moved = self.move_to(place).await;
                    if let Err(error) = &moved
                        && refused.as_ref() != Some(place)
                    {
                        tracing::error!(port = self.name, %error, "a port of the new configuration cannot be had; trying on");
                    }
                    moved.is_err()
                }
            };
            refused = place.filter(|_| is_refused);
            tokio::select! {
                goes_on = agreements.changed() => if !goes_on { return },
                Ok(()) = self.sought.changed() => {}
                () = sleep(RETRY), if is_refused => {}
                _ = stopped.changed() => return,
            }
        }
    }

    async fn move_to(&mut self, place: &HostPort) -> Result<(), super::ServeError> {
        // One port on other addresses cannot be had while it is taken by ourselves.
        if self.at.as_ref().is_some_and(|at| at.port == place.port) {
            self.close().await;
        }
        let listener = listen(place, self.backlog)?;
        self.close().await;
        tracing::info!(port = self.name, %place, "listening at another place");
        self.accepting = Some((self.open)(listener));
        self.at = Some(place.clone());
        Ok(())
    }

    /// Returns when the port is free.
    async fn close(&mut self) {
        self.at = None;
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
    }
}
