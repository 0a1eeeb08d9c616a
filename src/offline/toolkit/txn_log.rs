//! `TxnLogToolkit.java`: prints a transaction log of ZooKeeper's, mends its checksums, cuts it off.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use jute::proto::Acl;
use jute::proto::txn::{FileHeader, MultiTxn, TxnBody, TxnHeader, TxnRecord};
use jute::{Decode, Encode as _, OpCode, Reader, Str};

use super::options::{self, Given, Known};
use super::{Done, EXIT_FAILED, EXIT_INVALID_INVOCATION, Stop, date};

const USAGE: &str = "usage: TxnLogToolkit [-dhrvc] <txn_log_file_name> (-z <zxid>)
 -c,--chop         Chop mode. Chop txn file to a zxid.
 -d,--dump         Dump mode. Dump all entries of the log file with printing the content of a nodepath (default)
 -h,--help         Print help message
 -r,--recover      Recovery mode. Re-calculate CRC for broken entries.
 -v,--verbose      Be verbose in recovery mode: print all entries, not just fixed ones.
 -y,--yes          Non-interactive mode: repair all CRC errors without asking
 -z,--zxid <arg>   Used with chop. Zxid to which to chop.";

const MAGIC: i32 = i32::from_be_bytes(*b"ZKLG");
const FILE_HEADER_LEN: usize = 16;
const END_OF_RECORD: u8 = b'B';
/// `jute.maxbuffer` and what upstream adds to it bound a record; this is far above.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// How Java prints a date with `SHORT` and a time with `LONG`.
const DATE: &str = "%-m/%-d/%y, %-I:%M:%S %p %Z";

const OPTIONS: [Known; 7] = [
    Known::flag('c', "chop"),
    Known::flag('d', "dump"),
    Known::flag('h', "help"),
    Known::flag('r', "recover"),
    Known::flag('v', "verbose"),
    Known::flag('y', "yes"),
    Known::with_value('z', "zxid"),
];

pub(super) fn run(words: &[String], out: &mut dyn Write) -> Done {
    let given = match options::parse(words, &OPTIONS) {
        Ok(given) => given,
        Err(why) => {
            writeln!(out, "{USAGE}")?;
            return Err(Stop::Failed(why, EXIT_FAILED));
        }
    };
    if given.has('h') {
        return Ok(writeln!(out, "{USAGE}")?);
    }
    let Some(path) = given.words.first().map(Path::new) else {
        writeln!(out, "{USAGE}")?;
        return Err(Stop::Failed(String::new(), EXIT_FAILED));
    };
    let missing = || {
        let why = format!("File doesn't exist or not readable: {}", path.display());
        Stop::Failed(why, EXIT_FAILED)
    };
    // Without a zxid to cut at, upstream prints the log.
    let cut_at = match given.value('z').filter(|_| given.has('c')) {
        Some(text) => {
            let zxid = decode_number(text);
            Some(zxid.map_err(|why| Stop::Failed(why, EXIT_FAILED))?)
        }
        None => None,
    };
    if !path.is_file() {
        return Err(missing());
    }
    let file = File::open(path).map_err(|_| missing())?;
    let mut log = Log {
        input: BufReader::new(file),
        path,
    };
    match cut_at {
        Some(zxid) => chop(&mut log, zxid, out),
        None => dump(&mut log, &given, out),
    }
}

/// Decimal, `0x` and hexadecimal, or `0` and octal (`Long.decode`).
fn decode_number(text: &str) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x").or_else(|| lower.strip_prefix('#')) {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => i64::from_str_radix(&lower[1..], 8),
        None => lower.parse(),
    };
    number.map_err(|_| format!("For input string: \"{text}\""))
}

/// A record as it stands in the file, whatever its checksum says.
struct Raw {
    checksum: i64,
    bytes: Vec<u8>,
}

impl Raw {
    fn found(&self) -> i64 {
        i64::from(adler2::adler32_slice(&self.bytes))
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut head = BytesMut::new();
        self.checksum.encode(&mut head);
        Some(self.bytes.as_slice()).encode(&mut head);
        out.write_all(&head)?;
        out.write_all(&[END_OF_RECORD])
    }
}

