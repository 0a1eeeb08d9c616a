//! Finding a znode by its path, and a whole getData, in trees of several sizes.
//!
//! Keys are met in an order that caches cannot guess, as requests of many clients are.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jute::proto::GetDataRequest;
use jute::{Encode, OpCode, text};
use meerkat::auth::{Digest, HashAlgorithm, Identity, Ip, Schemes};
use meerkat::op::{Flags, Look, Seen};
use meerkat::tree::{DataTree, NewNode, Owner};
use meerkat::types::{SessionId, Zxid};
use meerkat::watch::Modes;

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const CHILDREN: usize = 1_000;
/// Paths that a bench asks for in turn.
const ASKED: usize = 10_000;

fn path(number: usize) -> String {
    format!("/bench/p{:06}/n{number:09}", number / CHILDREN)
}

fn tree(len: usize) -> DataTree {
    let mut tree = DataTree::new();
    let mut create = |path: &str, data: Option<&[u8]>| {
        let acl = meerkat::tree::AclTable::OPEN;
        tree.acls().retain(acl);
        let new = NewNode {
            data,
            acl,
            owner: Owner::Persistent,
            zxid: Zxid(1),
            time_ms: 1,
        };
        tree.create(path, new);
    };
    create("/bench", None);
    for parent in 0..len.div_ceil(CHILDREN) {
        create(&format!("/bench/p{parent:06}"), None);
    }
    for number in 0..len {
        create(&path(number), Some(&[7; 100]));
    }
    tree
}

/// Paths spread over the whole tree: steps of a number without common factors with its size.
fn asked(len: usize) -> Vec<String> {
    (0..ASKED).map(|step| path(step * 7_919 % len)).collect()
}

fn bench(criterion: &mut Criterion) {
    let schemes = Schemes::new(vec![
        Box::new(Digest::new(HashAlgorithm::Sha1, None)),
        Box::new(Ip),
    ]);
    let identities = [Identity::new("ip", "127.0.0.1")];
    for len in SIZES {
        let tree = tree(len);
        let paths = asked(len);
        let mut group = criterion.benchmark_group("look-up");
        group.throughput(Throughput::Elements(1));
        let mut next = paths.iter().cycle();
        group.bench_function(BenchmarkId::new("find", len), |bencher| {
            bencher.iter(|| tree.find(next.next().expect("endless")).expect("present"));
        });

        let look = Look {
            tree: &tree,
            schemes: &schemes,
            flags: Flags::default(),
            session: SessionId(1),
            identities: &identities,
            watched: &|_| Modes::default(),
        };
        let bodies: Vec<BytesMut> = paths
            .iter()
            .map(|path| {
                let mut body = BytesMut::new();
                let path = text(path);
                GetDataRequest { path, watch: false }.encode(&mut body);
                body
            })
            .collect();
        let mut next = bodies.iter().cycle();
        let mut out = BytesMut::with_capacity(4096);
        group.bench_function(BenchmarkId::new("getData", len), |bencher| {
            bencher.iter(|| {
                out.clear();
                let body = next.next().expect("endless");
                let mut seen = Seen::default();
                look.read(OpCode::GET_DATA, body, &mut out, &mut seen)
                    .expect("present");
                black_box(&out);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
