//! Decoding of hot requests, encoding of hot replies, and cutting frames.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jute::frame::{next_frame, put_frame};
use jute::proto::{
    Acl, CreateRequest, CreateResponse, GetDataRequest, GetDataResponse, Id, ReplyHeader,
    RequestHeader, SetDataRequest, SetDataResponse, Stat, create_mode, perms,
};
use jute::{Decode, Encode, MAX_BUFFER_DEFAULT, OpCode, Reader, text};

const PATH: &str = "/zk-load/p000123/n000004567";
const DATA: [u8; 100] = [7; 100];
/// Requests that a busy connection delivers in one read.
const PIPELINED: u64 = 16;

fn header(op: OpCode) -> RequestHeader {
    RequestHeader { xid: 7, op: op.0 }
}

fn get_data() -> GetDataRequest<'static> {
    GetDataRequest {
        path: text(PATH),
        watch: false,
    }
}

fn set_data() -> SetDataRequest<'static> {
    SetDataRequest {
        path: text(PATH),
        data: Some(&DATA),
        version: -1,
    }
}

fn create() -> CreateRequest<'static> {
    let id = Id {
        scheme: text("world"),
        id: text("anyone"),
    };
    CreateRequest {
        path: text(PATH),
        data: Some(&DATA),
        acl: Some(vec![Acl {
            perms: perms::ALL,
            id,
        }]),
        flags: create_mode::PERSISTENT,
    }
}

/// Header and body, as a connection finds them behind the frame's length.
fn decode<'a, T: Decode<'a>>(frame: &'a [u8]) -> (RequestHeader, T) {
    let mut reader = Reader::new(frame);
    let header = reader.read().expect("a sound header");
    (header, reader.read().expect("a sound body"))
}

fn encoded(records: &[&dyn Encode]) -> BytesMut {
    let mut out = BytesMut::new();
    for record in records {
        record.encode(&mut out);
    }
    out
}

fn bench_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let frame = encoded(&[&header(OpCode::GET_DATA), &get_data()]);
    group.bench_function("getData", |bencher| {
        bencher.iter(|| {
            black_box(decode::<GetDataRequest<'_>>(black_box(&frame)))
                .1
                .watch
        });
    });
    let frame = encoded(&[&header(OpCode::SET_DATA), &set_data()]);
    group.bench_function("setData", |bencher| {
        bencher.iter(|| {
            black_box(decode::<SetDataRequest<'_>>(black_box(&frame)))
                .1
                .version
        });
    });
    let frame = encoded(&[&header(OpCode::CREATE), &create()]);
    group.bench_function("create", |bencher| {
        bencher.iter(|| {
            black_box(decode::<CreateRequest<'_>>(black_box(&frame)))
                .1
                .flags
        });
    });
    group.finish();
}

fn bench_encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let reply = ReplyHeader {
        xid: 7,
        zxid: 1 << 32 | 9,
        err: 0,
    };
    let stat = Stat::default();
    let data = GetDataResponse {
        data: Some(&DATA),
        stat,
    };
    let path = CreateResponse { path: text(PATH) };
    let bodies: [(&str, &dyn Encode); 3] = [
        ("getData", &data),
        ("setData", &SetDataResponse { stat }),
        ("create", &path),
    ];
    let mut out = BytesMut::with_capacity(4096);
    for (name, body) in bodies {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                put_frame(&mut out, &[black_box(&reply), black_box(body)]);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn bench_frames(criterion: &mut Criterion) {
    let mut wire = BytesMut::new();
    for _ in 0..PIPELINED {
        put_frame(&mut wire, &[&header(OpCode::GET_DATA), &get_data()]);
    }
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(PIPELINED));
    let mut inbox = BytesMut::with_capacity(16 * 1024);
    group.bench_function("cut and decode 16 getData", |bencher| {
        bencher.iter(|| {
            inbox.reserve(wire.len());
            inbox.extend_from_slice(&wire);
            let mut cut = 0;
            while let Some(frame) = next_frame(&mut inbox, MAX_BUFFER_DEFAULT).expect("sound") {
                black_box(decode::<GetDataRequest<'_>>(&frame));
                cut += 1;
            }
            assert_eq!(cut, PIPELINED);
        });
    });
    group.finish();
}

criterion_group!(benches, bench_decode, bench_encode, bench_frames);
criterion_main!(benches);
