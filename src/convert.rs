//! ZooKeeper's image of a tree to our state, and back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use jute::proto::txn::StatPersisted;

use crate::auth::Schemes;
use crate::ensemble::{SnapshotReader, read_snapshot};
use crate::session::{Session, SessionTable};
use crate::state::{LogPosition, SnapshotBuilder, State};
use crate::tree::build::{Builder, KeptNode};
use crate::tree::{AclEntry, DataTree, NodeId, Owner, SLOT_BYTES};
use crate::types::{SessionId, Zxid};
use crate::upstream::image::{Image, ImageNode, ListRef};
use crate::upstream::input::{Compression, Input};
use crate::upstream::{Progress, password, snapshot};

/// The list of a znode whose own was lost: nobody may do anything with it, but for the super user.
fn nobodys() -> [AclEntry; 1] {
    [AclEntry::new(0, "world", "anyone")]
}

/// Our state from what ZooKeeper has left. Sessions get the passwords that ZooKeeper gave them.
///
/// # Errors
/// A sentence: what is no tree.
pub fn state_of(
    image: &Image,
    extended_types: bool,
    schemes: Arc<Schemes>,
    zxid: Zxid,
    position: LogPosition,
) -> Result<State, String> {
    let nobodys = nobodys();
    let mut nodes = image.nodes();
    let (_, root) = nodes.next().ok_or("there is no root")?;
    let mut builder = Builder::new(extended_types, &kept(root, &nobodys));
    for (path, node) in nodes {
        builder.add(path, &kept(node, &nobodys))?;
    }
    let mut sessions = SessionTable::default();
    for (id, timeout_ms) in &image.sessions {
        let session = Session {
            timeout_ms: *timeout_ms,
            password: password::of_session(*id),
            attach: 0,
        };
        sessions.insert(SessionId(*id), session);
    }
    let tree = builder.finish();
    Ok(State::founded(schemes, tree, sessions, zxid, position))
}

fn kept<'a>(node: &'a ImageNode, nobodys: &'a [AclEntry]) -> KeptNode<'a> {
    let stat = &node.stat;
    KeptNode {
        data: node.data.as_deref(),
        acl: match &node.acl {
            ListRef::Known(list) => list,
            ListRef::Unknown(_) => nobodys,
        },
        owner: stat.ephemeral_owner,
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        created_children: stat.cversion,
        aversion: stat.aversion,
    }
}

/// What ZooKeeper is to start with, as of `zxid`.
pub fn image_of(state: &State, zxid: Zxid) -> Image {
    let tree = &state.tree;
    let mut image = Image::bare(zxid.0, tree.extended_types());
    image.sessions = state
        .sessions
        .iter()
        .map(|(id, session)| (id.0, session.timeout_ms))
        .collect::<BTreeMap<_, _>>();
    let mut stack = vec![(NodeId::ROOT, String::new())];
    while let Some((id, path)) = stack.pop() {
        for (child, name) in tree.children_by_id(id) {
            stack.push((child, format!("{path}/{name}")));
        }
        let stat = tree.stat(id);
        let node = ImageNode {
            data: tree.data(id).map(Into::into),
            acl: ListRef::Known(image.known(tree.acl(id))),
            stat: StatPersisted {
                czxid: stat.czxid,
                mzxid: stat.mzxid,
                ctime: stat.ctime,
                mtime: stat.mtime,
                version: stat.version,
                cversion: tree.created_children(id),
                aversion: stat.aversion,
                ephemeral_owner: tree.owner(id).to_raw(),
                pzxid: stat.pzxid,
            },
        };
        // Parents come off the stack before their children.
        image.place(path, node);
    }
    image
}

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Upstream(Compression),
}

fn kind_of(path: &Path) -> Result<Kind, String> {
    let mut first = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(8).read_to_end(&mut first);
    read.map_err(|error| error.to_string())?;
    [
        (&b"MKSNAP"[..], Kind::Ours),
        (b"ZKSN", Kind::Upstream(Compression::Plain)),
        (b"\x1f\x8b", Kind::Upstream(Compression::Gzip)),
        (b"\x82SNAPPY", Kind::Upstream(Compression::Snappy)),
    ]
    .into_iter()
    .find(|(magic, _)| first.starts_with(magic))
    .map(|(_, kind)| kind)
    .ok_or_else(|| "it is neither a snapshot of Meerkat nor one of ZooKeeper".to_owned())
}

/// The state that a snapshot of ours holds; `progress` hears of its bytes.
///
/// # Errors
/// A sentence: it cannot be read, or is damaged.
pub fn read_state(
    reader: &mut dyn SnapshotReader,
    schemes: &Arc<Schemes>,
    progress: Progress<'_>,
) -> Result<State, String> {
    read_blocks(reader, SnapshotBuilder::new(Arc::clone(schemes)), progress)
}

