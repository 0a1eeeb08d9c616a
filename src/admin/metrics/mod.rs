//! Metrics for Prometheus, in the text that upstream's provider gives.
//!
//! Everything is read when somebody asks: gauges where they are, the rest from the
//! [`recorder`](super::recorder). A figure that this server does not have now, as a former leader's
//! followers, is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use metrics_exporter_prometheus::formatting::{
    sanitize_label_value, write_help_line, write_type_line,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Sources;
use super::facts;
use super::http;
use crate::config::MetricsProvider;

use super::recorder::{self, Measured, Series};

/// How long a scraper's connection may be idle.
const IDLE: Duration = Duration::from_secs(120);

/// Begins to record. Call it before anything is measured.
pub fn install() {
    recorder::install();
    absent::register();
}

/// Moves the windows of quantiles on, until the process ends.
pub async fn drive_windows() {
    let mut timer = tokio::time::interval(recorder::WINDOW);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        recorder::turn_windows();
    }
}

/// Serves `/metrics` until the server stops.
pub async fn run(listener: TcpListener, sources: Sources, mut stopped: watch::Receiver<bool>) {
    let routes = Router::new()
        .route("/metrics", get(scrape).post(scrape))
        .with_state(sources);
    http::serve(listener, routes, IDLE, &mut stopped).await;
}

async fn scrape(
    State(sources): State<Sources>,
    parameters: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let asked = parameters.map(|Query(found)| found).unwrap_or_default();
    let names: Vec<String> = asked
        .into_iter()
        .filter(|(name, _)| name == "name[]")
        .map(|(_, value)| value)
        .collect();
    let work = move || text(&sources, &names);
    match tokio::task::spawn_blocking(work).await {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Lines of one kind, each name's type once in front of its series.
struct Page<'a> {
    text: String,
    /// Names whose type is told.
    begun: BTreeSet<String>,
    /// Only these names, unless there are none.
    names: &'a [String],
}

impl Page<'_> {
    fn is_asked(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|asked| asked == name)
    }

    fn begin(&mut self, name: &str, kind: &str) {
        if self.begun.contains(name) {
            return;
        }
        write_help_line(&mut self.text, name, None, None, help(name));
        write_type_line(&mut self.text, name, None, None, kind);
        self.begun.insert(name.to_owned());
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if !self.is_asked(name) {
            return;
        }
        self.text.push_str(name);
        if !labels.is_empty() {
            self.text.push('{');
            for (key, value) in labels {
                let _ = write!(self.text, "{key}=\"{}\",", sanitize_label_value(value));
            }
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", facts::java_double(value));
    }

    fn single(&mut self, name: &str, kind: &str, value: f64) {
        if self.is_asked(name) {
            self.begin(name, kind);
            self.line(name, &[], value);
        }
    }

    fn series(&mut self, series: &Series, kind: &str, value: f64) {
        let Series { name, label } = series;
        if self.is_asked(name) {
            self.begin(name, kind);
            match label {
                None => self.line(name, &[], value),
                Some((key, label)) => self.line(name, &[(key, label)], value),
            }
        }
    }

    fn summary(&mut self, series: &Series, measured: Measured, quantiles: [f64; 3]) {
        let Series { name, label } = series;
        let (count, sum) = (format!("{name}_count"), format!("{name}_sum"));
        if ![name, &count, &sum].iter().any(|name| self.is_asked(name)) {
            return;
        }
        self.begin(name, "summary");
        let mut labels: Vec<(&str, &str)> = Vec::new();
        if let Some((key, label)) = label {
            labels.push((key, label));
        }
        let shares = ["0.5", "0.9", "0.99"].into_iter().zip(quantiles);
        let shown = if facts::is_advanced(name) { 3 } else { 1 };
        for (share, quantile) in shares.take(shown) {
            labels.push(("quantile", share));
            self.line(name, &labels, quantile);
            labels.pop();
        }
        self.line(&count, &labels, measured.count as f64);
        self.line(&sum, &labels, measured.sum);
    }
}

/// The help text of a name: upstream repeats the name.
fn help(name: &str) -> &str {
    let told = help::TEXTS.iter().find(|(known, _)| *known == name);
    let told = told.map(|(_, text)| *text);
    told.or_else(|| absent::reason(name)).unwrap_or(name)
}

/// Everything, or what is asked for by name.
fn text(sources: &Sources, names: &[String]) -> String {
    let mut page = Page {
        text: String::new(),
        begun: BTreeSet::new(),
        names,
    };
    for (name, value) in facts::gauges(sources) {
        page.single(name, "gauge", value.as_f64());
    }
    for (series, value) in facts::labelled_gauges(&sources.core) {
        page.series(&series, "gauge", value.as_f64());
    }
    if matches!(
        sources.config.metrics,
        MetricsProvider::Prometheus { process: true, .. }
    ) {
        for (name, kind, value) in process::figures() {
            page.single(name, kind, value);
        }
    }
    for (series, value) in facts::counters(&sources.core) {
        page.series(&series, "counter", value as f64);
    }
    for (series, summary) in recorder::summaries() {
        let quantiles = summary.quantiles([0.5, 0.9, 0.99]);
        page.summary(&series, summary.measured(), quantiles);
    }
    for (name, kind) in absent::SETS {
        if page.is_asked(name) {
            page.begin(name, kind);
        }
    }
    page.text
}

mod absent;
mod help;
mod process;
