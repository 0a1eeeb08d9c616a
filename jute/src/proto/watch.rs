//! Watches and the events that they deliver.

use crate::Str;

/// `WatcherEvent.kind`. Values below 1 and above 4 exist only inside client libraries.
pub mod event_type {
    pub const NODE_CREATED: i32 = 1;
    pub const NODE_DELETED: i32 = 2;
    pub const NODE_DATA_CHANGED: i32 = 3;
    pub const NODE_CHILDREN_CHANGED: i32 = 4;
}

/// `WatcherEvent.state`: the server sends no other.
pub const STATE_SYNC_CONNECTED: i32 = 3;

/// `AddWatchRequest.mode`.
pub mod add_watch_mode {
    pub const PERSISTENT: i32 = 0;
    pub const PERSISTENT_RECURSIVE: i32 = 1;
}

/// `kind` of [`RemoveWatchesRequest`] and [`CheckWatchesRequest`] (`WatcherType.java`).
pub mod watcher_type {
    pub const CHILDREN: i32 = 1;
    pub const DATA: i32 = 2;
    pub const ANY: i32 = 3;
    pub const PERSISTENT: i32 = 4;
    pub const PERSISTENT_RECURSIVE: i32 = 5;
}

records! {
    pub struct WatcherEvent<'a> {
        /// One of [`event_type`].
        kind: i32,
        state: i32,
        path: Str<'a>,
    }

    pub struct SetWatches<'a> {
        relative_zxid: i64,
        data_watches: Option<Vec<Str<'a>>>,
        exist_watches: Option<Vec<Str<'a>>>,
        child_watches: Option<Vec<Str<'a>>>,
    }

    pub struct SetWatches2<'a> {
        relative_zxid: i64,
        data_watches: Option<Vec<Str<'a>>>,
        exist_watches: Option<Vec<Str<'a>>>,
        child_watches: Option<Vec<Str<'a>>>,
        persistent_watches: Option<Vec<Str<'a>>>,
        persistent_recursive_watches: Option<Vec<Str<'a>>>,
    }

    pub struct AddWatchRequest<'a> {
        path: Str<'a>,
        mode: i32,
    }

    pub struct CheckWatchesRequest<'a> {
        path: Str<'a>,
        kind: i32,
    }

    pub struct RemoveWatchesRequest<'a> {
        path: Str<'a>,
        kind: i32,
    }
}
