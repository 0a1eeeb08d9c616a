//! Every key that ZooKeeper 3.9 knows, in one table: what it means, what it is when absent, and
//! what happens here when it is set. `conf/zoo_sample.cfg` is written from this table (see
//! `sample.rs`), so the two cannot disagree.
//!
//! Upstream spreads this over `QuorumPeerConfig.java` (keys that the file's parser knows) and some
//! two hundred `System.getProperty` calls. The difference is visible to operators, hence
//! [`Origin`].

mod accepted;
mod honoured;
mod refused;

use super::draft::Draft;
use super::value::{Rejected, Setting};

/// Where ZooKeeper looks for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// zoo.cfg alone.
    File,
    /// zoo.cfg, or `-Dzookeeper.KEY`.
    Property,
    /// `-DKEY` alone. Taken from zoo.cfg too, with a warning, since that is what its author meant.
    Flag,
    /// All three.
    Anywhere,
}

/// What becomes of a key that is set.
pub(super) enum Treatment {
    /// It does what its documentation says.
    Honoured(Honoured),
    /// It may stand there; nothing here depends on it, for this reason.
    Accepted { why: &'static str },
    /// Ignoring it could hurt somebody, so the server does not start, unless the value switches the
    /// thing off.
    Refused {
        off: &'static [&'static str],
        why: &'static str,
    },
}

/// The rest of the row of an honoured key.
pub(super) struct Honoured {
    pub(super) unit: &'static str,
    pub(super) absent: Absent,
    pub(super) meaning: &'static str,
    pub(super) set: fn(&mut Draft, Setting<'_>) -> Result<(), Rejected>,
}

/// What holds when the key is absent.
#[derive(Clone, Copy)]
pub(super) enum Absent {
    /// As if it were set to this.
    Default(&'static str),
    /// Nothing is set; the text is an example of a value.
    Unset(&'static str),
}

/// One row: a key, or several that share their fate.
pub(super) struct Row {
    pub(super) origin: Origin,
    /// Names with the default that upstream documents. A name that ends in `*` stands for all that
    /// begin so.
    pub(super) names: &'static [(&'static str, &'static str)],
    pub(super) treatment: Treatment,
}

/// Rows under a heading of the sample file.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) rows: &'static [Row],
}

/// The row that a key belongs to.
pub(super) fn find(key: &str) -> Option<&'static Row> {
    let rows = || SECTIONS.iter().flat_map(|section| section.rows);
    let is_named = |row: &&Row| row.names.iter().any(|(name, _)| *name == key);
    let is_of_family = |row: &&Row| {
        let families = row
            .names
            .iter()
            .filter_map(|(name, _)| name.strip_suffix('*'));
        families
            .into_iter()
            .any(|family| key.starts_with(family) && key.len() > family.len())
    };
    rows().find(is_named).or_else(|| rows().find(is_of_family))
}

/// Headings of ZooKeeper's admin guide that are not the key: ZooKeeper ignores them silently, we
/// take them and warn.
pub(super) fn key_for_heading(heading: &str) -> Option<&'static str> {
    HEADINGS
        .iter()
        .find(|(name, _)| *name == heading)
        .map(|(_, key)| *key)
}

const HEADINGS: &[(&str, &str)] = &[
    (
        "advancedFlowControlEnabled",
        "netty.advancedFlowControl.enabled",
    ),
    (
        "connectionDecreaseRatio",
        "connection_throttle_decrease_ratio",
    ),
    (
        "connectionDropDecrease",
        "connection_throttle_drop_decrease",
    ),
    (
        "connectionDropIncrease",
        "connection_throttle_drop_increase",
    ),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    (
        "outstandingHandshake.limit",
        "netty.server.outstandingHandshake.limit",
    ),
    (
        "requestStaleConnectionCheck",
        "request_stale_connection_check",
    ),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
];

type Set = fn(&mut Draft, Setting<'_>) -> Result<(), Rejected>;
type Names = &'static [(&'static str, &'static str)];

const fn honoured(
    origin: Origin,
    names: Names,
    unit: &'static str,
    absent: Absent,
    meaning: &'static str,
    set: Set,
) -> Row {
    Row {
        origin,
        names,
        treatment: Treatment::Honoured(Honoured {
            unit,
            absent,
            meaning,
            set,
        }),
    }
}

const fn accepted(origin: Origin, names: Names, why: &'static str) -> Row {
    Row {
        origin,
        names,
        treatment: Treatment::Accepted { why },
    }
}

const fn refused(
    origin: Origin,
    names: Names,
    off: &'static [&'static str],
    why: &'static str,
) -> Row {
    Row {
        origin,
        names,
        treatment: Treatment::Refused { off, why },
    }
}

const NO_TLS: &str =
    "TLS is not served yet, and serving in the clear what was meant to be encrypted is no way out";
const NO_SASL: &str = "SASL is not served yet, and nobody would be authenticated by it";

/// The table, in the order of the sample file.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Basics",
        rows: honoured::BASICS,
    },
    Section {
        title: "Limits",
        rows: honoured::LIMITS,
    },
    Section {
        title: "Storage",
        rows: honoured::STORAGE,
    },
    Section {
        title: "Behaviour",
        rows: honoured::BEHAVIOUR,
    },
    Section {
        title: "Authentication and access",
        rows: honoured::AUTH,
    },
    Section {
        title: "Metrics",
        rows: honoured::METRICS,
    },
    Section {
        title: "Admin server",
        rows: honoured::ADMIN,
    },
    Section {
        title: "Ensemble",
        rows: honoured::ENSEMBLE,
    },
    Section {
        title: "Known, without effect here: one line in the log when set",
        rows: accepted::ACCEPTED,
    },
    Section {
        title: "Known, not served yet: the server says so and does not start",
        rows: refused::REFUSED,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{HEADINGS, SECTIONS, Treatment, find};

    #[test]
    fn no_key_has_two_rows() {
        let mut seen = BTreeSet::new();
        for (name, _) in SECTIONS
            .iter()
            .flat_map(|section| section.rows)
            .flat_map(|row| row.names)
        {
            assert!(seen.insert(name), "{name} stands in the table twice");
        }
    }

    #[test]
    fn headings_lead_to_keys_and_are_none_themselves() {
        for (heading, key) in HEADINGS {
            assert!(
                find(heading).is_none(),
                "{heading} is a key, so it cannot be a heading for another"
            );
            assert!(
                find(key).is_some(),
                "{heading} leads to {key}, which is no key"
            );
        }
    }

    #[test]
    fn families_need_a_suffix_and_full_names_come_first() {
        assert!(find("authProvider.").is_none());
        assert!(find("authProvider.1").is_some());
        let by_name = find("jute.maxbuffer.extrasize").map(|row| row.names[0].0);
        assert_eq!(by_name, Some("jute.maxbuffer.extrasize"));
    }

    #[test]
    fn reasons_and_meanings_are_said() {
        for row in SECTIONS.iter().flat_map(|section| section.rows) {
            let text = match &row.treatment {
                Treatment::Honoured(honoured) => honoured.meaning,
                Treatment::Accepted { why } | Treatment::Refused { why, .. } => why,
            };
            assert!(text.len() > 8, "{:?} needs a word more", row.names);
        }
    }
}
