//! The page for people: what this server and its ensemble do, and the tree.
//!
//! Its files stand beside this one and nothing is loaded from elsewhere. Its facts come from
//! `/api/...` as JSON; each answer is bounded and says how much it has left out.
//!
//! * **Who asks** is in the header `Authorization` of each request and nowhere else: no cookie that
//!   another site's page could make a browser send. ([`asker`])
//! * **Reading** respects access control lists, as for a client from the same address with the same
//!   identity. Paths of ephemerals and watches are shown to everybody, as the commands `dump` and
//!   `watches` do.
//! * **Writing** wants more than a client needs: an identity that the list names. What everybody may
//!   do takes a client, for a made-up user proves nothing. ([`change`])
//! * **Looking at many** znodes, sessions or watches takes turns with writes, and with others who do:
//!   whoever reaches the page may ask as often as they like. ([`walk`], [`cache`])
//! * **Names.** A browser takes any site whose name leads to this address for ours. Such a request
//!   carries that name, and is refused unless the name is ours. ([`asker::is_ours`])

mod asker;
mod cache;
mod change;
mod overview;
mod select;
mod sessions;
mod tops;
mod walk;
mod watches;
mod znodes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::http::Peer;
use super::json::{Fields, Json, fields};
use super::{Sources, facts};
use crate::auth::Identity;
use asker::Asker;
use cache::Cache;

/// Answers that are made at the same time.
const ANSWERS_AT_ONCE: usize = 4;

/// Answers over many znodes, sessions or watches that are made at the same time, and as many of
/// [`TOP_PATHS`].
const WALKS_AT_ONCE: usize = 1;

/// Answers of one kind that are kept for those who ask the same.
const KEPT_MAX: usize = 16;

/// Changes that are under way at the same time.
const CHANGES_AT_ONCE: usize = 4;

/// After a wrong password of the super user, before the next one is looked at.
const GUESS_PAUSE: Duration = Duration::from_secs(1);

const API: &str = "/api/";

const NOT_SERVING: &str =
    "This server is not serving requests: it is out of touch with a majority of the ensemble.";

/// What the page's answers are made from.
pub(super) struct Page {
    sources: Sources,
    answers: Arc<Semaphore>,
    changes: Semaphore,
    /// Wrong passwords of the super user, one after the other.
    guesses: Semaphore,
    walks: Arc<Semaphore>,
    tops: Arc<Semaphore>,
    caches: Arc<Caches>,
}

/// Answers that took long to make.
struct Caches {
    children: Cache<znodes::Listing, Arc<znodes::Listed>>,
    sessions: Cache<sessions::Only, Arc<[u64]>>,
    watches: Cache<watches::Wanted, Json>,
    tops: Cache<Vec<Identity>, (Fields, Instant)>,
}

impl Page {
    pub(super) fn new(sources: Sources) -> Self {
        Self {
            sources,
            answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)),
            changes: Semaphore::new(CHANGES_AT_ONCE),
            guesses: Semaphore::new(1),
            walks: Arc::new(Semaphore::new(WALKS_AT_ONCE)),
            tops: Arc::new(Semaphore::new(WALKS_AT_ONCE)),
            caches: Arc::new(Caches {
                children: Cache::new(KEPT_MAX),
                sessions: Cache::new(KEPT_MAX),
                watches: Cache::new(KEPT_MAX),
                tops: Cache::new(KEPT_MAX),
            }),
        }
    }
}

struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal, $name:literal, $kind:expr;)*) => {
        &[$(File { path: $path, kind: $kind, text: include_str!(concat!("files/", $name)) }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[File] = files! {
    "/", "index.html", "text/html; charset=utf-8";
    "/page/page.css", "page.css", "text/css; charset=utf-8";
    "/page/icon.svg", "icon.svg", "image/svg+xml";
    "/page/page.js", "page.js", SCRIPT;
    "/page/ask.js", "ask.js", SCRIPT;
    "/page/build.js", "build.js", SCRIPT;
    "/page/data.js", "data.js", SCRIPT;
    "/page/report.js", "report.js", SCRIPT;
    "/page/overview.js", "overview.js", SCRIPT;
    "/page/tree.js", "tree.js", SCRIPT;
    "/page/sessions.js", "sessions.js", SCRIPT;
    "/page/watches.js", "watches.js", SCRIPT;
    "/page/tops.js", "tops.js", SCRIPT;
};

/// In every answer: nothing comes from elsewhere, nothing runs that is not a file of ours, nobody
/// frames the page, and no site but this one reads the answers.
const GUARDS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
];

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }

    fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

/// What stands behind the `?`.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, Refusal> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| Refusal::bad(format!("{name}: not a number in its range: {text}"))),
        }
    }

    fn path(&self) -> Result<&str, Refusal> {
        let path = self.get("path").ok_or_else(|| Refusal::bad("no path"))?;
        match crate::tree::path::is_valid(path) {
            true => Ok(path),
            false => Err(Refusal::bad(format!("Not a znode's path: {path}"))),
        }
    }
}

