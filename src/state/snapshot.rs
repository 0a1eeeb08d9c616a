//! What a snapshot contains, as blocks of bytes.
//!
//! A block begins with a byte that says what it holds; files, checksums and transport are the
//! storage's business. In order:
//!
//! | kind | content |
//! |---|---|
//! | `H` | format version, flags, zxid, term, index, slots, znode count, digest |
//! | `A` | distinct access control lists |
//! | `S` | sessions |
//! | `R` | a change of the members that is under way; mostly absent |
//! | `P` | one block of a state that is to replace this one; mostly absent |
//! | `N` | znodes, in any order; many blocks |
//! | `E` | nothing: the end |

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use jute::{Encode as _, Reader};

use super::entry::Origin;
use super::restoring::Staged;
use super::{LogPosition, Reconfiguration, State};
use crate::auth::Schemes;
use crate::op::Flags;
use crate::session::{PASSWORD_LEN, Session, SessionTable};
use crate::tree::freeze::{FrozenTables, KeptImages, Loader};
use crate::tree::{AclEntry, AclId};
use crate::types::{ConnId, ServerId, SessionId, Zxid};

const FORMAT_VERSION: i32 = 2;
const SESSIONS_PER_BLOCK: usize = 4096;

/// The moment of a snapshot: everything that is copied at once. Znodes follow in chunks.
pub struct SnapshotCut {
    header: Vec<u8>,
    tables: FrozenTables,
    sessions: Vec<(SessionId, Session)>,
    reconfiguration: Option<Reconfiguration>,
    staged: Option<Staged>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Acls,
    Reconfiguration,
    Sessions(usize),
    Staged(usize),
    Nodes,
    End,
    Done,
}

impl State {
    /// Freezes the state between two entries, in a time that does not grow with the tree.
    pub fn freeze(&mut self) -> SnapshotCut {
        let tables = self.tree.freeze();
        let mut header = BytesMut::new();
        header.put_u8(b'H');
        FORMAT_VERSION.encode(&mut header);
        i32::from(self.flags.0).encode(&mut header);
        self.zxid.0.encode(&mut header);
        self.position.term.cast_signed().encode(&mut header);
        self.position.index.cast_signed().encode(&mut header);
        header.put_u64(u64::from(tables.slots));
        header.put_u64(tables.node_count as u64);
        header.put_u64(tables.digest);
        SnapshotCut {
            header: header.to_vec(),
            tables,
            sessions: self
                .sessions
                .iter()
                .map(|(id, session)| (id, *session))
                .collect(),
            reconfiguration: self.reconfiguration.clone(),
            staged: self.staged.clone(),
            stage: Stage::Header,
        }
    }

    /// Ends the freeze. Drop the images outside of the guard: there may be many.
    pub(crate) fn thaw(&mut self) -> KeptImages {
        match self.replaced.take() {
            Some(mut walked) => walked.thaw(),
            None => self.tree.thaw(),
        }
    }

    /// Appends the next block of the cut; false when it is complete. Called under the read guard.
    pub fn next_block(&self, cut: &mut SnapshotCut, out: &mut Vec<u8>) -> bool {
        match cut.stage {
            Stage::Header => {
                out.append(&mut cut.header);
                cut.stage = Stage::Acls;
            }
            Stage::Acls => {
                put_acls(&cut.tables, out);
                cut.stage = if cut.reconfiguration.is_some() {
                    Stage::Reconfiguration
                } else {
                    Stage::Sessions(0)
                };
            }
            Stage::Reconfiguration => {
                put_reconfiguration(cut.reconfiguration.as_ref(), out);
                cut.stage = Stage::Sessions(0);
            }
            Stage::Sessions(done) => {
                let end = cut.sessions.len().min(done + SESSIONS_PER_BLOCK);
                put_sessions(&cut.sessions[done..end], out);
                cut.stage = if end == cut.sessions.len() {
                    Stage::Staged(0)
                } else {
                    Stage::Sessions(end)
                };
            }
            Stage::Staged(done) => {
                let staged = cut.staged.as_ref();
                if staged.is_some_and(|staged| staged.put_block(done, out)) {
                    cut.stage = Stage::Staged(done + 1);
                } else {
                    cut.stage = Stage::Nodes;
                    return self.next_block(cut, out);
                }
            }
            Stage::Nodes => {
                out.push(b'N');
                if !self.replaced.as_ref().unwrap_or(&self.tree).copy_chunk(out) {
                    cut.stage = Stage::End;
                }
            }
            Stage::End => {
                out.push(b'E');
                cut.stage = Stage::Done;
            }
            Stage::Done => return false,
        }
        true
    }
}

