//! Random log entries, sound and garbage: every request has an outcome, equal entries make equal
//! states, and a snapshot is the state at the freeze whatever is applied while it is copied.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use jute::proto::{
    Acl, CheckVersionRequest, CreateRequest, CreateSessionTxn, CreateTtlRequest, DeleteRequest, Id,
    MultiOp, MultiRequest, SetAclRequest, SetDataRequest, perms,
};
use jute::{Encode, OpCode, text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::entry::{Batch, Origin, open};
use super::*;
use crate::auth::{Digest, HashAlgorithm, Identity, Ip};
use crate::tree::{AclEntry, NewNode, Owner};
use crate::types::{ConnId, ServerId, SessionId};

/// More than a snapshot copies in one piece.
const FILLED: usize = 2600;

fn schemes() -> Arc<Schemes> {
    Arc::new(Schemes::new(vec![
        Box::new(Ip),
        Box::new(Digest::new(HashAlgorithm::Sha1, None)),
    ]))
}

fn encoded(body: &dyn Encode) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes);
    bytes.to_vec()
}

#[derive(Debug, Clone)]
struct Ask {
    op: i32,
    session: i64,
    identities: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Entry {
    flags: u8,
    time_ms: i64,
    asks: Vec<Ask>,
    /// A new term begins with it.
    elected: bool,
}

impl Entry {
    fn payload(&self) -> Bytes {
        let mut batch = Batch::new();
        for (xid, ask) in self.asks.iter().enumerate() {
            let identities: Vec<Identity> = ask
                .identities
                .iter()
                .map(|(scheme, id)| Identity::new(scheme, id))
                .collect();
            let origin = Origin {
                server: ServerId(1),
                conn: ConnId(ask.session.cast_unsigned()),
                xid: xid as i32,
                attach: 0,
            };
            let session = SessionId(ask.session);
            batch.push(OpCode(ask.op), session, origin, &identities, &ask.body);
        }
        batch.seal(BatchHeader {
            flags: Flags(self.flags),
            time_ms: self.time_ms,
        })
    }
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["/a", "/a/b", "/a/b/c", "/d", "/d/e-"]).prop_map(str::to_owned),
        4 => (0..FILLED).prop_map(|n| format!("/f/{n:04}")),
        1 => (0..FILLED).prop_map(|n| format!("/f/{n:04}/child")),
        1 => select(vec![
            "/", "", "/f", "relative", "/zookeeper/config", "/zookeeper/quota/a",
            "/zookeeper/quota/a/zookeeper_limits", "/zookeeper/quota/a/zookeeper_stats",
        ])
        .prop_map(str::to_owned),
    ]
}

fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        vec(any::<u8>(), 0..20).prop_map(Some),
        Just(Some(b"count=-1,bytes=-1=;countHardLimit=2".to_vec())),
    ]
}

/// Scheme and id of an identity or of a list's entry.
fn who() -> impl Strategy<Value = (String, String)> {
    let id = prop_oneof![
        Just("anyone".to_owned()),
        Just("127.0.0.1".to_owned()),
        "\\PC{0,3}:\\PC{0,3}"
    ];
    let scheme = select(vec!["world", "ip", "digest", "auth", "super"]);
    (scheme.prop_map(str::to_owned), id)
}

fn acl() -> impl Strategy<Value = Vec<(i32, (String, String))>> {
    let everybody = (perms::ALL, ("world".to_owned(), "anyone".to_owned()));
    prop_oneof![
        3 => Just(vec![everybody]),
        1 => vec((any::<i32>(), who()), 0..3),
    ]
}

fn wire(acl: &[(i32, (String, String))]) -> Option<Vec<Acl<'_>>> {
    let entries = acl.iter().map(|(perms, (scheme, id))| Acl {
        perms: *perms,
        id: Id {
            scheme: text(scheme),
            id: text(id),
        },
    });
    Some(entries.collect())
}

/// Everything that a request can be made of; each kind of request takes what it needs.
#[derive(Debug, Clone)]
struct Parts {
    path: String,
    data: Option<Vec<u8>>,
    acl: Vec<(i32, (String, String))>,
    flags: i32,
    version: i32,
    ttl_ms: i64,
}

