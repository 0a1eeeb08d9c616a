//! Quotas: limits and running totals kept as text in znodes below `/zookeeper/quota`.
//!
//! For a quota on `/p` clients create `/zookeeper/quota/p/zookeeper_limits` and
//! `/zookeeper/quota/p/zookeeper_stats`; the server keeps the text of the second up to date.
//! Upstream: `Quotas.java`, `StatsTrack.java`. Text that does not parse counts as unlimited, or as
//! zero in the totals: upstream dies of it while applying.

use std::collections::BTreeMap;

use super::journal::{Content, Undo};
use super::{DataTree, NodeId, signed};
use crate::collections::HashSet;

pub(crate) const QUOTA_ROOT: &str = "/zookeeper/quota";
pub(crate) const LIMITS: &str = "zookeeper_limits";
pub(crate) const STATS: &str = "zookeeper_stats";

/// The fields of a limits or stats znode; -1 means absent, which for a limit is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsTrack {
    pub count: i64,
    pub bytes: i64,
    pub count_hard_limit: i64,
    pub bytes_hard_limit: i64,
}

impl StatsTrack {
    pub(crate) const UNLIMITED: Self = Self {
        count: -1,
        bytes: -1,
        count_hard_limit: -1,
        bytes_hard_limit: -1,
    };

    /// Reads `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4` in any order. `None` for text
    /// that upstream cannot parse.
    pub(crate) fn parse(data: Option<&[u8]>) -> Option<Self> {
        let text = str::from_utf8(data?).ok()?;
        if text.starts_with([',', ';']) {
            return None;
        }
        let mut track = Self::UNLIMITED;
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            // An extra `=` ends the part that parsers of ZooKeeper 3.4 understand.
            let mut words = pair.trim_end_matches('=').split('=');
            let key = words.next()?;
            let value = match words.next()? {
                "" => -1,
                digits => digits.parse::<i64>().ok()?,
            };
            match key {
                "" => return None,
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                "countHardLimit" => track.count_hard_limit = value,
                "byteHardLimit" => track.bytes_hard_limit = value,
                _ => {}
            }
        }
        Some(track)
    }

    pub(crate) fn to_text(self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        let hard = [
            ("byteHardLimit", self.bytes_hard_limit),
            ("countHardLimit", self.count_hard_limit),
        ];
        let mut separator = "=;";
        for (key, value) in hard {
            if value != -1 {
                text.push_str(&format!("{separator}{key}={value}"));
                separator = ";";
            }
        }
        text
    }

    /// The soft limits that a change went beyond, in words. Upstream warns of each write above a
    /// limit; here only the one that passes it is worth a line.
    fn newly_exceeded(self, before: Self, after: Self) -> impl Iterator<Item = String> {
        [
            ("count", self.count, before.count, after.count),
            ("bytes", self.bytes, before.bytes, after.bytes),
        ]
        .into_iter()
        .filter(|(_, limit, before, after)| *limit > -1 && before <= limit && after > limit)
        .map(|(what, limit, _, after)| format!("{what}={after} limit={limit}"))
    }

    /// Whether growing from `current` breaks a hard limit of `self`. Soft limits only warn.
    pub(crate) fn forbids(self, current: Self, count_diff: i64, bytes_diff: i64) -> bool {
        let breaks = |limit: i64, now: i64, diff: i64| {
            diff != 0 && limit > -1 && now.saturating_add(diff) > limit
        };
        breaks(self.count_hard_limit, current.count, count_diff)
            || breaks(self.bytes_hard_limit, current.bytes, bytes_diff)
    }
}

/// Paths under a quota: those with a limits znode.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuotaPaths {
    paths: HashSet<Box<str>>,
}

impl QuotaPaths {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn insert(&mut self, path: &str) {
        self.paths.insert(path.into());
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
    }

    /// The deepest path at or above `path` that has a quota. The root and `/zookeeper` have none.
    pub(crate) fn deepest<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.paths.is_empty() {
            return None;
        }
        super::path::ancestors(path)
            .find(|ancestor| self.paths.contains(*ancestor))
            .filter(|found| *found != "/zookeeper" && *found != "/")
    }
}

