//! Golden vectors: what went over the wire with a real server, with a comment per field.
//!
//! ```text
//! [reply]
//! 00000002                  # xid = 2
//! 0000000000000003          # zxid = 0x3
//! 00000005 68656c6c6f       # data = hello
//! 00000001                  # children count = 1
//! ```
//!
//! A string or buffer is two groups, its length and its bytes; everything else is one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::oracle::{Seat, Side, record};
use crate::play::{Item, What};
use crate::script::{Script, Step, show_blob};
use crate::server::Kind;
use crate::wire::{Blob, Connect, Field, List, Request, Token, Value, ZxidValue, hex, spec};

/// The name of each vector and the step that makes it. Steps without a name prepare others.
const STEPS: &[(&str, &str)] = &[
    ("", "open a"),
    ("auth", "a auth auth=\"bob:secret\""),
    ("create", "a create /a data=hello"),
    (
        "create2",
        "a create2 /a/b data=null acl=[31:auth:\"\",1:world:anyone] flags=2",
    ),
    ("createContainer", "a createContainer /a/c"),
    (
        "createTTL",
        "a createTTL /a/t data=\"\\x00\\xff\" ttl=3600000",
    ),
    ("", "a create /a/e flags=1"),
    ("exists", "a exists /a/e watch=1"),
    ("exists-error", "a exists /none"),
    ("getData", "a getData /a watch=1"),
    ("getData-null", "a getData /a/b0000000000"),
    ("event", "a setData /a data=\"\""),
    ("setData", "a setData /a data=world version=1"),
    ("getACL", "a getACL /a/b0000000000"),
    (
        "setACL",
        "a setACL /a acl=[31:world:anyone,1:ip:127.0.0.1] version=0",
    ),
    ("getChildren", "a getChildren /a watch=1"),
    ("getChildren2", "a getChildren2 /a"),
    ("getAllChildrenNumber", "a getAllChildrenNumber /"),
    ("getEphemerals", "a getEphemerals /"),
    ("sync", "a sync /a"),
    ("ping", "a ping"),
    ("whoAmI", "a whoAmI"),
    ("addWatch", "a addWatch /a mode=1"),
    ("checkWatches", "a checkWatches /a type=5"),
    ("removeWatches", "a removeWatches /a type=3"),
    (
        "setWatches",
        "a setWatches zxid=99 data=[/a,/a/e] exist=[/none] child=[]",
    ),
    (
        "setWatches2",
        "a setWatches2 zxid=99 data=[] exist=[] child=[/a] persistent=[/a] recursive=[/a,/]",
    ),
    ("sasl", "a sasl"),
    ("reconfig", "a reconfig joining=\"server.2=h:1:2;3\" from=7"),
    (
        "multi",
        "a multi { create /m data=1 ; create2 /m/n ; createTTL /m/t ttl=60000 ; setData /m data=2 version=0 ; \
         check /m version=1 ; delete /m/n version=0 ; createContainer /m/c }",
    ),
    (
        "multi-failed",
        "a multi { delete /m/c ; check /m version=7 ; create /x }",
    ),
    (
        "multiRead",
        "a multiRead { getData /m ; getChildren /m ; getData /none }",
    ),
    ("delete", "a delete /m/t version=0"),
    ("closeSession", "a closeSession"),
];

/// Plays the steps on a new ZooKeeper and writes a file for each named one.
///
/// # Errors
/// When the server fails or a file cannot be written.
pub fn write(folder: &Path) -> Result<usize> {
    let text: Vec<&str> = STEPS.iter().map(|(_, line)| *line).collect();
    let script: Script = text.join("\n").parse()?;
    let recording = record(Side::new(Kind::ZooKeeper, Seat::Alone), &script)?;
    fs::create_dir_all(folder)?;
    let mut written = 0;
    for (index, ((name, line), step)) in STEPS.iter().zip(&script.steps).enumerate() {
        let items: Vec<&Item> = recording
            .items
            .iter()
            .filter(|item| item.step == index)
            .collect();
        let mut sections = match step {
            Step::Open { connect, .. } => vec![("request", connect_fields(connect))],
            Step::Send { requests, .. } => vec![("request", request_fields(&requests[0], &items)?)],
            _ => bail!("{line}: not a step for a vector"),
        };
        for item in &items {
            let section = match item.what {
                What::Connected | What::Reply { .. } => "reply",
                What::Event => "event",
                What::Frame | What::Note(_) => continue,
            };
            sections.push((section, item.fields.iter().flat_map(parts).collect()));
        }
        let name = if matches!(step, Step::Open { .. }) {
            "connect"
        } else {
            name
        };
        if name.is_empty() {
            continue;
        }
        let mut file = format!("# Recorded from Apache ZooKeeper 3.9.5.\n# {line}\n");
        for (section, parts) in sections {
            let _ = writeln!(file, "\n[{section}]");
            for Part { bytes, comment } in parts {
                let _ = writeln!(file, "{bytes:<36} # {comment}");
            }
        }
        fs::write(folder.join(format!("{name}.txt")), file)?;
        written += 1;
    }
    ensure!(written > 0, "no vectors");
    Ok(written)
}

struct Part {
    bytes: String,
    comment: String,
}

fn part(name: &str, value: impl std::fmt::Display, bytes: &[u8]) -> Part {
    Part {
        bytes: hex(bytes),
        comment: format!("{name} = {value}"),
    }
}

