//! ZooKeeper's tools for its files, under the names that their scripts have: the same options, output
//! and exit codes. Those that read snapshots also read ours.
//!
//! Znodes come in the order of their names; upstream's come in that of a hash table. What upstream
//! dies of with a stack trace is one sentence here.

mod comparer;
mod formatter;
mod options;
mod summary;
mod txn_log;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::OfflineError;
use super::progress::Bar;
use crate::auth::Schemes;
use crate::convert::{image_of, read_state};
use crate::ensemble::read_snapshot;
use crate::state::State;
use crate::upstream::image::{Image, ImageNode};
use crate::upstream::snapshot;

/// Upstream's exit codes: of what goes wrong, and of arguments that cannot be used.
const EXIT_FAILED: u8 = 1;
const EXIT_INVALID_INVOCATION: u8 = 2;

/// What a snapshot of ours begins with.
const OUR_MAGIC: &[u8] = b"MKSNAP";

/// Why a tool ends before its end.
enum Stop {
    /// Whoever reads its output has enough.
    Output,
    /// A sentence, and an exit code.
    Failed(String, u8),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

impl From<OfflineError> for Stop {
    fn from(error: OfflineError) -> Self {
        Self::Failed(error.to_string(), EXIT_FAILED)
    }
}

type Done = Result<(), Stop>;
type Tool = fn(&[String], &mut dyn Write) -> Done;

const TOOLS: [(&str, Tool); 4] = [
    ("snapshot-formatter", formatter::run),
    ("txn-log-toolkit", txn_log::run),
    ("snapshot-comparer", comparer::run),
    ("snapshot-recursive-summary", summary::run),
];

/// Runs one of the tools; `None` when the arguments name none of them.
pub(super) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let name = arguments.get(1)?.to_str()?;
    let (_, tool) = TOOLS.iter().find(|(own, _)| *own == name)?;
    let words: Vec<String> = arguments[2..]
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let done = tool(&words, &mut out).and_then(|()| Ok(out.flush()?));
    // What was said before belongs in front of the error.
    let _ = out.flush();
    Some(match done {
        Ok(()) | Err(Stop::Output) => ExitCode::SUCCESS,
        Err(Stop::Failed(why, code)) => {
            if !why.is_empty() {
                eprintln!("{why}");
            }
            ExitCode::from(code)
        }
    })
}

/// A snapshot of either kind.
struct Loaded {
    image: Image,
    /// Of the last transaction that is surely in it; ZooKeeper's say it in their names.
    zxid: i64,
}

fn load(path: &Path) -> Result<Loaded, OfflineError> {
    let mut magic = [0; OUR_MAGIC.len()];
    let is_ours = File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok_and(|()| magic == OUR_MAGIC);
    let bar = Bar::new("reading", path.metadata().map_or(0, |file| file.len()));
    if !is_ours {
        let read = snapshot::read(path, 0, true, &|bytes| bar.advance(bytes))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hex = name.strip_prefix("snapshot.").unwrap_or_default();
        let hex = hex.split('.').next().unwrap_or_default();
        return Ok(Loaded {
            image: read.image,
            zxid: i64::from_str_radix(hex, 16).unwrap_or(-1),
        });
    }
    let schemes = Arc::new(Schemes::new(Vec::new()));
    let mut state = State::new(Arc::clone(&schemes));
    read_snapshot(path, &mut |reader| {
        state = read_state(reader, &schemes, &|bytes| bar.advance(bytes))?;
        Ok(())
    })?;
    Ok(Loaded {
        image: image_of(&state, state.zxid()),
        zxid: state.zxid().0,
    })
}

/// The sentence about a file that cannot be one (`ZKUtil.validateFileInput`).
fn validate(path: &Path) -> Result<(), Stop> {
    let refused = |why: String| Err(Stop::Failed(why, EXIT_INVALID_INVOCATION));
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = absolute.display();
    match path.metadata() {
        Err(_) => refused(format!("File '{shown}' does not exist.")),
        Ok(file) if file.is_dir() => {
            refused(format!("'{shown}' is a directory. it must be a file."))
        }
        Ok(_) if File::open(path).is_err() => {
            refused(format!("Read permission is denied on the file '{shown}'"))
        }
        Ok(_) => Ok(()),
    }
}

/// Names below each path; the root is `""`.
struct Children<'i>(BTreeMap<&'i str, Vec<&'i str>>);

impl<'i> Children<'i> {
    fn of(image: &'i Image) -> Self {
        let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (path, _) in image.nodes() {
            if let Some((parent, name)) = path.rsplit_once('/') {
                children.entry(parent).or_default().push(name);
            }
        }
        Self(children)
    }

    fn names(&self, path: &str) -> &[&'i str] {
        let key = if path == "/" { "" } else { path };
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

fn child_path(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}

fn data_len(node: &ImageNode) -> usize {
    node.data.as_deref().map_or(0, <[u8]>::len)
}

/// A date in the system's time zone.
fn date(ms: i64, format: &str) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => {
            let local = time.to_zoned_datetime(jiff::tz::TimeZone::system());
            local.strftime(format).to_string()
        }
        // Only a date beyond the year 9999.
        Err(_) => format!("{ms} ms"),
    }
}