/// The path whose quota a znode at `path` describes, if its name is `name`.
pub(crate) fn subject<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    path.strip_prefix(QUOTA_ROOT)?
        .strip_suffix(name)?
        .strip_suffix('/')
}

/// What the quota says about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaVerdict {
    Allowed,
    Exceeded,
    /// The limits or totals are no text that upstream could parse; it answers with a marshalling
    /// error.
    Unreadable,
}

/// Limits and totals below one top-level znode, summed up over its quotas: upstream adds a -1 for
/// each that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaSums {
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_usage: i64,
    pub bytes_usage: i64,
}

impl DataTree {
    /// The quotas by top-level znode, as far as `paths_max` of them tell (`QuotaMetricsUtils.java`).
    /// A hard limit goes before a soft one.
    #[must_use]
    pub fn quota_sums(&self, paths_max: usize) -> BTreeMap<String, QuotaSums> {
        let mut all = BTreeMap::<String, QuotaSums>::new();
        for subject in self.quota_paths.paths.iter().take(paths_max) {
            let Some(top) = subject.split('/').nth(1).filter(|top| !top.is_empty()) else {
                continue;
            };
            let read = |name| {
                let id = self.find(&format!("{QUOTA_ROOT}{subject}/{name}"))?;
                StatsTrack::parse(self.data(id))
            };
            let sums = all.entry(top.to_owned()).or_default();
            let add = |sum: &mut i64, more: i64| *sum = sum.saturating_add(more);
            if let Some(limits) = read(LIMITS) {
                let of = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
                add(
                    &mut sums.count_limit,
                    of(limits.count_hard_limit, limits.count),
                );
                add(
                    &mut sums.bytes_limit,
                    of(limits.bytes_hard_limit, limits.bytes),
                );
            }
            if let Some(totals) = read(STATS) {
                add(&mut sums.count_usage, totals.count);
                add(&mut sums.bytes_usage, totals.bytes);
            }
        }
        all
    }

    /// Whether a hard limit forbids `path` to grow by so much.
    #[must_use]
    pub fn quota_forbids(&self, path: &str, count_diff: i64, bytes_diff: i64) -> QuotaVerdict {
        let Some(subject) = self.quota_paths.deepest(path) else {
            return QuotaVerdict::Allowed;
        };
        let limits = self.find(&format!("{}{subject}/{}", QUOTA_ROOT, LIMITS));
        let stats = self.find(&format!("{}{subject}/{}", QUOTA_ROOT, STATS));
        let (Some(limits), Some(stats)) = (limits, stats) else {
            return QuotaVerdict::Allowed;
        };
        let Some(limits) = StatsTrack::parse(self.data(limits)) else {
            return QuotaVerdict::Unreadable;
        };
        let before_multi = self
            .journal
            .as_ref()
            .and_then(|journal| journal.quota_stats.get(&stats))
            .copied();
        let Some(current) = before_multi.or_else(|| StatsTrack::parse(self.data(stats))) else {
            return QuotaVerdict::Unreadable;
        };
        if limits.forbids(current, count_diff, bytes_diff) {
            QuotaVerdict::Exceeded
        } else {
            QuotaVerdict::Allowed
        }
    }

    /// Keeps the quota tables up to date after a create.
    pub(super) fn after_create(&mut self, path: &str, name: &str, data_len: usize) {
        match name {
            LIMITS => {
                if let Some(subject) = subject(path, LIMITS) {
                    self.quota_paths.insert(subject);
                    self.record(Undo::QuotaAdded(subject.into()));
                }
            }
            STATS => {
                if let Some(subject) = subject(path, STATS) {
                    let totals = match self.find(subject) {
                        Some(top) if !subject.is_empty() => {
                            let (count, bytes) = self.count_below(top);
                            let own = self.data(top).map_or(0, <[u8]>::len);
                            (count + 1, bytes + own)
                        }
                        _ => (0, 0),
                    };
                    let track = StatsTrack {
                        count: signed(totals.0),
                        bytes: signed(totals.1),
                        ..StatsTrack::UNLIMITED
                    };
                    let id = self.find(path).expect("just created");
                    self.write_totals(id, track);
                }
            }
            _ => {}
        }
        self.count_quota(path, 1, signed(data_len));
    }

