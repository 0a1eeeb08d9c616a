//! The protocol as an outsider sees it: requests made of loose values, so that wrong ones can be
//! said too, and replies cut into named fields.
//!
//! Every byte of a frame belongs to exactly one [`Field`]; what must not be compared literally
//! (ids, times, zxids) is marked by its [`Token`].

use std::collections::BTreeMap;

/// A ustring or a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Blob {
    Null,
    Bytes(Vec<u8>),
    /// A length with no bytes behind it.
    Length(i32),
}

impl Blob {
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend((-1_i32).to_be_bytes()),
            Self::Length(length) => out.extend(length.to_be_bytes()),
            Self::Bytes(bytes) => {
                put_count(bytes.len(), out);
                out.extend(bytes);
            }
        }
    }
}

/// A vector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum List<T> {
    Null,
    Items(Vec<T>),
    /// A count with no elements behind it.
    Length(i32),
}

impl<T> List<T> {
    fn encode(&self, out: &mut Vec<u8>, mut element: impl FnMut(&T, &mut Vec<u8>)) {
        match self {
            Self::Null => out.extend((-1_i32).to_be_bytes()),
            Self::Length(length) => out.extend(length.to_be_bytes()),
            Self::Items(items) => {
                put_count(items.len(), out);
                items.iter().for_each(|item| element(item, out));
            }
        }
    }
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.extend(i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    pub perms: i32,
    pub scheme: Blob,
    pub id: Blob,
}

/// A zxid in a request. Servers number differently, so it is said relative to what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZxidValue {
    At(i64),
    /// The highest zxid that this session has seen in a reply, plus so much.
    Seen(i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Byte(u8),
    Int(i32),
    Long(i64),
    Zxid(ZxidValue),
    Blob(Blob),
    Blobs(List<Blob>),
    Acls(List<Acl>),
    /// The operations of a multi.
    Requests(Vec<Request>),
}

/// A field of a request record: its name and what it is when a script does not say.
#[derive(Debug)]
pub struct FieldSpec {
    pub name: &'static str,
    pub default: fn() -> Value,
}

/// An opcode with a name.
#[derive(Debug)]
pub struct OpSpec {
    pub name: &'static str,
    pub code: i32,
    pub fields: &'static [FieldSpec],
}

macro_rules! ops {
    ($($name:ident = $code:literal { $($field:ident: $default:expr),* $(,)? })*) => {
        /// Every opcode that has a request record of its own.
        pub const OPS: &[OpSpec] = &[$(OpSpec {
            name: stringify!($name),
            code: $code,
            fields: &[$(FieldSpec { name: stringify!($field), default: || $default }),*],
        }),*];
    };
}

fn path() -> Value {
    Value::Blob(Blob::text("/"))
}

fn empty() -> Value {
    Value::Blob(Blob::Bytes(Vec::new()))
}

fn null() -> Value {
    Value::Blob(Blob::Null)
}

fn none() -> Value {
    Value::Blobs(List::Items(Vec::new()))
}

/// world:anyone with all permissions.
pub fn open_acl() -> List<Acl> {
    let (scheme, id) = (Blob::text("world"), Blob::text("anyone"));
    List::Items(vec![Acl {
        perms: 31,
        scheme,
        id,
    }])
}

ops! {
    create = 1 { path: path(), data: empty(), acl: Value::Acls(open_acl()), flags: Value::Int(0) }
    delete = 2 { path: path(), version: Value::Int(-1) }
    exists = 3 { path: path(), watch: Value::Byte(0) }
    getData = 4 { path: path(), watch: Value::Byte(0) }
    setData = 5 { path: path(), data: empty(), version: Value::Int(-1) }
    getACL = 6 { path: path() }
    setACL = 7 { path: path(), acl: Value::Acls(open_acl()), version: Value::Int(-1) }
    getChildren = 8 { path: path(), watch: Value::Byte(0) }
    sync = 9 { path: path() }
    ping = 11 {}
    getChildren2 = 12 { path: path(), watch: Value::Byte(0) }
    check = 13 { path: path(), version: Value::Int(-1) }
    multi = 14 { ops: Value::Requests(Vec::new()) }
    create2 = 15 { path: path(), data: empty(), acl: Value::Acls(open_acl()), flags: Value::Int(0) }
    reconfig = 16 { joining: null(), leaving: null(), members: null(), from: Value::Long(-1) }
    checkWatches = 17 { path: path(), type: Value::Int(3) }
    removeWatches = 18 { path: path(), type: Value::Int(3) }
    createContainer = 19 {
        path: path(), data: empty(), acl: Value::Acls(open_acl()), flags: Value::Int(4)
    }
    createTTL = 21 {
        path: path(), data: empty(), acl: Value::Acls(open_acl()), flags: Value::Int(5),
        ttl: Value::Long(86_400_000),
    }
    multiRead = 22 { ops: Value::Requests(Vec::new()) }
    auth = 100 { type: Value::Int(0), scheme: Value::Blob(Blob::text("digest")), auth: empty() }
    setWatches = 101 {
        zxid: Value::Zxid(ZxidValue::Seen(0)), data: none(), exist: none(), child: none()
    }
    sasl = 102 { token: empty() }
    getEphemerals = 103 { path: path() }
    getAllChildrenNumber = 104 { path: path() }
    setWatches2 = 105 {
        zxid: Value::Zxid(ZxidValue::Seen(0)), data: none(), exist: none(), child: none(),
        persistent: none(), recursive: none(),
    }
    addWatch = 106 { path: path(), mode: Value::Int(0) }
    whoAmI = 107 {}
    closeSession = -11 {}
}

pub mod code {
    //! The opcodes that the harness itself must know.
    pub const SET_ACL: i32 = 7;
    pub const MULTI: i32 = 14;
    pub const MULTI_READ: i32 = 22;
    pub const PING: i32 = 11;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const SET_WATCHES_2: i32 = 105;
    pub const CLOSE_SESSION: i32 = -11;
}

pub fn spec(code: i32) -> Option<&'static OpSpec> {
    OPS.iter().find(|op| op.code == code)
}

