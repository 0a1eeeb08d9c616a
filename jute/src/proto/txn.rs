//! What Apache ZooKeeper's transaction log and snapshots hold.
//!
//! These never travel between client and server: they are what its `dataDir` is read as and
//! written back as. Names and field order are upstream's (`zookeeper.jute`, module
//! `org.apache.zookeeper.txn`, `...server.persistence`, `...data.StatPersisted`).

use crate::proto::Acl;
use crate::{Buf, Decode, DecodeError, DecodeErrorKind, OpCode, Reader, Str};

records! {
    /// Sixteen bytes at the beginning of each file.
    #[derive(Copy)]
    pub struct FileHeader {
        magic: i32,
        version: i32,
        db_id: i64,
    }

    /// Thirty-two bytes in front of each record of the log.
    #[derive(Copy)]
    pub struct TxnHeader {
        /// The session that asked for it.
        client_id: i64,
        cxid: i32,
        zxid: i64,
        /// Milliseconds since the epoch.
        time_ms: i64,
        /// An [`OpCode`].
        kind: i32,
    }

    /// Behind a record since 3.6: the digest of the tree that has applied it.
    #[derive(Copy)]
    pub struct TxnDigest {
        version: i32,
        tree_digest: i64,
    }

    /// Of create and create2.
    pub struct CreateTxn<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        acl: Option<Vec<Acl<'a>>>,
        ephemeral: bool,
        /// The parent's counter of created children behind it; -1 is one more.
        parent_cversion: i32,
    }

    /// A create as the first versions of 3.3 wrote it.
    pub struct CreateTxnV0<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        acl: Option<Vec<Acl<'a>>>,
        ephemeral: bool,
    }

    pub struct CreateContainerTxn<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        acl: Option<Vec<Acl<'a>>>,
        parent_cversion: i32,
    }

    pub struct CreateTtlTxn<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        acl: Option<Vec<Acl<'a>>>,
        parent_cversion: i32,
        ttl_ms: i64,
    }

    /// Of delete and deleteContainer.
    pub struct DeleteTxn<'a> {
        path: Str<'a>,
    }

    /// Of setData and reconfig; `version` is the new one.
    pub struct SetDataTxn<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        version: i32,
    }

    /// `version` is the new one.
    pub struct SetAclTxn<'a> {
        path: Str<'a>,
        acl: Option<Vec<Acl<'a>>>,
        version: i32,
    }

    pub struct CheckVersionTxn<'a> {
        path: Str<'a>,
        version: i32,
    }

    pub struct ErrorTxn {
        err: i32,
    }

    pub struct SessionTxn {
        timeout_ms: i32,
    }

    pub struct CloseSessionTxn<'a> {
        paths_to_delete: Option<Vec<Str<'a>>>,
    }

    /// One operation of a multi: its code and its record.
    pub struct SubTxn<'a> {
        kind: i32,
        data: Buf<'a>,
    }

    pub struct MultiTxn<'a> {
        txns: Option<Vec<SubTxn<'a>>>,
    }

    /// A znode's numbers as a snapshot has them; `cversion` counts created children alone.
    #[derive(Copy, Default)]
    pub struct StatPersisted {
        czxid: i64,
        mzxid: i64,
        ctime: i64,
        mtime: i64,
        version: i32,
        cversion: i32,
        aversion: i32,
        /// Session, container or TTL mark, as it is kept inside.
        ephemeral_owner: i64,
        pzxid: i64,
    }
}

