//! Metrics for Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::ensemble::Ensemble;
use crate::pipeline::Core;

/// How old an exported figure may be. The hot paths count in atomics of their own, which are
/// copied this often.
const COPY_INTERVAL: Duration = Duration::from_secs(1);

/// Serves metrics on `address` from now on.
///
/// # Errors
/// A sentence, when the address cannot be used.
pub fn export(
    core: &Arc<Core>,
    ensemble: &Arc<Ensemble>,
    address: SocketAddr,
) -> Result<(), String> {
    PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
        .map_err(|error| error.to_string())?;
    let (core, ensemble) = (Arc::clone(core), Arc::clone(ensemble));
    tokio::spawn(async move {
        let mut timer = tokio::time::interval(COPY_INTERVAL);
        loop {
            timer.tick().await;
            copy(&core, &ensemble);
        }
    });
    Ok(())
}

fn copy(core: &Core, _ensemble: &Ensemble) {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    metrics::counter!("packets_received").absolute(count(&core.counters.packets_received));
    metrics::counter!("packets_sent").absolute(count(&core.counters.packets_sent));
}
