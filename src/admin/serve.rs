//! Connections of an HTTP service, none of which can keep others away: a place is given to whoever
//! comes last when nobody else uses it, and nobody waits for a peer that neither sends nor reads.
//!
//! A connection is *quiet* while it neither moves a byte nor waits for us. When all places are taken
//! the one that is quiet longest is closed, among those of the address with the most connections. When
//! none is, the oldest of them ends behind its next answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;

/// A connection is left alone for so long after its last byte: whoever has just connected is about
/// to ask something. When none is quiet as long, each time one is asked to end behind its answer.
const QUIET_MIN: Duration = Duration::from_millis(250);

/// Bytes of a request that is refused that are read all the same. Many clients look for an answer
/// only when they have sent everything, and never find it when the connection is closed before.
const DROPPED_BYTES_MAX: usize = 1 << 30;

/// Pause after accept has failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who has connected.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// One connection, for those who may want its place.
struct Place {
    peer: SocketAddr,
    began: Instant,
    /// When its last byte was moved, in ms since it began.
    moved_ms: AtomicU64,
    /// Its requests that we work at.
    working: AtomicUsize,
    /// Rung when another one gets its place.
    evicted: Notify,
    /// Rung when its next answer shall be its last.
    last_answer: Notify,
    is_ending: AtomicBool,
}

impl Place {
    fn moved(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Since when it is quiet, if it is.
    fn quiet_since(&self) -> Option<Instant> {
        let is_quiet = self.working.load(Ordering::Relaxed) == 0;
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        is_quiet.then(|| self.began + moved)
    }
}

/// All connections, by their number.
#[derive(Default)]
struct Places {
    open: Mutex<(u64, BTreeMap<u64, Arc<Place>>)>,
    /// Rung when one has ended, or become quiet.
    change: Notify,
}

impl Places {
    /// Waits for a place, and makes one.
    async fn free(&self) {
        let mut ask_at = Instant::now() + QUIET_MIN;
        loop {
            let changed = self.change.notified();
            let now = Instant::now();
            if self.has_room(now) {
                return;
            }
            if now >= ask_at {
                self.end_oldest();
                ask_at = now + QUIET_MIN;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(ask_at) => {}
            }
        }
    }

    /// Whether there is a place now; the connection that is quiet longest loses its own.
    fn has_room(&self, now: Instant) -> bool {
        let mut open = self.open.lock();
        if open.1.len() < CONNECTIONS_MAX {
            return true;
        }
        let of_address = of_address(&open.1);
        let quiet = open.1.iter().filter_map(|(number, place)| {
            let since = place.quiet_since()?;
            let is_ripe = now.saturating_duration_since(since) >= QUIET_MIN;
            is_ripe.then(|| (*number, since, of_address(place)))
        });
        let chosen = quiet.max_by_key(|(_, since, of_same)| (*of_same, Reverse(*since)));
        let evicted = chosen.and_then(|(number, ..)| open.1.remove(&number));
        if let Some(place) = &evicted {
            place.evicted.notify_one();
        }
        evicted.is_some()
    }

    /// Asks one that is not quiet to end.
    fn end_oldest(&self) {
        let open = self.open.lock();
        let of_address = of_address(&open.1);
        let busy = open.1.iter().filter(|(_, place)| !place.is_ending());
        let chosen = busy.max_by_key(|(number, place)| (of_address(place), Reverse(**number)));
        if let Some((_, place)) = chosen {
            place.is_ending.store(true, Ordering::Relaxed);
            place.last_answer.notify_one();
        }
    }

    fn take(self: &Arc<Self>, peer: SocketAddr) -> Held {
        let place = Arc::new(Place {
            peer,
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            working: AtomicUsize::new(0),
            evicted: Notify::new(),
            last_answer: Notify::new(),
            is_ending: AtomicBool::new(false),
        });
        let mut open = self.open.lock();
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, Arc::clone(&place));
        Held {
            place,
            number,
            places: Arc::clone(self),
        }
    }
}

/// How many have the address of a place.
fn of_address(open: &BTreeMap<u64, Arc<Place>>) -> impl Fn(&Place) -> usize + use<> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for place in open.values() {
        *counts.entry(place.peer.ip()).or_default() += 1;
    }
    move |place| counts.get(&place.peer.ip()).copied().unwrap_or(0)
}

/// Has a place while it lives, or until it is taken away.
struct Held {
    place: Arc<Place>,
    number: u64,
    places: Arc<Places>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.open.lock().1.remove(&self.number);
        self.places.change.notify_one();
    }
}

