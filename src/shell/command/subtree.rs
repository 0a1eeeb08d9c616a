//! Subtrees read and written as a whole, for the commands beyond upstream's.
//!
//! **Invariant:** no request is above [`REQUEST_BYTES_MAX`], or it holds a single node; servers close
//! the connection of a client whose request is above `jute.maxbuffer`, 1 MiB by default.

use std::collections::HashSet;

use futures_util::future::join_all;
use jute::ErrorCode;
use jute::proto::{Acl, Id, Stat, perms};

use crate::client::Change;

use super::super::path::{join, parent};
use super::walk::{self, Unreadable};
use super::{Failure, Shell};

/// Reads in flight together.
const PIPELINE: usize = 64;
/// Paths, data and access control lists in one request.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Changes in one request.
const REQUEST_LEN_MAX: usize = 1000;
/// Bytes of a change beside what it holds, roughly.
const CHANGE_BYTES: usize = 64;

/// One node of a subtree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From the subtree's root on; empty for the root itself.
    pub(super) relative: String,
    pub(super) data: Option<Vec<u8>>,
    pub(super) acl: Vec<Acl<'static>>,
    pub(super) stat: Stat,
}

impl Node {
    pub(super) fn is_ephemeral(&self) -> bool {
        self.stat.ephemeral_owner != 0
    }

    /// Where the node is when the subtree stands at `root`.
    pub(super) fn path(&self, root: &str) -> String {
        match (root, self.relative.as_str()) {
            (root, "") => root.to_owned(),
            ("/", relative) => relative.to_owned(),
            (root, relative) => format!("{root}{relative}"),
        }
    }
}

/// The stat of each path that is still there. What cannot be read is a failure without somebody to note
/// it.
pub(super) async fn stats(
    shell: &mut Shell,
    paths: &[String],
    mut unreadable: Option<&mut Unreadable>,
) -> Result<Vec<(String, Stat)>, Failure> {
    let keeper = shell.keeper.clone();
    let mut stats = Vec::with_capacity(paths.len());
    for paths in paths.chunks(PIPELINE) {
        let asked = paths.iter().map(|path| keeper.exists(path, false));
        let answers = shell.wait(join_all(asked)).await;
        for (path, answer) in paths.iter().zip(answers) {
            match answer {
                Ok(found) => stats.extend(found.map(|stat| (path.clone(), stat))),
                Err(code) => match &mut unreadable {
                    Some(unreadable) => unreadable.note(shell, path, code)?,
                    None => return Err(Failure::refused(code, Some(path))),
                },
            }
        }
    }
    Ok(stats)
}

/// Data and stat of each path that is still there; likewise.
pub(super) async fn data(
    shell: &mut Shell,
    paths: &[String],
    mut unreadable: Option<&mut Unreadable>,
) -> Result<Vec<(String, Option<Vec<u8>>, Stat)>, Failure> {
    let keeper = shell.keeper.clone();
    let mut found = Vec::with_capacity(paths.len());
    for paths in paths.chunks(PIPELINE) {
        let asked = paths.iter().map(|path| keeper.data(path, false));
        let answers = shell.wait(join_all(asked)).await;
        for (path, answer) in paths.iter().zip(answers) {
            match answer {
                Ok((data, stat)) => found.push((path.clone(), data, stat)),
                Err(ErrorCode::NO_NODE) => {}
                Err(code) => match &mut unreadable {
                    Some(unreadable) => unreadable.note(shell, path, code)?,
                    None => return Err(Failure::refused(code, Some(path))),
                },
            }
        }
    }
    Ok(found)
}

/// A subtree with data and access control lists, parents first. Nobody can see that a node is a
/// container or has a time to live; here it is a plain one. ZooKeeper's own `/zookeeper` is left
/// out unless it is asked for.
pub(super) async fn read(shell: &mut Shell, root: &str) -> Result<Vec<Node>, Failure> {
    let mut paths = walk::by_level(shell, root).await?;
    if root == "/" && !shell.keeper.has_chroot() {
        paths.retain(|path| path != "/zookeeper" && !path.starts_with("/zookeeper/"));
    }
    let keeper = shell.keeper.clone();
    let nodes = data(shell, &paths, None).await?;
    let mut read = Vec::with_capacity(nodes.len());
    for nodes in nodes.chunks(PIPELINE) {
        let asked = nodes.iter().map(|(path, ..)| keeper.acl(path));
        let answers = shell.wait(join_all(asked)).await;
        for ((path, data, stat), answer) in nodes.iter().zip(answers) {
            let acl = match answer {
                Ok((acl, _)) => acl,
                Err(ErrorCode::NO_NODE) => continue,
                Err(code) => return Err(Failure::refused(code, Some(path))),
            };
            read.push(Node {
                relative: relative(root, path),
                data: data.clone(),
                acl,
                stat: *stat,
            });
        }
    }
    Ok(read)
}

