//! How long this server was without a quorum, for those who read metrics.
//!
//! ```text
//!   contact is lost ──────── somebody leads and is heard ──────── all it had is applied here
//!   looking_count            election_time                        unavailable_time, and
//!                            └── follower_sync_time ──────────────┘ leader_unavailable_time
//! ```
//!
//! An outage begins with the last sign of life, not when it is noticed: a leader that is paused says
//! nothing when it goes. Names and meanings are upstream's (`QuorumPeer.java`), which counts the
//! start of a server too.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::ensemble::{Ensemble, Leadership};
use crate::pipeline::Core;

/// How often the contact is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Measures, until the process ends.
pub(super) async fn measure(core: Arc<Core>, ensemble: Arc<Ensemble>) {
    let mut leadership = ensemble.leadership();
    let mut since = Instant::now();
    loop {
        metrics::counter!("looking_count").increment(1);
        while *leadership.borrow_and_update() == Leadership::Unknown || ensemble.status().is_lost {
            look_again(&mut leadership).await;
        }
        record("election_time", since);
        let found = Instant::now();
        if !core.catch_up().await {
            return;
        }
        let known = *leadership.borrow_and_update();
        match known {
            Leadership::Unknown => {}
            Leadership::Leading { .. } => record("leader_unavailable_time", since),
            Leadership::Following { .. } if ensemble.status().is_voter => {
                record("follower_sync_time", found);
            }
            Leadership::Following { .. } => record("observer_sync_time", found),
        }
        record("unavailable_time", since);
        since = Instant::now();
        while *leadership.borrow_and_update() == known {
            let status = ensemble.status();
            if status.is_lost {
                break;
            }
            let now = Instant::now();
            since = now.checked_sub(status.out_of_touch).unwrap_or(now);
            look_again(&mut leadership).await;
        }
    }
}

fn record(name: &'static str, since: Instant) {
    metrics::histogram!(name).record(since.elapsed().as_secs_f64() * 1000.0);
}

/// Returns when there may be something to see.
async fn look_again(leadership: &mut watch::Receiver<Leadership>) {
    tokio::select! {
        changed = leadership.changed() => if changed.is_err() {
            // Nobody says any more who leads: this server is about to stop.
            sleep(LOOK).await;
        },
        () = sleep(LOOK) => {}
    }
}