pub fn spec_named(name: &str) -> Option<&'static OpSpec> {
    OPS.iter().find(|op| op.name == name)
}

/// One request: an opcode, the values of its record, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub code: i32,
    /// In the order of the record. For an opcode without a record: one blob, written bare.
    pub values: Vec<Value>,
    /// Sent instead of the next number.
    pub xid: Option<i32>,
    /// So many bytes are missing at the end.
    pub cut: usize,
    /// Bytes behind the record.
    pub extra: Vec<u8>,
    /// A multi without its last header.
    pub endless: bool,
}

impl Request {
    /// The request with every value at its default.
    pub fn new(code: i32) -> Self {
        let values = spec(code).map_or_else(
            || vec![empty()],
            |op| op.fields.iter().map(|field| (field.default)()).collect(),
        );
        Self {
            code,
            values,
            xid: None,
            cut: 0,
            extra: Vec::new(),
            endless: false,
        }
    }

    /// The request of this name.
    ///
    /// # Panics
    /// When no opcode has this name.
    pub fn named(name: &str) -> Self {
        Self::new(
            spec_named(name)
                .unwrap_or_else(|| panic!("no opcode is named {name}"))
                .code,
        )
    }

    /// Sets the value of a field.
    ///
    /// # Panics
    /// When the record has no such field.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        let index = spec(self.code)
            .and_then(|op| op.fields.iter().position(|spec| spec.name == field))
            .unwrap_or_else(|| panic!("opcode {} has no field {field}", self.code));
        self.values[index] = value;
        self
    }

    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.with("path", Value::Blob(Blob::text(path)))
    }

    /// The xid that goes out: its own, or what clients use for this opcode, or `next`.
    pub fn xid_or(&self, next: i32) -> i32 {
        self.xid.unwrap_or(match self.code {
            code::PING => -2,
            code::AUTH => -4,
            code::SET_WATCHES | code::SET_WATCHES_2 => -8,
            _ => next,
        })
    }

    /// Header and record, without the frame's length. `seen` stands for the session's zxid.
    pub fn encode(&self, xid: i32, seen: i64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(xid.to_be_bytes());
        out.extend(self.code.to_be_bytes());
        self.encode_record(&mut out, seen);
        let record = out.len() - 8;
        out.truncate(8 + record.saturating_sub(self.cut));
        out.extend(&self.extra);
        out
    }

    fn encode_record(&self, out: &mut Vec<u8>, seen: i64) {
        let bare = spec(self.code).is_none();
        for value in &self.values {
            match value {
                Value::Byte(byte) => out.push(*byte),
                Value::Int(int) => out.extend(int.to_be_bytes()),
                Value::Long(long) => out.extend(long.to_be_bytes()),
                Value::Zxid(ZxidValue::At(zxid)) => out.extend(zxid.to_be_bytes()),
                Value::Zxid(ZxidValue::Seen(plus)) => {
                    out.extend(seen.saturating_add(*plus).to_be_bytes());
                }
                Value::Blob(Blob::Bytes(bytes)) if bare => out.extend(bytes),
                Value::Blob(blob) => blob.encode(out),
                Value::Blobs(list) => list.encode(out, Blob::encode),
                Value::Acls(list) => list.encode(out, |acl, out| {
                    out.extend(acl.perms.to_be_bytes());
                    acl.scheme.encode(out);
                    acl.id.encode(out);
                }),
                Value::Requests(requests) => {
                    for request in requests {
                        multi_header(request.code, false, -1, out);
                        request.encode_record(out, seen);
                    }
                    if !self.endless {
                        multi_header(-1, true, -1, out);
                    }
                }
            }
        }
    }
}

