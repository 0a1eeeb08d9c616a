//! The HTTP server for operators (`JettyAdminServer.java`, `Commands.java`).
//!
//! It serves anybody who reaches it, as upstream's does: commands look, and reset statistics at
//! most. `snapshot` hands out data and `restore` replaces it, so they want to know who asks:
//! `Authorization: SCHEME [PROOF]` must prove an identity that has every permission on the root znode.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::io::ReaderStream;

use super::Sources;
use super::commands::{Answer, Asked, COMMANDS, Command, Does, find};
use super::facts;
use super::json::{Fields, Json, fields};
use super::page::{self, Page};
use super::restore;
pub(super) use super::serve::{Peer, serve};
use crate::config::Config;
use crate::pipeline::RestoreError;

/// Commands that are answered at the same time.
const COMMANDS_AT_ONCE: usize = 4;

/// Bytes of the configuration file that are shown.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;

/// Upstream takes the interval of its limiter for microseconds when it is about snapshots.
const SNAPSHOTS_PER_RESTORE: u32 = 1000;

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// What the commands look at, and when they were last used.
struct Admin {
    sources: Sources,
    initial_configuration: String,
    at_once: Semaphore,
    snapshots: Limiter,
    restores: Limiter,
    /// One restore at a time.
    restoring: Semaphore,
}

/// One call per interval.
struct Limiter {
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Limiter {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: Mutex::new(None),
        }
    }

    fn allows(&self, now: Instant) -> bool {
        let mut last = self.last.lock();
        if last.is_some_and(|last| now.duration_since(last) < self.interval) {
            return false;
        }
        *last = Some(now);
        true
    }
}

/// Serves until the server stops.
pub async fn run(listener: TcpListener, sources: Sources, mut stopped: watch::Receiver<bool>) {
    let config = &sources.config;
    if let Ok(address) = listener.local_addr() {
        // Scripts look for this line.
        tracing::info!(
            "Started AdminServer on address {}, port {} and command URL {}",
            address.ip(),
            address.port(),
            config.admin.command_url
        );
    }
    let url = config.admin.command_url.clone();
    let idle = Duration::from_millis(config.admin.idle_timeout_ms.into());
    let interval = Duration::from_millis(config.admin.rate_interval_ms.into());
    let page = config
        .admin
        .page_enabled
        .then(|| Page::new(sources.clone()));
    let admin = Arc::new(Admin {
        initial_configuration: initial_configuration(config),
        at_once: Semaphore::new(COMMANDS_AT_ONCE),
        snapshots: Limiter::new(interval / SNAPSHOTS_PER_RESTORE),
        restores: Limiter::new(interval),
        restoring: Semaphore::new(1),
        sources,
    });
    let mut routes = Router::new()
        .route(&url, any(list))
        .route(&format!("{url}/"), any(list))
        .route(&format!("{url}/{{*name}}"), any(command))
        .with_state(admin);
    if let Some(page) = page {
        routes = routes.fallback_service(any(page::serve).with_state(Arc::new(page)));
    }
    serve(listener, routes, idle, &mut stopped).await;
}

/// The file as it is now, without its secrets. What is not there or no text is empty.
fn initial_configuration(config: &Config) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = config.file.as_ref().map(std::fs::File::open);
    if let Some(Ok(file)) = file {
        let _ = file.take(CONFIGURATION_BYTES_MAX).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    text.split_inclusive('\n').map(without_secret).collect()
}

fn without_secret(line: &str) -> String {
    let (key, rest) = line.split_at(line.find(['=', ':', ' ']).unwrap_or(line.len()));
    let lower = key.to_ascii_lowercase();
    let is_secret = lower.contains("password") || lower.contains("superdigest");
    match rest.is_empty() || !is_secret {
        true => line.to_owned(),
        false => format!("{key}=<hidden>\n"),
    }
}

/// All commands, as links.
async fn list(method: Method, State(admin): State<Arc<Admin>>) -> Response {
    if let Some(refused) = refuse(&method) {
        return refused;
    }
    let url = &admin.sources.config.admin.command_url;
    let links = COMMANDS.iter().map(|command| {
        let name = command.name;
        format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n")
    });
    let page: String = links.collect();
    ([(header::CONTENT_TYPE, "text/html;charset=utf-8")], page).into_response()
}

/// Methods that no path has.
fn refuse(method: &Method) -> Option<Response> {
    match *method {
        Method::GET | Method::HEAD | Method::POST => None,
        Method::TRACE => Some(StatusCode::FORBIDDEN.into_response()),
        Method::OPTIONS => {
            let allowed = [(header::ALLOW, "GET, HEAD, POST, TRACE, OPTIONS")];
            Some(allowed.into_response())
        }
        _ => Some(StatusCode::METHOD_NOT_ALLOWED.into_response()),
    }
}

/// What a request is about, beyond its command.
struct Request {
    peer: SocketAddr,
    authorization: Option<String>,
    parameters: Vec<(String, String)>,
}