struct Log<'p> {
    input: BufReader<File>,
    path: &'p Path,
}

impl Log<'_> {
    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn failed(&self, error: &io::Error) -> Stop {
        Stop::Failed(format!("{}: {error}", self.path.display()), EXIT_FAILED)
    }

    fn take<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Stop> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn header(&mut self) -> Result<FileHeader, Stop> {
        let bytes = self.take::<FILE_HEADER_LEN>()?;
        let header = bytes.and_then(|bytes| Reader::new(&bytes).read::<FileHeader>().ok());
        match header {
            Some(header) if header.magic == MAGIC => Ok(header),
            Some(_) => {
                let why = format!("Invalid magic number for {}", self.name());
                Err(Stop::Failed(why, EXIT_INVALID_INVOCATION))
            }
            None => {
                let why = format!("{} is too short for a log", self.path.display());
                Err(Stop::Failed(why, EXIT_FAILED))
            }
        }
    }

    /// The next record but for its last byte; `None` where nothing was written any more.
    fn next(&mut self) -> Result<Option<Raw>, Stop> {
        let (Some(checksum), Some(len)) = (self.take::<8>()?, self.take::<4>()?) else {
            return Ok(None);
        };
        let len = usize::try_from(i32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len == 0 {
            return Ok(None);
        }
        if len > RECORD_BYTES_MAX {
            let why = format!("{}: a record of impossible length", self.path.display());
            return Err(Stop::Failed(why, EXIT_FAILED));
        }
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(len as u64).read_to_end(&mut bytes);
        if read.map_err(|error| self.failed(&error))? < len {
            return Ok(None);
        }
        Ok(Some(Raw {
            checksum: i64::from_be_bytes(checksum),
            bytes,
        }))
    }

    fn end_of_record(&mut self) -> Result<(), Stop> {
        if self.take::<1>()? == Some([END_OF_RECORD]) {
            return Ok(());
        }
        let why = "Last transaction was partial.".to_owned();
        Err(Stop::Failed(why, EXIT_FAILED))
    }
}

fn print_header(header: &FileHeader, out: &mut dyn Write) -> Done {
    Ok(writeln!(
        out,
        "ZooKeeper Transactional Log File with dbid {} txnlog format version {}",
        header.db_id, header.version
    )?)
}

fn put_header(header: &FileHeader, out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes);
    out.write_all(&bytes)
}

fn dump(log: &mut Log<'_>, given: &Given, out: &mut dyn Write) -> Done {
    let mut fixed_path = log.path.to_owned().into_os_string();
    fixed_path.push(".fixed");
    let fixed_path = PathBuf::from(fixed_path);
    let unwritable = |_| {
        let shown = fixed_path.display();
        let why = format!("Recovery file {shown} already exists or not writable");
        Stop::Failed(why, EXIT_FAILED)
    };
    let mut fixed = match given.has('r') {
        true => {
            let file = File::create_new(&fixed_path).map_err(unwritable)?;
            Some(BufWriter::new(file))
        }
        false => None,
    };
    let header = log.header()?;
    print_header(&header, out)?;
    if let Some(fixed) = &mut fixed {
        put_header(&header, fixed).map_err(unwritable)?;
    }
    let mut lines = io::stdin().lock().lines();
    let (mut count, mut mended) = (0u64, 0u64);
    while let Some(mut record) = log.next()? {
        let found = record.found();
        if record.checksum != found {
            let mends = match (given.has('r'), given.has('y')) {
                (true, true) => {
                    print_record(&record.bytes, "CRC FIXED - ", out)?;
                    true
                }
                (true, false) => {
                    print_record(&record.bytes, "CRC ERROR - ", out)?;
                    ask(&mut lines, out)?
                }
                (false, _) => {
                    print_record(&record.bytes, "CRC ERROR - ", out)?;
                    false
                }
            };
            if mends {
                record.checksum = found;
                mended += 1;
            }
        }
        if fixed.is_none() || given.has('v') {
            print_record(&record.bytes, "", out)?;
        }
        log.end_of_record()?;
        if let Some(fixed) = &mut fixed {
            record.write(fixed).map_err(unwritable)?;
        }
        count += 1;
    }
    writeln!(out, "EOF reached after {count} txns.")?;
    if let Some(mut fixed) = fixed {
        let whole = fixed.flush().and_then(|()| fixed.get_ref().sync_all());
        whole.map_err(unwritable)?;
        writeln!(
            out,
            "Recovery file {} has been written with {mended} fixed CRC error(s)",
            fixed_path.display()
        )?;
    }
    Ok(())
}

