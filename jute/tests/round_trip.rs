//! Properties: what is encoded decodes to itself, and no bytes at all make the decoder panic.

use std::borrow::Cow;

use bytes::BytesMut;
use jute::proto::{
    Acl, AddWatchRequest, AuthPacket, CheckVersionRequest, CheckWatchesRequest, ConnectRequest,
    ConnectResponse, Create2Response, CreateRequest, CreateTtlRequest, DeleteRequest,
    ExistsRequest, GetAclResponse, GetChildren2Response, GetDataResponse, Id, MultiOp,
    MultiRequest, MultiResponse, ReconfigRequest, RemoveWatchesRequest, ReplyHeader, RequestHeader,
    SetAclRequest, SetDataRequest, SetWatches, SetWatches2, Stat, WatcherEvent, WhoAmIResponse,
};
use jute::{Decode, DecodeErrorKind, Encode, OpCode, Reader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Strings whose encoding is plain UTF-8: above U+FFFF Java's differs, see `write.rs`.
fn string() -> impl Strategy<Value = Option<String>> {
    option::of("[a-z/\u{e9}\u{20ac}\u{fffd}]{0,12}")
}

fn buffer() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..40))
}

fn text(value: &Option<String>) -> Option<Cow<'_, str>> {
    value.as_deref().map(Cow::Borrowed)
}

fn texts(values: &Option<Vec<Option<String>>>) -> Option<Vec<Option<Cow<'_, str>>>> {
    values
        .as_ref()
        .map(|values| values.iter().map(text).collect())
}

fn strings() -> impl Strategy<Value = Option<Vec<Option<String>>>> {
    option::of(vec(string(), 0..5))
}

type RawAcl = (i32, Option<String>, Option<String>);

fn raw_acls() -> impl Strategy<Value = Option<Vec<RawAcl>>> {
    option::of(vec((any::<i32>(), string(), string()), 0..4))
}

fn acls(raw: &Option<Vec<RawAcl>>) -> Option<Vec<Acl<'_>>> {
    raw.as_ref().map(|list| {
        list.iter()
            .map(|(perms, scheme, id)| Acl {
                perms: *perms,
                id: Id {
                    scheme: text(scheme),
                    id: text(id),
                },
            })
            .collect()
    })
}

fn stat() -> impl Strategy<Value = Stat> {
    (any::<[i64; 6]>(), any::<[i32; 5]>()).prop_map(|(longs, ints)| Stat {
        czxid: longs[0],
        mzxid: longs[1],
        ctime: longs[2],
        mtime: longs[3],
        version: ints[0],
        cversion: ints[1],
        aversion: ints[2],
        ephemeral_owner: longs[4],
        data_length: ints[3],
        num_children: ints[4],
        pzxid: longs[5],
    })
}

/// Encodes, decodes, compares; then cuts the bytes at every offset, which must be an error that
/// says so and never a panic.
fn check<'a, T>(record: &T, bytes: &'a mut BytesMut)
where
    T: Encode + Decode<'a> + PartialEq + std::fmt::Debug,
{
    record.encode(bytes);
    let bytes: &'a [u8] = bytes;
    let mut reader = Reader::new(bytes);
    let decoded: T = reader.read().expect("what we encoded decodes");
    assert_eq!(&decoded, record);
    assert!(reader.rest().is_empty(), "nothing is left over");
    for cut in 0..bytes.len() {
        if let Err(error) = Reader::new(&bytes[..cut]).read::<T>() {
            assert_eq!(error.kind, DecodeErrorKind::UnexpectedEnd);
            assert!(error.offset <= cut);
        }
    }
}

