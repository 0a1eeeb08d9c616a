//! Golden vectors: bytes that Apache ZooKeeper accepted and sent, in `vectors/`.
//!
//! Each is decoded, compared with the values that the comments in its file name, encoded again to
//! the same bytes, and then damaged: cut at every offset, with every length made wrong.
//! `oracle vectors` in `compat-tests/` records them anew, with a decoder of its own.

#![expect(
    elided_lifetimes_in_paths,
    reason = "check! cannot know which records borrow"
)]

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use bytes::BytesMut;
use jute::proto::*;
use jute::{Decode, DecodeError, Encode, ErrorCode, OpCode, Reader, text};

/// The exchange of one file.
struct Vector {
    name: &'static str,
    sections: Vec<(String, Vec<Part>)>,
}

/// A line: one field.
struct Part {
    bytes: Vec<u8>,
    kind: PartKind,
    comment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartKind {
    Plain,
    /// Begins with the length of a string or buffer.
    Sized,
    /// The count of a vector.
    Count,
}

/// The body of a message that is only a header, or the header of one that has none.
#[derive(Clone, Debug, PartialEq)]
struct Nothing {}

impl<'a> Decode<'a> for Nothing {
    fn decode(_: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {})
    }
}

impl Encode for Nothing {
    fn encode(&self, _: &mut BytesMut) {}
}

fn load(name: &'static str) -> Vector {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.txt"));
    let text = fs::read_to_string(file).expect("the vector is there");
    let mut sections: Vec<(String, Vec<Part>)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(section) = line.strip_prefix('[') {
            sections.push((section.trim_end_matches(']').to_owned(), Vec::new()));
            continue;
        }
        let (bytes, comment) = line.split_once('#').expect("each field has a comment");
        let groups: Vec<&str> = bytes.split_whitespace().collect();
        let field = comment
            .split_once(" = ")
            .map_or(comment, |(field, _)| field);
        let kind = match groups.as_slice() {
            [_, _] => PartKind::Sized,
            // Null and empty strings have no second group; a number can look like them.
            _ if field.ends_with(" count") => PartKind::Count,
            _ => PartKind::Plain,
        };
        let bytes = groups.iter().flat_map(|group| unhex(group)).collect();
        let comment = comment.trim().to_owned();
        sections.last_mut().expect("a section").1.push(Part {
            bytes,
            kind,
            comment,
        });
    }
    Vector { name, sections }
}

fn unhex(group: &str) -> Vec<u8> {
    assert!(group.len().is_multiple_of(2), "{group}");
    let byte = |index| u8::from_str_radix(&group[index..index + 2], 16).expect("hex digits");
    (0..group.len()).step_by(2).map(byte).collect()
}

/// Header and body of one message, and what is left behind them.
fn decode<'a, H: Decode<'a>, B: Decode<'a>>(
    bytes: &'a [u8],
) -> Result<(H, B, &'a [u8]), DecodeError> {
    let mut reader = Reader::new(bytes);
    Ok((reader.read()?, reader.read()?, reader.rest()))
}

impl Vector {
    fn parts(&self, section: &str) -> &[Part] {
        let found = self.sections.iter().find(|(name, _)| name == section);
        &found.expect("the section is there").1
    }

    fn bytes(&self, section: &str) -> Vec<u8> {
        self.parts(section)
            .iter()
            .flat_map(|part| part.bytes.clone())
            .collect()
    }

    /// Cuts the message at each offset and makes each length wrong.
    fn damage(&self, section: &str, decodes: impl Fn(&[u8]) -> bool) {
        let name = self.name;
        let bytes = self.bytes(section);
        for cut in 0..bytes.len() {
            // Old clients leave the readOnly byte out, so there the cut is no damage.
            let optional = name == "connect" && cut == bytes.len() - 1;
            assert_eq!(
                decodes(&bytes[..cut]),
                optional,
                "{name} {section} cut at {cut}"
            );
        }
        let mut offset = 0;
        for part in self.parts(section) {
            let wrong: &[i32] = match part.kind {
                PartKind::Sized => &[-2, i32::MIN, i32::MAX],
                // A negative count is an empty vector, as in Java.
                PartKind::Count => &[i32::MAX],
                PartKind::Plain => &[],
            };
            for length in wrong {
                let damaged = with_int(&bytes, offset, *length);
                assert!(
                    !decodes(&damaged),
                    "{name} {section}, {length} in {}",
                    part.comment
                );
            }
            offset += part.bytes.len();
        }
        // Whatever a number is taken for, there is an answer and no panic.
        for offset in 0..bytes.len().saturating_sub(3) {
            for number in [0, 1, -1, -2, i32::MIN, i32::MAX] {
                decodes(&with_int(&bytes, offset, number));
            }
        }
    }
}