/// A question and what it is answered from.
struct Asked {
    sources: Sources,
    asker: Asker,
    parameters: Parameters,
    caches: Arc<Caches>,
}

impl Asked {
    /// Znodes and sessions are shown by a server that serves.
    fn needs_service(&self) -> Result<(), Refusal> {
        match facts::role(&self.sources) {
            Some(_) => Ok(()),
            None => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, NOT_SERVING)),
        }
    }
}

type Look = fn(&Asked) -> Result<Json, Refusal>;

/// How many znodes, sessions or watches an answer looks at.
type Size = fn(&Asked) -> usize;

/// One question, what it needs, and its answer.
struct Question {
    name: &'static str,
    needs_service: bool,
    look: Look,
    size: Size,
}

const QUESTIONS: [Question; 9] = [
    question("overview", false, overview::overview, small),
    question("identity", false, asker::identity, small),
    question("znode", true, znodes::znode, small),
    question("children", true, znodes::children, znodes::child_count),
    question("sessions", true, sessions::sessions, sessions::count),
    question("session", true, sessions::session, sessions::held),
    question("watches", true, watches::watches, watches::count),
    question("top/clients", true, tops::clients, small),
    question(TOP_PATHS, true, tops::paths, small),
];

fn small(_: &Asked) -> usize {
    1
}

const TOP_PATHS: &str = "top/paths";
const ZNODE: &str = "znode";

const fn question(name: &'static str, needs_service: bool, look: Look, size: Size) -> Question {
    Question {
        name,
        needs_service,
        look,
        size,
    }
}

/// Answers whatever the commands do not.
pub(super) async fn serve(
    State(page): State<Arc<Page>>,
    axum::Extension(Peer(peer)): axum::Extension<Peer>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let mut response = match path.strip_prefix(API) {
        Some(name) => {
            let name = name.to_owned();
            match api(&page, peer, &name, request).await {
                Ok(found) => json(StatusCode::OK, &found),
                Err(refusal) if refusal.status == StatusCode::METHOD_NOT_ALLOWED => {
                    not_allowed(methods(&name))
                }
                Err(refusal) => refused(&refusal),
            }
        }
        None => match FILES.iter().find(|file| file.path == path) {
            Some(file) => match *request.method() {
                Method::GET | Method::HEAD => {
                    let headers = [
                        (header::CONTENT_TYPE, file.kind),
                        (header::CACHE_CONTROL, "no-cache"),
                    ];
                    (headers, file.text).into_response()
                }
                _ => not_allowed("GET, HEAD"),
            },
            None => StatusCode::NOT_FOUND.into_response(),
        },
    };
    for (name, value) in GUARDS {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn not_allowed(methods: &'static str) -> Response {
    let mut response = refused(&Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Allowed: {methods}"),
    ));
    let methods = header::HeaderValue::from_static(methods);
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

fn json(status: StatusCode, found: &Json) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, Body::from(found.compact())).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let error = fields([("error", refusal.error.as_str().into())]);
    json(refusal.status, &Json::Object(error))
}

/// The methods of a question, as `Allow` has them.
fn methods(name: &str) -> &'static str {
    match name {
        ZNODE => "GET, HEAD, POST, PUT, DELETE",
        _ => "GET, HEAD",
    }
}