/// What one record of the log does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnBody<'a> {
    /// create or create2, told apart by the code.
    Create(OpCode, CreateTxn<'a>),
    CreateContainer(CreateContainerTxn<'a>),
    CreateTtl(CreateTtlTxn<'a>),
    Delete(DeleteTxn<'a>),
    SetData(SetDataTxn<'a>),
    SetAcl(SetAclTxn<'a>),
    Check(CheckVersionTxn<'a>),
    Error(ErrorTxn),
    CreateSession(SessionTxn),
    /// Without a list of paths before 3.6.
    CloseSession(Option<CloseSessionTxn<'a>>),
    /// Empty when one of its operations has failed: then none has an effect.
    Multi(Vec<Self>),
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnRecord<'a> {
    pub header: TxnHeader,
    pub body: TxnBody<'a>,
    pub digest: Option<TxnDigest>,
}

/// Bytes of a [`TxnDigest`].
const DIGEST_LEN: usize = 12;

impl<'a> TxnBody<'a> {
    /// Reads the record of an operation that can also be part of a multi.
    fn decode_single(kind: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            OpCode::CREATE | OpCode::CREATE2 => {
                let before = reader.clone();
                let create = match reader.read() {
                    // Without a counter it is one of the first versions of 3.3.
                    Err(error)
                        if error.kind == DecodeErrorKind::UnexpectedEnd
                            && error.field == "parent_cversion" =>
                    {
                        *reader = before;
                        let old: CreateTxnV0<'a> = reader.read()?;
                        CreateTxn {
                            path: old.path,
                            data: old.data,
                            acl: old.acl,
                            ephemeral: old.ephemeral,
                            parent_cversion: -1,
                        }
                    }
                    read => read?,
                };
                Self::Create(kind, create)
            }
            OpCode::CREATE_CONTAINER => Self::CreateContainer(reader.read()?),
            OpCode::CREATE_TTL => Self::CreateTtl(reader.read()?),
            OpCode::DELETE | OpCode::DELETE_CONTAINER => Self::Delete(reader.read()?),
            OpCode::SET_DATA | OpCode::RECONFIG => Self::SetData(reader.read()?),
            OpCode::SET_ACL => Self::SetAcl(reader.read()?),
            OpCode::CHECK => Self::Check(reader.read()?),
            OpCode::ERROR => Self::Error(reader.read()?),
            OpCode(other) => {
                let error = reader.error(DecodeErrorKind::UnknownMultiOp(other));
                return Err(error.within("TxnHeader", "kind"));
            }
        })
    }

    fn decode(kind: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match kind {
            OpCode::CREATE_SESSION => Ok(Self::CreateSession(reader.read()?)),
            OpCode::CLOSE_SESSION => Ok(Self::CloseSession(decode_close_session(reader))),
            OpCode::MULTI => {
                let multi: MultiTxn<'a> = reader.read()?;
                let txns = multi.txns.unwrap_or_default();
                if txns.iter().any(|txn| OpCode(txn.kind) == OpCode::ERROR) {
                    return Ok(Self::Multi(Vec::new()));
                }
                let bodies = txns.iter().map(|txn| {
                    let mut inner = Reader::new(txn.data.unwrap_or_default());
                    Self::decode_single(OpCode(txn.kind), &mut inner)
                });
                Ok(Self::Multi(bodies.collect::<Result<_, _>>()?))
            }
            _ => Self::decode_single(kind, reader),
        }
    }
}

/// What stands behind the header may be paths, a digest, both, or nothing.
fn decode_close_session<'a>(reader: &mut Reader<'a>) -> Option<CloseSessionTxn<'a>> {
    let mut ahead = reader.clone();
    let paths = ahead.read::<CloseSessionTxn<'a>>().ok()?;
    if !matches!(ahead.rest().len(), 0 | DIGEST_LEN) {
        return None;
    }
    *reader = ahead;
    Some(paths)
}

impl<'a> Decode<'a> for TxnRecord<'a> {
    /// # Errors
    /// An operation that no version writes, or bytes that are no record.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header: TxnHeader = reader.read()?;
        let body = TxnBody::decode(OpCode(header.kind), reader)?;
        let digest = if reader.rest().len() >= DIGEST_LEN {
            Some(reader.read()?)
        } else {
            None
        };
        Ok(Self {
            header,
            body,
            digest,
        })
    }
}