/// Accepts connections for an HTTP service, so many at a time. A connection that does nothing for
/// `idle` is closed.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    idle: Duration,
    stopped: &mut watch::Receiver<bool>,
) {
    let places = Arc::new(Places::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::select! {
                    () = places.free() => {}
                    _ = stopped.changed() => return,
                }
                let held = places.take(peer);
                let (routes, mut stopped) = (routes.clone(), stopped.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection(stream, &held, routes, idle) => {}
                        () = held.place.evicted.notified() => {
                            tracing::debug!(%peer, "a quiet HTTP connection makes room");
                        }
                        _ = stopped.changed() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, held: &Held, routes: Router, idle: Duration) {
    let peer = held.place.peer;
    let worker = Worker {
        place: Arc::clone(&held.place),
        places: Arc::clone(&held.places),
        idle,
    };
    let service = routes
        .layer(axum::middleware::from_fn_with_state(worker, work))
        .layer(axum::Extension(Peer(peer)));
    let stream = Watched {
        stream,
        place: Arc::clone(&held.place),
        patience: idle,
        stalled: None,
    };
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
    );
    let served = tokio::select! {
        served = &mut serving => served,
        () = held.place.last_answer.notified() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "an HTTP connection ended");
    }
}

#[derive(Clone)]
struct Worker {
    place: Arc<Place>,
    places: Arc<Places>,
    idle: Duration,
}

impl Worker {
    fn begin(&self) {
        self.place.working.fetch_add(1, Ordering::Relaxed);
    }

    /// It is quiet from now on.
    fn end(&self) {
        self.place.moved();
        self.place.working.fetch_sub(1, Ordering::Relaxed);
        self.places.change.notify_one();
    }
}

/// Works at something while it lives.
struct Working<'a>(&'a Worker);

impl<'a> Working<'a> {
    fn begin(worker: &'a Worker) -> Self {
        worker.begin();
        Self(worker)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Does not work while it lives: the peer's turn.
struct Waiting<'a>(&'a Worker);

impl<'a> Waiting<'a> {
    fn begin(worker: &'a Worker) -> Self {
        worker.end();
        Self(worker)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// A body that is still to come.
struct Coming {
    chunks: axum::body::BodyDataStream,
    is_over: bool,
}

impl Coming {
    /// The next part, unless nothing comes for too long.
    async fn next(&mut self, worker: &Worker) -> Option<Result<Bytes, axum::BoxError>> {
        if self.is_over {
            return None;
        }
        let _waiting = Waiting::begin(worker);
        let next = match timeout(worker.idle, self.chunks.next()).await {
            Ok(Some(Ok(bytes))) => Some(Ok(bytes)),
            Ok(Some(Err(error))) => Some(Err(error.into())),
            Ok(None) => None,
            Err(_) => Some(Err("nothing more came".into())),
        };
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Answers one request. What it does not want of the body is read before the answer is sent.
async fn work(State(worker): State<Worker>, request: Request, next: Next) -> Response {
    let _working = Working::begin(&worker);
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Whoever asks whether to send it looks for the answer before.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (head, body) = request.into_parts();
    let coming = Arc::new(tokio::sync::Mutex::new(Coming {
        chunks: body.into_data_stream(),
        is_over: false,
    }));
    let given = (Arc::clone(&coming), worker.clone());
    let given = futures_util::stream::unfold(given, |(coming, worker)| async {
        let part = coming.lock().await.next(&worker).await?;
        Some((part, (coming, worker)))
    });
    let answer = next
        .run(Request::from_parts(head, Body::from_stream(given)))
        .await;
    let mut coming = coming.lock().await;
    let mut dropped = 0;
    while !asks_first
        && dropped < DROPPED_BYTES_MAX
        && let Some(Ok(bytes)) = coming.next(&worker).await
    {
        dropped += bytes.len();
    }
    answer
}

/// A stream that says when it moves, and fails when its peer reads nothing for too long.
struct Watched {
    stream: TcpStream,
    place: Arc<Place>,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn after_write(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.place.moved();
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, into));
        self.place.moved();
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.after_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.after_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 1))
    }

    /// All places taken: by number, who has them and since when they are quiet.
    #[tokio::test(start_paused = true)]
    async fn who_is_quiet_longest_makes_room_and_first_of_the_many() {
        let places = Arc::new(Places::default());
        let mut held: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|number| places.take(peer(u8::from(number >= 2))))
            .collect();
        let gone = |held: &[Held]| -> Vec<u64> {
            let open = places.open.lock();
            let numbers = held.iter().map(|held| held.number);
            numbers
                .filter(|number| !open.1.contains_key(number))
                .collect()
        };
        assert!(!places.has_room(Instant::now()), "too soon");
        tokio::time::advance(QUIET_MIN).await;
        // Of one address there are two only, however quiet.
        held[2].place.moved();
        held[3].place.working.store(1, Ordering::Relaxed);
        let now = Instant::now();
        assert!(places.has_room(now));
        let first = gone(&held);
        assert!(
            first.len() == 1 && first[0] > 4,
            "neither moved nor worked: {first:?}"
        );
        assert!(
            places.has_room(now) && gone(&held) == first,
            "there is a place"
        );
        held.retain(|held| held.number != first[0]);
        held.push(places.take(peer(2)));
        for held in &held {
            held.place.working.store(1, Ordering::Relaxed);
        }
        assert!(!places.has_room(now), "all of them are at work");
        places.end_oldest();
        places.end_oldest();
        let ending = held.iter().filter(|held| held.place.is_ending());
        let ending: Vec<_> = ending.map(|held| held.number).collect();
        assert_eq!(ending, [3, 4], "the oldest of the many");
        drop(held.pop());
        assert!(places.has_room(now));
    }
}