async fn api(
    page: &Arc<Page>,
    peer: SocketAddr,
    name: &str,
    request: Request,
) -> Result<Json, Refusal> {
    let question = QUESTIONS.iter().find(|question| question.name == name);
    let question = question
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("Unknown question: {name}")))?;
    check_name(&page.sources, request.headers())?;
    let closed = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Stopping");
    let asker = Asker::of(&page.sources.core, peer, request.headers())?;
    if asker.is_failed_super(&page.sources.config) {
        let _turn = page.guesses.acquire().await.map_err(closed)?;
        tracing::warn!(%peer, "a wrong password of the super user, at the page");
        tokio::time::sleep(GUESS_PAUSE).await;
    }
    let parameters = Query::try_from_uri(request.uri())
        .map(|Query(found)| Parameters(found))
        .map_err(|error| Refusal::bad(error.to_string()))?;
    let asked = Asked {
        sources: page.sources.clone(),
        asker,
        parameters,
        caches: Arc::clone(&page.caches),
    };
    if question.needs_service {
        asked.needs_service()?;
    }
    let change = match (question.name, request.method()) {
        (_, &Method::GET | &Method::HEAD) => None,
        (ZNODE, &Method::POST) => Some(change::Kind::Create),
        (ZNODE, &Method::PUT) => Some(change::Kind::Set),
        (ZNODE, &Method::DELETE) => Some(change::Kind::Delete),
        _ => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Refusal::new(status, methods(name)));
        }
    };
    if let Some(kind) = change {
        let _turn = page.changes.acquire().await.map_err(closed)?;
        return change::change(&asked, kind, request.into_body()).await;
    }
    let turns = match question.name {
        TOP_PATHS => &page.tops,
        _ if (question.size)(&asked) > walk::SLICE_ZNODES => &page.walks,
        _ => &page.answers,
    };
    let turn = Arc::clone(turns).acquire_owned().await.map_err(closed)?;
    // Beside the tasks that serve clients: some look at many znodes or sessions. The turn is over when
    // the answer is made, not when nobody waits for it any more.
    let look = question.look;
    let work = move || {
        let _turn = turn;
        look(&asked)
    };
    let looked = tokio::task::spawn_blocking(work).await;
    looked.unwrap_or_else(|_| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Err(Refusal::new(status, "The answer could not be made"))
    })
}

fn check_name(sources: &Sources, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };
    let host = host.to_str().unwrap_or_default();
    if asker::is_ours(host, &asker::own_names(sources)) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        format!(
            "This server is not known as {host}: use its address, or the name that its configuration has."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_inline_script_style_or_foreign_address() {
        for file in FILES {
            let text = file.text;
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "document.write",
                "eval(",
                "insertAdjacentHTML",
            ] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", file.path);
            }
            let foreign = text.match_indices("://").filter(|(at, _)| {
                // The name of a namespace is fetched from nowhere.
                !text[at + 3..].starts_with("www.w3.org/")
            });
            assert_eq!(foreign.count(), 0, "{} names another site", file.path);
        }
        let index = FILES[0].text;
        assert!(!index.contains(" style=") && !index.contains(" onclick="));
        let scripts = index.matches("<script").count();
        assert_eq!(
            scripts,
            index.matches("<script type=\"module\" src=\"page/").count()
        );
    }

    #[test]
    fn files_that_files_name_are_there() {
        for file in FILES {
            for part in file
                .text
                .split('"')
                .filter(|part| part.starts_with("page/"))
            {
                let path = format!("/{part}");
                assert!(FILES.iter().any(|file| file.path == path), "{path}");
            }
            for part in file.text.split('\'').filter(|part| part.starts_with("./")) {
                let path = format!("/page/{}", &part[2..]);
                assert!(FILES.iter().any(|file| file.path == path), "{path}");
            }
        }
    }

    #[test]
    fn parameters_are_checked() {
        let parameters = |list: &[(&str, &str)]| {
            let list = list.iter();
            Parameters(
                list.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                    .collect(),
            )
        };
        let path = |text| parameters(&[("path", text)]).path().map(str::to_owned);
        assert_eq!(path("/a/'ö\" %"), Ok("/a/'ö\" %".to_owned()));
        for wrong in ["", "a", "/a/", "//", "/a/../b", "/\0"] {
            assert!(path(wrong).is_err(), "{wrong:?}");
        }
        assert!(parameters(&[]).path().is_err());
        assert_eq!(parameters(&[]).number("limit", 7), Ok(7));
        assert_eq!(parameters(&[("limit", "3")]).number("limit", 7), Ok(3));
        assert!(
            parameters(&[("limit", "-3")])
                .number("limit", 7_usize)
                .is_err()
        );
    }
}
