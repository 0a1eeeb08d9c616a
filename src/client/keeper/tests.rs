//! [`Keeper`] against servers of its own that answer as the test says.

use std::time::Duration;

use bytes::BytesMut;
use jute::frame::{next_frame, put_frame};
use jute::proto::{ConnectRequest, ConnectResponse, PASSWORD_LEN, ReplyHeader, RequestHeader, xid};
use jute::{ErrorCode, OpCode, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use super::*;

/// Above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const FRAME_MAX: usize = 1 << 20;

struct Server {
    listener: TcpListener,
    address: String,
}

/// A connection as the server sees it.
struct Peer {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        Self { listener, address }
    }

    /// The next client that wants a session, with its request: session id and last zxid. Those that
    /// ask for the mode are told `mode`.
    async fn accept(&self, mode: &str) -> (Peer, i64, i64) {
        loop {
            let (stream, _) = self.listener.accept().await.expect("a client");
            let inbox = BytesMut::new();
            let mut peer = Peer { stream, inbox };
            while peer.inbox.len() < 4 {
                let read = peer.stream.read_buf(&mut peer.inbox).await;
                assert!(read.expect("readable") > 0, "a client that says nothing");
            }
            if peer.inbox.starts_with(b"isro") {
                peer.stream.write_all(mode.as_bytes()).await.expect("sent");
                continue;
            }
            let frame = peer.frame().await.expect("a request for a session");
            let request: ConnectRequest<'_> = Reader::new(&frame).read().expect("a record");
            return (peer, request.session_id, request.last_zxid_seen);
        }
    }
}

impl Peer {
    /// `None` when the client has gone.
    async fn frame(&mut self) -> Option<bytes::Bytes> {
        loop {
            if let Some(frame) = next_frame(&mut self.inbox, FRAME_MAX).expect("a frame") {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.inbox).await.ok()? == 0 {
                return None;
            }
        }
    }

    async fn welcome(&mut self, session_id: i64, timeout_ms: i32, read_only: bool) {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id,
            password: Some(&[7; PASSWORD_LEN]),
            read_only: Some(read_only),
        };
        let mut out = BytesMut::new();
        put_frame(&mut out, &[&response]);
        self.stream.write_all(&out).await.expect("sent");
    }

    /// The next request that is no ping.
    async fn request(&mut self) -> Option<RequestHeader> {
        loop {
            let frame = self.frame().await?;
            let header: RequestHeader = Reader::new(&frame).read().expect("a header");
            if header.xid != xid::PING {
                return Some(header);
            }
        }
    }

    async fn answer(&mut self, xid: i32, zxid: i64, code: ErrorCode) {
        let mut out = BytesMut::new();
        let err = code.0;
        put_frame(&mut out, &[&ReplyHeader { xid, zxid, err }]);
        self.stream.write_all(&out).await.expect("sent");
    }
}

fn start(servers: &[&Server], read_only: bool) -> (Keeper, Notices) {
    let addresses: Vec<&str> = servers
        .iter()
        .map(|server| server.address.as_str())
        .collect();
    let hosts = Hosts::parse(&addresses.join(","), |_| Ok(())).expect("a connect string");
    let options = ConnectOptions {
        read_only,
        ..ConnectOptions::default()
    };
    Keeper::start(hosts, options)
}

