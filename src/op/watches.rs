//! addWatch, checkWatches, removeWatches, setWatches and setWatches2.
//!
//! None of them checks the path or its access control list. Upstream: `DataTree.setWatches`,
//! `DataTree.containsWatcher`, `DataTree.removeWatch`.

use std::borrow::Cow;

use bytes::BytesMut;
use jute::proto::{
    AddWatchRequest, CheckWatchesRequest, ErrorResponse, RemoveWatchesRequest, SetWatches,
    SetWatches2, add_watch_mode, event_type, watcher_type,
};
use jute::{Encode as _, ErrorCode, Str};

use super::{Interest, Look, Seen};
use crate::watch::Modes;

/// A null path is answered as any other, and watches nothing.
///
/// # Errors
/// `MARSHALLING_ERROR` for an unknown mode.
pub(super) fn add<'r>(
    request: AddWatchRequest<'r>,
    out: &mut BytesMut,
    seen: &mut Seen<'r>,
) -> Result<(), ErrorCode> {
    let modes = match request.mode {
        add_watch_mode::PERSISTENT => Modes::PERSISTENT,
        add_watch_mode::PERSISTENT_RECURSIVE => Modes::RECURSIVE,
        _ => return Err(ErrorCode::MARSHALLING_ERROR),
    };
    if let Some(path) = request.path {
        seen.interests.push(Interest::Add(path, modes));
    }
    ErrorResponse { err: 0 }.encode(out);
    Ok(())
}

fn modes_of(kind: i32) -> Result<Modes, ErrorCode> {
    match kind {
        watcher_type::CHILDREN => Ok(Modes::CHILD),
        watcher_type::DATA => Ok(Modes::DATA),
        watcher_type::ANY => Ok(Modes::ALL),
        watcher_type::PERSISTENT => Ok(Modes::PERSISTENT),
        watcher_type::PERSISTENT_RECURSIVE => Ok(Modes::RECURSIVE),
        _ => Err(ErrorCode::MARSHALLING_ERROR),
    }
}

/// # Errors
/// `MARSHALLING_ERROR` for an unknown kind, `NO_WATCHER` when there is none of that kind.
pub(super) fn check(look: &Look<'_>, request: &CheckWatchesRequest<'_>) -> Result<(), ErrorCode> {
    let modes = modes_of(request.kind)?;
    let path = request.path.as_deref().ok_or(ErrorCode::NO_WATCHER)?;
    if (look.watched)(path).intersects(modes) {
        Ok(())
    } else {
        Err(ErrorCode::NO_WATCHER)
    }
}

/// Removes silently: the client library raises the events about it.
///
/// # Errors
/// As [`check`].
pub(super) fn remove<'r>(
    look: &Look<'_>,
    request: RemoveWatchesRequest<'r>,
    seen: &mut Seen<'r>,
) -> Result<(), ErrorCode> {
    let modes = modes_of(request.kind)?;
    let path = request.path.ok_or(ErrorCode::NO_WATCHER)?;
    if !(look.watched)(&path).intersects(modes) {
        return Err(ErrorCode::NO_WATCHER);
    }
    seen.interests.push(Interest::Remove(path, modes));
    Ok(())
}

/// The lists of either request; null lists are kept apart from empty ones.
pub(super) struct Lists<'r> {
    relative_zxid: i64,
    data: Option<Vec<Str<'r>>>,
    exist: Option<Vec<Str<'r>>>,
    child: Option<Vec<Str<'r>>>,
    persistent: Option<Vec<Str<'r>>>,
    recursive: Option<Vec<Str<'r>>>,
}

impl<'r> From<SetWatches<'r>> for Lists<'r> {
    fn from(request: SetWatches<'r>) -> Self {
        Self {
            relative_zxid: request.relative_zxid,
            data: request.data_watches,
            exist: request.exist_watches,
            child: request.child_watches,
            persistent: Some(Vec::new()),
            recursive: Some(Vec::new()),
        }
    }
}

impl<'r> From<SetWatches2<'r>> for Lists<'r> {
    fn from(request: SetWatches2<'r>) -> Self {
        Self {
            relative_zxid: request.relative_zxid,
            data: request.data_watches,
            exist: request.exist_watches,
            child: request.child_watches,
            persistent: request.persistent_watches,
            recursive: request.persistent_recursive_watches,
        }
    }
}

/// Registers again what the client watched before it reconnected, or tells it at once what it
/// missed since `relative_zxid`. Persistent watches are registered without replay.
///
/// # Errors
/// `MARSHALLING_ERROR` at the first null list or path; what was handled before it stays.
pub(super) fn set_watches<'r>(
    look: &Look<'_>,
    lists: Lists<'r>,
    seen: &mut Seen<'r>,
) -> Result<(), ErrorCode> {
    let since = lists.relative_zxid;
    for path in paths(lists.data)? {
        let path = path?;
        match look.tree.find(&path) {
            None => seen.events.push((event_type::NODE_DELETED, path)),
            Some(id) if look.tree.stat(id).mzxid > since => {
                seen.events.push((event_type::NODE_DATA_CHANGED, path));
            }
            Some(_) => seen.interests.push(Interest::Add(path, Modes::DATA)),
        }
    }
    for path in paths(lists.exist)? {
        let path = path?;
        match look.tree.find(&path) {
            Some(_) => seen.events.push((event_type::NODE_CREATED, path)),
            None => seen.interests.push(Interest::Add(path, Modes::DATA)),
        }
    }
    for path in paths(lists.child)? {
        let path = path?;
        match look.tree.find(&path) {
            None => seen.events.push((event_type::NODE_DELETED, path)),
            Some(id) if look.tree.stat(id).pzxid > since => {
                seen.events.push((event_type::NODE_CHILDREN_CHANGED, path));
            }
            Some(_) => seen.interests.push(Interest::Add(path, Modes::CHILD)),
        }
    }
    for path in paths(lists.persistent)? {
        seen.interests.push(Interest::Add(path?, Modes::PERSISTENT));
    }
    for path in paths(lists.recursive)? {
        seen.interests.push(Interest::Add(path?, Modes::RECURSIVE));
    }
    Ok(())
}

type PathOrError<'r> = Result<Cow<'r, str>, ErrorCode>;

fn paths<'r>(
    list: Option<Vec<Str<'r>>>,
) -> Result<impl Iterator<Item = PathOrError<'r>>, ErrorCode> {
    let list = list.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    Ok(list
        .into_iter()
        .map(|path| path.ok_or(ErrorCode::MARSHALLING_ERROR)))
}