fn with_int(bytes: &[u8], offset: usize, number: i32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset..offset + 4].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[track_caller]
fn round_trip<'a, H, B>(about: &str, bytes: &'a [u8], expected: &(H, B))
where
    H: Decode<'a> + Encode + PartialEq + Debug,
    B: Decode<'a> + Encode + PartialEq + Debug,
{
    let (header, body, rest) = decode::<H, B>(bytes).expect("a sound message");
    assert_eq!((&header, &body), (&expected.0, &expected.1), "{about}");
    assert!(rest.is_empty(), "{about}: {} bytes are left", rest.len());
    let mut encoded = BytesMut::new();
    header.encode(&mut encoded);
    body.encode(&mut encoded);
    assert_eq!(encoded, bytes, "{about}: encoded");
}

macro_rules! check {
    ($vector:ident, $section:literal, $header:ident { $($of_header:tt)* }, $body:ident { $($of_body:tt)* }) => {
        let bytes = $vector.bytes($section);
        let expected = ($header { $($of_header)* }, $body { $($of_body)* });
        round_trip(&format!("{} {}", $vector.name, $section), &bytes, &expected);
        $vector.damage($section, |bytes| decode::<$header, $body>(bytes).is_ok());
    };
}

/// No file is forgotten.
#[test]
fn every_vector_is_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let source = include_str!("golden.rs");
    for file in fs::read_dir(folder).expect("the folder is there") {
        let file = file.expect("it can be listed").path();
        let name = file.file_stem().expect("a name").to_string_lossy();
        assert!(source.contains(&format!("load(\"{name}\")")), "{name}");
    }
}

fn acl<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Acl<'a> {
    Acl {
        perms,
        id: Id {
            scheme: text(scheme),
            id: text(id),
        },
    }
}

#[test]
fn add_watch() {
    let vector = load("addWatch");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 22,
            op: OpCode::ADD_WATCH.0
        },
        AddWatchRequest {
            path: text("/a"),
            mode: 1
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 22,
            zxid: 9,
            err: 0
        },
        ErrorResponse { err: 0 }
    );
}

#[test]
fn auth() {
    let vector = load("auth");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: -4,
            op: OpCode::AUTH.0
        },
        AuthPacket {
            kind: 0,
            scheme: text("digest"),
            auth: Some(b"bob:secret")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: -4,
            zxid: 0,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn check_watches() {
    let vector = load("checkWatches");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 23,
            op: OpCode::CHECK_WATCHES.0
        },
        CheckWatchesRequest {
            path: text("/a"),
            kind: 5
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 23,
            zxid: 9,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn close_session() {
    let vector = load("closeSession");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 33,
            op: OpCode::CLOSE_SESSION.0
        },
        Nothing {}
    );
    check!(
        vector,
        "event",
        ReplyHeader {
            xid: -1,
            zxid: 14,
            err: 0
        },
        WatcherEvent {
            kind: 2,
            state: 3,
            path: text("/a/e")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 33,
            zxid: 14,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn create() {
    let vector = load("create");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 2,
            op: OpCode::CREATE.0
        },
        CreateRequest {
            path: text("/a"),
            data: Some(b"hello"),
            acl: Some(vec![acl(31, "world", "anyone")]),
            flags: 0
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 2,
            zxid: 2,
            err: 0
        },
        CreateResponse { path: text("/a") }
    );
}

#[test]
fn create2() {
    let vector = load("create2");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 3,
            op: OpCode::CREATE2.0
        },
        CreateRequest {
            path: text("/a/b"),
            data: None,
            acl: Some(vec![acl(31, "auth", ""), acl(1, "world", "anyone")]),
            flags: 2
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 3,
            zxid: 3,
            err: 0
        },
        Create2Response {
            path: text("/a/b0000000000"),
            stat: Stat {
                czxid: 3,
                mzxid: 3,
                ctime: 1_795_430_422_024,
                mtime: 1_795_430_422_024,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 0,
                num_children: 0,
                pzxid: 3
            }
        }
    );
}

