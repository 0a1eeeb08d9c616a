//! The leader's part of a change of members.

use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut as _;
use jute::ErrorCode;
use tokio::time::{Instant, sleep};

use super::Core;
use crate::ensemble::{ChangeError, Ensemble, Member};
use crate::op::reconfig::{BEGIN_CONFIG, END_RECONFIG};
use crate::state::State;
use crate::tree::CONFIG_PATH;
use crate::types::SessionId;

/// Pause before a change that could not be begun is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often the leader looks whether servers that have left are gone.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Carries out what waits in the state, while this server leads.
pub(super) async fn carry_out(core: &Arc<Core>, ensemble: &Arc<Ensemble>) {
    let first = &core.settings.first_members;
    if !first.is_empty() {
        core.propose_own(BEGIN_CONFIG, SessionId(0), first.as_bytes());
    }
    let since = Instant::now();
    let mut was_refused = false;
    loop {
        // What the last change has left.
        let members = parse(&core.look(written_members));
        let mut is_settled = true;
        if members.iter().any(|member| member.is_voter) {
            let settled = ensemble.settle_members(&members, since).await;
            is_settled = matches!(settled, Ok(false));
            if let Err(error) = &settled
                && !was_refused
            {
                tracing::warn!(%error, "the members are not yet as they are written");
            }
            was_refused = settled.is_err();
        }
        let waiting = core.look(|state| state.reconfiguration().map(|r| r.members.clone()));
        let Some(members) = waiting else {
            tokio::select! {
                () = core.reconfig_wake.notified() => {}
                () = sleep(SETTLE_AGAIN), if !is_settled => {}
            }
            continue;
        };
        tracing::info!(members, "changing the members");
        let code = match ensemble.change_members(&parse(&members)).await {
            Ok(()) => ErrorCode::OK,
            // A leader that is to go lets somebody finish who stays.
            Err(ChangeError::IsLeaving) => {
                core.stop_leading().await;
                ensemble.hand_over_to(&parse(&members)).await;
                core.resume_leading();
                continue;
            }
            // The next leader goes on with it.
            Err(ChangeError::NotLeader) => {
                sleep(RETRY).await;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "the members stay as they were");
                ErrorCode::NEW_CONFIG_NO_QUORUM
            }
        };
        let mut body = Vec::new();
        body.put_i32(code.0);
        core.propose_own(END_RECONFIG, SessionId(0), &body);
        // One at a time: the next one begins behind this one's end.
        while core.look(|state| state.reconfiguration().is_some()) {
            core.reconfig_wake.notified().await;
        }
    }
}

impl Core {
    /// Tells of the configuration that the ensemble has now.
    pub(super) fn announce_configuration(&self, state: &State) {
        let text = configuration(state);
        self.configuration.send_if_modified(|known| {
            let is_new = **known != *text;
            if is_new {
                *known = text.into();
            }
            is_new
        });
    }
}

/// The member lines of `/zookeeper/config`, when nothing is under way.
fn written_members(state: &State) -> String {
    if state.reconfiguration().is_some() {
        return String::new();
    }
    configuration(state)
}

fn configuration(state: &State) -> String {
    let id = state.tree.find(CONFIG_PATH);
    let data = id.and_then(|id| state.tree.data(id)).unwrap_or_default();
    String::from_utf8_lossy(data).into_owned()
}

fn parse(lines: &str) -> Vec<Member> {
    let member = |line: &str| {
        let (id, spec) = line.strip_prefix("server.")?.split_once('=')?;
        Some(Member {
            id: id.parse().ok()?,
            spec: spec.to_owned(),
            is_voter: !spec.contains(":observer"),
        })
    };
    lines.lines().filter_map(member).collect()
}
