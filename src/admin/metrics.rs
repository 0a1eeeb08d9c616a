//! Metrics for Prometheus.
//!
//! Hot paths count in atomics of their own; the figures are copied from them once a second. Only
//! latencies are recorded as they happen, for their quantiles.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::facts;
use super::words::Sources;
use crate::config::Config;
use crate::ensemble::Ensemble;
use crate::pipeline::Core;

/// How old a copied figure may be.
const COPY_INTERVAL: Duration = Duration::from_secs(1);

/// Serves metrics on `address` from now on. Call it before anything is measured.
///
/// # Errors
/// A sentence, when the address cannot be used.
pub fn export(address: SocketAddr) -> Result<(), String> {
    // The exporter binds in a task of its own, where nobody would hear of a taken port.
    drop(std::net::TcpListener::bind(address).map_err(|error| error.to_string())?);
    PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
        .map_err(|error| error.to_string())
}

/// Copies figures until the process ends.
pub async fn drive(core: Arc<Core>, ensemble: Arc<Ensemble>, config: Arc<Config>) {
    let mut timer = tokio::time::interval(COPY_INTERVAL);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let sources = Sources {
            core: &core,
            ensemble: &ensemble,
            config: &config,
        };
        for (name, value) in facts::gauges(sources) {
            metrics::gauge!(name).set(value.as_f64());
        }
        for (name, value) in facts::counters(&core) {
            metrics::counter!(name).absolute(value);
        }
    }
}