/// Whether to mend a checksum, as the user says.
fn ask(
    lines: &mut impl Iterator<Item = io::Result<String>>,
    out: &mut dyn Write,
) -> Result<bool, Stop> {
    loop {
        write!(out, "Would you like to fix it (Yes/No/Abort) ? ")?;
        out.flush()?;
        let answer = lines.next().and_then(Result::ok);
        let first = answer.map(|answer| answer.chars().next().map(|c| c.to_ascii_uppercase()));
        match first {
            Some(Some('Y')) => return Ok(true),
            Some(Some('N')) => return Ok(false),
            // Nobody is there to ask.
            None | Some(Some('A')) => {
                // It ends as it was told to.
                return Err(Stop::Failed("Recovery aborted.".to_owned(), 0));
            }
            Some(_) => {}
        }
    }
}

/// Copies all records up to a zxid. It ends with 0 whatever comes of it, as upstream's.
fn chop(log: &mut Log<'_>, zxid: i64, out: &mut dyn Write) -> Done {
    match copy_until(log, zxid, out) {
        Err(Stop::Failed(why, _)) => Ok(writeln!(out, "Got exception: {why}")?),
        done => done,
    }
}

/// See `LogChopper.java`.
fn copy_until(log: &mut Log<'_>, zxid: i64, out: &mut dyn Write) -> Done {
    let header = log.header()?;
    print_header(&header, out)?;
    let mut path = log.path.to_owned().into_os_string();
    path.push(format!(".chopped{zxid}"));
    let path = PathBuf::from(path);
    let failed =
        |error: io::Error| Stop::Failed(format!("{}: {error}", path.display()), EXIT_FAILED);
    let no_use = |why: String| Stop::Failed(why, EXIT_INVALID_INVOCATION);
    let mut chopped = BufWriter::new(File::create(&path).map_err(failed)?);
    put_header(&header, &mut chopped).map_err(failed)?;
    let (mut count, mut has_zxid) = (0u64, false);
    while let Some(record) = log.next()? {
        if record.checksum != record.found() {
            let why = format!(
                "CRC doesn't match {} vs {}",
                record.checksum,
                record.found()
            );
            return Err(Stop::Failed(why, EXIT_FAILED));
        }
        log.end_of_record()?;
        let read = Reader::new(&record.bytes).read::<TxnHeader>();
        let at = read
            .map_err(|error| no_use(format!("{}: {error}", log.path.display())))?
            .zxid;
        if at > zxid {
            if !has_zxid {
                writeln!(out, "This log does not contain zxid {zxid:x}")?;
                return Err(no_use(format!("Failed to chop {}", log.name())));
            }
            writeln!(out, "Chopping at {zxid:x} new log has {count} records")?;
            return chopped
                .flush()
                .and_then(|()| chopped.get_ref().sync_all())
                .map_err(failed);
        }
        has_zxid |= at == zxid;
        record.write(&mut chopped).map_err(failed)?;
        count += 1;
    }
    writeln!(out, "EOF reached after {count} txns.")?;
    Err(no_use(format!("Failed to chop {}", log.name())))
}

fn print_record(bytes: &[u8], prefix: &str, out: &mut dyn Write) -> Done {
    let Ok(header) = Reader::new(bytes).read::<TxnHeader>() else {
        return Ok(writeln!(out, "{prefix}a record that is none")?);
    };
    let op = OpCode(header.kind);
    let name = op
        .name()
        .map_or_else(|| format!("unknown {}", op.0), str::to_owned);
    let text = text(op, bytes).unwrap_or_else(|| "a record that is none".to_owned());
    write!(
        out,
        "{prefix}{} session 0x{:x} cxid 0x{:x} zxid 0x{:x} {name} {text}",
        date(header.time_ms, DATE),
        header.client_id,
        header.cxid,
        header.zxid
    )?;
    if !text.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(())
}

