//! A state that comes through the log block by block and takes the place of the one that is there
//! all at once.
//!
//! ```text
//!   BEGIN, BLOCK, BLOCK, ...   kept beside the state, which goes on; part of its snapshots
//!   END                        the blocks become the state, or are refused as a whole
//! ```
//!
//! The blocks are those of a snapshot. Each request must come from the same origin, with the next
//! number: a gap, another restore or another leader ends it, on every server alike.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};
use jute::{ErrorCode, OpCode};

use super::entry::{Origin, Request};
use super::{Applied, BatchHeader, SnapshotBuilder, State};
use crate::collections::HashSet;
use crate::op::{Apply, Changes, Reply};
use crate::tree::{CONFIG_PATH, DataTree};
use crate::types::{ConnId, ServerId, SessionId, Zxid};

/// Forgets what was sent before. Servers only, as all of these.
pub const RESTORE_BEGIN: OpCode = OpCode(-102);
/// The body is a block of a snapshot; the number of the request, from 0, is its place.
pub const RESTORE_BLOCK: OpCode = OpCode(-103);
/// Makes the blocks the state.
pub const RESTORE_END: OpCode = OpCode(-104);
/// Forgets the blocks.
pub const RESTORE_DROP: OpCode = OpCode(-105);

/// Bytes of blocks that a state keeps beside itself.
pub const STAGED_BYTES_MAX: usize = 1 << 30;

/// Elections that an ensemble does not get through after a snapshot of it was taken.
pub const EPOCHS_AHEAD: i64 = 1 << 16;

#[must_use]
pub fn is_restore(op: OpCode) -> bool {
    matches!(
        op,
        RESTORE_BEGIN | RESTORE_BLOCK | RESTORE_END | RESTORE_DROP
    )
}

/// Who sends a state.
type From = (ServerId, ConnId);

fn from(origin: Origin) -> From {
    (origin.server, origin.conn)
}

/// What has come of a state.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    from: From,
    blocks: Vec<Bytes>,
    bytes: usize,
}

impl Staged {
    fn new(from: From) -> Self {
        Self {
            from,
            blocks: Vec::new(),
            bytes: 0,
        }
    }

    /// # Errors
    /// `BAD_ARGUMENTS` when it would be too much, `RUNTIME_INCONSISTENCY` for another place.
    fn push(&mut self, place: i32, block: &[u8]) -> Result<(), ErrorCode> {
        if usize::try_from(place) != Ok(self.blocks.len()) {
            return Err(ErrorCode::RUNTIME_INCONSISTENCY);
        }
        self.bytes += block.len();
        if self.bytes > STAGED_BYTES_MAX {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        self.blocks.push(Bytes::copy_from_slice(block));
        Ok(())
    }

    /// Writes a block for a snapshot: who sent it, and what. Before the first there is one without
    /// content, for a state of which nothing has come yet. False behind the last.
    pub(super) fn put_block(&self, number: usize, out: &mut Vec<u8>) -> bool {
        let block = match number.checked_sub(1) {
            None => Some(&[][..]),
            Some(place) => self.blocks.get(place).map(|block| &block[..]),
        };
        let Some(block) = block else { return false };
        out.put_u8(b'P');
        out.put_u64(self.from.0.0);
        out.put_u64(self.from.1.0);
        out.put_slice(block);
        true
    }

    /// Reads what [`Self::put_block`] has written.
    pub(super) fn add(staged: &mut Option<Self>, mut body: &[u8]) -> Option<()> {
        let server = ServerId(body.try_get_u64().ok()?);
        let conn = ConnId(body.try_get_u64().ok()?);
        match staged {
            None => *staged = Some(Self::new((server, conn))),
            Some(staged) => {
                staged.bytes += body.len();
                staged.blocks.push(Bytes::copy_from_slice(body));
            }
        }
        Some(())
    }
}

impl State {
    /// Evaluates one request of a restore.
    pub(super) fn restore(&mut self, header: &BatchHeader, request: &Request<'_>) -> Applied {
        let result = self.restore_step(header, request);
        if result.is_err() && self.is_staged_by(request.origin) {
            self.staged = None;
        }
        Applied {
            zxid: self.zxid,
            result: result.map(|()| Reply::Empty),
            changes: Changes::new(),
            answers: None,
        }
    }

    fn is_staged_by(&self, origin: Origin) -> bool {
        let staged = self.staged.as_ref();
        staged.is_some_and(|staged| staged.from == from(origin))
    }