fn read_blocks(
    reader: &mut dyn SnapshotReader,
    mut builder: SnapshotBuilder,
    progress: Progress<'_>,
) -> Result<State, String> {
    while let Some(block) = reader.next_block().map_err(|error| error.why())? {
        progress(block.len() as u64);
        builder.add(&block)?;
    }
    builder.finish()
}

/// What one snapshot file holds.
pub struct ReadFile {
    pub state: State,
    /// Why the state may be one that never was.
    pub remark: Option<String>,
    /// Whether it is ZooKeeper's.
    pub is_zookeepers: bool,
}

/// TTL znodes are ephemerals of nobody to servers without `extendedTypesEnabled`.
///
/// # Errors
/// A sentence: which znode is one.
pub fn refuse_ttl(tree: &DataTree) -> Result<(), String> {
    let is_ttl = |id: &NodeId| matches!(tree.owner(*id), Owner::Ttl(_));
    match tree.reapable().find(is_ttl) {
        None => Ok(()),
        Some(id) => Err(format!(
            "{} is a TTL znode, but the servers run without extendedTypesEnabled",
            tree.path_of(id)
        )),
    }
}

/// Whether a snapshot of ZooKeeper's is the tree that its digest is of. One that was written while
/// its tree changed is not, and only the log behind it would make it so.
fn check_digest(read: &snapshot::Snapshot, path: &Path) -> Result<Option<String>, String> {
    let Some(digest) = read.digest else {
        return Ok(Some("it has no digest to be compared".to_owned()));
    };
    let found = read.image.digest();
    if digest.version != snapshot::DIGEST_VERSION || found == digest.digest {
        return Ok(None);
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let zxid = name.and_then(|name| name.strip_prefix("snapshot.")?.split('.').next());
    let begun = zxid.and_then(|hex| i64::from_str_radix(hex, 16).ok());
    if begun == Some(digest.zxid) {
        return Err(format!(
            "the digest of its tree is {found:x} instead of {:x}",
            digest.digest
        ));
    }
    Ok(Some(format!(
        "it was written under load, until zxid {}: only the log behind it makes it whole",
        Zxid(digest.zxid)
    )))
}

/// The state in one snapshot file, ours or Apache ZooKeeper's, whatever it is called. That of
/// ZooKeeper has a zxid behind all that its znodes were changed by, for only its name would tell.
/// `bytes_max` bounds what it may be decompressed to, and the memory for its slots.
///
/// # Errors
/// A sentence: it is no snapshot, damaged, or too long.
pub fn read_file(
    path: &Path,
    schemes: &Arc<Schemes>,
    bytes_max: usize,
    progress: Progress<'_>,
) -> Result<ReadFile, String> {
    let compression = match kind_of(path)? {
        Kind::Ours => {
            let mut state = None;
            let read = read_snapshot(path, &mut |reader| {
                let slots_max = u32::try_from(bytes_max / SLOT_BYTES).unwrap_or(u32::MAX);
                let builder = SnapshotBuilder::new(Arc::clone(schemes)).with_slots_max(slots_max);
                state = Some(read_blocks(reader, builder, progress)?);
                Ok(())
            });
            read.map_err(|error| format!("the snapshot cannot be read: {}", error.why()))?;
            return Ok(ReadFile {
                state: state.ok_or_else(|| "it is empty".to_owned())?,
                remark: None,
                is_zookeepers: false,
            });
        }
        Kind::Upstream(compression) => compression,
    };
    let text = |error: crate::upstream::FileError| error.to_string();
    let input = Input::open_as(path, compression, progress).map_err(text)?;
    let mut input = input.at_most(bytes_max as u64);
    let mut read = snapshot::decode(&mut input, 0, true).map_err(text)?;
    let remark = check_digest(&read, path)?;
    let repairs = read.image.finish();
    let broken = [
        (&repairs.parentless, "has no parent"),
        (&repairs.without_list, "has no access control list"),
    ];
    for (paths, what) in broken {
        if let Some(path) = paths.first() {
            return Err(format!("the znode {path} {what}"));
        }
    }
    let zxids = read.image.nodes().map(|(_, node)| {
        let stat = &node.stat;
        stat.czxid.max(stat.mzxid).max(stat.pzxid)
    });
    let written_until = read.digest.map_or(0, |digest| digest.zxid);
    let zxid = Zxid(zxids.fold(written_until, i64::max));
    let position = LogPosition::default();
    Ok(ReadFile {
        state: state_of(&read.image, true, Arc::clone(schemes), zxid, position)?,
        remark,
        is_zookeepers: true,
    })
}
