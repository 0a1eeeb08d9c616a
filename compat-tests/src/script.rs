//! Scripts: what several sessions do, one after another, in a form to read and write by hand.
//!
//! ```text
//! # A comment.
//! config enforceQuota=true
//! open a timeout=10000                 a new session named a
//! a create /x data="some data"         one request in one write
//! | getData /x watch=1                 one more in the same write
//! a multi { delete /x version=3 ; check /y }
//! open b
//! | exists /x                          behind the connect request, in the same write
//! drop a                               the connection ends, the session stays
//! attach a password=null               a new connection for the session
//! bytes c "\x00\x00\x00\x02ab" closed  raw bytes, then everything until the server closes
//! bytes c "ruok" 1                     raw bytes, then one frame
//! gone a /x                            wait until the znode has been deleted
//! ```
//!
//! Each line that sends waits for all its answers before the next line begins, and for all events
//! that it caused on any session. A field that is not named has its default (see [`wire::OPS`]).
//! Strings are bare words or quoted, with `\xNN`; `null` is a null string or list, `#5` is a length
//! or count of 5 with nothing behind it, `"a"*9` is nine letters; `acl=[31:world:anyone]`.
//! Every request also takes `xid=`, `cut=` (bytes missing at its end) and `extra=` (bytes added).

use std::fmt::Write as _;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::wire::{
    Acl, Blob, Connect, List, OPS, OpSpec, Request, Value, ZxidValue, open_acl, spec, spec_named,
};

/// A longer string is quoted.
const WORD_BYTES_MAX: usize = 80;
/// A quoted string is not repeated to more than this.
const REPEATED_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `KEY=VALUE` lines of zoo.cfg that both servers get.
    pub config: Vec<String>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Connects with session id 0, with more requests in the same write.
    Open {
        session: String,
        connect: Connect,
        requests: Vec<Request>,
    },
    /// Connects with the session's id and password.
    Attach {
        session: String,
        connect: Connect,
        requests: Vec<Request>,
    },
    /// Closes the session's connection and says nothing.
    Drop { session: String },
    /// Requests in one write.
    Send {
        session: String,
        requests: Vec<Request>,
    },
    /// Bytes, on a new bare connection if the session has none.
    Bytes {
        session: String,
        bytes: Vec<u8>,
        wait: Wait,
    },
    /// Asks until the znode is missing.
    Gone { session: String, path: String },
}

/// What to read after raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    Closed,
    Frames(usize),
}

impl Step {
    pub fn requests(&self) -> &[Request] {
        match self {
            Self::Open { requests, .. }
            | Self::Attach { requests, .. }
            | Self::Send { requests, .. } => requests,
            Self::Drop { .. } | Self::Bytes { .. } | Self::Gone { .. } => &[],
        }
    }

    pub fn requests_mut(&mut self) -> Option<&mut Vec<Request>> {
        match self {
            Self::Open { requests, .. }
            | Self::Attach { requests, .. }
            | Self::Send { requests, .. } => Some(requests),
            Self::Drop { .. } | Self::Bytes { .. } | Self::Gone { .. } => None,
        }
    }
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.config {
            writeln!(f, "config {line}")?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut behind = self.requests();
        match self {
            Self::Open {
                session, connect, ..
            } => {
                write!(f, "open {session}{}", show_connect(connect))?;
            }
            Self::Attach {
                session, connect, ..
            } => {
                write!(f, "attach {session}{}", show_connect(connect))?;
            }
            Self::Drop { session } => write!(f, "drop {session}")?,
            Self::Bytes {
                session,
                bytes,
                wait,
            } => {
                write!(f, "bytes {session} {} ", quote(bytes))?;
                match wait {
                    Wait::Closed => f.write_str("closed")?,
                    Wait::Frames(count) => write!(f, "{count}")?,
                }
            }
            Self::Gone { session, path } => {
                write!(f, "gone {session} {}", show_blob(&Blob::text(path)))?;
            }
            Self::Send { session, requests } => {
                write!(f, "{session} ")?;
                if let Some((first, rest)) = requests.split_first() {
                    write!(f, "{first}")?;
                    behind = rest;
                }
            }
        }
        behind
            .iter()
            .try_for_each(|request| write!(f, "\n| {request}"))
    }
}

fn show_connect(connect: &Connect) -> String {
    let mut text = String::new();
    let usual = Connect::default();
    if connect.version != usual.version {
        let _ = write!(text, " version={}", connect.version);
    }
    if connect.zxid != usual.zxid {
        let _ = write!(text, " zxid={}", show_zxid(connect.zxid));
    }
    if connect.timeout_ms != usual.timeout_ms {
        let _ = write!(text, " timeout={}", connect.timeout_ms);
    }
    if let Some(password) = &connect.password {
        let _ = write!(text, " password={}", show_blob(password));
    }
    if connect.read_only != usual.read_only {
        let value = connect
            .read_only
            .map_or_else(|| "absent".to_owned(), |byte| byte.to_string());
        let _ = write!(text, " readonly={value}");
    }
    text
}