fn put_acls(tables: &FrozenTables, out: &mut Vec<u8>) {
    let mut bytes = BytesMut::new();
    bytes.put_u8(b'A');
    for (id, list) in &tables.acls {
        bytes.put_u32(id.0);
        // Not as a string for clients: Java's way to write some characters cannot be read back.
        bytes.put_u32(u32::try_from(list.len()).expect("a list fits into a frame"));
        for entry in list.iter() {
            entry.perms.encode(&mut bytes);
            Some(entry.scheme.as_bytes()).encode(&mut bytes);
            Some(entry.id.as_bytes()).encode(&mut bytes);
        }
    }
    out.extend_from_slice(&bytes);
}

fn put_reconfiguration(reconfiguration: Option<&Reconfiguration>, out: &mut Vec<u8>) {
    let Some(Reconfiguration { origin, members }) = reconfiguration else {
        return;
    };
    out.put_u8(b'R');
    out.put_u64(origin.server.0);
    out.put_u64(origin.conn.0);
    out.put_i32(origin.xid);
    out.put_u64(origin.attach);
    out.put_slice(members.as_bytes());
}

fn decode_reconfiguration(mut body: &[u8]) -> Option<Reconfiguration> {
    let origin = Origin {
        server: ServerId(body.try_get_u64().ok()?),
        conn: ConnId(body.try_get_u64().ok()?),
        xid: body.try_get_i32().ok()?,
        attach: body.try_get_u64().ok()?,
    };
    let members = str::from_utf8(body).ok()?.to_owned();
    Some(Reconfiguration { origin, members })
}

fn put_sessions(sessions: &[(SessionId, Session)], out: &mut Vec<u8>) {
    out.put_u8(b'S');
    for (id, session) in sessions {
        out.put_i64(id.0);
        out.put_i32(session.timeout_ms);
        out.put_slice(&session.password);
        out.put_u64(session.attach);
    }
}

/// Rebuilds a state from the blocks of a snapshot.
pub struct SnapshotBuilder {
    schemes: Arc<Schemes>,
    header: Option<Header>,
    sessions: SessionTable,
    reconfiguration: Option<Reconfiguration>,
    staged: Option<Staged>,
    loader: Option<Loader>,
    slots_max: u32,
    complete: bool,
}

#[derive(Clone, Copy)]
struct Header {
    flags: Flags,
    zxid: Zxid,
    position: LogPosition,
    slots: u32,
    node_count: u64,
    digest: u64,
}

impl SnapshotBuilder {
    #[must_use]
    pub fn new(schemes: Arc<Schemes>) -> Self {
        Self {
            schemes,
            header: None,
            sessions: SessionTable::default(),
            reconfiguration: None,
            staged: None,
            loader: None,
            slots_max: u32::MAX,
            complete: false,
        }
    }

    /// Refuses a state of more slots for znodes, which take memory whether znodes are in them or not.
    #[must_use]
    pub fn with_slots_max(mut self, slots: u32) -> Self {
        self.slots_max = slots;
        self
    }