impl Parts {
    fn op(&self, kind: usize) -> MultiOp<'_> {
        let path = text(&self.path);
        let data = self.data.as_deref();
        match kind {
            0..=2 => MultiOp::Create(
                [OpCode::CREATE, OpCode::CREATE2, OpCode::CREATE_CONTAINER][kind],
                CreateRequest {
                    path,
                    data,
                    acl: wire(&self.acl),
                    flags: self.flags,
                },
            ),
            3 => MultiOp::CreateTtl(CreateTtlRequest {
                path,
                data,
                acl: wire(&self.acl),
                flags: self.flags,
                ttl_ms: self.ttl_ms,
            }),
            4 => MultiOp::Delete(DeleteRequest {
                path,
                version: self.version,
            }),
            5 => MultiOp::SetData(SetDataRequest {
                path,
                data,
                version: self.version,
            }),
            _ => MultiOp::Check(CheckVersionRequest {
                path,
                version: self.version,
            }),
        }
    }

    fn body(&self, kind: usize) -> (i32, Vec<u8>) {
        let op = self.op(kind);
        let body = match &op {
            MultiOp::Create(_, request) => encoded(request),
            MultiOp::CreateTtl(request) => encoded(request),
            MultiOp::Delete(request) => encoded(request),
            MultiOp::SetData(request) => encoded(request),
            _ => {
                let request = SetAclRequest {
                    path: text(&self.path),
                    acl: wire(&self.acl),
                    version: self.version,
                };
                return (OpCode::SET_ACL.0, encoded(&request));
            }
        };
        (op.op_code().0, body)
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let version = prop_oneof![8 => Just(-1), 1 => 0..3];
    let flags = prop_oneof![10 => 0..7i32, 1 => any::<i32>()];
    let ttl = prop_oneof![5 => 1..1000i64, 1 => any::<i64>()];
    (path(), data(), acl(), flags, version, ttl).prop_map(
        |(path, data, acl, flags, version, ttl_ms)| Parts {
            path,
            data,
            acl,
            flags,
            version,
            ttl_ms,
        },
    )
}

fn sound() -> impl Strategy<Value = (i32, Vec<u8>)> {
    let multi = vec((0..7usize, parts()), 0..5).prop_map(|ops| {
        let ops = ops.iter().map(|(kind, parts)| parts.op(*kind)).collect();
        (OpCode::MULTI.0, encoded(&MultiRequest { ops }))
    });
    let session = any::<i32>().prop_map(|timeout_ms| {
        let body = CreateSessionTxn {
            timeout_ms,
            password: Some(&[7; 16]),
        };
        (OpCode::CREATE_SESSION.0, encoded(&body))
    });
    let container = path().prop_map(|path| {
        let body = DeleteRequest {
            path: text(&path),
            version: -1,
        };
        (OpCode::DELETE_CONTAINER.0, encoded(&body))
    });
    prop_oneof![
        10 => (0..7usize, parts()).prop_map(|(kind, parts)| parts.body(kind)),
        4 => multi,
        2 => session,
        1 => Just((OpCode::CLOSE_SESSION.0, Vec::new())),
        1 => container,
    ]
}