#[test]
fn create_container() {
    let vector = load("createContainer");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 4,
            op: OpCode::CREATE_CONTAINER.0
        },
        CreateRequest {
            path: text("/a/c"),
            data: Some(b""),
            acl: Some(vec![acl(31, "world", "anyone")]),
            flags: 4
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 4,
            zxid: 4,
            err: 0
        },
        Create2Response {
            path: text("/a/c"),
            stat: Stat {
                czxid: 4,
                mzxid: 4,
                ctime: 1_795_430_422_026,
                mtime: 1_795_430_422_026,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 0,
                num_children: 0,
                pzxid: 4
            }
        }
    );
}

#[test]
fn create_ttl() {
    let vector = load("createTTL");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 5,
            op: OpCode::CREATE_TTL.0
        },
        CreateTtlRequest {
            path: text("/a/t"),
            data: Some(b"\x00\xff"),
            acl: Some(vec![acl(31, "world", "anyone")]),
            flags: 5,
            ttl_ms: 3_600_000
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 5,
            zxid: 5,
            err: 0
        },
        Create2Response {
            path: text("/a/t"),
            stat: Stat {
                czxid: 5,
                mzxid: 5,
                ctime: 1_795_430_422_030,
                mtime: 1_795_430_422_030,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 2,
                num_children: 0,
                pzxid: 5
            }
        }
    );
}

#[test]
fn delete() {
    let vector = load("delete");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 32,
            op: OpCode::DELETE.0
        },
        DeleteRequest {
            path: text("/m/t"),
            version: 0
        }
    );
    check!(
        vector,
        "event",
        ReplyHeader {
            xid: -1,
            zxid: 13,
            err: 0
        },
        WatcherEvent {
            kind: 2,
            state: 3,
            path: text("/m/t")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 32,
            zxid: 13,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn event() {
    let vector = load("event");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 11,
            op: OpCode::SET_DATA.0
        },
        SetDataRequest {
            path: text("/a"),
            data: Some(b""),
            version: -1
        }
    );
    check!(
        vector,
        "event",
        ReplyHeader {
            xid: -1,
            zxid: 7,
            err: 0
        },
        WatcherEvent {
            kind: 3,
            state: 3,
            path: text("/a")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 11,
            zxid: 7,
            err: 0
        },
        SetDataResponse {
            stat: Stat {
                czxid: 2,
                mzxid: 7,
                ctime: 1_795_430_422_016,
                mtime: 1_795_430_422_051,
                version: 1,
                cversion: 4,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 0,
                num_children: 4,
                pzxid: 6
            }
        }
    );
}

#[test]
fn exists() {
    let vector = load("exists");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 7,
            op: OpCode::EXISTS.0
        },
        ExistsRequest {
            path: text("/a/e"),
            watch: true
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 7,
            zxid: 6,
            err: 0
        },
        ExistsResponse {
            stat: Stat {
                czxid: 6,
                mzxid: 6,
                ctime: 1_795_430_422_035,
                mtime: 1_795_430_422_035,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 72_057_829_486_952_448,
                data_length: 0,
                num_children: 0,
                pzxid: 6
            }
        }
    );
}

#[test]
fn exists_error() {
    let vector = load("exists-error");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 8,
            op: OpCode::EXISTS.0
        },
        ExistsRequest {
            path: text("/none"),
            watch: false
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 8,
            zxid: 6,
            err: -101
        },
        Nothing {}
    );
}

#[test]
fn get_acl() {
    let vector = load("getACL");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 13,
            op: OpCode::GET_ACL.0
        },
        GetAclRequest {
            path: text("/a/b0000000000")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 13,
            zxid: 8,
            err: 0
        },
        GetAclResponse {
            acl: Some(vec![
                acl(31, "digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="),
                acl(1, "world", "anyone")
            ]),
            stat: Stat {
                czxid: 3,
                mzxid: 3,
                ctime: 1_795_430_422_024,
                mtime: 1_795_430_422_024,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 0,
                num_children: 0,
                pzxid: 3
            }
        }
    );
}

#[test]
fn get_all_children_number() {
    let vector = load("getAllChildrenNumber");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 17,
            op: OpCode::GET_ALL_CHILDREN_NUMBER.0
        },
        GetAllChildrenNumberRequest { path: text("/") }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 17,
            zxid: 9,
            err: 0
        },
        GetAllChildrenNumberResponse { total_number: 8 }
    );
}

