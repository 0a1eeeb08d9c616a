//! Deletes containers and TTL znodes that are due (`ContainerManager.java`).

use std::sync::Arc;
use std::time::Duration;

use crate::config::ContainerConfig;
use crate::pipeline::{Core, wall_clock_ms};

/// Looks for candidates once per interval. Each is checked again when its entry is applied, so a
/// child that appears in between keeps its parent.
pub(super) async fn run(core: Arc<Core>, config: ContainerConfig) {
    let interval = Duration::from_millis(u64::from(config.check_interval_ms.max(1)));
    let pause = Duration::from_millis(60_000 / u64::from(config.max_per_minute.max(1)));
    let never_used_ms = i64::try_from(config.max_never_used_interval_ms).unwrap_or(i64::MAX);
    loop {
        tokio::time::sleep(interval).await;
        if !core.is_leading() {
            continue;
        }
        for path in core.due_for_deletion(wall_clock_ms(), never_used_ms) {
            core.propose_container_deletion(&path);
            tokio::time::sleep(pause).await;
        }
    }
}
