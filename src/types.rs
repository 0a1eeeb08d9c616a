//! Small types that every layer shares.

use std::fmt;
use std::time::Duration;

/// Whole milliseconds, in a width that is a number in every log: 128 bits are text in JSON.
#[must_use]
pub fn ms_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A transaction id: the epoch in the high 32 bits, a counter in the low ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    #[must_use]
    pub fn epoch(self) -> i64 {
        self.0 >> 32
    }

    /// The id behind this one in the same epoch, or the first of the next epoch when the counter
    /// is full. Upstream elects a new leader at that point; here it costs nothing.
    #[must_use]
    pub fn next(self) -> Self {
        if self.0 & 0xffff_ffff == 0xffff_ffff {
            self.next_epoch()
        } else {
            Self(self.0 + 1)
        }
    }

    /// The first id of the next epoch.
    #[must_use]
    pub fn next_epoch(self) -> Self {
        Self(((self.epoch() + 1) << 32) | 1)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A client session. The top byte of a new id is the id of the server that created it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One connection of this process since its start; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Another server, or this one: `myid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_counter_starts_the_next_epoch() {
        assert_eq!(Zxid(0x1_ffff_fffe).next(), Zxid(0x1_ffff_ffff));
        assert_eq!(Zxid(0x1_ffff_ffff).next(), Zxid(0x2_0000_0001));
        assert_eq!(Zxid(0x1_0000_0007).next_epoch(), Zxid(0x2_0000_0001));
    }
}