/// Bytes of a [`TxnHeader`].
const TXN_HEADER_LEN: usize = 32;

/// The record behind the header, as upstream spells each kind.
fn text(op: OpCode, bytes: &[u8]) -> Option<String> {
    if op == OpCode::MULTI {
        let mut reader = Reader::new(bytes.get(TXN_HEADER_LEN..)?);
        let multi = MultiTxn::decode(&mut reader).ok()?;
        let parts = multi.txns.unwrap_or_default().into_iter().map(|txn| {
            let name = OpCode(txn.kind).name().unwrap_or("unknown");
            format!("{name}:{}", data(txn.data))
        });
        return Some(parts.collect::<Vec<_>>().join(";"));
    }
    let record: TxnRecord<'_> = Reader::new(bytes).read().ok()?;
    Some(match record.body {
        TxnBody::Create(_, txn) => format!(
            "{},{},{},{},{}",
            plain(&txn.path),
            data(txn.data),
            acls(txn.acl.as_deref()),
            txn.ephemeral,
            txn.parent_cversion
        ),
        TxnBody::CreateContainer(txn) => format!(
            "{},{},{},{}",
            plain(&txn.path),
            data(txn.data),
            acls(txn.acl.as_deref()),
            txn.parent_cversion
        ),
        TxnBody::CreateTtl(txn) => format!(
            "{},{},{},{},{}",
            plain(&txn.path),
            data(txn.data),
            acls(txn.acl.as_deref()),
            txn.parent_cversion,
            txn.ttl_ms
        ),
        TxnBody::SetData(txn) => {
            format!("{},{},{}", plain(&txn.path), data(txn.data), txn.version)
        }
        TxnBody::Delete(txn) => format!("{}\n", quoted(&txn.path)),
        TxnBody::SetAcl(txn) => {
            let list = txn.acl.unwrap_or_default();
            let list: Vec<String> = list
                .iter()
                .map(|acl| format!("s{{{}}}", acl_text(acl)))
                .collect();
            format!(
                "{},v{{{}}},{}\n",
                quoted(&txn.path),
                list.join(","),
                txn.version
            )
        }
        TxnBody::Check(txn) => format!("{},{}\n", quoted(&txn.path), txn.version),
        TxnBody::Error(txn) => format!("{}\n", txn.err),
        TxnBody::CreateSession(txn) => format!("{}\n", txn.timeout_ms),
        TxnBody::CloseSession(None) => String::new(),
        TxnBody::CloseSession(Some(txn)) => {
            let paths = txn.paths_to_delete.unwrap_or_default();
            let paths: Vec<String> = paths.iter().map(quoted).collect();
            format!("v{{{}}}\n", paths.join(","))
        }
        // Handled above, with the bytes of its parts.
        TxnBody::Multi(_) => return None,
    })
}

fn plain<'a>(text: &'a Str<'_>) -> &'a str {
    text.as_deref().unwrap_or("null")
}

fn data(data: Option<&[u8]>) -> String {
    String::from_utf8_lossy(data.unwrap_or_default()).into_owned()
}

fn acls(list: Option<&[Acl<'_>]>) -> String {
    let Some(list) = list else {
        return "null".to_owned();
    };
    let list: Vec<String> = list
        .iter()
        .map(|acl| format!("{}\n", acl_text(acl)))
        .collect();
    format!("[{}]", list.join(", "))
}

fn acl_text(acl: &Acl<'_>) -> String {
    format!(
        "{},s{{{},{}}}",
        acl.perms,
        quoted(&acl.id.scheme),
        quoted(&acl.id.id)
    )
}

/// A string in a record's own text (`Utils.toCSVString`).
fn quoted(text: &Str<'_>) -> String {
    let Some(text) = text.as_deref() else {
        return String::new();
    };
    let mut out = String::from("'");
    for char in text.chars() {
        match char {
            '\0' => out.push_str("%00"),
            '\n' => out.push_str("%0A"),
            '\r' => out.push_str("%0D"),
            ',' => out.push_str("%2C"),
            '}' => out.push_str("%7D"),
            '%' => out.push_str("%25"),
            char => out.push(char),
        }
    }
    out
}