async fn change(notices: &mut Notices) -> SessionChange {
    match time::timeout(PATIENCE, notices.next()).await {
        Ok(Some(Notice::Session(change))) => change,
        other => panic!("no change of the session: {other:?}"),
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again_with_what_was_seen_last() {
    let server = Server::start().await;
    let (keeper, mut notices) = start(&[&server], false);
    let (mut peer, session_id, _) = server.accept("rw").await;
    assert_eq!(session_id, 0);
    peer.welcome(11, 30_000, false).await;
    assert_eq!(change(&mut notices).await, SessionChange::SyncConnected);
    let deleted = async {
        let header = peer.request().await.expect("a request");
        assert_eq!(OpCode(header.op), OpCode::DELETE);
        peer.answer(header.xid, 0x15, ErrorCode::OK).await;
    };
    let (outcome, ()) = tokio::join!(keeper.delete("/a", -1), deleted);
    assert_eq!(outcome, Ok(()));
    // What is in flight when the connection breaks is lost, and not sent again.
    let lost = async {
        peer.request().await.expect("a request");
        drop(peer);
    };
    let (outcome, ()) = tokio::join!(keeper.delete("/a", -1), lost);
    assert_eq!(outcome, Err(ErrorCode::CONNECTION_LOSS));
    assert_eq!(change(&mut notices).await, SessionChange::Disconnected);
    assert_eq!(keeper.state(), SessionState::Connecting);
    let (mut peer, session_id, zxid) = server.accept("rw").await;
    assert_eq!((session_id, zxid), (11, 0x15));
    peer.welcome(11, 30_000, false).await;
    assert_eq!(change(&mut notices).await, SessionChange::SyncConnected);
    assert_eq!(keeper.session_id(), Some(11));
}

#[tokio::test]
async fn a_session_that_is_gone_stays_so() {
    let server = Server::start().await;
    let (keeper, mut notices) = start(&[&server], false);
    let (mut peer, ..) = server.accept("rw").await;
    peer.welcome(11, 30_000, false).await;
    assert_eq!(change(&mut notices).await, SessionChange::SyncConnected);
    drop(peer);
    assert_eq!(change(&mut notices).await, SessionChange::Disconnected);
    let (mut peer, ..) = server.accept("rw").await;
    peer.welcome(0, 0, false).await;
    assert_eq!(change(&mut notices).await, SessionChange::Expired);
    assert_eq!(keeper.state(), SessionState::Closed);
    let outcome = keeper.delete("/a", -1).await;
    assert_eq!(outcome, Err(ErrorCode::SESSION_EXPIRED));
    // Nothing is left to be told of.
    keeper.close().await;
    assert_eq!(notices.poll_next(), None);
}

#[tokio::test]
async fn a_refused_credential_ends_the_session() {
    let server = Server::start().await;
    let (keeper, mut notices) = start(&[&server], false);
    let (mut peer, ..) = server.accept("rw").await;
    peer.welcome(11, 30_000, false).await;
    assert_eq!(change(&mut notices).await, SessionChange::SyncConnected);
    let refused = async {
        let header = peer.request().await.expect("a request");
        assert_eq!(header.xid, xid::AUTH);
        peer.answer(header.xid, 0, ErrorCode::AUTH_FAILED).await;
    };
    tokio::join!(keeper.add_auth("digest", None), refused);
    assert_eq!(change(&mut notices).await, SessionChange::AuthFailed);
    assert_eq!(keeper.state(), SessionState::AuthFailed);
    let outcome = keeper.delete("/a", -1).await;
    assert_eq!(outcome, Err(ErrorCode::AUTH_FAILED));
}

#[tokio::test]
async fn a_read_only_server_is_left_for_one_that_takes_writes() {
    let (partitioned, whole) = (Server::start().await, Server::start().await);
    let (keeper, mut notices) = start(&[&partitioned, &whole], true);
    let (mut peer, ..) = partitioned.accept("ro").await;
    peer.welcome(77, 30_000, true).await;
    let told = change(&mut notices).await;
    assert_eq!(told, SessionChange::ConnectedReadOnly);
    assert_eq!(keeper.state(), SessionState::ConnectedReadOnly);
    // Both are asked for their mode; the first one goes on saying `ro`.
    let partitioned = tokio::spawn(async move { partitioned.accept("ro").await });
    let (mut better, session_id, _) = whole.accept("rw").await;
    partitioned.abort();
    // The read-only server has made the session up, so nobody else knows it.
    assert_eq!(session_id, 0);
    better.welcome(12, 30_000, false).await;
    assert_eq!(change(&mut notices).await, SessionChange::Disconnected);
    assert_eq!(change(&mut notices).await, SessionChange::SyncConnected);
    assert_eq!(keeper.state(), SessionState::Connected);
}

#[tokio::test]
async fn closing_ends_the_session_and_nothing_follows() {
    let server = Server::start().await;
    let (keeper, mut notices) = start(&[&server], false);
    let closed = async {
        let (mut peer, ..) = server.accept("rw").await;
        peer.welcome(11, 30_000, false).await;
        let header = peer.request().await.expect("a request");
        assert_eq!(OpCode(header.op), OpCode::CLOSE_SESSION);
        peer.answer(header.xid, 1, ErrorCode::OK).await;
    };
    tokio::join!(keeper.close(), closed);
    assert_eq!(change(&mut notices).await, SessionChange::SyncConnected);
    assert_eq!(change(&mut notices).await, SessionChange::Closed);
    assert_eq!(notices.poll_next(), None);
    assert_eq!(keeper.state(), SessionState::Closed);
}
