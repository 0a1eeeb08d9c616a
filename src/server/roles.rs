//! Says in the log what this server is among the others, in upstream's words: scripts look for them.

use std::sync::Arc;

use tokio::select;

use crate::config::{Config, Role, ServerSpec};
use crate::ensemble::{Ensemble, Leadership};
use crate::pipeline::{Core, Service};

/// What a server is, and as a part of a sentence.
const LOOKING: (&str, &str) = ("LOOKING", "looking");
const LEADING: (&str, &str) = ("LEADING", "leading");
const FOLLOWING: (&str, &str) = ("FOLLOWING", "following");
const OBSERVING: (&str, &str) = ("OBSERVING", "observing");

/// Until the process ends.
pub(super) async fn say(core: Arc<Core>, ensemble: Arc<Ensemble>, config: Arc<Config>) {
    let mut leadership = ensemble.leadership();
    let mut service = core.service_changes();
    let mut last = None;
    let mut is_said = false;
    loop {
        let seen = *leadership.borrow_and_update();
        let (name, state) = match seen {
            Leadership::Unknown => LOOKING,
            Leadership::Leading { .. } => LEADING,
            Leadership::Following { .. } if is_observer(&core, &config) => OBSERVING,
            Leadership::Following { .. } => FOLLOWING,
        };
        if last.replace(seen) != Some(seen) {
            tracing::info!("{name}");
            is_said = false;
        }
        let serves = *service.borrow_and_update() == Service::Everybody;
        if serves && seen != Leadership::Unknown && !is_said {
            tracing::info!("Peer state changed: {state} - broadcast");
        }
        is_said = serves;
        select! {
            changed = leadership.changed() => if changed.is_err() { return },
            changed = service.changed() => if changed.is_err() { return },
        }
    }
}

/// As the members have agreed, else as the configuration has it.
fn is_observer(core: &Core, config: &Config) -> bool {
    let id = core.settings.server.0;
    let agreed = core.configuration();
    let agreed = agreed.borrow();
    let agreed = agreed
        .lines()
        .filter_map(ServerSpec::parse_line)
        .find(|line| line.id == id);
    let own = agreed.as_ref().or_else(|| config.own_server());
    own.is_some_and(|own| own.role == Role::Observer)
}
