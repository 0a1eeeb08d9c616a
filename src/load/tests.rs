//! The checks must be able to fail: a server that makes one kind of mistake is caught at it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use bytes::BytesMut;
use clap::Parser;
use jute::frame::{next_frame, put_frame};
use jute::proto::{
    ConnectRequest, ConnectResponse, CreateRequest, CreateResponse, GetDataRequest,
    GetDataResponse, ReplyHeader, RequestHeader, SetDataResponse, Stat,
};
use jute::{Encode, ErrorCode, MAX_BUFFER_DEFAULT, OpCode, Reader};

use super::{Options, Report};

/// What the server does wrong, in every fifth reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    ErrorCode,
    WrongXid,
    WrongData,
    ZxidGoesBack,
    HangsUp,
    /// The write is done, its answer never sent.
    HangsUpOnSet,
    /// And a write that was acknowledged before is undone.
    LosesWrites,
}

/// What outlives a connection: how often was the znode set?
type Writes = Arc<AtomicI32>;

/// Answers any number of connections until the test process ends.
fn serve(bug: Bug) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let writes = Writes::default();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that hangs up ends its thread, whatever it was about to read.
            let writes = Arc::clone(&writes);
            thread::spawn(move || answer_all(stream, bug, &writes));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, bug: Bug, writes: &Writes) -> std::io::Result<()> {
    let (mut inbox, mut outbox) = (BytesMut::new(), BytesMut::new());
    let mut chunk = [0; 4096];
    let mut replies = 0;
    loop {
        while let Some(frame) = next_frame(&mut inbox, MAX_BUFFER_DEFAULT).expect("a frame") {
            let mut reader = Reader::new(&frame);
            if replies == 0 {
                let request: ConnectRequest<'_> = reader.read().expect("a connect request");
                let response = ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: request.timeout_ms,
                    session_id: 1,
                    password: Some(&[7; 16]),
                    read_only: Some(false),
                };
                put_frame(&mut outbox, &[&response]);
            } else if !answer(&mut reader, replies, bug, writes, &mut outbox) {
                return Ok(());
            }
            replies += 1;
        }
        stream.write_all(&outbox)?;
        outbox.clear();
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            len => inbox.extend_from_slice(&chunk[..len]),
        }
    }
}

/// Appends one reply; `false` to hang up instead.
fn answer(
    reader: &mut Reader<'_>,
    number: i64,
    bug: Bug,
    writes: &Writes,
    outbox: &mut BytesMut,
) -> bool {
    let request: RequestHeader = reader.read().expect("a header");
    let mut header = ReplyHeader {
        xid: request.xid,
        zxid: number,
        err: 0,
    };
    // Set-up sets what it does not find; it finds what it wants.
    let mut data = super::options::data(3);
    // Only reads go wrong: the set-up is made of creates and reads of its own, with fewer replies.
    let goes_wrong = request.op == OpCode::GET_DATA.0 && number > 20 && number % 5 == 0;
    match bug {
        _ if !goes_wrong => {}
        Bug::None => {}
        Bug::ErrorCode => header.err = ErrorCode::NO_NODE.0,
        Bug::WrongXid => header.xid += 1,
        Bug::WrongData => data = b"something else".to_vec(),
        Bug::ZxidGoesBack => header.zxid = 1,
        Bug::HangsUp => return false,
        Bug::HangsUpOnSet | Bug::LosesWrites => {}
    }
    let mut body = BytesMut::new();
    match OpCode(request.op) {
        OpCode::CREATE => {
            let create: CreateRequest<'_> = reader.read().expect("a create");
            CreateResponse { path: create.path }.encode(&mut body);
        }
        OpCode::GET_DATA => {
            let _: GetDataRequest<'_> = reader.read().expect("a getData");
            let response = GetDataResponse {
                data: Some(&data),
                stat: Stat::default(),
            };
            response.encode(&mut body);
        }
        OpCode::SET_DATA => {
            let version = writes.fetch_add(1, Ordering::SeqCst) + 1;
            if version % 5 == 0 && bug == Bug::LosesWrites {
                writes.fetch_sub(2, Ordering::SeqCst);
            }
            if version % 5 == 0 && matches!(bug, Bug::HangsUpOnSet | Bug::LosesWrites) {
                return false;
            }
            header.zxid = number + 1000 * i64::from(version);
            let stat = Stat {
                version,
                ..Stat::default()
            };
            SetDataResponse { stat }.encode(&mut body);
        }
        _ => {}
    }
    if header.err == 0 {
        put_frame(outbox, &[&header, &crate::client::Encoded(&body)]);
    } else {
        put_frame(outbox, &[&header]);
    }
    true
}

fn get_from(bug: Bug) -> Report {
    run_against(
        bug,
        "zk-load get --keys 5 --count 200 --connections 2 --depth 4 --data-bytes 3 --keep",
    )
}

/// One client that writes a hundred times.
fn set_through(bug: Bug) -> Report {
    run_against(bug, "zk-load gap --count 100 --keep")
}

fn run_against(bug: Bug, line: &str) -> Report {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }
    let server = serve(bug);
    let words = line.split(' ').chain(["--server", &server]);
    super::run(&Line::parse_from(words).options).expect("a report")
}

#[test]
fn a_sound_server_makes_no_mistakes() {
    let report = get_from(Bug::None);
    assert_eq!((report.errors, report.operations), (0, 200));
}

#[test]
fn each_kind_of_mistake_is_caught() {
    let kinds = [
        (Bug::ErrorCode, "error_code"),
        (Bug::WrongXid, "wrong_xid"),
        (Bug::WrongData, "wrong_body"),
        (Bug::ZxidGoesBack, "zxid_went_back"),
    ];
    for (bug, kind) in kinds {
        let report = get_from(bug);
        // 100 reads on each of two connections, replies 21, 25, ... of them wrong.
        assert_eq!(report.error_kinds.get(kind), Some(&32), "{report:?}");
        assert_eq!(report.errors, 32, "{report:?}");
    }
}

#[test]
fn a_lost_connection_is_a_mistake() {
    let report = get_from(Bug::HangsUp);
    assert_eq!(report.error_kinds.get("connection"), Some(&2), "{report:?}");
}

#[test]
fn a_gap_is_measured_through_lost_connections() {
    let report = set_through(Bug::HangsUpOnSet);
    assert_eq!(report.errors, 0, "{report:?}");
    let [gap] = &report.gaps[..] else {
        panic!("one connection: {report:?}");
    };
    // Every fifth of the hundred was done and not answered.
    assert_eq!(
        (gap.writes, gap.reconnects, gap.sessions_lost),
        (80, 20, 0),
        "{gap:?}"
    );
    assert!(gap.longest_ms > 0.0, "{gap:?}");
}

#[test]
fn a_lost_write_is_caught() {
    let report = set_through(Bug::LosesWrites);
    assert!(report.error_kinds.contains_key("wrong_body"), "{report:?}");
}
