//! Dates as Java's `Date.toString` prints them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `Sun Nov 22 23:11:26 UTC 2026`, in the zone of this machine, from milliseconds since the epoch.
pub(super) fn java_date(ms: i64) -> String {
    java_date_in(ms, TimeZone::system())
}

fn java_date_in(ms: i64, zone: TimeZone) -> String {
    let moment = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    let moment = moment.to_zoned_datetime(zone);
    moment.strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_javas() {
        let new_york = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a zone");
        // `new Date(ms).toString()` in these time zones.
        for (ms, utc, there) in [
            (
                0,
                "Thu Jan 01 00:00:00 UTC 1970",
                "Wed Dec 31 19:00:00 EST 1969",
            ),
            (
                1_795_389_086_000,
                "Sun Nov 22 23:11:26 UTC 2026",
                "Sun Nov 22 18:11:26 EST 2026",
            ),
            (
                962_409_600_000,
                "Sat Jul 01 00:00:00 UTC 2000",
                "Fri Jun 30 20:00:00 EDT 2000",
            ),
        ] {
            assert_eq!(java_date_in(ms, TimeZone::UTC), utc);
            assert_eq!(java_date_in(ms, new_york.clone()), there);
        }
        assert!(java_date_in(i64::MAX, TimeZone::UTC).ends_with(" 9999"));
    }
}
