//! Evaluation of writes: what one request of a log entry costs the thread that applies it.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jute::proto::{Acl, CreateRequest, DeleteRequest, Id, SetDataRequest, create_mode, perms};
use jute::{Encode, OpCode, text};
use meerkat::auth::{Digest, HashAlgorithm, Identity, Ip, Schemes};
use meerkat::op::Flags;
use meerkat::session::{PASSWORD_LEN, Session};
use meerkat::state::entry::{Batch, Origin, open};
use meerkat::state::{BatchHeader, LogPosition, State};
use meerkat::types::{ConnId, ServerId, SessionId};

/// Requests in one entry: what gathers while another entry is written.
const BATCHED: u64 = 64;
const NODES: usize = 100_000;
const DATA: [u8; 100] = [7; 100];
const SESSION: SessionId = SessionId(1);

fn node_path(number: usize) -> String {
    format!("/bench/p{:03}/n{number:06}", number / 1_000)
}

/// An entry's payload.
fn sealed(requests: impl IntoIterator<Item = (OpCode, BytesMut)>) -> Bytes {
    let identities = [Identity::new("ip", "127.0.0.1")];
    let mut batch = Batch::new();
    for (op, body) in requests {
        let origin = Origin {
            server: ServerId(1),
            conn: ConnId(1),
            xid: 1,
        };
        batch.push(op, SESSION, origin, &identities, &body);
    }
    batch.seal(BatchHeader {
        flags: Flags::default(),
        time_ms: 1,
    })
}

fn encoded(record: &impl Encode) -> BytesMut {
    let mut body = BytesMut::new();
    record.encode(&mut body);
    body
}

fn create(path: &str) -> (OpCode, BytesMut) {
    let id = Id {
        scheme: text("world"),
        id: text("anyone"),
    };
    let request = CreateRequest {
        path: text(path),
        data: Some(&DATA),
        acl: Some(vec![Acl {
            perms: perms::ALL,
            id,
        }]),
        flags: create_mode::PERSISTENT,
    };
    (OpCode::CREATE, encoded(&request))
}

fn delete(path: &str) -> (OpCode, BytesMut) {
    let path = text(path);
    let version = -1;
    (OpCode::DELETE, encoded(&DeleteRequest { path, version }))
}

fn set_data(path: &str) -> (OpCode, BytesMut) {
    let request = SetDataRequest {
        path: text(path),
        data: Some(&DATA),
        version: -1,
    };
    (OpCode::SET_DATA, encoded(&request))
}

fn apply(state: &mut State, payload: &Bytes) {
    let (header, requests) = open(payload).expect("just sealed");
    state.begin_batch(&header);
    for request in requests {
        let applied = state.evaluate(&header, &request);
        assert!(applied.result.is_ok(), "{:?}", applied.result);
        black_box(applied);
    }
}

fn filled() -> State {
    let schemes = Schemes::new(vec![
        Box::new(Digest::new(HashAlgorithm::Sha1, None)),
        Box::new(Ip),
    ]);
    let mut state = State::new(Arc::new(schemes));
    state.begin_entry(LogPosition { term: 1, index: 1 });
    let session = Session {
        timeout_ms: 30_000,
        password: [0; PASSWORD_LEN],
    };
    state.sessions.insert(SESSION, session);
    let parents = (0..NODES / 1_000).map(|parent| create(&format!("/bench/p{parent:03}")));
    let nodes = (0..NODES).map(|number| create(&node_path(number)));
    let payload = sealed([create("/bench")].into_iter().chain(parents).chain(nodes));
    apply(&mut state, &payload);
    state
}

fn bench(criterion: &mut Criterion) {
    let mut state = filled();
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCHED));

    // Several entries, so that the znodes of one are not in the cache when it comes round again.
    let spread =
        |entry: usize| (0..BATCHED as usize).map(move |n| (entry * 64 + n) * 7_919 % NODES);
    let entries: Vec<Bytes> = (0..100)
        .map(|entry| sealed(spread(entry).map(|number| set_data(&node_path(number)))))
        .collect();
    let mut next = entries.iter().cycle();
    group.bench_function("64 setData", |bencher| {
        bencher.iter(|| apply(&mut state, next.next().expect("endless")));
    });

    // Half creates, half deletes, so that the tree keeps its size.
    let entry = (0..BATCHED / 2).flat_map(|number| {
        let path = format!("/bench/p007/new{number}");
        [create(&path), delete(&path)]
    });
    let entry = sealed(entry);
    group.bench_function("32 create and 32 delete", |bencher| {
        bencher.iter(|| apply(&mut state, &entry));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