    /// Adds to the totals of the deepest quota above `path`.
    pub(super) fn count_quota(&mut self, path: &str, count_diff: i64, bytes_diff: i64) {
        let Some(subject) = self.quota_paths.deepest(path) else {
            return;
        };
        let stats_path = format!("{}{subject}/{}", QUOTA_ROOT, STATS);
        let Some(stats) = self.find(&stats_path) else {
            return;
        };
        let mut track = StatsTrack::parse(self.data(stats)).unwrap_or(StatsTrack {
            count: 0,
            bytes: 0,
            ..StatsTrack::UNLIMITED
        });
        if let Some(journal) = &mut self.journal {
            journal.quota_stats.entry(stats).or_insert(track);
        }
        let before = track;
        track.count = track.count.saturating_add(count_diff);
        track.bytes = track.bytes.saturating_add(bytes_diff);
        self.write_totals(stats, track);
        let limits = self.find(&format!("{}{subject}/{}", QUOTA_ROOT, LIMITS));
        if let Some(limits) = limits.and_then(|id| StatsTrack::parse(self.data(id))) {
            for excess in limits.newly_exceeded(before, track) {
                tracing::warn!(path = subject, "Quota exceeded: {excess}");
            }
        }
    }

    /// Writes totals in place: no version, no mzxid, no event.
    fn write_totals(&mut self, stats: NodeId, track: StatsTrack) {
        let node = self.slab.node(stats);
        let content = Content {
            data: Some(track.to_text().into_bytes().into()),
            mzxid: node.mzxid,
            mtime: node.mtime,
            version: node.version,
        };
        self.replace_content(stats, content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_as_upstream_writes_it() {
        let track = StatsTrack {
            count: 3,
            bytes: 20,
            count_hard_limit: 5,
            bytes_hard_limit: -1,
        };
        assert_eq!(track.to_text(), "count=3,bytes=20=;countHardLimit=5");
        assert_eq!(
            StatsTrack::parse(Some(track.to_text().as_bytes())),
            Some(track)
        );
        let both = StatsTrack {
            bytes_hard_limit: 9,
            ..track
        };
        assert_eq!(
            both.to_text(),
            "count=3,bytes=20=;byteHardLimit=9;countHardLimit=5"
        );
        assert_eq!(
            StatsTrack::parse(Some(both.to_text().as_bytes())),
            Some(both)
        );
        assert_eq!(StatsTrack::parse(Some(b"count=x")), None);
        assert_eq!(StatsTrack::parse(None), None);
    }

    #[test]
    fn the_write_that_passes_a_soft_limit_is_told() {
        let limits = StatsTrack {
            count: 3,
            bytes: -1,
            ..StatsTrack::UNLIMITED
        };
        let at = |count, bytes| StatsTrack {
            count,
            bytes,
            ..StatsTrack::UNLIMITED
        };
        let told = |before, after| limits.newly_exceeded(before, after).collect::<Vec<_>>();
        assert_eq!(told(at(2, 0), at(3, 99)), Vec::<String>::new());
        assert_eq!(told(at(3, 0), at(4, 99)), ["count=4 limit=3"]);
        assert_eq!(told(at(4, 0), at(5, 99)), Vec::<String>::new());
    }

    #[test]
    fn the_deepest_quota_wins() {
        let mut paths = QuotaPaths::default();
        paths.insert("/a");
        paths.insert("/a/b");
        assert_eq!(paths.deepest("/a/b/c"), Some("/a/b"));
        assert_eq!(paths.deepest("/a/x"), Some("/a"));
        assert_eq!(paths.deepest("/ab"), None);
    }

    #[test]
    fn subjects_are_paths_below_the_quota_root() {
        assert_eq!(
            subject("/zookeeper/quota/a/b/zookeeper_stats", STATS),
            Some("/a/b")
        );
        assert_eq!(subject("/zookeeper/quota/zookeeper_stats", STATS), Some(""));
        assert_eq!(subject("/a/zookeeper_stats", STATS), None);
    }
}
