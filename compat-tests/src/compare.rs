//! Finds the first place where two servers answered differently.
//!
//! Fields are compared literally, but for zxids, which must stand in the same order on both sides,
//! and times, which must be possible and belong to their zxid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound::{Excluded, Unbounded};

use crate::play::{Item, Recording, What};
use crate::wire::{Field, Token, code};

/// The first difference between two recordings.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Index of the step in the script.
    pub step: usize,
    pub session: String,
    /// The field, or what stood in place of a reply.
    pub about: String,
    pub expected: String,
    pub actual: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "step {}, session {}: {}",
            self.step + 1,
            self.session,
            self.about
        )?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  actual:   {}", self.actual)
    }
}

/// Compares what a server answered with what it should have.
pub fn first_difference(expected: &Recording, actual: &Recording) -> Option<Difference> {
    let [left, right] = [expected, actual].map(by_place);
    let places: BTreeSet<_> = left.keys().chain(right.keys()).copied().collect();
    let mut zxids = ZxidOrder::default();
    let mut times = [Times::new(expected), Times::new(actual)];
    for (step, session) in places {
        let none = Vec::new();
        let [left, right] =
            [&left, &right].map(|items| items.get(&(step, session)).unwrap_or(&none));
        for index in 0..left.len().max(right.len()) {
            let [left, right] = [left, right].map(|items| items.get(index));
            let about = match (left, right) {
                (Some(left), Some(right)) => compare(left, right, &mut zxids, &mut times).err(),
                _ => Some("number of answers".to_owned()),
            };
            if let Some(about) = about {
                let [expected, actual] = [left, right]
                    .map(|item| item.map_or_else(|| "nothing".to_owned(), |item| show(item)));
                let session = session.to_owned();
                return Some(Difference {
                    step,
                    session,
                    about,
                    expected,
                    actual,
                });
            }
        }
    }
    None
}

type Place<'a> = (usize, &'a str);

/// The items of each step and session, in their order.
fn by_place(recording: &Recording) -> BTreeMap<Place<'_>, Vec<&Item>> {
    let mut places: BTreeMap<Place<'_>, Vec<&Item>> = BTreeMap::new();
    for item in &recording.items {
        places
            .entry((item.step, &item.session))
            .or_default()
            .push(item);
    }
    // A closed session's ephemerals go in no particular order, all under one zxid.
    let closes: BTreeSet<i64> = recording
        .items
        .iter()
        .filter(|item| {
            matches!(
                item.what,
                What::Reply {
                    op: code::CLOSE_SESSION,
                    ..
                }
            )
        })
        .filter_map(header_zxid)
        .collect();
    for items in places.values_mut() {
        let together = |a: &&Item, b: &&Item| {
            let same =
                header_zxid(a) == header_zxid(b) && a.what == What::Event && b.what == What::Event;
            same && header_zxid(a).is_some_and(|zxid| closes.contains(&zxid))
        };
        for run in items.chunk_by_mut(together) {
            run.sort_by_key(|item| show(item));
        }
    }
    places
}

fn header_zxid(item: &Item) -> Option<i64> {
    match item.fields.get(1)?.token {
        Token::Zxid(zxid) => Some(zxid),
        _ => None,
    }
}

fn compare(
    left: &Item,
    right: &Item,
    zxids: &mut ZxidOrder,
    times: &mut [Times; 2],
) -> Result<(), String> {
    if left.what != right.what {
        return Err("what arrived".to_owned());
    }
    for (index, field) in left.fields.iter().enumerate() {
        let Some(other) = right
            .fields
            .get(index)
            .filter(|other| other.name == field.name)
        else {
            return Err(format!("field {} is missing", field.name));
        };
        match (&field.token, &other.token) {
            (Token::Zxid(left), Token::Zxid(right)) => {
                zxids
                    .pair(*left, *right)
                    .map_err(|why| format!("{}: {why}", field.name))?;
            }
            (
                Token::Time { ms: left, zxid: at },
                Token::Time {
                    ms: right,
                    zxid: at_right,
                },
            ) => {
                let [expected, actual] = times;
                expected
                    .check(*left, *at)
                    .map_err(|why| format!("{} (expected side): {why}", field.name))?;
                actual
                    .check(*right, *at_right)
                    .map_err(|why| format!("{}: {why}", field.name))?;
                if (*left == 0) != (*right == 0) {
                    return Err(format!("{}: zero on one side", field.name));
                }
            }
            (left, right) if left != right => return Err(field.name.clone()),
            _ => {}
        }
    }
    match right.fields.get(left.fields.len()) {
        Some(field) => Err(format!("field {} is too many", field.name)),
        None => Ok(()),
    }
}

