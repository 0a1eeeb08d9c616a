//! Whom this server may serve.
//!
//! A server that is cut off from the quorum can neither write nor say how old its state is. It goes
//! on for `syncLimit`, for elections are short; then its connections end, and clients find another
//! server. Those who say that they would rather read something old than nothing may come back, when
//! `readonlymode.enabled` allows it.
//!
//! With `leaderServes=no` a leader serves nobody, as long as there are others to go to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::ensemble::{Ensemble, Leadership};
use crate::pipeline::{Core, Service};

/// How often the contact with the quorum is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long a server may be out of touch with the quorum, and what it may do while it is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// And go on serving.
    pub serving: Duration,
    /// And not yet offer to read only; never, when there is no such time.
    pub read_only: Option<Duration>,
    /// Whether it serves while it leads.
    pub leader_serves: bool,
}

/// Begins to serve when the state is as new as the leader's, and ceases when contact is lost.
pub(super) async fn run(core: Arc<Core>, ensemble: Arc<Ensemble>, patience: Patience) {
    loop {
        let mut caught_up = pin!(core.catch_up());
        let goes_on = loop {
            if let Ok(goes_on) = timeout(LOOK, &mut caught_up).await {
                break goes_on;
            }
            let is_due = |after| ensemble.status().out_of_touch > after;
            if core.service() == Service::Nobody && patience.read_only.is_some_and(is_due) {
                tracing::warn!("no quorum; serving clients that only want to read");
                core.serve(Service::ReadOnly);
            }
        };
        if !goes_on {
            return;
        }
        // A leader that serves nobody does not even begin to.
        let mut serving = None;
        while ensemble.status().out_of_touch <= patience.serving {
            let service = if patience.leader_serves || !leads_others(&ensemble) {
                Service::Everybody
            } else {
                Service::Nobody
            };
            if serving.replace(service) != Some(service) {
                core.serve(service);
                match service {
                    Service::Nobody => tracing::info!("leading, and not serving clients meanwhile"),
                    _ => tracing::info!("serving clients"),
                }
            }
            sleep(LOOK).await;
        }
        tracing::warn!("out of touch with the quorum; not serving until that changes");
        core.serve(Service::Nobody);
    }
}

fn leads_others(ensemble: &Ensemble) -> bool {
    let leads = matches!(*ensemble.leadership().borrow(), Leadership::Leading { .. });
    leads && ensemble.status().members.len() > 1
}
