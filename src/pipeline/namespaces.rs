//! How much is read and written below each top-level znode, for the metrics.
//!
//! A read goes by without a lock as long as its connection stays below the same znode: the
//! connection remembers where it was, and reads of equal size are recorded together at the end of
//! a wake-up. Upstream: `DataTree.updateReadStat`, `updateWriteStat`.

use jute::OpCode;
use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::Mutex;

use crate::collections::HashMap;

/// Names that are told apart in each set of series. A summary takes 10 KiB.
const NAMES_MAX: usize = 1000;

/// All others together. No znode has a slash in its name.
const OTHERS: &str = "/others";

/// Bytes of a stat, which upstream counts with each read.
const STAT_LEN: usize = 68;

/// Bytes of a reply's length and header; its error code stands last.
const HEADER_LEN: usize = 20;

/// Handles by name.
pub(super) struct PerName<H> {
    known: Mutex<HashMap<Box<str>, H>>,
    make: fn(String) -> H,
}

impl<H: Clone> PerName<H> {
    fn new(make: fn(String) -> H) -> Self {
        let known = Mutex::default();
        Self { known, make }
    }

    fn of(&self, name: &[u8]) -> H {
        let name = String::from_utf8_lossy(name);
        let mut known = self.known.lock();
        if let Some(handle) = known.get(&*name) {
            return handle.clone();
        }
        let name = if known.len() < NAMES_MAX {
            &*name
        } else {
            OTHERS
        };
        let handle = known
            .entry(name.into())
            .or_insert_with(|| (self.make)(name.to_owned()));
        handle.clone()
    }
}

/// Everything that is counted by name.
pub(super) struct Namespaces {
    reads: PerName<Histogram>,
    writes: PerName<Histogram>,
    /// Writes that a quota has forbidden.
    exceeded: PerName<Counter>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            reads: PerName::new(|key| histogram!("read_per_namespace", "key" => key)),
            writes: PerName::new(|key| histogram!("write_per_namespace", "key" => key)),
            exceeded: PerName::new(
                |key| counter!("quota_exceeded_error_per_namespace", "key" => key),
            ),
        }
    }
}

impl Namespaces {
    /// Counts a read, when it is one that upstream counts.
    pub(super) fn read(&self, run: &mut Run, op: OpCode, body: &[u8], reply: &[u8]) {
        if let Some((path, bytes)) = measure(op, body, reply) {
            run.add(&self.reads, path, bytes);
        }
    }

    /// Counts a change of this znode, which has so many bytes now.
    pub(super) fn written(&self, run: &mut Run, path: &str, data_len: usize) {
        run.add(&self.writes, path.as_bytes(), path.len() + data_len);
    }

    pub(super) fn quota_exceeded(&self, path: &str) {
        if let Some(name) = top(path.as_bytes()) {
            self.exceeded.of(name).increment(1);
        }
    }
}

/// Equal ones that follow each other.
#[derive(Default)]
pub(super) struct Run {
    /// The znode's path that the last one was below, and its handle.
    top: Vec<u8>,
    histogram: Option<Histogram>,
    bytes: usize,
    /// How many are not recorded yet.
    count: usize,
}

impl Run {
    fn add(&mut self, all: &PerName<Histogram>, path: &[u8], bytes: usize) {
        if !self.is_at(path) {
            let Some(name) = top(path) else { return };
            self.flush();
            self.histogram = Some(all.of(name));
            self.top.clear();
            self.top.extend_from_slice(&path[..name.len() + 1]);
        } else if self.bytes != bytes {
            self.flush();
        }
        self.bytes = bytes;
        self.count += 1;
    }

    /// Whether a path is that of the remembered znode or below it.
    fn is_at(&self, path: &[u8]) -> bool {
        let below = path.strip_prefix(&*self.top);
        !self.top.is_empty() && below.is_some_and(|below| matches!(below, [] | [b'/', ..]))
    }

    /// Records what has come together.
    pub(super) fn flush(&mut self) {
        let count = std::mem::take(&mut self.count);
        if let Some(histogram) = self.histogram.as_ref().filter(|_| count > 0) {
            histogram.record_many(self.bytes as f64, count);
        }
    }
}

/// The top-level znode's name of a path; the root has none.
fn top(path: &[u8]) -> Option<&[u8]> {
    let below = path.strip_prefix(b"/")?;
    let name = below.split(|byte| *byte == b'/').next()?;
    (!name.is_empty()).then_some(name)
}