/// One-to-one and in the same order: which zxid of one side is which of the other.
#[derive(Debug, Default)]
struct ZxidOrder {
    right_of: BTreeMap<i64, i64>,
}

impl ZxidOrder {
    fn pair(&mut self, left: i64, right: i64) -> Result<(), &'static str> {
        if left <= 0 || right <= 0 {
            return if left == right {
                Ok(())
            } else {
                Err("not the same special value")
            };
        }
        if let Some(known) = self.right_of.get(&left) {
            return if *known == right {
                Ok(())
            } else {
                Err("not the zxid that it was before")
            };
        }
        let below = self.right_of.range(..left).next_back();
        let above = self.right_of.range((Excluded(left), Unbounded)).next();
        if below.is_some_and(|(_, below)| *below >= right)
            || above.is_some_and(|(_, above)| *above <= right)
        {
            return Err("not in the same order among the zxids seen before");
        }
        self.right_of.insert(left, right);
        Ok(())
    }
}

/// The times of one side.
#[derive(Debug)]
struct Times {
    possible: std::ops::RangeInclusive<i64>,
    /// Of each transaction that a Stat has named.
    of_zxid: BTreeMap<i64, i64>,
}

impl Times {
    fn new(recording: &Recording) -> Self {
        let possible = recording.earliest_ms..=recording.latest_ms;
        Self {
            possible,
            of_zxid: BTreeMap::new(),
        }
    }

    fn check(&mut self, ms: i64, zxid: Option<i64>) -> Result<(), String> {
        if ms != 0 && !self.possible.contains(&ms) {
            return Err(format!("{ms} is outside {:?}", self.possible));
        }
        let Some(zxid) = zxid.filter(|zxid| *zxid > 0) else {
            return Ok(());
        };
        let known = *self.of_zxid.entry(zxid).or_insert(ms);
        if known != ms {
            return Err(format!("{ms}, but its transaction was at {known}"));
        }
        Ok(())
    }
}

/// An item on one line.
pub fn show(item: &Item) -> String {
    let mut text = match &item.what {
        What::Connected => "connect response:".to_owned(),
        What::Reply { request, .. } => format!("reply to {request}:"),
        What::Event => "event:".to_owned(),
        What::Frame => "frame:".to_owned(),
        What::Note(note) => (*note).to_owned(),
    };
    for Field { name, token, .. } in &item.fields {
        let _ = match token {
            Token::Literal(value) => write!(text, " {name}={value}"),
            Token::Zxid(zxid) => write!(text, " {name}={zxid:#x}"),
            Token::Time { ms, .. } => write!(text, " {name}={ms}"),
        };
    }
    text
}

/// The text with `#` for each number; a hexadecimal one begins with a digit.
#[must_use]
pub fn without_numbers(line: &str) -> String {
    let mut text = String::new();
    let mut in_number = false;
    for letter in line.chars() {
        let starts = letter.is_ascii_digit();
        let goes_on = in_number && (letter.is_ascii_hexdigit() || letter == 'x');
        if !in_number && starts {
            text.push('#');
        } else if !goes_on {
            text.push(letter);
        }
        in_number = starts || goes_on;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxids_are_compared_by_order() {
        let mut order = ZxidOrder::default();
        assert_eq!(order.pair(5, 50), Ok(()));
        assert_eq!(order.pair(9, 51), Ok(()));
        assert_eq!(order.pair(5, 50), Ok(()));
        assert!(order.pair(5, 51).is_err());
        assert!(
            order.pair(7, 51).is_err(),
            "two of one side for one of the other"
        );
        assert!(order.pair(7, 49).is_err());
        assert!(order.pair(10, 20).is_err());
        assert!(order.pair(4, 60).is_err());
        assert_eq!(order.pair(-1, -1), Ok(()));
        assert!(order.pair(0, 70).is_err());
        assert!(order.pair(-1, 0).is_err());
    }

    #[test]
    fn a_transaction_has_one_time() {
        let mut times = Times {
            possible: 10..=20,
            of_zxid: BTreeMap::new(),
        };
        assert_eq!(times.check(15, Some(3)), Ok(()));
        assert_eq!(times.check(0, Some(0)), Ok(()));
        assert!(times.check(16, Some(3)).is_err());
        assert!(times.check(21, Some(4)).is_err());
    }
}