    /// # Errors
    /// `RUNTIME_INCONSISTENCY`: it is not the turn of this one. `BAD_ARGUMENTS`: it is too much.
    /// `DATA_INCONSISTENCY`: the blocks are no state.
    fn restore_step(
        &mut self,
        header: &BatchHeader,
        request: &Request<'_>,
    ) -> Result<(), ErrorCode> {
        let origin = request.origin;
        if request.op == RESTORE_BEGIN {
            self.staged = Some(Staged::new(from(origin)));
            return Ok(());
        }
        if !self.is_staged_by(origin) {
            return Err(ErrorCode::RUNTIME_INCONSISTENCY);
        }
        match request.op {
            RESTORE_BLOCK => {
                let staged = self.staged.as_mut();
                staged.map_or(Ok(()), |staged| staged.push(origin.xid, request.body))
            }
            RESTORE_END => {
                let staged = self.staged.take();
                let blocks = staged.map(|staged| staged.blocks).unwrap_or_default();
                if usize::try_from(origin.xid) != Ok(blocks.len()) {
                    return Err(ErrorCode::RUNTIME_INCONSISTENCY);
                }
                let mut builder = SnapshotBuilder::new(Arc::clone(&self.schemes));
                let added = blocks.iter().try_for_each(|block| builder.add(block));
                let restored = added.and_then(|()| builder.finish());
                self.become_restored(restored.map_err(refused)?, header)
            }
            _ => {
                self.staged = None;
                Ok(())
            }
        }
    }

    /// # Errors
    /// `DATA_INCONSISTENCY`: no epoch is behind it, or the state has no place for the members.
    fn become_restored(&mut self, restored: Self, header: &BatchHeader) -> Result<(), ErrorCode> {
        // A backup of this ensemble is behind it. One that is not is of another, whose clients may come
        // too and have seen more than the backup.
        let zxid = if restored.zxid.0 <= self.zxid.0 {
            self.zxid
        } else {
            let epoch = restored.zxid.epoch().checked_add(EPOCHS_AHEAD);
            let epoch = epoch.filter(|epoch| i32::try_from(*epoch).is_ok());
            Zxid(epoch.ok_or_else(|| refused("its epoch is too high"))? << 32).next()
        };
        let Self {
            mut tree, sessions, ..
        } = restored;
        // Who the members are is not for a backup to say.
        let members = self.tree.find(CONFIG_PATH);
        let members = members
            .and_then(|id| self.tree.data(id))
            .unwrap_or_default();
        let place = tree.find(CONFIG_PATH);
        let place = place.ok_or_else(|| refused("it has no /zookeeper/config"))?;
        tree.set_config(place, members, zxid, header.time_ms);
        tree.set_extended_types(self.tree.extended_types());
        let old = std::mem::replace(&mut self.tree, tree);
        self.keep_for_walker(old);
        self.sessions = sessions;
        self.zxid = zxid;
        Ok(())
    }

    /// A snapshot that is being written goes on with the tree that it began with.
    fn keep_for_walker(&mut self, old: DataTree) {
        if old.is_frozen() {
            self.replaced = Some(old);
        }
    }