    /// Takes the next block.
    ///
    /// # Errors
    /// A sentence that says what about the block is not understood.
    pub fn add(&mut self, block: &[u8]) -> Result<(), String> {
        let (kind, body) = block.split_first().ok_or("an empty block")?;
        match (kind, &mut self.loader) {
            (b'H', _) => {
                self.header = Some(decode_header(body).ok_or("its header is not understood")?);
                Ok(())
            }
            (b'A', _) => {
                let header = self.header.ok_or("lists before the header")?;
                if header.slots > self.slots_max {
                    let (slots, max) = (header.slots, self.slots_max);
                    return Err(format!("it has {slots} slots for znodes, more than {max}"));
                }
                let acls = decode_acls(body).ok_or("an access control list is cut short")?;
                let extended = header.flags.contains(Flags::EXTENDED_TYPES);
                self.loader = Some(Loader::new(extended, header.slots, acls));
                Ok(())
            }
            (b'S', _) => {
                decode_sessions(body, &mut self.sessions).ok_or("a session is cut short")?;
                Ok(())
            }
            (b'R', _) => {
                let found = decode_reconfiguration(body);
                self.reconfiguration = Some(found.ok_or("a change of members is cut short")?);
                Ok(())
            }
            (b'P', _) => {
                let added = Staged::add(&mut self.staged, body);
                added.ok_or_else(|| "a block of what is restored is cut short".to_owned())
            }
            (b'N', Some(loader)) => loader.add(body),
            (b'N', None) => Err("znodes before their access control lists".to_owned()),
            (b'E', _) => {
                self.complete = true;
                Ok(())
            }
            (kind, _) => Err(format!("a block of unknown kind {kind}")),
        }
    }

    /// # Errors
    /// A sentence: the snapshot has no end, its znodes form no tree, or count or digest differ.
    pub fn finish(self) -> Result<State, String> {
        if !self.complete {
            return Err("it has no end".to_owned());
        }
        let header = self.header.ok_or("it has no header")?;
        let tree = self
            .loader
            .ok_or("it has no znodes")?
            .finish(header.digest)?;
        if tree.node_count() as u64 != header.node_count {
            let found = tree.node_count();
            return Err(format!(
                "it has {found} znodes instead of {}",
                header.node_count
            ));
        }
        Ok(State {
            tree,
            sessions: self.sessions,
            schemes: self.schemes,
            zxid: header.zxid,
            position: header.position,
            flags: header.flags,
            reconfiguration: self.reconfiguration,
            staged: self.staged,
            replaced: None,
        })
    }
}

fn decode_header(body: &[u8]) -> Option<Header> {
    let mut reader = Reader::new(body);
    let mut long = || reader.read::<i64>().ok();
    let version_and_flags = long()?;
    if version_and_flags >> 32 != i64::from(FORMAT_VERSION) {
        return None;
    }
    Some(Header {
        flags: Flags(version_and_flags.to_be_bytes()[7]),
        zxid: Zxid(long()?),
        position: LogPosition {
            term: long()?.cast_unsigned(),
            index: long()?.cast_unsigned(),
        },
        slots: u32::try_from(long()?).ok()?,
        node_count: long()?.cast_unsigned(),
        digest: long()?.cast_unsigned(),
    })
}

fn decode_acls(body: &[u8]) -> Option<Vec<(AclId, Vec<AclEntry>)>> {
    let mut reader = Reader::new(body);
    let mut acls = Vec::new();
    while !reader.rest().is_empty() {
        let id = AclId(reader.read::<i32>().ok()?.cast_unsigned());
        let mut list = Vec::new();
        for _ in 0..reader.read::<i32>().ok()? {
            let perms = reader.read().ok()?;
            let mut text = || str::from_utf8(reader.read::<Option<&[u8]>>().ok()??).ok();
            list.push(AclEntry::new(perms, text()?, text()?));
        }
        acls.push((id, list));
    }
    Some(acls)
}

fn decode_sessions(body: &[u8], sessions: &mut SessionTable) -> Option<()> {
    const SESSION_LEN: usize = 12 + PASSWORD_LEN + 8;
    let (records, rest) = body.as_chunks::<SESSION_LEN>();
    for record in records {
        let mut reader = Reader::new(record);
        let id = SessionId(reader.read().ok()?);
        let timeout_ms = reader.read().ok()?;
        let (password, attach) = reader.rest().split_first_chunk()?;
        sessions.insert(
            id,
            Session {
                timeout_ms,
                password: *password,
                attach: u64::from_be_bytes(attach.try_into().ok()?),
            },
        );
    }
    rest.is_empty().then_some(())
}