#[test]
fn get_children() {
    let vector = load("getChildren");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 15,
            op: OpCode::GET_CHILDREN.0
        },
        GetChildrenRequest {
            path: text("/a"),
            watch: true
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 15,
            zxid: 9,
            err: 0
        },
        GetChildrenResponse {
            children: Some(vec![text("c"), text("t"), text("e"), text("b0000000000")])
        }
    );
}

#[test]
fn get_children2() {
    let vector = load("getChildren2");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 16,
            op: OpCode::GET_CHILDREN2.0
        },
        GetChildrenRequest {
            path: text("/a"),
            watch: false
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 16,
            zxid: 9,
            err: 0
        },
        GetChildren2Response {
            children: Some(vec![text("c"), text("t"), text("e"), text("b0000000000")]),
            stat: Stat {
                czxid: 2,
                mzxid: 8,
                ctime: 1_795_430_422_016,
                mtime: 1_795_430_422_055,
                version: 2,
                cversion: 4,
                aversion: 1,
                ephemeral_owner: 0,
                data_length: 5,
                num_children: 4,
                pzxid: 6
            }
        }
    );
}

#[test]
fn get_data() {
    let vector = load("getData");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 9,
            op: OpCode::GET_DATA.0
        },
        GetDataRequest {
            path: text("/a"),
            watch: true
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 9,
            zxid: 6,
            err: 0
        },
        GetDataResponse {
            data: Some(b"hello"),
            stat: Stat {
                czxid: 2,
                mzxid: 2,
                ctime: 1_795_430_422_016,
                mtime: 1_795_430_422_016,
                version: 0,
                cversion: 4,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 5,
                num_children: 4,
                pzxid: 6
            }
        }
    );
}

#[test]
fn get_data_null() {
    let vector = load("getData-null");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 10,
            op: OpCode::GET_DATA.0
        },
        GetDataRequest {
            path: text("/a/b0000000000"),
            watch: false
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 10,
            zxid: 6,
            err: 0
        },
        GetDataResponse {
            data: None,
            stat: Stat {
                czxid: 3,
                mzxid: 3,
                ctime: 1_795_430_422_024,
                mtime: 1_795_430_422_024,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 0,
                num_children: 0,
                pzxid: 3
            }
        }
    );
}

#[test]
fn get_ephemerals() {
    let vector = load("getEphemerals");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 18,
            op: OpCode::GET_EPHEMERALS.0
        },
        GetEphemeralsRequest {
            prefix_path: text("/")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 18,
            zxid: 9,
            err: 0
        },
        GetEphemeralsResponse {
            ephemerals: Some(vec![text("/a/e")])
        }
    );
}

