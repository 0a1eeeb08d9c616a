//! Four-letter words: the first four bytes of a connection, answered in text.
//!
//! Upstream: `FourLetterCommands.java` and its neighbours.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::Config;
use crate::ensemble::Ensemble;
use crate::pipeline::Core;

/// What the words may look at.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub core: &'a Arc<Core>,
    pub ensemble: &'a Arc<Ensemble>,
    pub config: &'a Config,
}

/// All words that upstream knows. One that is not in the whitelist is refused by name.
const KNOWN: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "ruok", "stmk", "srvr", "srst", "stat",
    "wchc", "wchp", "wchs", "mntr", "isro", "hash",
];

/// The answer to a word, or `None` when the bytes are no word but the length of a frame.
#[must_use]
pub fn answer(sources: Sources<'_>, word: [u8; 4]) -> Option<String> {
    let word = str::from_utf8(&word)
        .ok()
        .filter(|word| KNOWN.contains(word))?;
    if !sources.config.four_letter_words.allows(word) {
        return Some(format!(
            "{word} is not executed because it is not in the whitelist.\n"
        ));
    }
    Some(match word {
        "ruok" => "imok".to_owned(),
        "isro" => "rw".to_owned(),
        "srvr" => srvr(sources),
        _ => format!("{word} is not supported yet.\n"),
    })
}

fn srvr(sources: Sources<'_>) -> String {
    let core = sources.core;
    let latency = core.counters.latency.summary();
    let (zxid, nodes) = core.look(|state| (state.zxid(), state.tree.node_count()));
    let average = if latency.count == 0 {
        0.0
    } else {
        latency.sum_us as f64 / 1000.0 / latency.count as f64
    };
    let loaded = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "Zookeeper version: {}\nLatency min/avg/max: {}/{:.1}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {zxid}\nMode: standalone\nNode count: {nodes}\n",
        crate::VERSION_LINE,
        latency.min_us / 1000,
        average,
        latency.max_us / 1000,
        loaded(&core.counters.packets_received),
        loaded(&core.counters.packets_sent),
        core.connection_count(),
        loaded(&core.counters.outstanding),
    )
}
