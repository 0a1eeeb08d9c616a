//! The codec on the records that most requests are made of: cut a frame, decode header and body;
//! encode a reply.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jute::frame::{next_frame, put_frame};
use jute::proto::{
    Acl, CreateRequest, GetDataRequest, GetDataResponse, Id, ReplyHeader, RequestHeader,
    SetDataRequest, Stat, create_mode, perms,
};
use jute::{Decode, Encode, MAX_BUFFER_DEFAULT, OpCode, Reader, text};

const PATH: &str = "/services/orders/instances/0000000042";
const DATA: [u8; 100] = [7; 100];

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
    let everybody = Acl {
        perms: perms::ALL,
        id: Id {
            scheme: text("world"),
            id: text("anyone"),
        },
    };
    CreateRequest {
        path: text(PATH),
        data: Some(&DATA),
        acl: Some(vec![everybody]),
        flags: create_mode::PERSISTENT,
    }
}

fn decode<'a, T: Decode<'a>>(body: &'a [u8]) -> (RequestHeader, T) {
    let mut reader = Reader::new(body);
    let header = reader.read().expect("just encoded");
    (header, reader.read().expect("just encoded"))
}

fn encoded(op: OpCode, request: &dyn Encode) -> BytesMut {
    let mut bytes = BytesMut::new();
    RequestHeader { xid: 1, op: op.0 }.encode(&mut bytes);
    request.encode(&mut bytes);
    bytes
}

fn decode_requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let bytes = encoded(OpCode::GET_DATA, &get_data());
    group.bench_function("getData", |b| {
        b.iter(|| black_box(decode::<GetDataRequest<'_>>(black_box(&bytes))));
    });
    let bytes = encoded(OpCode::SET_DATA, &set_data());
    group.bench_function("setData", |b| {
        b.iter(|| black_box(decode::<SetDataRequest<'_>>(black_box(&bytes))));
    });
    let bytes = encoded(OpCode::CREATE, &create());
    group.bench_function("create", |b| {
        b.iter(|| black_box(decode::<CreateRequest<'_>>(black_box(&bytes))));
    });
    group.finish();
}

fn cut_frames(c: &mut Criterion) {
    const FRAMES: usize = 16;
    let mut stream = BytesMut::new();
    for _ in 0..FRAMES {
        let header = RequestHeader {
            xid: 1,
            op: OpCode::GET_DATA.0,
        };
        put_frame(&mut stream, &[&header, &get_data()]);
    }
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("sixteen requests of one read", |b| {
        b.iter_batched(
            || BytesMut::from(&stream[..]),
            |mut buffer| {
                while let Some(frame) = next_frame(&mut buffer, MAX_BUFFER_DEFAULT).expect("sound")
                {
                    black_box(frame);
                }
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn encode_replies(c: &mut Criterion) {
    let header = ReplyHeader {
        xid: 1,
        zxid: 1 << 32,
        err: 0,
    };
    let response = GetDataResponse {
        data: Some(&DATA),
        stat: Stat::default(),
    };
    let mut out = BytesMut::with_capacity(1024);
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("getData reply", |b| {
        b.iter(|| {
            out.clear();
            put_frame(&mut out, &[black_box(&header), black_box(&response)]);
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, decode_requests, cut_frames, encode_replies);
criterion_main!(benches);