fn blob_part(name: &str, blob: &Blob) -> Part {
    let bytes = match blob {
        Blob::Null => hex(&(-1_i32).to_be_bytes()),
        Blob::Length(length) => hex(&length.to_be_bytes()),
        Blob::Bytes(bytes) => {
            let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes();
            format!("{} {}", hex(&length), hex(bytes))
        }
    };
    Part {
        bytes,
        comment: format!("{name} = {}", show_blob(blob)),
    }
}

fn connect_fields(connect: &Connect) -> Vec<Part> {
    vec![
        part(
            "protocolVersion",
            connect.version,
            &connect.version.to_be_bytes(),
        ),
        part("lastZxidSeen", 0, &0_i64.to_be_bytes()),
        part(
            "timeOut",
            connect.timeout_ms,
            &connect.timeout_ms.to_be_bytes(),
        ),
        part("sessionId", 0, &0_i64.to_be_bytes()),
        blob_part("passwd", &Blob::Bytes(vec![0; 16])),
        part("readOnly", 0, &[0]),
    ]
}

fn request_fields(request: &Request, items: &[&Item]) -> Result<Vec<Part>> {
    let reply = items
        .iter()
        .find(|item| matches!(item.what, What::Reply { .. }));
    let xid = reply
        .and_then(|item| item.fields.first())
        .context("no reply")?;
    let mut parts = vec![
        Part {
            bytes: hex(&xid.bytes),
            comment: "xid".to_owned(),
        },
        part("type", request.code, &request.code.to_be_bytes()),
    ];
    record_parts("", request, &mut parts);
    Ok(parts)
}

fn record_parts(prefix: &str, request: &Request, parts: &mut Vec<Part>) {
    let fields = spec(request.code).map_or(&[][..], |op| op.fields);
    for (field, value) in fields.iter().zip(&request.values) {
        let name = &format!("{prefix}{}", field.name);
        match value {
            Value::Byte(byte) => parts.push(part(name, byte, &[*byte])),
            Value::Int(int) => parts.push(part(name, int, &int.to_be_bytes())),
            Value::Long(long) => parts.push(part(name, long, &long.to_be_bytes())),
            Value::Zxid(ZxidValue::At(zxid) | ZxidValue::Seen(zxid)) => {
                parts.push(part(name, zxid, &zxid.to_be_bytes()));
            }
            Value::Blob(blob) => parts.push(blob_part(name, blob)),
            Value::Blobs(List::Items(items)) => {
                parts.push(count_part(name, items.len()));
                parts.extend(items.iter().map(|item| blob_part(name, item)));
            }
            Value::Acls(List::Items(items)) => {
                parts.push(count_part(name, items.len()));
                for acl in items {
                    parts.push(part("perms", acl.perms, &acl.perms.to_be_bytes()));
                    parts.push(blob_part("scheme", &acl.scheme));
                    parts.push(blob_part("id", &acl.id));
                }
            }
            Value::Blobs(_) | Value::Acls(_) => {}
            Value::Requests(requests) => {
                for (index, request) in requests.iter().enumerate() {
                    let header = [&request.code.to_be_bytes()[..], &[0], &[0xff; 4]].concat();
                    parts.push(part(
                        &format!("op {index}: header, type"),
                        request.code,
                        &header,
                    ));
                    record_parts(&format!("op {index}: "), request, parts);
                }
                let end = [&[0xff; 4][..], &[1], &[0xff; 4]].concat();
                parts.push(part("header, end of the operations", -1, &end));
            }
        }
    }
}

fn count_part(name: &str, count: usize) -> Part {
    let bytes = i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes();
    part(&format!("{name} count"), count, &bytes)
}

/// A field of a reply, with lists in their single elements.
fn parts(field: &Field) -> Vec<Part> {
    let names: &[&str] = match field.name.as_str() {
        "children" => &["child"],
        "ephemerals" => &["ephemeral"],
        "acl" => &["perms", "scheme", "id"],
        "clientInfo" => &["scheme", "user"],
        "path" | "data" | "token" | "passwd" => {
            let (blob, _) = split_blob(&field.bytes);
            return vec![blob_part(&field.name, &blob)];
        }
        _ if field.bytes.is_empty() => return Vec::new(),
        name => {
            let value = match &field.token {
                Token::Literal(_) | Token::Time { .. } => signed(&field.bytes).to_string(),
                Token::Zxid(zxid) => format!("{zxid:#x}"),
            };
            return vec![part(name, value, &field.bytes)];
        }
    };
    let (count, mut rest) = field.bytes.split_at(4);
    let mut parts = vec![part(&format!("{} count", field.name), signed(count), count)];
    while !rest.is_empty() {
        for name in names {
            if *name == "perms" {
                let (perms, behind) = rest.split_at(4);
                parts.push(part(name, signed(perms), perms));
                rest = behind;
            } else {
                let (blob, behind) = split_blob(rest);
                parts.push(blob_part(name, &blob));
                rest = behind;
            }
        }
    }
    parts
}

fn split_blob(bytes: &[u8]) -> (Blob, &[u8]) {
    let (length, rest) = bytes.split_at(4);
    match usize::try_from(signed(length)) {
        Ok(length) => (Blob::Bytes(rest[..length].to_vec()), &rest[length..]),
        Err(_) => (Blob::Null, rest),
    }
}

fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let start = if negative && bytes.len() > 1 { -1 } else { 0 };
    bytes
        .iter()
        .fold(start, |value, byte| value << 8 | i64::from(*byte))
}
