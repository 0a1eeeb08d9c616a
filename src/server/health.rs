//! Whether this server may serve clients.
//!
//! A server that is cut off from the quorum can neither write nor say how old its state is. It goes
//! on for `syncLimit`, for elections are short; then its connections end, and clients find another
//! server.

use std::sync::Arc;
use std::time::Duration;

use crate::ensemble::Ensemble;
use crate::pipeline::Core;

/// How often the contact with the quorum is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Begins to serve when the state is as new as the leader's, and ceases when contact is lost.
pub(super) async fn run(core: Arc<Core>, ensemble: Arc<Ensemble>, limit: Duration) {
    loop {
        if !core.catch_up().await {
            return;
        }
        core.set_serving(true);
        tracing::info!("serving clients");
        while ensemble.status().out_of_touch <= limit {
            tokio::time::sleep(LOOK).await;
        }
        tracing::warn!("out of touch with the quorum; not serving until that changes");
        core.set_serving(false);
    }
}
