//! The state without sockets and disk: look-up of a path, a whole read, a whole write.
//!
//! The tree holds a hundred thousand znodes below a thousand parents, visited in an order that
//! caches do not like.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jute::proto::{
    Acl, CreateRequest, CreateSessionTxn, GetDataRequest, Id, SetDataRequest, create_mode, perms,
};
use jute::{Encode, OpCode, text};
use meerkat::auth::{Identity, Schemes};
use meerkat::op::{Flags, Look, Seen};
use meerkat::state::entry::{self, Batch, Origin};
use meerkat::state::{BatchHeader, LogPosition, State};
use meerkat::types::{ConnId, ServerId, SessionId};
use meerkat::watch::Modes;

const PARENTS: usize = 1000;
const CHILDREN: usize = 100;
const SESSION: SessionId = SessionId(7);
/// Requests of one log entry when 32 connections have 16 in flight each.
const BATCH: usize = 512;
/// Coprime to the number of znodes, so that all are visited, far from each other.
const STRIDE: usize = 73_013;

fn path(number: usize) -> String {
    let number = number % (PARENTS * CHILDREN);
    format!("/p{:04}/n{:06}", number % PARENTS, number / PARENTS)
}

fn encoded(body: &dyn Encode) -> Bytes {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes);
    bytes.freeze()
}

fn create(path: &str) -> Bytes {
    let everybody = Acl {
        perms: perms::ALL,
        id: Id {
            scheme: text("world"),
            id: text("anyone"),
        },
    };
    encoded(&CreateRequest {
        path: text(path),
        data: Some(&[7; 100]),
        acl: Some(vec![everybody]),
        flags: create_mode::PERSISTENT,
    })
}

fn set_data(path: &str) -> Bytes {
    encoded(&SetDataRequest {
        path: text(path),
        data: Some(&[8; 100]),
        version: -1,
    })
}

fn entry_of(op: OpCode, bodies: impl Iterator<Item = Bytes>) -> Bytes {
    let identities = [Identity::new("ip", "127.0.0.1")];
    let mut batch = Batch::new();
    for (xid, body) in bodies.enumerate() {
        let origin = Origin {
            server: ServerId(1),
            conn: ConnId(1),
            xid: i32::try_from(xid).expect("few"),
            attach: 0,
        };
        batch.push(op, SESSION, origin, &identities, &body);
    }
    batch.seal(BatchHeader {
        flags: Flags::default(),
        time_ms: 1_700_000_000_000,
    })
}

fn apply(state: &mut State, payload: &[u8]) {
    let (header, requests) = entry::open(payload).expect("just sealed");
    state.begin_batch(&header);
    for request in requests {
        let applied = state.evaluate(&header, &request);
        assert!(applied.result.is_ok(), "{:?}", applied.result);
        black_box(applied);
    }
}

fn filled() -> State {
    let mut state = State::new(Arc::new(Schemes::new(Vec::new())));
    state.begin_entry(LogPosition { term: 1, index: 1 });
    let session = CreateSessionTxn {
        timeout_ms: 30_000,
        password: Some(&[1; 16]),
    };
    let session = entry_of(OpCode::CREATE_SESSION, [encoded(&session)].into_iter());
    apply(&mut state, &session);
    let parents = (0..PARENTS).map(|parent| create(&format!("/p{parent:04}")));
    apply(&mut state, &entry_of(OpCode::CREATE, parents));
    let znodes = (0..PARENTS * CHILDREN).map(|number| create(&path(number)));
    apply(&mut state, &entry_of(OpCode::CREATE, znodes));
    state
}

fn read(c: &mut Criterion) {
    let state = filled();
    let paths: Vec<String> = (0..1024).map(|n| path(n * STRIDE)).collect();
    let mut paths = paths.iter().cycle();
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    group.bench_function("look-up", |b| {
        b.iter(|| {
            let path = paths.next().expect("a cycle has no end");
            black_box(state.tree.find(path).expect("it was created"))
        });
    });
    let bodies: Vec<Bytes> = (0..1024)
        .map(|n| {
            encoded(&GetDataRequest {
                path: text(&path(n * STRIDE)),
                watch: false,
            })
        })
        .collect();
    let mut bodies = bodies.iter().cycle();
    let mut out = BytesMut::with_capacity(4096);
    let look = Look {
        tree: &state.tree,
        schemes: state.schemes(),
        flags: Flags::default(),
        session: SESSION,
        identities: &[Identity::new("ip", "127.0.0.1")],
        watched: &|_| Modes::default(),
    };
    group.bench_function("getData", |b| {
        b.iter(|| {
            out.clear();
            let body = bodies.next().expect("a cycle has no end");
            let mut seen = Seen::default();
            look.read(OpCode::GET_DATA, body, &mut out, &mut seen)
                .expect("it was created");
            black_box(out.len())
        });
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let mut state = filled();
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH as u64));
    let sets = entry_of(
        OpCode::SET_DATA,
        (0..BATCH).map(|n| set_data(&path(n * STRIDE))),
    );
    group.bench_function("setData, 512 in an entry", |b| {
        b.iter(|| apply(&mut state, &sets));
    });
    let mut next = 0;
    let mut creates = || {
        next += BATCH;
        let paths = (next - BATCH..next).map(|n| format!("/p{:04}/new{n:09}", n % PARENTS));
        entry_of(OpCode::CREATE, paths.map(|path| create(&path)))
    };
    group.bench_function("create, 512 in an entry", |b| {
        b.iter_batched(
            &mut creates,
            |entry| apply(&mut state, &entry),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, read, write);
criterion_main!(benches);
