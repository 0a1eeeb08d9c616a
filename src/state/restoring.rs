//! A state that comes through the log piece by piece and takes the place of the one that is there
//! all at once.
//!
//! ```text
//!   BEGIN, PIECE, PIECE, ...   kept beside the state, which goes on; part of its snapshots
//!   END                        the pieces become the state, or are refused as a whole
//! ```
//!
//! The pieces are the blocks of a snapshot, each behind its length in 8 bytes, cut without regard to
//! where one ends, for a block may be larger than an entry should be. Each request must come from the same origin, with the next
//! number: a gap, another restore or another leader ends it, on every server alike.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use jute::{ErrorCode, OpCode};

use super::entry::{Origin, Request};
use super::{Applied, BatchHeader, SnapshotBuilder, State};
use crate::collections::HashSet;
use crate::op::{Apply, Changes, Reply};
use crate::tree::{CONFIG_PATH, DataTree};
use crate::types::{ConnId, ServerId, SessionId, Zxid};

/// Forgets what was sent before. Servers only, as all of these.
pub const RESTORE_BEGIN: OpCode = OpCode(-102);
/// The body is a piece; the number of the request, from 0, is its place.
pub const RESTORE_PIECE: OpCode = OpCode(-103);
/// Makes the pieces the state.
pub const RESTORE_END: OpCode = OpCode(-104);
/// Forgets the pieces.
pub const RESTORE_DROP: OpCode = OpCode(-105);

/// Bytes of pieces that a state keeps beside itself.
pub const STAGED_BYTES_MAX: usize = 1 << 30;

/// Bytes of a piece, but for the last.
pub const PIECE_BYTES: usize = 512 << 10;

/// Cuts blocks into pieces.
#[derive(Debug, Default)]
pub struct Cutter {
    waiting: BytesMut,
}

impl Cutter {
    /// Takes a block, and gives the pieces that are full.
    pub fn push(&mut self, block: &[u8]) -> Vec<Bytes> {
        self.waiting.put_u64(block.len() as u64);
        self.waiting.put_slice(block);
        let mut full = Vec::new();
        while self.waiting.len() >= PIECE_BYTES {
            full.push(self.waiting.split_to(PIECE_BYTES).freeze());
        }
        full
    }

    /// The last piece, which may be empty.
    #[must_use]
    pub fn end(self) -> Bytes {
        self.waiting.freeze()
    }
}

/// Puts blocks together again.
struct Joiner<'a> {
    pieces: &'a [Bytes],
    /// Where the first of them goes on.
    at: usize,
    left: usize,
}

impl<'a> Joiner<'a> {
    fn new(staged: &'a Staged) -> Self {
        Self {
            pieces: &staged.pieces,
            at: 0,
            left: staged.bytes,
        }
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(count)?;
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let (first, rest) = self.pieces.split_first()?;
            let here = &first[self.at..first.len().min(self.at + count - taken.len())];
            taken.extend_from_slice(here);
            self.at += here.len();
            if self.at == first.len() {
                (self.pieces, self.at) = (rest, 0);
            }
        }
        Some(taken)
    }

    /// The next block; an error when there is a part of one.
    fn next_block(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        let length = self
            .take(8)
            .and_then(|bytes| (&bytes[..]).try_get_u64().ok());
        let length = length.and_then(|length| usize::try_from(length).ok());
        let block = length.and_then(|length| self.take(length));
        block.map(Some).ok_or_else(|| "it is cut short".to_owned())
    }
}

/// Elections that an ensemble does not get through after a snapshot of it was taken.
pub const EPOCHS_AHEAD: i64 = 1 << 16;

