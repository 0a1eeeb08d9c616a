//! Where quotas are kept, and how (`Quotas.java`, `StatsTrack.java`).

use std::collections::BTreeMap;
use std::fmt;

use super::Failure;

pub(super) const ROOT: &str = "/zookeeper/quota";
pub(super) const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// Where a path's quota is.
pub(super) fn node_of(path: &str) -> String {
    format!("{ROOT}{path}")
}

pub(super) fn limits_of(path: &str) -> String {
    format!("{ROOT}{path}/{LIMITS}")
}

pub(super) fn stats_of(path: &str) -> String {
    format!("{ROOT}{path}/{STATS}")
}

/// The names of the four limits, by the option that sets them.
pub(super) const FIELDS: [(&str, &str); 4] = [
    ("n", "count"),
    ("b", "bytes"),
    ("N", "countHardLimit"),
    ("B", "byteHardLimit"),
];

/// Limits, or what is used; -1 for none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Track(BTreeMap<String, i64>);

impl Track {
    pub(super) fn parse(data: &[u8]) -> Result<Self, Failure> {
        let text = String::from_utf8_lossy(data);
        let mut fields = BTreeMap::new();
        let pairs = text.split([',', ';']).filter(|pair| !pair.is_empty());
        for pair in pairs {
            // There may be an `=` at the end of a pair, for parsers of old.
            let mut parts = pair.split('=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                return Err(Failure::new(format!("not a quota: {text}")));
            };
            let value = match value {
                "" => -1,
                digits => digits
                    .parse()
                    .map_err(|_| Failure::new(format!("not a quota: {text}")))?,
            };
            fields.insert(name.to_owned(), value);
        }
        Ok(Self(fields))
    }

    /// No limit at all.
    pub(super) fn unlimited() -> Self {
        Self(FIELDS.map(|(_, name)| (name.to_owned(), -1)).into())
    }

    /// Nothing used.
    pub(super) fn unused() -> Self {
        Self([("count".to_owned(), 0), ("bytes".to_owned(), 0)].into())
    }

    pub(super) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    pub(super) fn set(&mut self, name: &str, value: i64) {
        self.0.insert(name.to_owned(), value);
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.get("count"), self.get("bytes"))?;
        let others = self
            .fields()
            .filter(|(name, _)| !["count", "bytes"].contains(name));
        for (index, (name, value)) in others.enumerate() {
            let lead = if index == 0 { "=" } else { "" };
            write!(f, "{lead};{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_written_as_upstream_writes_them() {
        for text in [
            "count=3,bytes=-1=;byteHardLimit=-1;countHardLimit=5",
            "count=1,bytes=2",
        ] {
            let track = Track::parse(text.as_bytes()).expect("a quota");
            assert_eq!(track.to_string(), text);
        }
        assert!(Track::parse(b"count").is_err());
        assert!(Track::parse(b"count=x").is_err());
        let unlimited = "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=-1";
        assert_eq!(Track::unlimited().to_string(), unlimited);
    }
}