/// The path of a read, and how many bytes it counts as: the path, a stat, and the data or the names.
fn measure<'a>(op: OpCode, body: &'a [u8], reply: &[u8]) -> Option<(&'a [u8], usize)> {
    let stat_len = match op {
        OpCode::EXISTS | OpCode::GET_DATA | OpCode::GET_CHILDREN2 => STAT_LEN,
        OpCode::GET_CHILDREN => 0,
        _ => return None,
    };
    let (header, content) = reply.split_first_chunk::<HEADER_LEN>()?;
    let [.., e0, e1, e2, e3] = *header;
    if i32::from_be_bytes([e0, e1, e2, e3]) != 0 {
        return None;
    }
    // All of these requests begin with the path.
    let (len, rest) = body.split_first_chunk()?;
    let path = rest.get(..usize::try_from(i32::from_be_bytes(*len)).ok()?)?;
    let first = content
        .first_chunk()
        .map(|first| i32::from_be_bytes(*first));
    let first = first.map_or(0, |first| usize::try_from(first).unwrap_or(0));
    let bytes = match op {
        OpCode::EXISTS => 0,
        // Its length.
        OpCode::GET_DATA => first,
        // Each name has its length in front, as the list has its own.
        _ => content
            .len()
            .saturating_sub(size_of::<i32>() * (first + 1) + stat_len),
    };
    Some((path, path.len() + bytes + STAT_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request for this path and a reply with this code and content.
    fn check(op: OpCode, path: &str, code: u8, content: &[u8], expected: Option<usize>) {
        let len = u8::try_from(path.len()).expect("a short path");
        let mut body = vec![0, 0, 0, len];
        body.extend_from_slice(path.as_bytes());
        body.push(0);
        let mut reply = vec![0; HEADER_LEN];
        reply[HEADER_LEN - 1] = code;
        reply.extend_from_slice(content);
        let expected = expected.map(|bytes| (path.as_bytes(), bytes));
        assert_eq!(measure(op, &body, &reply), expected, "{op:?} {path}");
    }

    #[test]
    fn reads_count_as_upstreams() {
        let mut data = vec![0, 0, 0, 3, 1, 2, 3];
        data.extend([0; STAT_LEN]);
        check(OpCode::GET_DATA, "/a/b", 0, &data, Some(4 + 3 + 68));
        let mut null = vec![255; 4];
        null.extend([0; STAT_LEN]);
        check(OpCode::GET_DATA, "/a", 0, &null, Some(2 + 68));
        check(OpCode::EXISTS, "/ab/c", 0, &[7; STAT_LEN], Some(5 + 68));
        let mut names = vec![0, 0, 0, 2, 0, 0, 0, 1, b'x', 0, 0, 0, 2, b'y', b'z'];
        check(OpCode::GET_CHILDREN, "/a", 0, &names, Some(2 + 3 + 68));
        names.extend([0; STAT_LEN]);
        check(OpCode::GET_CHILDREN2, "/a", 0, &names, Some(2 + 3 + 68));
        check(OpCode::GET_DATA, "/a", 1, &[], None);
        check(OpCode::GET_ACL, "/a", 0, &data, None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for len in 0..8 {
            assert_eq!(measure(OpCode::GET_DATA, &[127; 8][..len], &[0; 24]), None);
        }
        let huge = [127, 255, 255, 255];
        let reply = [&[0; HEADER_LEN][..], &huge].concat();
        let body = [0, 0, 0, 2, b'/', b'a'];
        let counted = measure(OpCode::GET_CHILDREN, &body, &reply);
        assert_eq!(counted, Some((&b"/a"[..], 2 + 68)));
    }

    #[test]
    fn a_run_stays_below_one_znode() {
        let all = PerName::new(|_| Histogram::noop());
        let mut run = Run::default();
        let mut counts = |path: &str, bytes| {
            run.add(&all, path.as_bytes(), bytes);
            (run.count, String::from_utf8_lossy(&run.top).into_owned())
        };
        assert_eq!(counts("/", 1), (0, String::new()), "the root has no name");
        assert_eq!(counts("", 1).0, 0);
        assert_eq!(counts("/a", 1), (1, "/a".to_owned()));
        assert_eq!(counts("/a/b", 1), (2, "/a".to_owned()));
        assert_eq!(counts("/a/c", 2).0, 1, "another size");
        assert_eq!(counts("/ab", 2), (1, "/ab".to_owned()));
        assert_eq!(counts("/a", 2), (1, "/a".to_owned()));
        assert_eq!(counts("/", 2), (1, "/a".to_owned()));
    }

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let all = PerName::new(|name| name);
        for at in 0..NAMES_MAX {
            let name = at.to_string();
            assert_eq!(all.of(name.as_bytes()), name);
        }
        assert_eq!(all.of(b"one more"), OTHERS);
        assert_eq!(all.of(b"7"), "7");
        assert!(all.known.lock().len() <= NAMES_MAX + 1);
    }
}