#[test]
fn multi() {
    let vector = load("multi");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 29,
            op: OpCode::MULTI.0
        },
        MultiRequest {
            ops: vec![
                MultiOp::Create(
                    OpCode::CREATE,
                    CreateRequest {
                        path: text("/m"),
                        data: Some(b"1"),
                        acl: Some(vec![acl(31, "world", "anyone")]),
                        flags: 0
                    }
                ),
                MultiOp::Create(
                    OpCode::CREATE2,
                    CreateRequest {
                        path: text("/m/n"),
                        data: Some(b""),
                        acl: Some(vec![acl(31, "world", "anyone")]),
                        flags: 0
                    }
                ),
                MultiOp::CreateTtl(CreateTtlRequest {
                    path: text("/m/t"),
                    data: Some(b""),
                    acl: Some(vec![acl(31, "world", "anyone")]),
                    flags: 5,
                    ttl_ms: 60_000
                }),
                MultiOp::SetData(SetDataRequest {
                    path: text("/m"),
                    data: Some(b"2"),
                    version: 0
                }),
                MultiOp::Check(CheckVersionRequest {
                    path: text("/m"),
                    version: 1
                }),
                MultiOp::Delete(DeleteRequest {
                    path: text("/m/n"),
                    version: 0
                }),
                MultiOp::Create(
                    OpCode::CREATE_CONTAINER,
                    CreateRequest {
                        path: text("/m/c"),
                        data: Some(b""),
                        acl: Some(vec![acl(31, "world", "anyone")]),
                        flags: 4
                    }
                )
            ]
        }
    );
    check!(
        vector,
        "event",
        ReplyHeader {
            xid: -1,
            zxid: 11,
            err: 0
        },
        WatcherEvent {
            kind: 1,
            state: 3,
            path: text("/m")
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 29,
            zxid: 11,
            err: 0
        },
        MultiResponse {
            results: vec![
                MultiResult::Create { path: text("/m") },
                MultiResult::Create2 {
                    path: text("/m/n"),
                    stat: Stat {
                        czxid: 11,
                        mzxid: 11,
                        ctime: 1_795_430_422_132,
                        mtime: 1_795_430_422_132,
                        version: 0,
                        cversion: 0,
                        aversion: 0,
                        ephemeral_owner: 0,
                        data_length: 0,
                        num_children: 0,
                        pzxid: 11
                    }
                },
                MultiResult::Create2 {
                    path: text("/m/t"),
                    stat: Stat {
                        czxid: 11,
                        mzxid: 11,
                        ctime: 1_795_430_422_132,
                        mtime: 1_795_430_422_132,
                        version: 0,
                        cversion: 0,
                        aversion: 0,
                        ephemeral_owner: 0,
                        data_length: 0,
                        num_children: 0,
                        pzxid: 11
                    }
                },
                MultiResult::SetData {
                    stat: Stat {
                        czxid: 11,
                        mzxid: 11,
                        ctime: 1_795_430_422_132,
                        mtime: 1_795_430_422_132,
                        version: 1,
                        cversion: 2,
                        aversion: 0,
                        ephemeral_owner: 0,
                        data_length: 1,
                        num_children: 2,
                        pzxid: 11
                    }
                },
                MultiResult::Check,
                MultiResult::Delete,
                MultiResult::Create2 {
                    path: text("/m/c"),
                    stat: Stat {
                        czxid: 11,
                        mzxid: 11,
                        ctime: 1_795_430_422_132,
                        mtime: 1_795_430_422_132,
                        version: 0,
                        cversion: 0,
                        aversion: 0,
                        ephemeral_owner: 0,
                        data_length: 0,
                        num_children: 0,
                        pzxid: 11
                    }
                }
            ]
        }
    );
}

#[test]
fn multi_failed() {
    let vector = load("multi-failed");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 30,
            op: OpCode::MULTI.0
        },
        MultiRequest {
            ops: vec![
                MultiOp::Delete(DeleteRequest {
                    path: text("/m/c"),
                    version: -1
                }),
                MultiOp::Check(CheckVersionRequest {
                    path: text("/m"),
                    version: 7
                }),
                MultiOp::Create(
                    OpCode::CREATE,
                    CreateRequest {
                        path: text("/x"),
                        data: Some(b""),
                        acl: Some(vec![acl(31, "world", "anyone")]),
                        flags: 0
                    }
                )
            ]
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 30,
            zxid: 12,
            err: 0
        },
        MultiResponse {
            results: vec![
                MultiResult::Error(ErrorCode(0)),
                MultiResult::Error(ErrorCode(-103)),
                MultiResult::Error(ErrorCode(-2))
            ]
        }
    );
}

#[test]
fn multi_read() {
    let vector = load("multiRead");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 31,
            op: OpCode::MULTI_READ.0
        },
        MultiRequest {
            ops: vec![
                MultiOp::GetData(GetDataRequest {
                    path: text("/m"),
                    watch: false
                }),
                MultiOp::GetChildren(GetChildrenRequest {
                    path: text("/m"),
                    watch: false
                }),
                MultiOp::GetData(GetDataRequest {
                    path: text("/none"),
                    watch: false
                })
            ]
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 31,
            zxid: 12,
            err: 0
        },
        MultiResponse {
            results: vec![
                MultiResult::GetData {
                    data: Some(b"2"),
                    stat: Stat {
                        czxid: 11,
                        mzxid: 11,
                        ctime: 1_795_430_422_132,
                        mtime: 1_795_430_422_132,
                        version: 1,
                        cversion: 4,
                        aversion: 0,
                        ephemeral_owner: 0,
                        data_length: 1,
                        num_children: 2,
                        pzxid: 11
                    }
                },
                MultiResult::GetChildren {
                    children: Some(vec![text("c"), text("t")])
                },
                MultiResult::Error(ErrorCode(-101))
            ]
        }
    );
}

#[test]
fn ping() {
    let vector = load("ping");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: -2,
            op: OpCode::PING.0
        },
        Nothing {}
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: -2,
            zxid: 9,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn reconfig() {
    let vector = load("reconfig");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 28,
            op: OpCode::RECONFIG.0
        },
        ReconfigRequest {
            joining_servers: text("server.2=h:1:2;3"),
            leaving_servers: None,
            new_members: None,
            cur_config_id: 7
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 28,
            zxid: 10,
            err: -123
        },
        Nothing {}
    );
}