    /// Ends all sessions, and with them their ephemerals: whoever holds one has to hear that the
    /// state is another.
    pub fn end_sessions(&mut self) {
        let known = self.sessions.iter().map(|(id, _)| id);
        let owners = self.tree.ephemeral_owners().map(|(id, _)| id);
        let all: HashSet<SessionId> = known.chain(owners).collect();
        for session in all {
            let mut tx = Apply {
                tree: &mut self.tree,
                sessions: &mut self.sessions,
                schemes: &self.schemes,
                flags: self.flags,
                session,
                session_is_local: false,
                is_reconfiguring: false,
                identities: &[],
                zxid: self.zxid,
                time_ms: 0,
                changes: Changes::new(),
            };
            let _ = tx.write(OpCode::CLOSE_SESSION, &[]);
        }
    }
}

fn refused(why: impl AsRef<str>) -> ErrorCode {
    tracing::error!(why = why.as_ref(), "what was to be restored is no state");
    ErrorCode::DATA_INCONSISTENCY
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use jute::Encode as _;
    use jute::proto::{Acl, CreateRequest, CreateSessionTxn, Id, create_mode, perms};

    use super::super::LogPosition;
    use super::super::entry::{Batch, open};
    use super::*;
    use crate::auth::Schemes;
    use crate::op::Flags;

    const SESSION: SessionId = SessionId(5);

    struct Server(State);

    impl Server {
        fn new() -> Self {
            let mut server = Self(State::new(Arc::new(Schemes::new(Vec::new()))));
            let mut body = BytesMut::new();
            CreateSessionTxn {
                timeout_ms: 4000,
                password: Some(&[1; 16]),
            }
            .encode(&mut body);
            server.ask(1, OpCode::CREATE_SESSION, 0, 0, &body);
            server
        }

        /// An entry of one request.
        fn ask(&mut self, term: u64, op: OpCode, conn: u64, xid: i32, body: &[u8]) -> Applied {
            let origin = Origin {
                server: ServerId(1),
                conn: ConnId(conn),
                xid,
                attach: Origin::UNATTACHED,
            };
            let mut batch = Batch::new();
            batch.push(op, SESSION, origin, &[], body);
            let payload = batch.seal(BatchHeader {
                flags: Flags::default(),
                time_ms: 7,
            });
            let (header, mut requests) = open(&payload).expect("just sealed");
            let index = self.0.position().index + 1;
            self.0.begin_entry(LogPosition { term, index });
            self.0.begin_batch(&header);
            let request = requests.next().expect("one");
            self.0.evaluate(&header, &request)
        }

        fn create(&mut self, path: &str, flags: i32) {
            let mut body = BytesMut::new();
            let everybody = Acl {
                perms: perms::ALL,
                id: Id {
                    scheme: Some("world".into()),
                    id: Some("anyone".into()),
                },
            };
            CreateRequest {
                path: Some(path.into()),
                data: Some(b"data"[..].into()),
                acl: Some(vec![everybody]),
                flags,
            }
            .encode(&mut body);
            let created = self.ask(1, OpCode::CREATE, 0, 0, &body).result;
            assert!(created.is_ok(), "{path}: {created:?}");
        }

        fn has(&self, path: &str) -> bool {
            self.0.tree.find(path).is_some()
        }

        fn restore(
            &mut self,
            op: OpCode,
            conn: u64,
            place: i32,
            body: &[u8],
        ) -> Result<(), ErrorCode> {
            self.ask(1, op, conn, place, body).result.map(|_| ())
        }

        /// Sends blocks without the end.
        fn send(&mut self, blocks: &[Vec<u8>]) {
            assert_eq!(self.restore(RESTORE_BEGIN, 9, 0, &[]), Ok(()));
            for (place, block) in (0..).zip(blocks) {
                assert_eq!(self.restore(RESTORE_BLOCK, 9, place, block), Ok(()));
            }
        }

        fn end(&mut self, blocks: &[Vec<u8>]) -> Result<(), ErrorCode> {
            self.restore(RESTORE_END, 9, blocks.len() as i32, &[])
        }
    }

    /// All blocks of a snapshot, with one request applied between each two.
    fn blocks_of(server: &mut Server, mut between: impl FnMut(&mut Server, usize)) -> Vec<Vec<u8>> {
        let mut cut = server.0.freeze();
        let mut blocks = Vec::new();
        loop {
            let mut block = Vec::new();
            if !server.0.next_block(&mut cut, &mut block) {
                drop(server.0.thaw());
                return blocks;
            }
            blocks.push(block);
            between(server, blocks.len());
        }
    }

    /// The blocks of a state with a znode `/old`, whose sessions have ended.
    fn backup() -> Vec<Vec<u8>> {
        let mut server = Server::new();
        server.create("/old", create_mode::PERSISTENT);
        server.create("/owned", create_mode::EPHEMERAL);
        server.0.end_sessions();
        assert!(server.0.sessions.is_empty() && !server.has("/owned"));
        blocks_of(&mut server, |_, _| {})
    }

    fn loaded(blocks: &[Vec<u8>]) -> Result<State, String> {
        let mut builder = SnapshotBuilder::new(Arc::new(Schemes::new(Vec::new())));
        blocks.iter().try_for_each(|block| builder.add(block))?;
        builder.finish()
    }

    #[test]
    fn takes_effect_at_its_end_and_ends_all_sessions() {
        let blocks = backup();
        let mut server = Server::new();
        for name in ["/new", "/newer", "/newest"] {
            server.create(name, create_mode::EPHEMERAL);
        }
        server.send(&blocks);
        assert!(server.has("/new") && !server.has("/old"));
        let before = server.0.zxid();
        assert_eq!(server.end(&blocks), Ok(()));
        assert!(!server.has("/new") && server.has("/old"));
        assert!(server.0.sessions.is_empty());
        assert_eq!(server.0.zxid(), before.next());
        server.0.tree.check().expect("sound");
        // There is nothing left to end again.
        assert_eq!(server.end(&blocks), Err(ErrorCode::RUNTIME_INCONSISTENCY));
    }

    #[test]
    fn goes_on_behind_a_state_that_was_further() {
        let mut further = Server::new();
        further.0.begin_entry(LogPosition { term: 2, index: 9 });
        further.0.end_sessions();
        let blocks = blocks_of(&mut further, |_, _| {});
        let mut server = Server::new();
        server.send(&blocks);
        assert_eq!(server.end(&blocks), Ok(()));
        let epoch = further.0.zxid().epoch() + EPOCHS_AHEAD;
        assert_eq!(server.0.zxid(), Zxid(epoch << 32).next());
    }

    #[test]
    fn what_is_not_whole_changes_nothing() {
        let blocks = backup();
        let wrong = Err(ErrorCode::RUNTIME_INCONSISTENCY);
        let mut server = Server::new();
        server.create("/new", create_mode::PERSISTENT);
        // A gap, one more than were sent, somebody else, another leader, given up.
        server.send(&blocks[..1]);
        assert_eq!(server.restore(RESTORE_BLOCK, 9, 2, &blocks[1]), wrong);
        assert_eq!(server.end(&blocks[..1]), wrong);
        server.send(&blocks);
        assert_eq!(server.restore(RESTORE_END, 9, 1, &[]), wrong);
        server.send(&blocks);
        assert_eq!(server.restore(RESTORE_BEGIN, 8, 0, &[]), Ok(()));
        assert_eq!(server.end(&blocks), wrong);
        server.send(&blocks);
        let last = blocks.len() as i32;
        let elected = server.ask(2, RESTORE_END, 9, last, &[]).result;
        assert_eq!(elected.map(|_| ()), wrong);
        let mut server = Server::new();
        server.create("/new", create_mode::PERSISTENT);
        server.send(&blocks);
        assert_eq!(server.restore(RESTORE_DROP, 9, 0, &[]), Ok(()));
        assert_eq!(server.end(&blocks), wrong);
        // Blocks that are no state.
        let cut = &blocks[..blocks.len() - 1];
        server.send(cut);
        assert_eq!(server.end(cut), Err(ErrorCode::DATA_INCONSISTENCY));
        assert!(server.has("/new") && !server.has("/old"));
    }

    #[test]
    fn a_snapshot_in_the_midst_has_what_has_come() {
        let blocks = backup();
        for sent in 0..=blocks.len() {
            let mut server = Server::new();
            server.create("/new", create_mode::PERSISTENT);
            server.send(&blocks[..sent]);
            let snapshot = blocks_of(&mut server, |_, _| {});
            let mut other = Server(loaded(&snapshot).expect("sound"));
            for server in [&mut server, &mut other] {
                for (place, block) in (0..).zip(&blocks).skip(sent) {
                    assert_eq!(server.restore(RESTORE_BLOCK, 9, place, block), Ok(()));
                }
                assert_eq!(server.end(&blocks), Ok(()));
                assert!(server.has("/old"));
            }
            assert_eq!(server.0.digest(), other.0.digest());
        }
    }

    #[test]
    fn a_snapshot_that_is_being_written_is_of_the_state_before() {
        let blocks = backup();
        let mut server = Server::new();
        server.create("/new", create_mode::PERSISTENT);
        let digest = server.0.tree.digest();
        for at in 1..=4 {
            let mut server = Server::new();
            server.create("/new", create_mode::PERSISTENT);
            let snapshot = blocks_of(&mut server, |server, done| {
                if done == at {
                    server.send(&blocks);
                    assert_eq!(server.end(&blocks), Ok(()));
                }
            });
            let written = loaded(&snapshot).expect("sound");
            assert_eq!(written.tree.digest(), digest, "restored behind block {at}");
            assert!(server.has("/old") && !server.has("/new"));
            // The next snapshot is of the new state.
            let next = loaded(&blocks_of(&mut server, |_, _| {})).expect("sound");
            assert_eq!(next.tree.digest(), server.0.tree.digest());
        }
    }
}