fn show_zxid(zxid: ZxidValue) -> String {
    match zxid {
        ZxidValue::At(zxid) => zxid.to_string(),
        ZxidValue::Seen(0) => "seen".to_owned(),
        ZxidValue::Seen(plus) => format!("seen:{plus}"),
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match spec(self.code) {
            Some(op) => write_fields(op, &self.values, f)?,
            None => {
                write!(f, "opcode code={}", self.code)?;
                for value in &self.values {
                    write!(f, " body={}", show_value(value))?;
                }
            }
        }
        if let Some(xid) = self.xid {
            write!(f, " xid={xid}")?;
        }
        if self.endless {
            f.write_str(" endless=1")?;
        }
        if self.cut > 0 {
            write!(f, " cut={}", self.cut)?;
        }
        if !self.extra.is_empty() {
            write!(f, " extra={}", quote(&self.extra))?;
        }
        Ok(())
    }
}

fn write_fields(
    op: &OpSpec,
    values: &[Value],
    f: &mut std::fmt::Formatter<'_>,
) -> std::fmt::Result {
    f.write_str(op.name)?;
    for (field, value) in op.fields.iter().zip(values) {
        match (field.name, value) {
            ("path", value) => write!(f, " {}", show_value(value))?,
            (_, Value::Requests(requests)) => {
                let inner: Vec<String> = requests.iter().map(Request::to_string).collect();
                write!(f, " {{ {} }}", inner.join(" ; "))?;
            }
            (name, value) if *value != (field.default)() => {
                write!(f, " {name}={}", show_value(value))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Byte(byte) => byte.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Long(long) => long.to_string(),
        Value::Zxid(zxid) => show_zxid(*zxid),
        Value::Blob(blob) => show_blob(blob),
        Value::Blobs(list) => show_list(list, show_blob),
        Value::Acls(list) => show_list(list, |acl| {
            format!(
                "{}:{}:{}",
                acl.perms,
                show_blob(&acl.scheme),
                show_blob(&acl.id)
            )
        }),
        Value::Requests(_) => unreachable!("written by write_fields"),
    }
}

fn show_list<T>(list: &List<T>, show: impl Fn(&T) -> String) -> String {
    match list {
        List::Null => "null".to_owned(),
        List::Length(length) => format!("#{length}"),
        List::Items(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(","))
        }
    }
}

/// A string as scripts write it.
pub fn show_blob(blob: &Blob) -> String {
    match blob {
        Blob::Null => "null".to_owned(),
        Blob::Length(length) => format!("#{length}"),
        Blob::Bytes(bytes) if is_word(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Blob::Bytes(bytes) => quote(bytes),
    }
}

fn is_word(bytes: &[u8]) -> bool {
    (1..=WORD_BYTES_MAX).contains(&bytes.len()) && bytes != b"null" && bytes.iter().all(is_bare)
}

fn is_bare(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/_.@+-".contains(byte)
}

fn quote(bytes: &[u8]) -> String {
    if let Some(first) = bytes.first()
        && bytes.len() > WORD_BYTES_MAX
        && bytes.iter().all(|byte| byte == first)
    {
        return format!("{}*{}", quote(&[*first]), bytes.len());
    }
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

impl std::str::FromStr for Script {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut script = Self {
            config: Vec::new(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            script
                .read_line(line.trim())
                .with_context(|| format!("line {}: {line}", index + 1))?;
        }
        Ok(script)
    }
}

impl Script {
    /// How many requests it sends.
    pub fn requests(&self) -> usize {
        self.steps
            .iter()
            .map(|step| step.requests().len().max(1))
            .sum()
    }

    fn read_line(&mut self, line: &str) -> Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(config) = line.strip_prefix("config ") {
            self.config.push(config.trim().to_owned());
            return Ok(());
        }
        let mut reader = Reader {
            rest: line.as_bytes(),
        };
        if reader.symbol(b'|') {
            let request = reader.request()?;
            let last = self.steps.last_mut().and_then(Step::requests_mut);
            last.context("nothing that this could be written with")?
                .push(request);
            return reader.end();
        }
        let word = reader.text()?;
        let step = match word.as_str() {
            "open" => {
                let session = reader.text()?;
                Step::Open {
                    session,
                    connect: reader.connect()?,
                    requests: Vec::new(),
                }
            }
            "attach" => {
                let session = reader.text()?;
                Step::Attach {
                    session,
                    connect: reader.connect()?,
                    requests: Vec::new(),
                }
            }
            "drop" => Step::Drop {
                session: reader.text()?,
            },
            "bytes" => {
                let session = reader.text()?;
                let Blob::Bytes(bytes) = reader.blob()? else {
                    bail!("bytes wants a string")
                };
                let wait = match reader.text()?.as_str() {
                    "closed" => Wait::Closed,
                    count => Wait::Frames(count.parse()?),
                };
                Step::Bytes {
                    session,
                    bytes,
                    wait,
                }
            }
            "gone" => Step::Gone {
                session: reader.text()?,
                path: reader.text()?,
            },
            _ => Step::Send {
                session: word,
                requests: vec![reader.request()?],
            },
        };
        self.steps.push(step);
        reader.end()
    }
}

/// Reads one line from its front.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn symbol(&mut self, symbol: u8) -> bool {
        self.skip_space();
        match self.rest.split_first() {
            Some((first, rest)) if *first == symbol => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, symbol: u8) -> Result<()> {
        ensure!(
            self.symbol(symbol),
            "expected `{}` before {}",
            char::from(symbol),
            self.shown()
        );
        Ok(())
    }

    fn shown(&self) -> String {
        format!("`{}`", String::from_utf8_lossy(self.rest))
    }

    fn end(&mut self) -> Result<()> {
        self.skip_space();
        ensure!(self.rest.is_empty(), "left over: {}", self.shown());
        Ok(())
    }

    fn blob(&mut self) -> Result<Blob> {
        if self.symbol(b'#') {
            return Ok(Blob::Length(self.number()?));
        }
        if self.symbol(b'"') {
            return self.quoted().map(Blob::Bytes);
        }
        self.skip_space();
        let length = self.rest.iter().take_while(|byte| is_bare(byte)).count();
        ensure!(length > 0, "expected a word at {}", self.shown());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(if word == b"null" {
            Blob::Null
        } else {
            Blob::Bytes(word.to_vec())
        })
    }

    fn quoted(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first().context("no closing quote")?;
            self.rest = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (&escape, rest) = self.rest.split_first().context("a lone backslash")?;
                    self.rest = rest;
                    if escape == b'x' {
                        let (digits, rest) = rest.split_at_checked(2).context("\\x wants two")?;
                        bytes.push(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?);
                        self.rest = rest;
                    } else {
                        bytes.push(escape);
                    }
                }
                byte => bytes.push(byte),
            }
        }
        if self.symbol(b'*') {
            let count: usize = self.number()?;
            ensure!(
                bytes.len().saturating_mul(count) <= REPEATED_BYTES_MAX,
                "too long"
            );
            bytes = bytes.repeat(count);
        }
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String> {
        match self.blob()? {
            Blob::Bytes(bytes) => Ok(String::from_utf8(bytes)?),
            blob => bail!("expected a word, not {}", show_blob(&blob)),
        }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let text = self.text()?;
        text.parse()
            .map_err(|_| anyhow!("`{text}` is no such number"))
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<List<T>> {
        if self.symbol(b'#') {
            return Ok(List::Length(self.number()?));
        }
        if !self.symbol(b'[') {
            ensure!(self.blob()? == Blob::Null, "expected `[`, `null` or `#`");
            return Ok(List::Null);
        }
        let mut items = Vec::new();
        while !self.symbol(b']') {
            items.push(element(self)?);
            self.symbol(b',');
        }
        Ok(List::Items(items))
    }

    fn zxid(&mut self) -> Result<ZxidValue> {
        let word = self.text()?;
        if word != "seen" {
            return Ok(ZxidValue::At(word.parse()?));
        }
        Ok(ZxidValue::Seen(if self.symbol(b':') {
            self.number()?
        } else {
            0
        }))
    }

    fn connect(&mut self) -> Result<Connect> {
        let mut connect = Connect::default();
        loop {
            self.skip_space();
            if self.rest.is_empty() {
                return Ok(connect);
            }
            let key = self.text()?;
            self.expect(b'=')?;
            match key.as_str() {
                "version" => connect.version = self.number()?,
                "zxid" => connect.zxid = self.zxid()?,
                "timeout" => connect.timeout_ms = self.number()?,
                "password" => connect.password = Some(self.blob()?),
                "readonly" => {
                    let word = self.text()?;
                    connect.read_only = if word == "absent" {
                        None
                    } else {
                        Some(word.parse()?)
                    };
                }
                _ => bail!("a connect request has no {key}"),
            }
        }
    }

    fn request(&mut self) -> Result<Request> {
        let name = self.text()?;
        let known = spec_named(&name);
        let mut request = match known {
            Some(op) => Request::new(op.code),
            None if name == "opcode" => Request::new(0),
            None => {
                let names: Vec<&str> = OPS.iter().map(|op| op.name).collect();
                bail!("no request is named {name}; there are {}", names.join(", "))
            }
        };
        let fields = known.map_or(&[][..], |op| op.fields);
        if fields.first().is_some_and(|field| field.name == "path") {
            request.values[0] = Value::Blob(self.blob()?);
        }
        loop {
            self.skip_space();
            if self.rest.is_empty() || b";}".contains(&self.rest[0]) {
                return Ok(request);
            }
            if self.symbol(b'{') {
                request.values[0] = Value::Requests(self.requests()?);
                continue;
            }
            let key = self.text()?;
            self.expect(b'=')?;
            if let Some(index) = fields.iter().position(|field| field.name == key) {
                request.values[index] = self.value(&request.values[index])?;
                continue;
            }
            match key.as_str() {
                "xid" => request.xid = Some(self.number()?),
                "cut" => request.cut = self.number()?,
                "endless" => request.endless = self.number::<i32>()? != 0,
                "code" if known.is_none() => request.code = self.number()?,
                "body" if known.is_none() => request.values = vec![Value::Blob(self.blob()?)],
                "extra" => match self.blob()? {
                    Blob::Bytes(bytes) => request.extra = bytes,
                    _ => bail!("extra wants a string"),
                },
                _ => bail!("{name} has no {key}"),
            }
        }
    }

    fn requests(&mut self) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        while !self.symbol(b'}') {
            requests.push(self.request()?);
            self.symbol(b';');
        }
        Ok(requests)
    }

    /// A value of the same kind as `like`.
    fn value(&mut self, like: &Value) -> Result<Value> {
        Ok(match like {
            Value::Byte(_) => Value::Byte(self.number()?),
            Value::Int(_) => Value::Int(self.number()?),
            Value::Long(_) => Value::Long(self.number()?),
            Value::Zxid(_) => Value::Zxid(self.zxid()?),
            Value::Blob(_) => Value::Blob(self.blob()?),
            Value::Blobs(_) => Value::Blobs(self.list(Self::blob)?),
            Value::Acls(_) => Value::Acls(self.acls()?),
            Value::Requests(_) => bail!("operations stand in braces"),
        })
    }

    fn acls(&mut self) -> Result<List<Acl>> {
        if self.rest.starts_with(b"open") {
            self.rest = &self.rest[4..];
            return Ok(open_acl());
        }
        self.list(|reader| {
            let perms = reader.number()?;
            reader.expect(b':')?;
            let scheme = reader.blob()?;
            reader.expect(b':')?;
            Ok(Acl {
                perms,
                scheme,
                id: reader.blob()?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let script: Script = text.parse().expect("the script is well-formed");
        assert_eq!(script.to_string(), text);
        let again: Script = script
            .to_string()
            .parse()
            .expect("what was printed is well-formed");
        assert_eq!(again, script);
    }

    #[test]
    fn scripts_read_back_as_written() {
        check("config enforceQuota=true\nopen a\na create /x\n| getData /x watch=1\n");
        check("open a version=5 zxid=seen:-1 timeout=-3 password=null readonly=absent\n| ping\n");
        check("a multi { create \"/a b\" data=null flags=2 ; delete /x version=3 } endless=1\n");
        check("a setACL /x acl=[31:world:anyone,0:digest:\"a:b\\xff\\\"\"] xid=-7 cut=2\n");
        check("a create null acl=null\n| create #5 acl=#-9\n| create /x data=\"a\"*9999\n");
        check("a setWatches zxid=17 data=[/a,\"\",null] exist=null child=#3 extra=\"\\x00\"\n");
        check("a opcode code=77 body=\"\\x00\\x01\"\ndrop a\nattach a password=bad\n");
        check("bytes c \"\\x00\\x00\\x00\\x02ab\" closed\nbytes c \"ruok\" 1\ngone a /x\n");
    }

    #[test]
    fn mistakes_are_refused() {
        for wrong in [
            "a fly /x",
            "a create",
            "a create /x wings=2",
            "| ping",
            "open a speed=9",
        ] {
            assert!(wrong.parse::<Script>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_are_encoded_as_the_protocol_says() {
        let script: Script = "a create /x data=hi flags=1 cut=1 extra=\"\\x09\""
            .parse()
            .expect("ok");
        let frame = script.steps[0].requests()[0].encode(7, 0);
        let expected = concat!(
            "00000007",
            "00000001",
            "00000002",
            "2f78",
            "00000002",
            "6869",
            "00000001",
            "0000001f",
            "00000005",
            "776f726c64",
            "00000006",
            "616e796f6e65",
            "000000",
            "09",
        );
        assert_eq!(crate::wire::hex(&frame), expected);
    }
}