fn multi_header(code: i32, done: bool, err: i32, out: &mut Vec<u8>) {
    out.extend(code.to_be_bytes());
    out.push(u8::from(done));
    out.extend(err.to_be_bytes());
}

/// What a session offers in its connect request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connect {
    pub version: i32,
    pub zxid: ZxidValue,
    pub timeout_ms: i32,
    /// None: the session's own, or 16 zero bytes for a new one.
    pub password: Option<Blob>,
    /// None: the byte is absent, as clients up to 3.3 send it.
    pub read_only: Option<u8>,
}

impl Default for Connect {
    fn default() -> Self {
        let zxid = ZxidValue::At(0);
        Self {
            version: 0,
            zxid,
            timeout_ms: 40_000,
            password: None,
            read_only: Some(0),
        }
    }
}

impl Connect {
    pub fn encode(&self, session_id: i64, password: &[u8], seen: i64) -> Vec<u8> {
        let zxid = match self.zxid {
            ZxidValue::At(zxid) => zxid,
            ZxidValue::Seen(plus) => seen.saturating_add(plus),
        };
        let mut out = Vec::new();
        out.extend(self.version.to_be_bytes());
        out.extend(zxid.to_be_bytes());
        out.extend(self.timeout_ms.to_be_bytes());
        out.extend(session_id.to_be_bytes());
        match &self.password {
            Some(password) => password.encode(&mut out),
            None => Blob::Bytes(password.to_vec()).encode(&mut out),
        }
        out.extend(self.read_only);
        out
    }
}

/// How a field is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Letter by letter.
    Literal(String),
    /// By its order among all zxids of the run.
    Zxid(i64),
    /// Zero or plausible; the zxid says which transaction's time it must be.
    Time { ms: i64, zxid: Option<i64> },
}

/// A part of a received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub bytes: Vec<u8>,
    pub token: Token,
}

/// Session ids and the names that a script gave them.
pub type SessionNames = BTreeMap<i64, String>;

/// Takes a frame apart from its front.
#[derive(Debug)]
pub struct Cutter<'a> {
    rest: &'a [u8],
    names: &'a SessionNames,
    fields: Vec<Field>,
}

/// The bytes end before the field does.
#[derive(Debug)]
pub struct TooShort;

type Cut<T> = Result<T, TooShort>;

impl<'a> Cutter<'a> {
    pub fn new(frame: &'a [u8], names: &'a SessionNames) -> Self {
        Self {
            rest: frame,
            names,
            fields: Vec::new(),
        }
    }

    /// All fields; what has not been understood comes last, as it is.
    pub fn finish(mut self) -> Vec<Field> {
        if !self.rest.is_empty() {
            let rest = self.rest;
            self.push("undecoded", rest, Token::Literal(hex(rest)));
        }
        self.fields
    }