#[must_use]
pub fn is_restore(op: OpCode) -> bool {
    matches!(
        op,
        RESTORE_BEGIN | RESTORE_PIECE | RESTORE_END | RESTORE_DROP
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
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Staged {
    fn new(from: From) -> Self {
        Self {
            from,
            pieces: Vec::new(),
            bytes: 0,
        }
    }

    /// # Errors
    /// `BAD_ARGUMENTS` when it would be too much, `RUNTIME_INCONSISTENCY` for another place.
    fn push(&mut self, place: i32, piece: &[u8]) -> Result<(), ErrorCode> {
        if usize::try_from(place) != Ok(self.pieces.len()) {
            return Err(ErrorCode::RUNTIME_INCONSISTENCY);
        }
        self.bytes += piece.len();
        if self.bytes > STAGED_BYTES_MAX {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        self.pieces.push(Bytes::copy_from_slice(piece));
        Ok(())
    }

    /// Writes a block for a snapshot: who sent it, and a piece. Before the first there is one without
    /// content, for a state of which nothing has come yet. False behind the last.
    pub(super) fn put_block(&self, number: usize, out: &mut Vec<u8>) -> bool {
        let piece = match number.checked_sub(1) {
            None => Some(&[][..]),
            Some(place) => self.pieces.get(place).map(|piece| &piece[..]),
        };
        let Some(piece) = piece else { return false };
        out.put_u8(b'P');
        out.put_u64(self.from.0.0);
        out.put_u64(self.from.1.0);
        out.put_slice(piece);
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
                staged.pieces.push(Bytes::copy_from_slice(body));
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
    /// `DATA_INCONSISTENCY`: the pieces are no state.
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
            RESTORE_PIECE => {
                let staged = self.staged.as_mut();
                staged.map_or(Ok(()), |staged| staged.push(origin.xid, request.body))
            }
            RESTORE_END => {
                let staged = self.staged.take();
                let staged = staged.unwrap_or_else(|| Staged::new(from(origin)));
                if usize::try_from(origin.xid) != Ok(staged.pieces.len()) {
                    return Err(ErrorCode::RUNTIME_INCONSISTENCY);
                }
                let restored = self.built(&staged).map_err(refused)?;
                drop(staged);
                self.become_restored(restored, header)
            }
            _ => {
                self.staged = None;
                Ok(())
            }
        }
    }

    /// The state that has come.
    fn built(&self, staged: &Staged) -> Result<Self, String> {
        let mut builder = SnapshotBuilder::new(Arc::clone(&self.schemes));
        let mut joiner = Joiner::new(staged);
        while let Some(block) = joiner.next_block()? {
            builder.add(&block)?;
        }
        builder.finish()
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

        /// Sends pieces without the end.
        fn send(&mut self, pieces: &[Bytes]) {
            assert_eq!(self.restore(RESTORE_BEGIN, 9, 0, &[]), Ok(()));
            for (place, piece) in (0..).zip(pieces) {
                assert_eq!(self.restore(RESTORE_PIECE, 9, place, piece), Ok(()));
            }
        }

        fn end(&mut self, pieces: &[Bytes]) -> Result<(), ErrorCode> {
            self.restore(RESTORE_END, 9, pieces.len() as i32, &[])
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

    /// Pieces of blocks, smaller ones than the pieces that are sent.
    fn cut(blocks: &[Vec<u8>], size: usize) -> Vec<Bytes> {
        let mut cutter = Cutter::default();
        let full: Vec<Bytes> = blocks.iter().flat_map(|block| cutter.push(block)).collect();
        let all = [full.concat(), cutter.end().to_vec()].concat();
        all.chunks(size).map(Bytes::copy_from_slice).collect()
    }

    /// The pieces of a state with a znode `/old`, whose sessions have ended.
    fn backup() -> Vec<Bytes> {
        let mut server = Server::new();
        server.create("/old", create_mode::PERSISTENT);
        server.create("/owned", create_mode::EPHEMERAL);
        server.0.end_sessions();
        assert!(server.0.sessions.is_empty() && !server.has("/owned"));
        cut(&blocks_of(&mut server, |_, _| {}), 100)
    }

    fn loaded(blocks: &[Vec<u8>]) -> Result<State, String> {
        let mut builder = SnapshotBuilder::new(Arc::new(Schemes::new(Vec::new())));
        blocks.iter().try_for_each(|block| builder.add(block))?;
        builder.finish()
    }

    #[test]
    fn pieces_are_put_together_however_they_are_cut() {
        let blocks: Vec<Vec<u8>> = [0, 1, 7, PIECE_BYTES - 8, PIECE_BYTES, 3 * PIECE_BYTES + 1]
            .iter()
            .map(|len| (0..*len).map(|n| n as u8).collect())
            .collect();
        let mut cutter = Cutter::default();
        let full: Vec<Bytes> = blocks.iter().flat_map(|block| cutter.push(block)).collect();
        assert!(full.iter().all(|piece| piece.len() == PIECE_BYTES));
        for size in [1000, 1001, PIECE_BYTES] {
            let mut staged = Staged::new((ServerId(1), ConnId(1)));
            for (place, piece) in (0..).zip(cut(&blocks, size)) {
                staged.push(place, &piece).expect("the next");
            }
            let mut joiner = Joiner::new(&staged);
            for block in &blocks {
                assert_eq!(joiner.next_block().as_ref(), Ok(&Some(block.clone())));
            }
            assert_eq!(joiner.next_block(), Ok(None));
            staged.bytes -= 1;
            let last = staged.pieces.pop().expect("the last");
            staged.pieces.push(last.slice(..last.len() - 1));
            let mut joiner = Joiner::new(&staged);
            let found = std::iter::from_fn(|| joiner.next_block().transpose());
            assert!(found.take(blocks.len() + 1).any(|block| block.is_err()));
        }
    }

    #[test]
    fn takes_effect_at_its_end_and_ends_all_sessions() {
        let pieces = backup();
        let mut server = Server::new();
        for name in ["/new", "/newer", "/newest"] {
            server.create(name, create_mode::EPHEMERAL);
        }
        server.send(&pieces);
        assert!(server.has("/new") && !server.has("/old"));
        let before = server.0.zxid();
        assert_eq!(server.end(&pieces), Ok(()));
        assert!(!server.has("/new") && server.has("/old"));
        assert!(server.0.sessions.is_empty());
        assert_eq!(server.0.zxid(), before.next());
        server.0.tree.check().expect("sound");
        // There is nothing left to end again.
        assert_eq!(server.end(&pieces), Err(ErrorCode::RUNTIME_INCONSISTENCY));
    }

    #[test]
    fn goes_on_behind_a_state_that_was_further() {
        let mut further = Server::new();
        further.0.begin_entry(LogPosition { term: 2, index: 9 });
        further.0.end_sessions();
        let pieces = cut(&blocks_of(&mut further, |_, _| {}), 100);
        let mut server = Server::new();
        server.send(&pieces);
        assert_eq!(server.end(&pieces), Ok(()));
        let epoch = further.0.zxid().epoch() + EPOCHS_AHEAD;
        assert_eq!(server.0.zxid(), Zxid(epoch << 32).next());
    }

    #[test]
    fn what_is_not_whole_changes_nothing() {
        let pieces = backup();
        let wrong = Err(ErrorCode::RUNTIME_INCONSISTENCY);
        let mut server = Server::new();
        server.create("/new", create_mode::PERSISTENT);
        // A gap, one more than were sent, somebody else, another leader, given up.
        server.send(&pieces[..1]);
        assert_eq!(server.restore(RESTORE_PIECE, 9, 2, &pieces[1]), wrong);
        assert_eq!(server.end(&pieces[..1]), wrong);
        server.send(&pieces);
        assert_eq!(server.restore(RESTORE_END, 9, 1, &[]), wrong);
        server.send(&pieces);
        assert_eq!(server.restore(RESTORE_BEGIN, 8, 0, &[]), Ok(()));
        assert_eq!(server.end(&pieces), wrong);
        server.send(&pieces);
        let last = pieces.len() as i32;
        let elected = server.ask(2, RESTORE_END, 9, last, &[]).result;
        assert_eq!(elected.map(|_| ()), wrong);
        let mut server = Server::new();
        server.create("/new", create_mode::PERSISTENT);
        server.send(&pieces);
        assert_eq!(server.restore(RESTORE_DROP, 9, 0, &[]), Ok(()));
        assert_eq!(server.end(&pieces), wrong);
        // Pieces that are no state.
        let short = &pieces[..pieces.len() - 1];
        server.send(short);
        assert_eq!(server.end(short), Err(ErrorCode::DATA_INCONSISTENCY));
        assert!(server.has("/new") && !server.has("/old"));
    }

    #[test]
    fn a_snapshot_in_the_midst_has_what_has_come() {
        let pieces = backup();
        for sent in 0..=pieces.len() {
            let mut server = Server::new();
            server.create("/new", create_mode::PERSISTENT);
            server.send(&pieces[..sent]);
            let snapshot = blocks_of(&mut server, |_, _| {});
            let mut other = Server(loaded(&snapshot).expect("sound"));
            for server in [&mut server, &mut other] {
                for (place, piece) in (0..).zip(&pieces).skip(sent) {
                    assert_eq!(server.restore(RESTORE_PIECE, 9, place, piece), Ok(()));
                }
                assert_eq!(server.end(&pieces), Ok(()));
                assert!(server.has("/old"));
            }
            assert_eq!(server.0.digest(), other.0.digest());
        }
    }

    #[test]
    fn a_snapshot_that_is_being_written_is_of_the_state_before() {
        let pieces = backup();
        let mut server = Server::new();
        server.create("/new", create_mode::PERSISTENT);
        let digest = server.0.tree.digest();
        for at in 1..=4 {
            let mut server = Server::new();
            server.create("/new", create_mode::PERSISTENT);
            let snapshot = blocks_of(&mut server, |server, done| {
                if done == at {
                    server.send(&pieces);
                    assert_eq!(server.end(&pieces), Ok(()));
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