proptest! {
    #[test]
    fn requests_round_trip(
        path in string(), data in buffer(), raw in raw_acls(), flags: i32, ttl: i64,
        watch: bool, version: i32, lists in (strings(), strings(), strings()),
    ) {
        let path = || text(&path);
        let data = data.as_deref();
        let out = || BytesMut::new();
        check(&RequestHeader { xid: version, op: flags }, &mut out());
        check(&CreateRequest { path: path(), data, acl: acls(&raw), flags }, &mut out());
        check(
            &CreateTtlRequest { path: path(), data, acl: acls(&raw), flags, ttl_ms: ttl },
            &mut out(),
        );
        check(&DeleteRequest { path: path(), version }, &mut out());
        check(&ExistsRequest { path: path(), watch }, &mut out());
        check(&SetDataRequest { path: path(), data, version }, &mut out());
        check(&SetAclRequest { path: path(), acl: acls(&raw), version }, &mut out());
        check(&CheckVersionRequest { path: path(), version }, &mut out());
        check(&AuthPacket { kind: flags, scheme: path(), auth: data }, &mut out());
        check(&AddWatchRequest { path: path(), mode: flags }, &mut out());
        check(&CheckWatchesRequest { path: path(), kind: flags }, &mut out());
        check(&RemoveWatchesRequest { path: path(), kind: flags }, &mut out());
        check(
            &ReconfigRequest {
                joining_servers: path(),
                leaving_servers: path(),
                new_members: path(),
                cur_config_id: ttl,
            },
            &mut out(),
        );
        let (a, b, c) = &lists;
        check(
            &SetWatches {
                relative_zxid: ttl,
                data_watches: texts(a),
                exist_watches: texts(b),
                child_watches: texts(c),
            },
            &mut out(),
        );
        check(
            &SetWatches2 {
                relative_zxid: ttl,
                data_watches: texts(a),
                exist_watches: texts(b),
                child_watches: texts(c),
                persistent_watches: texts(b),
                persistent_recursive_watches: texts(a),
            },
            &mut out(),
        );
        check(
            &ConnectRequest {
                protocol_version: flags,
                last_zxid_seen: ttl,
                timeout_ms: version,
                session_id: ttl,
                password: data,
                read_only: Some(watch),
            },
            &mut out(),
        );
    }

    #[test]
    fn responses_round_trip(
        path in string(), data in buffer(), raw in raw_acls(), stat in stat(), names in strings(),
        number: i64, code: i32,
    ) {
        let out = || BytesMut::new();
        let data = data.as_deref();
        check(&ReplyHeader { xid: code, zxid: number, err: code }, &mut out());
        check(&Create2Response { path: text(&path), stat }, &mut out());
        check(&GetDataResponse { data, stat }, &mut out());
        check(&GetAclResponse { acl: acls(&raw), stat }, &mut out());
        check(&GetChildren2Response { children: texts(&names), stat }, &mut out());
        check(&WatcherEvent { kind: code, state: code, path: text(&path) }, &mut out());
        check(&WhoAmIResponse { client_info: None }, &mut out());
        check(
            &ConnectResponse {
                protocol_version: 0,
                timeout_ms: code,
                session_id: number,
                password: data,
                read_only: Some(true),
            },
            &mut out(),
        );
    }

    #[test]
    fn multis_round_trip(
        path in string(), data in buffer(), raw in raw_acls(), version: i32, order in vec(0..6u8, 0..8),
    ) {
        let ops = order.iter().map(|kind| match kind {
            0 => MultiOp::Create(OpCode::CREATE, CreateRequest {
                path: text(&path), data: data.as_deref(), acl: acls(&raw), flags: version,
            }),
            1 => MultiOp::Create(OpCode::CREATE2, CreateRequest {
                path: text(&path), data: None, acl: None, flags: 0,
            }),
            2 => MultiOp::CreateTtl(CreateTtlRequest {
                path: text(&path), data: None, acl: acls(&raw), flags: 5, ttl_ms: 1,
            }),
            3 => MultiOp::Delete(DeleteRequest { path: text(&path), version }),
            4 => MultiOp::SetData(SetDataRequest { path: text(&path), data: data.as_deref(), version }),
            _ => MultiOp::Check(CheckVersionRequest { path: text(&path), version }),
        });
        check(&MultiRequest { ops: ops.collect() }, &mut BytesMut::new());
    }

    /// Arbitrary bytes decode or do not, and what decodes encodes to something that decodes alike.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        fn total<'a, T: Decode<'a> + Encode>(bytes: &'a [u8]) {
            if let Ok(record) = Reader::new(bytes).read::<T>() {
                let mut out = BytesMut::new();
                record.encode(&mut out);
            }
        }
        total::<ConnectRequest<'_>>(&bytes);
        total::<CreateRequest<'_>>(&bytes);
        total::<CreateTtlRequest<'_>>(&bytes);
        total::<SetAclRequest<'_>>(&bytes);
        total::<SetWatches2<'_>>(&bytes);
        total::<MultiRequest<'_>>(&bytes);
        total::<MultiResponse<'_>>(&bytes);
    }
}