async fn command(
    method: Method,
    State(admin): State<Arc<Admin>>,
    uri: Uri,
    parameters: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    axum::Extension(Peer(peer)): axum::Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Some(refused) = refuse(&method) {
        return refused;
    }
    let url = &admin.sources.config.admin.command_url;
    let name = uri.path().strip_prefix(url.as_str()).unwrap_or_default();
    let name = decoded(name.strip_prefix('/').unwrap_or_default());
    let Some(command) = find(&name) else {
        let error = format!("Unknown command: {name}");
        return json(StatusCode::OK, &name, Fields::new(), Some(error));
    };
    // Upstream answers the wrong one with a stack trace.
    let is_post = matches!(command.does, Does::Restore);
    if is_post != (method == Method::POST) {
        let allowed = if is_post { "POST" } else { "GET, HEAD" };
        let allowed = [(header::ALLOW, allowed)];
        return (StatusCode::METHOD_NOT_ALLOWED, allowed).into_response();
    }
    if command.needs_server && facts::role(&admin.sources).is_none() {
        let error = Some(NOT_SERVING.to_owned());
        return json(StatusCode::OK, &name, Fields::new(), error);
    }
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let request = Request {
        peer,
        authorization: authorization.map(std::borrow::Cow::into_owned),
        parameters: parameters.map(|Query(found)| found).unwrap_or_default(),
    };
    let Ok(_turn) = admin.at_once.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match command.does {
        Does::Answer(answer) => answer_with(&admin, command, answer, request).await,
        Does::Snapshot => match admin.may(&request, Task::Snapshot) {
            Ok(()) => admin.snapshot(&request).await,
            Err(refused) => refused.response(command.name, &name),
        },
        Does::Restore => match admin.may(&request, Task::Restore) {
            Ok(()) if facts::role(&admin.sources) == Some(facts::READ_ONLY) => {
                let error = RestoreError::LeaderLost.to_string();
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                json(status, command.name, Fields::new(), Some(error))
            }
            Ok(()) => admin.restore(body).await,
            Err(refused) => refused.response(command.name, &name),
        },
    }
}

/// A part of a path without its escapes; in Latin 1 when it is not UTF-8, as upstream.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind
            .get(..2)
            .filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes.into_iter().map(char::from).collect()
    })
}

/// Answers beside the tasks that serve clients: some look at all sessions or files.
async fn answer_with(
    admin: &Arc<Admin>,
    command: &'static Command,
    answer: fn(&Asked<'_>) -> Answer,
    request: Request,
) -> Response {
    let admin = Arc::clone(admin);
    let work = move || {
        let answer = answer(&Asked {
            sources: &admin.sources,
            parameters: &request.parameters,
            initial_configuration: &admin.initial_configuration,
        });
        match answer.error {
            None => json(StatusCode::OK, command.name, answer.fields, None),
            // What the command itself finds wrong stands first.
            Some(error) => body(
                StatusCode::OK,
                fields([("error", error.into()), ("command", command.name.into())]),
            ),
        }
    };
    let answered = tokio::task::spawn_blocking(work).await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// An answer, with the command and what is wrong at the end.
fn json(status: StatusCode, command: &str, found: Fields, error: Option<String>) -> Response {
    let mut all = found;
    all.extend(fields([
        ("command", command.into()),
        ("error", error.map_or(Json::Null, Json::Text)),
    ]));
    body(status, all)
}

fn body(status: StatusCode, fields: Fields) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, Json::Object(fields).pretty()).into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Snapshot,
    Restore,
}

/// Why somebody gets no snapshot, or may not send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    NoAuth,
    BadAuth,
    NoPermission,
    SwitchedOff,
    TooSoon,
}

impl Refused {
    /// Upstream calls the command as it was asked while it is about who asks.
    fn response(self, command: &str, asked: &str) -> Response {
        let (status, error) = match self {
            Self::NoAuth => (
                StatusCode::UNAUTHORIZED,
                Some("Auth info is missing for the command"),
            ),
            Self::BadAuth => (StatusCode::UNAUTHORIZED, Some("Not authenticated")),
            Self::NoPermission => (StatusCode::FORBIDDEN, Some("Not authorized")),
            Self::SwitchedOff => (StatusCode::SERVICE_UNAVAILABLE, None),
            Self::TooSoon => (StatusCode::TOO_MANY_REQUESTS, None),
        };
        let command = if error.is_some() { asked } else { command };
        json(status, command, Fields::new(), error.map(str::to_owned))
    }
}

impl Admin {
    /// Upstream's order: who asks, whether it is switched on, how often.
    fn may(&self, request: &Request, task: Task) -> Result<(), Refused> {
        self.authorize(request)?;
        let (is_on, limiter, limited) = match task {
            Task::Snapshot => (
                self.sources.config.admin.snapshot_enabled,
                &self.snapshots,
                "snapshot_rate_limited_count",
            ),
            Task::Restore => (
                self.sources.config.admin.restore_enabled,
                &self.restores,
                "restore_rate_limited_count",
            ),
        };
        if !is_on {
            return Err(Refused::SwitchedOff);
        }
        if !limiter.allows(Instant::now()) {
            metrics::counter!(limited).increment(1);
            return Err(Refused::TooSoon);
        }
        Ok(())
    }

