//! `SnapshotFormatter.java`: the znodes and sessions of a snapshot.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    Children, Done, EXIT_INVALID_INVOCATION, Loaded, Stop, child_path, data_len, date, load,
    validate,
};
use crate::upstream::image::Image;

const USAGE: &str = "USAGE: SnapshotFormatter [-d|-json] snapshot_file
       -d dump the data for each znode
       -json dump znode info in json format";

/// How Java prints a date.
const DATE: &str = "%a %b %d %H:%M:%S %Z %Y";

/// The number of the first znode in the JSON; nobody needs them, but the viewer wants some.
const FIRST_INODE: u64 = 1001;

pub(super) fn run(words: &[String], out: &mut dyn Write) -> Done {
    let (mut with_data, mut as_json, mut file) = (false, false, None);
    for word in words {
        match word.as_str() {
            _ if file.is_some() => return Err(usage()),
            "-d" => with_data = true,
            "-json" => as_json = true,
            _ => file = Some(Path::new(word)),
        }
    }
    let file = file.ok_or_else(usage)?;
    // Upstream takes an unknown option for the file, and then for too many of them.
    validate(file)?;
    if with_data && as_json {
        let why = "Cannot specify both data dump (-d) and json mode (-json) in same call";
        return Err(Stop::Failed(why.to_owned(), EXIT_INVALID_INVOCATION));
    }
    let loaded = load(file)?;
    if as_json {
        json(&loaded.image, out)
    } else {
        details(&loaded, with_data, out)
    }
}

fn usage() -> Stop {
    Stop::Failed(USAGE.to_owned(), EXIT_INVALID_INVOCATION)
}

fn details(loaded: &Loaded, with_data: bool, out: &mut dyn Write) -> Done {
    let image = &loaded.image;
    // Upstream's table has the root twice.
    writeln!(out, "ZNode Details (count={}):", image.len() + 1)?;
    let children = Children::of(image);
    let mut last = loaded.zxid;
    let mut stack = vec!["/".to_owned()];
    while let Some(path) = stack.pop() {
        let Some(node) = image.node(&path) else {
            continue;
        };
        let stat = &node.stat;
        writeln!(out, "----\n{path}")?;
        hex(out, "cZxid", stat.czxid)?;
        writeln!(out, "  ctime = {}", date(stat.ctime, DATE))?;
        hex(out, "mZxid", stat.mzxid)?;
        writeln!(out, "  mtime = {}", date(stat.mtime, DATE))?;
        hex(out, "pZxid", stat.pzxid)?;
        writeln!(out, "  cversion = {}", stat.cversion)?;
        writeln!(out, "  dataVersion = {}", stat.version)?;
        writeln!(out, "  aclVersion = {}", stat.aversion)?;
        hex(out, "ephemeralOwner", stat.ephemeral_owner)?;
        if with_data {
            let data = node.data.as_deref().unwrap_or_default();
            writeln!(out, "  data = {}", STANDARD.encode(data))?;
        } else {
            writeln!(out, "  dataLength = {}", data_len(node))?;
        }
        last = last.max(stat.mzxid).max(stat.pzxid);
        let names = children.names(&path).iter().rev();
        stack.extend(names.map(|name| child_path(&path, name)));
    }
    writeln!(out, "----\nSession Details (sid, timeout, ephemeralCount):")?;
    for (id, timeout_ms) in &image.sessions {
        let owned = image
            .nodes()
            .filter(|(_, node)| node.stat.ephemeral_owner == *id);
        writeln!(out, "{id:#016x}, {timeout_ms}, {}", owned.count())?;
    }
    writeln!(out, "----\nLast zxid: 0x{last:x}")?;
    Ok(())
}

fn hex(out: &mut dyn Write, name: &str, value: i64) -> Done {
    Ok(writeln!(out, "  {name} = {value:#016x}")?)
}

/// Directories are arrays, with the znode itself in front.
fn json(image: &Image, out: &mut dyn Write) -> Done {
    enum Step {
        Open(String, String),
        Close,
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    write!(
        out,
        "[1,0,{{\"progname\":\"SnapshotFormatter.java\",\"progver\":\"0.01\",\"timestamp\":{}}}",
        now.as_millis()
    )?;
    let children = Children::of(image);
    let mut inode = FIRST_INODE;
    let mut stack = vec![Step::Open("/".to_owned(), "/".to_owned())];
    while let Some(step) = stack.pop() {
        let (path, name) = match step {
            Step::Open(path, name) => (path, name),
            Step::Close => {
                out.write_all(b"]")?;
                continue;
            }
        };
        let len = image.node(&path).map_or(0, data_len);
        let names = children.names(&path);
        let open = if names.is_empty() { "" } else { "[" };
        let name = serde_json::Value::from(name);
        write!(
            out,
            ",{open}{{\"name\":{name},\"asize\":{len},\"dsize\":{len},\"dev\":0,\"ino\":{inode}}}"
        )?;
        inode += 1;
        if !names.is_empty() {
            stack.push(Step::Close);
            let names = names.iter().rev();
            stack.extend(names.map(|name| Step::Open(child_path(&path, name), (*name).to_owned())));
        }
    }
    Ok(out.write_all(b"]")?)
}