fn request() -> impl Strategy<Value = (i32, Vec<u8>)> {
    let op = prop_oneof![-12..110i32, any::<i32>()];
    prop_oneof![
        12 => sound(),
        1 => (op, vec(any::<u8>(), 0..60)),
        1 => (sound(), any::<Index>(), any::<u8>()).prop_map(|((op, mut body), at, byte)| {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
            (op, body)
        }),
        1 => (sound(), any::<Index>()).prop_map(|((op, mut body), at)| {
            body.truncate(at.index(body.len() + 1));
            (op, body)
        }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    (request(), 1i64..4, vec(who(), 0..2)).prop_map(|((op, body), session, identities)| Ask {
        op,
        session,
        identities,
        body,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let flags = prop_oneof![4 => Just(Flags::EXTENDED_TYPES.0), 1 => 0..16u8];
    (
        flags,
        any::<i64>(),
        vec(ask(), 0..6),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(flags, time_ms, asks, elected)| Entry {
            flags,
            time_ms,
            asks,
            elected,
        })
}

/// Sessions 1 to 3 and a few thousand znodes.
fn filled() -> State {
    let mut state = State::new(schemes());
    let session = CreateSessionTxn {
        timeout_ms: 1000,
        password: Some(&[1; 16]),
    };
    let ask = |session, op: OpCode, body| Ask {
        op: op.0,
        session,
        identities: Vec::new(),
        body,
    };
    let mut asks: Vec<Ask> = (1..4)
        .map(|id| ask(id, OpCode::CREATE_SESSION, encoded(&session)))
        .collect();
    let paths = std::iter::once("/f".to_owned()).chain((0..FILLED).map(|n| format!("/f/{n:04}")));
    asks.extend(paths.map(|path| {
        let everybody = vec![(perms::ALL, ("world".to_owned(), "anyone".to_owned()))];
        let create = CreateRequest {
            path: text(&path),
            data: Some(b"before"),
            acl: wire(&everybody),
            flags: 0,
        };
        ask(1, OpCode::CREATE, encoded(&create))
    }));
    let entry = Entry {
        flags: Flags::EXTENDED_TYPES.0,
        time_ms: 1,
        asks,
        elected: false,
    };
    let outcomes = apply(&mut state, &entry);
    assert!(outcomes.iter().all(|applied| applied.result.is_ok()));
    state
}

fn apply(state: &mut State, entry: &Entry) -> Vec<Applied> {
    let at = state.position();
    state.begin_entry(LogPosition {
        term: at.term + u64::from(entry.elected || at.term == 0),
        index: at.index + 1,
    });
    let payload = entry.payload();
    let (header, requests) = open(&payload).expect("just sealed");
    state.begin_batch(&header);
    requests
        .map(|request| state.evaluate(&header, &request))
        .collect()
}

/// Everything that is replicated, for people to compare.
#[derive(Debug, PartialEq)]
struct Dump {
    zxid: Zxid,
    position: LogPosition,
    flags: Flags,
    digest: u64,
    sessions: BTreeMap<SessionId, crate::session::Session>,
    znodes: BTreeMap<String, String>,
}

fn dump(state: &State) -> Dump {
    let tree = &state.tree;
    let mut znodes = BTreeMap::new();
    let mut stack = vec![crate::tree::NodeId::ROOT];
    while let Some(id) = stack.pop() {
        let path = tree.path_of(id);
        for name in tree.children(id) {
            let child = format!("{}/{name}", path.trim_end_matches('/'));
            stack.push(tree.find(&child).expect("a child"));
        }
        let text = format!(
            "{:?} {:?} {:?} {:?} {}",
            tree.stat(id),
            tree.owner(id),
            tree.data(id),
            tree.acl(id),
            tree.created_children(id),
        );
        znodes.insert(path, text);
    }
    Dump {
        zxid: state.zxid(),
        position: state.position(),
        flags: state.flags(),
        digest: tree.digest(),
        sessions: state.sessions.iter().map(|(id, s)| (id, *s)).collect(),
        znodes,
    }
}

/// The outcome as a client sees it, and what the watches hear.
fn told(applied: &Applied) -> String {
    let mut body = BytesMut::new();
    if let Ok(reply) = &applied.result {
        reply.encode(&mut body);
    }
    let error = applied.result.as_ref().err();
    format!("{} {error:?} {body:?} {:?}", applied.zxid, applied.changes)
}

fn restored(blocks: &[Vec<u8>]) -> Result<State, String> {
    let mut builder = SnapshotBuilder::new(schemes());
    for block in blocks {
        builder.add(block)?;
    }
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_snapshot_is_the_state_at_the_freeze(
        before in vec(entry(), 0..20),
        // How many blocks are copied behind each of the entries.
        during in vec((entry(), 0..2usize), 0..30),
        twice in any::<bool>(),
    ) {
        let mut state = filled();
        for entry in &before {
            apply(&mut state, entry);
        }
        for _ in 0..=usize::from(twice) {
            let expected = dump(&state);
            let mut cut = state.freeze();
            let (mut blocks, mut block) = (Vec::new(), Vec::new());
            for (entry, copied) in &during {
                apply(&mut state, entry);
                for _ in 0..*copied {
                    if state.next_block(&mut cut, &mut block) {
                        blocks.push(std::mem::take(&mut block));
                    }
                }
            }
            while state.next_block(&mut cut, &mut block) {
                blocks.push(std::mem::take(&mut block));
            }
            state.thaw();
            let mut copy = restored(&blocks).map_err(TestCaseError::fail)?;
            prop_assert_eq!(dump(&copy), expected);
            prop_assert_eq!(copy.tree.check(), Ok(()));
            prop_assert_eq!(state.tree.check(), Ok(()));
            // From the copy on, the same entries make the same state as they did here.
            for (entry, _) in &during {
                apply(&mut copy, entry);
            }
            prop_assert_eq!(dump(&copy), dump(&state));
        }
    }

    #[test]
    fn equal_entries_make_equal_states_and_every_request_has_an_outcome(
        entries in vec(entry(), 0..30),
    ) {
        let (mut one, mut other) = (State::new(schemes()), State::new(schemes()));
        for entry in &entries {
            let (zxid, term) = (one.zxid(), one.position().term);
            let outcomes = apply(&mut one, entry);
            prop_assert_eq!(outcomes.len(), entry.asks.len());
            let told_here: Vec<String> = outcomes.iter().map(told).collect();
            let told_there: Vec<String> = apply(&mut other, entry).iter().map(told).collect();
            prop_assert_eq!(told_here, told_there);
            prop_assert_eq!(dump(&one), dump(&other));
            prop_assert_eq!(one.tree.check(), Ok(()));
            // One by one; the first of a new term begins an epoch, unless the last has none.
            let begins = one.position().term != term && zxid.0 & 0xffff_ffff != 0;
            let first = if begins { zxid.next_epoch() } else { zxid.next() };
            for (at, applied) in outcomes.iter().enumerate() {
                prop_assert_eq!(applied.zxid.0, first.0 + at as i64);
            }
        }
    }

    #[test]
    fn an_entry_says_what_was_put_into_it(entry in entry()) {
        let payload = entry.payload();
        let (header, requests) = open(&payload).expect("just sealed");
        prop_assert_eq!(header.flags, Flags(entry.flags));
        prop_assert_eq!(header.time_ms, entry.time_ms);
        let read: Vec<_> = requests.collect();
        prop_assert_eq!(read.len(), entry.asks.len());
        for (request, ask) in read.iter().zip(&entry.asks) {
            prop_assert_eq!(request.op, OpCode(ask.op));
            prop_assert_eq!(request.session, SessionId(ask.session));
            prop_assert_eq!(request.body, &*ask.body);
            let given: Vec<_> = ask.identities.iter().map(|(s, i)| Identity::new(s, i)).collect();
            prop_assert_eq!(request.identities(), given);
        }
    }

    #[test]
    fn no_bytes_in_an_entry_or_a_snapshot_panic(
        entry in entry(),
        at in any::<Index>(),
        byte in any::<u8>(),
        garbage in vec(any::<u8>(), 0..200),
    ) {
        let mut damaged = entry.payload().to_vec();
        let position = at.index(damaged.len());
        damaged[position] = byte;
        let mut state = State::new(schemes());
        for payload in [&damaged[..], &garbage] {
            if let Some((header, requests)) = open(payload) {
                state.begin_batch(&header);
                for request in requests {
                    state.evaluate(&header, &request);
                }
            }
        }
        prop_assert_eq!(state.tree.check(), Ok(()));
        let mut blocks = vec![Vec::new()];
        let mut cut = state.freeze();
        while state.next_block(&mut cut, blocks.last_mut().expect("never empty")) {
            blocks.push(Vec::new());
        }
        blocks.pop();
        let chosen = at.index(blocks.len());
        let block = &mut blocks[chosen];
        let position = at.index(block.len());
        block[position] = byte;
        // Restored or refused with a sentence, never a tree that is not one.
        if let Ok(copy) = restored(&blocks) {
            prop_assert_eq!(copy.tree.check(), Ok(()));
        }
    }
}

#[test]
fn a_new_term_begins_an_epoch_at_its_first_request() {
    let mut state = State::new(schemes());
    let entry = |elected, asks| Entry {
        flags: 0,
        time_ms: 0,
        asks: vec![
            Ask {
                op: OpCode::SYNC.0,
                session: 0,
                identities: Vec::new(),
                body: Vec::new(),
            };
            asks
        ],
        elected,
    };
    let mut zxids = |elected, asks| -> Vec<i64> {
        let outcomes = apply(&mut state, &entry(elected, asks));
        outcomes.iter().map(|applied| applied.zxid.0).collect()
    };
    assert_eq!(zxids(true, 2), [1, 2], "the first epoch is 0");
    assert_eq!(zxids(false, 1), [3]);
    assert_eq!(zxids(true, 0), [0i64; 0], "an entry of Raft's own");
    assert_eq!(
        zxids(true, 0),
        [0i64; 0],
        "and another, in a term without requests"
    );
    assert_eq!(zxids(false, 1), [0x1_0000_0001]);
    assert_eq!(zxids(true, 1), [0x2_0000_0001]);
}

/// Java writes characters above U+FFFF as surrogates, which nothing decodes: what is kept here must
/// not be written as for Java.
#[test]
fn a_list_with_any_character_comes_back_from_a_snapshot() {
    let mut state = State::new(schemes());
    let list = [AclEntry::new(perms::ALL, "digest", "\u{1f600}:hash")];
    let acl = state.tree.acls().acquire(&list);
    let node = NewNode {
        data: None,
        acl,
        owner: Owner::Persistent,
        zxid: Zxid(1),
        time_ms: 1,
    };
    state.tree.create("/a", node);
    let expected = dump(&state);
    let mut cut = state.freeze();
    let mut blocks = vec![Vec::new()];
    while state.next_block(&mut cut, blocks.last_mut().expect("never empty")) {
        blocks.push(Vec::new());
    }
    blocks.pop();
    let copy = restored(&blocks).expect("sound");
    assert_eq!(dump(&copy), expected);
}
