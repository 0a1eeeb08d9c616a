//! Znodes: create, delete, read, write.

use crate::{Buf, Str, proto::Acl};

/// Values of `flags` in the create requests (`CreateMode.java`).
pub mod create_mode {
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const PERSISTENT_SEQUENTIAL: i32 = 2;
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub const CONTAINER: i32 = 4;
    pub const PERSISTENT_WITH_TTL: i32 = 5;
    pub const PERSISTENT_SEQUENTIAL_WITH_TTL: i32 = 6;
}

records! {
    /// Sixty-eight bytes.
    #[derive(Copy, Default)]
    pub struct Stat {
        czxid: i64,
        mzxid: i64,
        /// Milliseconds since the epoch, as is `mtime`.
        ctime: i64,
        mtime: i64,
        version: i32,
        cversion: i32,
        aversion: i32,
        /// Session id of an ephemeral; 0 for containers and TTL nodes too.
        ephemeral_owner: i64,
        data_length: i32,
        num_children: i32,
        pzxid: i64,
    }

    pub struct CreateRequest<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        acl: Option<Vec<Acl<'a>>>,
        /// One of [`create_mode`].
        flags: i32,
    }

    pub struct CreateTtlRequest<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        acl: Option<Vec<Acl<'a>>>,
        flags: i32,
        ttl_ms: i64,
    }

    pub struct CreateResponse<'a> {
        path: Str<'a>,
    }

    pub struct Create2Response<'a> {
        path: Str<'a>,
        stat: Stat,
    }

    pub struct DeleteRequest<'a> {
        path: Str<'a>,
        /// -1 for any.
        version: i32,
    }

    pub struct ExistsRequest<'a> {
        path: Str<'a>,
        watch: bool,
    }

    pub struct ExistsResponse {
        stat: Stat,
    }

    pub struct GetDataRequest<'a> {
        path: Str<'a>,
        watch: bool,
    }

    pub struct GetDataResponse<'a> {
        data: Buf<'a>,
        stat: Stat,
    }

    pub struct SetDataRequest<'a> {
        path: Str<'a>,
        data: Buf<'a>,
        version: i32,
    }

    pub struct SetDataResponse {
        stat: Stat,
    }

    pub struct GetChildrenRequest<'a> {
        path: Str<'a>,
        watch: bool,
    }

    pub struct GetChildrenResponse<'a> {
        children: Option<Vec<Str<'a>>>,
    }

    pub struct GetChildren2Response<'a> {
        children: Option<Vec<Str<'a>>>,
        stat: Stat,
    }

    pub struct GetAllChildrenNumberRequest<'a> {
        path: Str<'a>,
    }

    pub struct GetAllChildrenNumberResponse {
        total_number: i32,
    }

    pub struct GetEphemeralsRequest<'a> {
        prefix_path: Str<'a>,
    }

    pub struct GetEphemeralsResponse<'a> {
        ephemerals: Option<Vec<Str<'a>>>,
    }

    pub struct CheckVersionRequest<'a> {
        path: Str<'a>,
        version: i32,
    }

    pub struct SyncRequest<'a> {
        path: Str<'a>,
    }

    pub struct SyncResponse<'a> {
        path: Str<'a>,
    }

    pub struct ReconfigRequest<'a> {
        joining_servers: Str<'a>,
        leaving_servers: Str<'a>,
        new_members: Str<'a>,
        /// Version of the configuration that must be current, -1 for any.
        cur_config_id: i64,
    }
}