fn relative(root: &str, path: &str) -> String {
    match root {
        "/" if path == "/" => String::new(),
        "/" => path.to_owned(),
        _ => path[root.len()..].to_owned(),
    }
}

/// Whether an `x` stands for a password's hash: servers show the hash only to those who may read and
/// administer the node. Such a list is nobody's when it is written.
pub(super) fn hides_a_hash(acl: &[Acl<'_>]) -> bool {
    acl.iter().any(|entry| {
        entry.id.scheme.as_deref() == Some("digest")
            && entry.id.id.as_deref().is_some_and(|id| id.ends_with(":x"))
    })
}

/// Refuses to write what the server has masked.
pub(super) fn check_hashes(nodes: &[Node], root: &str) -> Result<(), Failure> {
    let mut lasting = nodes.iter().filter(|node| !node.is_ephemeral());
    match lasting.find(|node| hides_a_hash(&node.acl)) {
        None => Ok(()),
        Some(node) => Err(Failure::new(format!(
            "The ACL of {} shows x instead of a password's hash; addauth somebody who may read and \
             administer it",
            node.path(root)
        ))),
    }
}

/// The changes that create nodes at `root`; ephemeral ones stay with their owners.
pub(super) fn creations(nodes: &[Node], root: &str) -> Vec<Change> {
    let lasting = nodes.iter().filter(|node| !node.is_ephemeral());
    let changes = lasting.map(|node| Change::Create {
        path: node.path(root),
        data: node.data.clone(),
        acl: node.acl.clone(),
    });
    changes.collect()
}

/// Final access control lists, put off until their nodes have their children.
pub(super) type FinalLists = Vec<(String, Vec<Acl<'static>>)>;

/// Lets the caller create children where the final list might not: each node that gets some, and that
/// not everybody may create children of, gets an entry for the caller in addition. Returns the final
/// lists, those of the lowest nodes first.
pub(super) async fn open_up(
    shell: &mut Shell,
    changes: &mut [Change],
) -> Result<FinalLists, Failure> {
    let parents: HashSet<String> = changes
        .iter()
        .map(|change| parent(change.path()).to_owned())
        .collect();
    let mut closed: Vec<(&String, &mut Vec<Acl<'static>>)> = Vec::new();
    for change in changes {
        if let Change::Create { path, acl, .. } = change
            && parents.contains(path)
            && !acl.iter().any(lets_everybody_create)
        {
            closed.push((path, acl));
        }
    }
    if closed.is_empty() {
        return Ok(Vec::new());
    }
    let own = own_entry(shell).await?;
    let mut finals = FinalLists::new();
    for (path, acl) in closed {
        finals.push((path.clone(), acl.clone()));
        acl.push(own.clone());
    }
    finals.sort_by(|(one, _), (other, _)| other.cmp(one));
    Ok(finals)
}

/// An entry for whoever this connection is.
async fn own_entry(shell: &mut Shell) -> Result<Acl<'static>, Failure> {
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.who_am_i()).await;
    let identities = answer.map_err(|code| Failure::refused(code, None))?;
    // `auth` stands for all that has been proven; an address alone proves nothing.
    let (scheme, id) = match identities.as_slice() {
        [(scheme, id)] if scheme == "ip" => (scheme.as_str(), id.as_str()),
        _ => ("auth", ""),
    };
    Ok(Acl {
        perms: perms::CREATE | perms::ADMIN,
        id: Id {
            scheme: Some(scheme.to_owned().into()),
            id: Some(id.to_owned().into()),
        },
    })
}

fn lets_everybody_create(entry: &Acl<'_>) -> bool {
    entry.id.scheme.as_deref() == Some("world") && entry.perms & perms::CREATE != 0
}

/// Sets the lists that [`open_up`] has put off.
pub(super) async fn close_up(shell: &mut Shell, finals: FinalLists) -> Result<(), Failure> {
    let keeper = shell.keeper.clone();
    for portion in finals.chunks(PIPELINE) {
        let asked = portion
            .iter()
            .map(|(path, acl)| keeper.set_acl(path, acl.clone(), -1));
        let answers = shell.wait(join_all(asked)).await;
        for ((path, _), answer) in portion.iter().zip(answers) {
            if let Err(code) = answer {
                let Failure { text, exit_code } = Failure::refused(code, Some(path));
                let text = format!("{text}; all is there, but {path} has no ACL of its own yet");
                return Err(Failure { text, exit_code });
            }
        }
    }
    Ok(())
}

/// Whether changes fit into one request.
pub(super) fn fit_together(changes: &[Change]) -> bool {
    changes.len() <= REQUEST_LEN_MAX && changes.iter().map(size).sum::<usize>() <= REQUEST_BYTES_MAX
}

/// Applies changes in as few requests as possible; each of them is atomic.
///
/// # Errors
/// The first change that failed; those in the requests before it have been applied, and the shell says
/// how many.
pub(super) async fn apply(shell: &mut Shell, changes: &[Change]) -> Result<(), Failure> {
    let mut begin = 0;
    while begin < changes.len() {
        let mut end = begin;
        let mut bytes = 0;
        while let Some(change) = changes.get(end) {
            bytes += size(change);
            if end > begin && (bytes > REQUEST_BYTES_MAX || end - begin == REQUEST_LEN_MAX) {
                break;
            }
            end += 1;
        }
        apply_together(shell, changes, begin, end).await?;
        begin = end;
    }
    shell.progress = None;
    Ok(())
}

async fn apply_together(
    shell: &mut Shell,
    changes: &[Change],
    begin: usize,
    end: usize,
) -> Result<(), Failure> {
    let mut progress = Progress {
        done: begin,
        unanswered: end - begin,
        all: changes.len(),
    };
    // Whoever interrupts this future finds it there.
    shell.progress = Some(progress);
    let keeper = shell.keeper.clone();
    let applied = shell.wait(keeper.apply(&changes[begin..end])).await;
    let Err((index, code)) = applied else {
        return Ok(());
    };
    // Without an answer nobody knows.
    if !matches!(
        code,
        ErrorCode::CONNECTION_LOSS | ErrorCode::SESSION_EXPIRED
    ) {
        progress.unanswered = 0;
    }
    shell.progress = Some(progress);
    let path = changes.get(begin + index.unwrap_or(0)).map(Change::path);
    Err(Failure::refused(code, path))
}

/// How far a command has come that creates many znodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shell) struct Progress {
    done: usize,
    /// Asked for, and no word about them.
    unanswered: usize,
    all: usize,
}