    fn push(&mut self, name: &str, bytes: &[u8], token: Token) {
        self.fields.push(Field {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            token,
        });
    }

    fn take(&mut self, count: usize) -> Cut<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(TooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Cut<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| TooShort)
    }

    pub fn byte(&mut self, name: &str) -> Cut<u8> {
        let [byte] = self.array()?;
        self.push(name, &[byte], Token::Literal(byte.to_string()));
        Ok(byte)
    }

    pub fn int(&mut self, name: &str) -> Cut<i32> {
        let bytes = self.array()?;
        let int = i32::from_be_bytes(bytes);
        self.push(name, &bytes, Token::Literal(int.to_string()));
        Ok(int)
    }

    fn long(&mut self) -> Cut<([u8; 8], i64)> {
        let bytes = self.array()?;
        Ok((bytes, i64::from_be_bytes(bytes)))
    }

    pub fn zxid(&mut self, name: &str) -> Cut<i64> {
        let (bytes, zxid) = self.long()?;
        self.push(name, &bytes, Token::Zxid(zxid));
        Ok(zxid)
    }

    fn time(&mut self, name: &str, zxid: Option<i64>) -> Cut<i64> {
        let (bytes, ms) = self.long()?;
        self.push(name, &bytes, Token::Time { ms, zxid });
        Ok(ms)
    }

    fn session(&mut self, name: &str) -> Cut<i64> {
        let (bytes, id) = self.long()?;
        let label = match self.names.get(&id) {
            _ if id == 0 => "0".to_owned(),
            Some(session) => format!("session {session}"),
            None => "a session unknown here".to_owned(),
        };
        self.push(name, &bytes, Token::Literal(label));
        Ok(id)
    }

    /// The length prefix and the bytes, which are none when it is negative.
    fn sized(&mut self) -> Cut<(&'a [u8], Blob)> {
        let start = self.rest;
        let length = i32::from_be_bytes(self.array()?);
        let blob = match usize::try_from(length) {
            Ok(length) => Blob::Bytes(self.take(length)?.to_vec()),
            Err(_) if length == -1 => Blob::Null,
            Err(_) => Blob::Length(length),
        };
        Ok((&start[..start.len() - self.rest.len()], blob))
    }

    pub fn blob(&mut self, name: &str) -> Cut<Blob> {
        let (bytes, blob) = self.sized()?;
        self.push(name, bytes, Token::Literal(crate::script::show_blob(&blob)));
        Ok(blob)
    }

    /// A vector whose order means nothing.
    fn set(&mut self, name: &str, mut element: impl FnMut(&mut Self) -> Cut<String>) -> Cut<()> {
        let start = self.rest;
        let count = i32::from_be_bytes(self.array()?);
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        elements.sort();
        let label = format!("{count} [{}]", elements.join(", "));
        self.push(
            name,
            &start[..start.len() - self.rest.len()],
            Token::Literal(label),
        );
        Ok(())
    }

    /// A vector of strings, for callers that want its contents.
    ///
    /// # Errors
    /// When the bytes end before it does.
    pub fn strings(&mut self) -> Cut<Vec<String>> {
        let count = i32::from_be_bytes(self.array()?);
        let text = |blob| match blob {
            Blob::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Blob::Null | Blob::Length(_) => String::new(),
        };
        (0..count).map(|_| Ok(text(self.sized()?.1))).collect()
    }

    fn names(&mut self, name: &str) -> Cut<()> {
        self.set(name, |cutter| {
            Ok(crate::script::show_blob(&cutter.sized()?.1))
        })
    }

    /// An ACL, in its order but for neighbours that `auth` may have brought in any order.
    fn acl(&mut self) -> Cut<()> {
        let start = self.rest;
        let count = i32::from_be_bytes(self.array()?);
        let mut entries: Vec<(i32, Blob, Blob)> = Vec::new();
        for _ in 0..count {
            let perms = i32::from_be_bytes(self.array()?);
            entries.push((perms, self.sized()?.1, self.sized()?.1));
        }
        for run in entries.chunk_by_mut(|a, b| (a.0, &a.1) == (b.0, &b.1)) {
            run.sort_by_key(|entry| crate::script::show_blob(&entry.2));
        }
        let show = |(perms, scheme, id): &(i32, Blob, Blob)| {
            let [scheme, id] = [scheme, id].map(crate::script::show_blob);
            format!("{perms}:{scheme}:{id}")
        };
        let label = format!(
            "{count} [{}]",
            entries.iter().map(show).collect::<Vec<_>>().join(", ")
        );
        self.push(
            "acl",
            &start[..start.len() - self.rest.len()],
            Token::Literal(label),
        );
        Ok(())
    }

    fn stat(&mut self) -> Cut<()> {
        let czxid = self.zxid("czxid")?;
        let mzxid = self.zxid("mzxid")?;
        let ctime = self.time("ctime", Some(czxid))?;
        let mtime = self.time("mtime", Some(mzxid))?;
        self.int("version")?;
        self.int("cversion")?;
        self.int("aversion")?;
        self.session("ephemeralOwner")?;
        self.int("dataLength")?;
        self.int("numChildren")?;
        self.zxid("pzxid")?;
        // Worth saying beside the numbers: a node nobody has written since has one time.
        if czxid == mzxid {
            self.push(
                "ctime == mtime",
                &[],
                Token::Literal((ctime == mtime).to_string()),
            );
        }
        Ok(())
    }

    /// xid, zxid and err of a reply or an event.
    pub fn reply_header(&mut self) -> Cut<(i32, i64, i32)> {
        Ok((self.int("xid")?, self.zxid("zxid")?, self.int("err")?))
    }

    pub fn event(&mut self) -> Cut<()> {
        self.int("type")?;
        self.int("state")?;
        self.blob("path")?;
        Ok(())
    }

    /// Protocol version, timeout, id, password and, if there, the readOnly byte.
    pub fn connect_response(&mut self) -> Cut<(i64, Vec<u8>)> {
        self.int("protocolVersion")?;
        self.int("timeOut")?;
        let (bytes, id) = self.long()?;
        let label = if id == 0 { "0" } else { "an id" };
        self.push("sessionId", &bytes, Token::Literal(label.to_owned()));
        let (bytes, blob) = self.sized()?;
        let password = if let Blob::Bytes(password) = blob {
            password
        } else {
            Vec::new()
        };
        let label = match password.iter().all(|byte| *byte == 0) {
            true => format!("{} zero bytes", password.len()),
            false => format!("{} bytes", password.len()),
        };
        self.push("passwd", bytes, Token::Literal(label));
        if !self.rest.is_empty() {
            self.byte("readOnly")?;
        }
        Ok((id, password))
    }

    /// The body of a successful reply to this opcode.
    pub fn body(&mut self, op: i32) -> Cut<()> {
        match op {
            1 | 9 => drop(self.blob("path")?),
            15 | 19 | 21 => {
                self.blob("path")?;
                self.stat()?;
            }
            3 | 5 | 7 => self.stat()?,
            4 | 16 => {
                self.blob("data")?;
                self.stat()?;
            }
            6 => {
                self.acl()?;
                self.stat()?;
            }
            8 => self.names("children")?,
            12 => {
                self.names("children")?;
                self.stat()?;
            }
            code::MULTI | code::MULTI_READ => self.multi()?,
            102 => drop(self.blob("token")?),
            103 => self.names("ephemerals")?,
            104 => drop(self.int("totalNumber")?),
            106 => drop(self.int("err")?),
            107 => self.set("clientInfo", |cutter| {
                let [scheme, user] = [cutter.sized()?.1, cutter.sized()?.1];
                let [scheme, user] = [&scheme, &user].map(crate::script::show_blob);
                Ok(format!("{scheme}:{user}"))
            })?,
            // delete, ping, auth, setWatches, ... have no body; bytes that come are kept as they are.
            _ => {}
        }
        Ok(())
    }

    fn multi(&mut self) -> Cut<()> {
        loop {
            let op = self.int("op")?;
            let done = self.byte("done")?;
            self.int("err")?;
            match (done, op) {
                (0, -1) => drop(self.int("err")?),
                (0, op) => self.body(op)?,
                _ => return Ok(()),
            }
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
