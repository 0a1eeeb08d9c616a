//! multi and multiRead: a run of operations, each behind a header, ended by a header that says
//! so (`MultiOperationRecord.java`, `MultiResponse.java`).

use bytes::BytesMut;

use crate::proto::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, GetChildrenRequest,
    GetDataRequest, SetDataRequest, Stat,
};
use crate::{Buf, Decode, DecodeError, DecodeErrorKind, Encode, ErrorCode, OpCode, Reader, Str};

records! {
    /// Nine bytes.
    pub struct MultiHeader {
        /// An [`OpCode`]; -1 in the end mark and in front of an error.
        op: i32,
        done: bool,
        err: i32,
    }
}

impl MultiHeader {
    /// What stands behind the last operation and the last result.
    pub const END: Self = Self {
        op: -1,
        done: true,
        err: -1,
    };
}

/// One operation of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2 or createContainer, told apart by the code.
    Create(OpCode, CreateRequest<'a>),
    CreateTtl(CreateTtlRequest<'a>),
    Delete(DeleteRequest<'a>),
    SetData(SetDataRequest<'a>),
    Check(CheckVersionRequest<'a>),
    GetData(GetDataRequest<'a>),
    GetChildren(GetChildrenRequest<'a>),
}

impl MultiOp<'_> {
    #[must_use]
    pub fn op_code(&self) -> OpCode {
        match self {
            Self::Create(op, _) => *op,
            Self::CreateTtl(_) => OpCode::CREATE_TTL,
            Self::Delete(_) => OpCode::DELETE,
            Self::SetData(_) => OpCode::SET_DATA,
            Self::Check(_) => OpCode::CHECK,
            Self::GetData(_) => OpCode::GET_DATA,
            Self::GetChildren(_) => OpCode::GET_CHILDREN,
        }
    }

    /// Whether the operation belongs into a multiRead rather than a multi.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::GetData(_) | Self::GetChildren(_))
    }
}

/// A request of either kind; which one is the frame header's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRequest<'a> {
    pub ops: Vec<MultiOp<'a>>,
}

impl<'a> MultiOp<'a> {
    /// Reads one header and its operation, or `None` at the end mark.
    ///
    /// # Errors
    /// An operation that cannot be in a multi, or bytes that are no record.
    pub fn decode_next(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let header: MultiHeader = reader.read()?;
        if header.done {
            return Ok(None);
        }
        let op = match OpCode(header.op) {
            code @ (OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER) => {
                Self::Create(code, reader.read()?)
            }
            OpCode::CREATE_TTL => Self::CreateTtl(reader.read()?),
            OpCode::DELETE => Self::Delete(reader.read()?),
            OpCode::SET_DATA => Self::SetData(reader.read()?),
            OpCode::CHECK => Self::Check(reader.read()?),
            OpCode::GET_DATA => Self::GetData(reader.read()?),
            OpCode::GET_CHILDREN => Self::GetChildren(reader.read()?),
            OpCode(other) => {
                let error = reader.error(DecodeErrorKind::UnknownMultiOp(other));
                return Err(error.within("MultiHeader", "op"));
            }
        };
        Ok(Some(op))
    }
}

impl<'a> Decode<'a> for MultiRequest<'a> {
    /// # Errors
    /// A missing end mark, an operation that cannot be in a multi, or a mix of reads and writes.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut ops: Vec<MultiOp<'a>> = Vec::new();
        while let Some(op) = MultiOp::decode_next(reader)? {
            if ops
                .first()
                .is_some_and(|first| first.is_read() != op.is_read())
            {
                let error = reader.error(DecodeErrorKind::MalformedMulti);
                return Err(error.within("MultiRequest", "ops"));
            }
            ops.push(op);
        }
        Ok(Self { ops })
    }
}

impl Encode for MultiRequest<'_> {
    fn encode(&self, out: &mut BytesMut) {
        for op in &self.ops {
            MultiHeader {
                op: op.op_code().0,
                done: false,
                err: -1,
            }
            .encode(out);
            match op {
                MultiOp::Create(_, request) => request.encode(out),
                MultiOp::CreateTtl(request) => request.encode(out),
                MultiOp::Delete(request) => request.encode(out),
                MultiOp::SetData(request) => request.encode(out),
                MultiOp::Check(request) => request.encode(out),
                MultiOp::GetData(request) => request.encode(out),
                MultiOp::GetChildren(request) => request.encode(out),
            }
        }
        MultiHeader::END.encode(out);
    }
}

/// One result of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult<'a> {
    Create {
        path: Str<'a>,
    },
    /// Of create2, createContainer and createTTL alike; upstream labels all three 15.
    Create2 {
        path: Str<'a>,
        stat: Stat,
    },
    Delete,
    SetData {
        stat: Stat,
    },
    Check,
    GetData {
        data: Buf<'a>,
        stat: Stat,
    },
    GetChildren {
        children: Option<Vec<Str<'a>>>,
    },
    Error(ErrorCode),
}

impl Encode for MultiResult<'_> {
    /// Header and payload.
    fn encode(&self, out: &mut BytesMut) {
        let ok = |op: OpCode| MultiHeader {
            op: op.0,
            done: false,
            err: 0,
        };
        match self {
            Self::Create { path } => {
                ok(OpCode::CREATE).encode(out);
                path.encode(out);
            }
            Self::Create2 { path, stat } => {
                ok(OpCode::CREATE2).encode(out);
                path.encode(out);
                stat.encode(out);
            }
            Self::Delete => ok(OpCode::DELETE).encode(out),
            Self::SetData { stat } => {
                ok(OpCode::SET_DATA).encode(out);
                stat.encode(out);
            }
            Self::Check => ok(OpCode::CHECK).encode(out),
            Self::GetData { data, stat } => {
                ok(OpCode::GET_DATA).encode(out);
                data.encode(out);
                stat.encode(out);
            }
            Self::GetChildren { children } => {
                ok(OpCode::GET_CHILDREN).encode(out);
                children.encode(out);
            }
            Self::Error(code) => {
                MultiHeader {
                    op: OpCode::ERROR.0,
                    done: false,
                    err: code.0,
                }
                .encode(out);
                code.0.encode(out);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiResponse<'a> {
    pub results: Vec<MultiResult<'a>>,
}

impl Encode for MultiResponse<'_> {
    fn encode(&self, out: &mut BytesMut) {
        for result in &self.results {
            result.encode(out);
        }
        MultiHeader::END.encode(out);
    }
}

impl<'a> Decode<'a> for MultiResponse<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut results = Vec::new();
        loop {
            let header: MultiHeader = reader.read()?;
            if header.done {
                return Ok(Self { results });
            }
            results.push(match OpCode(header.op) {
                OpCode::CREATE => MultiResult::Create {
                    path: reader.read()?,
                },
                OpCode::CREATE2 => MultiResult::Create2 {
                    path: reader.read()?,
                    stat: reader.read()?,
                },
                OpCode::DELETE => MultiResult::Delete,
                OpCode::SET_DATA => MultiResult::SetData {
                    stat: reader.read()?,
                },
                OpCode::CHECK => MultiResult::Check,
                OpCode::GET_DATA => MultiResult::GetData {
                    data: reader.read()?,
                    stat: reader.read()?,
                },
                OpCode::GET_CHILDREN => MultiResult::GetChildren {
                    children: reader.read()?,
                },
                OpCode::ERROR => MultiResult::Error(ErrorCode(reader.read()?)),
                OpCode(other) => {
                    let error = reader.error(DecodeErrorKind::UnknownMultiOp(other));
                    return Err(error.within("MultiHeader", "op"));
                }
            });
        }
    }
}
