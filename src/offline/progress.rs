//! A bar for work that takes its time; nothing where nobody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// How the bar looks: what is done, how much of it, how fast, how long still.
const TEMPLATE: &str = "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";

const ENTRIES_TEMPLATE: &str = "{msg} [{bar:40}] {pos}/{len} entries {eta}";

/// A bar on standard error, invisible unless that is a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(what: &'static str, bytes: u64) -> Self {
        let bar = ProgressBar::new(bytes);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    /// A bar that counts what is applied.
    pub(super) fn of_entries(count: u64) -> Self {
        let bar = ProgressBar::new(count);
        if let Ok(style) = ProgressStyle::with_template(ENTRIES_TEMPLATE) {
            bar.set_style(style);
        }
        bar.set_message("replaying");
        Self(bar)
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