    fn authorize(&self, request: &Request) -> Result<(), Refused> {
        let text = request.authorization.as_deref().ok_or(Refused::NoAuth)?;
        let mut words = text.split_ascii_whitespace();
        let (scheme, proof) = (words.next(), words.next());
        let scheme = scheme.filter(|_| words.next().is_none());
        let scheme = scheme.ok_or(Refused::BadAuth)?;
        if scheme == "digest" && proof.is_none() {
            return Err(Refused::BadAuth);
        }
        self.sources.core.look(|state| {
            let known = state.schemes().get(scheme).ok_or(Refused::BadAuth)?;
            let proof = proof.unwrap_or_default().as_bytes();
            let identities = known
                .authenticate(Some(proof), request.peer.ip())
                .map_err(|_| Refused::BadAuth)?;
            let root = state.tree.find("/").ok_or(Refused::NoPermission)?;
            let list = state.tree.acl(root);
            // All five, as upstream.
            let all = (0..5).map(|bit| 1 << bit);
            let mut grants = all.map(|one| state.schemes().grants(list, one, &identities));
            match grants.all(|granted| granted) {
                true => Ok(()),
                false => Err(Refused::NoPermission),
            }
        })
    }

    /// Makes the snapshot in a body the state of all servers.
    async fn restore(&self, body: Body) -> Response {
        let begun = Instant::now();
        let restored = match self.restoring.try_acquire() {
            Ok(_turn) => restore::restore(&self.sources, body).await,
            Err(_) => Err(RestoreError::Busy.to_string()),
        };
        match restored {
            Ok(zxid) => {
                metrics::histogram!("restore_time").record(begun.elapsed().as_secs_f64() * 1000.0);
                let found = fields([("last_zxid", zxid.0.into())]);
                json(StatusCode::OK, "restore", found, None)
            }
            Err(error) => {
                metrics::counter!("restore_error_count").increment(1);
                tracing::warn!(error, "nothing was restored");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                json(status, "restore", Fields::new(), Some(error))
            }
        }
    }

    /// Writes a snapshot and sends the file.
    async fn snapshot(&self, request: &Request) -> Response {
        match self.take_snapshot(request).await {
            Ok(response) => response,
            Err(error) => {
                metrics::counter!("snapshot_error_count").increment(1);
                tracing::warn!(error, "no snapshot for the admin server");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                json(status, "snapshot", Fields::new(), Some(error))
            }
        }
    }

    async fn take_snapshot(&self, request: &Request) -> Result<Response, String> {
        let path = self.sources.ensemble.snapshot_now().await;
        let path = path.map_err(|error| error.to_string())?;
        let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
        // Once it is open it may be purged.
        let file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let index = name.rsplit('.').next().unwrap_or_default();
        let index = u64::from_str_radix(index, 16).map_err(|error| format!("{name}: {error}"))?;
        let cut = self.sources.core.snapshot_at(index);
        let zxid = cut
            .ok_or_else(|| format!("{name}: too many snapshots since"))?
            .zxid;
        let given = request.parameters.iter();
        let streaming = given
            .clone()
            .find(|(name, _)| name == "streaming")
            .is_none_or(|(_, value)| value.eq_ignore_ascii_case("true"));
        let mut response = if streaming {
            let body = Body::from_stream(ReaderStream::new(file));
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, body).into_response()
        } else {
            json(StatusCode::OK, "snapshot", Fields::new(), None)
        };
        // The name says which snapshot it is, and a server looks for it under this name.
        for (header, value) in [
            ("last_zxid", format!("0x{:x}", zxid.0)),
            ("snapshot_size", size.to_string()),
            (
                "content-disposition",
                format!("attachment; filename=\"{name}\""),
            ),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(header, value);
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limiter_counts_from_the_last_allowed_call() {
        let limiter = Limiter::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limiter.allows(start + Duration::from_secs(seconds));
        assert_eq!([0, 9, 10, 19, 20].map(at), [true, false, true, false, true]);
    }

    #[test]
    fn names_of_commands_come_without_their_escapes() {
        for (part, expected) in [
            ("r%75ok", "ruok"),
            ("%ff", "\u{ff}"),
            ("%c3%bf", "\u{ff}"),
            ("a%2fb%", "a/b%"),
            ("%4", "%4"),
            ("%zz%+1", "%zz%+1"),
        ] {
            assert_eq!(decoded(part), expected, "{part}");
        }
    }

    #[test]
    fn secrets_of_the_file_are_not_shown() {
        let check = |line: &str, shown: &str| assert_eq!(without_secret(line), shown);
        check("tickTime=2000\n", "tickTime=2000\n");
        check("# password\n", "# password\n");
        check(
            "DigestAuthenticationProvider.superDigest=super:x=\n",
            "DigestAuthenticationProvider.superDigest=<hidden>\n",
        );
        check(
            "ssl.keyStore.password x",
            "ssl.keyStore.password=<hidden>\n",
        );
    }
}