#[test]
fn remove_watches() {
    let vector = load("removeWatches");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 24,
            op: OpCode::REMOVE_WATCHES.0
        },
        RemoveWatchesRequest {
            path: text("/a"),
            kind: 3
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 24,
            zxid: 9,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn sasl() {
    let vector = load("sasl");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 27,
            op: OpCode::SASL.0
        },
        GetSaslRequest { token: Some(b"") }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 27,
            zxid: 0,
            err: 0
        },
        SetSaslResponse { token: None }
    );
}

#[test]
fn set_acl() {
    let vector = load("setACL");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 14,
            op: OpCode::SET_ACL.0
        },
        SetAclRequest {
            path: text("/a"),
            acl: Some(vec![acl(31, "world", "anyone"), acl(1, "ip", "127.0.0.1")]),
            version: 0
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 14,
            zxid: 9,
            err: 0
        },
        SetAclResponse {
            stat: Stat {
                czxid: 2,
                mzxid: 8,
                ctime: 1_795_430_422_016,
                mtime: 1_795_430_422_055,
                version: 2,
                cversion: 4,
                aversion: 1,
                ephemeral_owner: 0,
                data_length: 5,
                num_children: 4,
                pzxid: 6
            }
        }
    );
}

#[test]
fn set_data() {
    let vector = load("setData");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 12,
            op: OpCode::SET_DATA.0
        },
        SetDataRequest {
            path: text("/a"),
            data: Some(b"world"),
            version: 1
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 12,
            zxid: 8,
            err: 0
        },
        SetDataResponse {
            stat: Stat {
                czxid: 2,
                mzxid: 8,
                ctime: 1_795_430_422_016,
                mtime: 1_795_430_422_055,
                version: 2,
                cversion: 4,
                aversion: 0,
                ephemeral_owner: 0,
                data_length: 5,
                num_children: 4,
                pzxid: 6
            }
        }
    );
}

#[test]
fn set_watches() {
    let vector = load("setWatches");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: -8,
            op: OpCode::SET_WATCHES.0
        },
        SetWatches {
            relative_zxid: 99,
            data_watches: Some(vec![text("/a"), text("/a/e")]),
            exist_watches: Some(vec![text("/none")]),
            child_watches: Some(vec![])
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: -8,
            zxid: 9,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn set_watches2() {
    let vector = load("setWatches2");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: -8,
            op: OpCode::SET_WATCHES2.0
        },
        SetWatches2 {
            relative_zxid: 99,
            data_watches: Some(vec![]),
            exist_watches: Some(vec![]),
            child_watches: Some(vec![text("/a")]),
            persistent_watches: Some(vec![text("/a")]),
            persistent_recursive_watches: Some(vec![text("/a"), text("/")])
        }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: -8,
            zxid: 9,
            err: 0
        },
        Nothing {}
    );
}

#[test]
fn sync() {
    let vector = load("sync");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 19,
            op: OpCode::SYNC.0
        },
        SyncRequest { path: text("/a") }
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 19,
            zxid: 9,
            err: 0
        },
        SyncResponse { path: text("/a") }
    );
}

#[test]
fn who_am_i() {
    let vector = load("whoAmI");
    check!(
        vector,
        "request",
        RequestHeader {
            xid: 21,
            op: OpCode::WHO_AM_I.0
        },
        Nothing {}
    );
    check!(
        vector,
        "reply",
        ReplyHeader {
            xid: 21,
            zxid: 9,
            err: 0
        },
        WhoAmIResponse {
            client_info: Some(vec![
                ClientInfo {
                    auth_scheme: text("digest"),
                    user: text("bob")
                },
                ClientInfo {
                    auth_scheme: text("ip"),
                    user: text("127.0.0.1")
                }
            ])
        }
    );
}

#[test]
fn connect() {
    let vector = load("connect");
    check!(
        vector,
        "request",
        Nothing {},
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 40_000,
            session_id: 0,
            password: Some(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
            read_only: Some(false)
        }
    );
    check!(
        vector,
        "reply",
        Nothing {},
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: 40_000,
            session_id: 72_057_829_486_952_448,
            password: Some(b"\x87L\x99\xe8\x08\x11\x10/=<\x85\xc4\x91\xbc\xb7d"),
            read_only: Some(false)
        }
    );
}