impl Progress {
    /// What somebody has to know who repeats the command or cleans up; nothing when nothing was done.
    pub(in crate::shell) fn told(self) -> Option<String> {
        let Self {
            done,
            unanswered,
            all,
        } = self;
        match (done, unanswered) {
            (0, 0) => None,
            (_, 0) => Some(format!("{done} of {all} znodes were created before")),
            _ => Some(format!(
                "{done} of {all} znodes were created before, and {unanswered} more perhaps"
            )),
        }
    }
}

fn size(change: &Change) -> usize {
    let held = match change {
        Change::Create { data, acl, .. } => {
            let acl = acl.iter().map(|entry| {
                let texts = [&entry.id.scheme, &entry.id.id];
                let lengths = texts.map(|text| text.as_deref().map_or(0, str::len));
                lengths.iter().sum::<usize>() + CHANGE_BYTES
            });
            data.as_deref().map_or(0, <[u8]>::len) + acl.sum::<usize>()
        }
        Change::SetData { data, .. } => data.as_deref().map_or(0, <[u8]>::len),
        Change::Delete { .. } => 0,
    };
    change.path().len() + held + CHANGE_BYTES
}

/// The path that a node of `path`'s name has below `target`, when `target` exists; as cp and mv of
/// files do.
pub(super) async fn destination(
    shell: &mut Shell,
    path: &str,
    target: &str,
) -> Result<String, Failure> {
    let keeper = shell.keeper.clone();
    let found = shell.wait(keeper.exists(target, false)).await;
    let found = found.map_err(|code| Failure::refused(code, Some(target)))?;
    let name = path.rsplit('/').next().unwrap_or_default();
    Ok(match found {
        Some(_) if !name.is_empty() => join(target, name),
        _ => target.to_owned(),
    })
}

/// Whether `path` is `root` or below it.
pub(super) fn is_within(path: &str, root: &str) -> bool {
    root == "/"
        || path == root
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Says which nodes stay where they are.
pub(super) fn note_ephemerals(shell: &mut Shell, nodes: &[Node], root: &str) {
    for node in nodes.iter().filter(|node| node.is_ephemeral()) {
        let path = node.path(root);
        shell.output.note(&format!(
            "{path} is ephemeral and belongs to its session; left out"
        ));
    }
}
