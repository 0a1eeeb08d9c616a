//! Requests below the chroot, and their records.

use jute::proto::{
    Acl, AddWatchRequest, Create2Response, CreateRequest, CreateResponse, CreateTtlRequest,
    DeleteRequest, ExistsRequest, ExistsResponse, GetAclRequest, GetAclResponse,
    GetAllChildrenNumberRequest, GetAllChildrenNumberResponse, GetChildren2Response,
    GetChildrenRequest, GetDataRequest, GetDataResponse, GetEphemeralsRequest,
    GetEphemeralsResponse, Id, MultiOp, MultiRequest, MultiResponse, MultiResult, ReconfigRequest,
    RemoveWatchesRequest, SetAclRequest, SetAclResponse, SetDataRequest, SetDataResponse, Stat,
    SyncRequest, WhoAmIResponse, add_watch_mode, create_mode, watcher_type,
};
use jute::{Decode, ErrorCode, OpCode, Str, text};

use super::{CONFIG_PATH, Credential, Keeper, Link, Notice};
use crate::client::handle::owned;
use crate::client::watches::WatchKind;
use crate::client::wire::{Empty, Message};

/// How a node is created.
#[derive(Debug, Clone, Copy, Default)]
pub struct CreateOptions {
    pub ephemeral: bool,
    pub sequential: bool,
    pub container: bool,
    pub ttl_ms: Option<i64>,
}

/// One change of several that are applied together.
#[derive(Debug, Clone)]
pub enum Change {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        acl: Vec<Acl<'static>>,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
}

impl Change {
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. } | Self::SetData { path, .. } | Self::Delete { path, .. } => {
                path
            }
        }
    }

    fn op<'a>(&'a self, server_path: &'a str) -> MultiOp<'a> {
        let path = text(server_path);
        match self {
            Self::Create { data, acl, .. } => {
                let request = CreateRequest {
                    path,
                    data: data.as_deref(),
                    acl: Some(acl.clone()),
                    flags: create_mode::PERSISTENT,
                };
                MultiOp::Create(OpCode::CREATE, request)
            }
            Self::SetData { data, version, .. } => MultiOp::SetData(SetDataRequest {
                path,
                data: data.as_deref(),
                version: *version,
            }),
            Self::Delete { version, .. } => MultiOp::Delete(DeleteRequest {
                path,
                version: *version,
            }),
        }
    }
}

/// What a reply arms: a kind for success, another one for `NO_NODE`.
pub(super) struct Arming {
    pub(super) path: String,
    pub(super) on_ok: WatchKind,
    pub(super) on_no_node: Option<WatchKind>,
}

impl Arming {
    fn new(wanted: bool, path: &str, on_ok: WatchKind) -> Option<Self> {
        wanted.then(|| Self {
            path: path.to_owned(),
            on_ok,
            on_no_node: None,
        })
    }
}

impl Keeper {
    /// Creates a node and returns its path.
    ///
    /// # Errors
    /// The server's code, or why there is no reply; so for all that follow.
    pub async fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: Vec<Acl<'_>>,
        options: CreateOptions,
    ) -> Result<String, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let flags = mode(options);
        let path = text(&server_path);
        let acl = Some(acl);
        let (op, reply) = if let Some(ttl_ms) = options.ttl_ms {
            let request = CreateTtlRequest {
                path,
                data,
                acl,
                flags,
                ttl_ms,
            };
            let op = OpCode::CREATE_TTL;
            (op, self.call(op, &request).await?)
        } else {
            let request = CreateRequest {
                path,
                data,
                acl,
                flags,
            };
            let op = match options.container {
                true => OpCode::CREATE_CONTAINER,
                false => OpCode::CREATE,
            };
            (op, self.call(op, &request).await?)
        };
        let created = match op {
            OpCode::CREATE => read::<CreateResponse<'_>>(&reply)?.path,
            _ => read::<Create2Response<'_>>(&reply)?.path,
        };
        Ok(self.shared.hosts.client_path(&created.unwrap_or_default()))
    }

    pub async fn delete(&self, path: &str, version: i32) -> Result<(), ErrorCode> {
        // The root stays, a chroot's too: the server refuses `/`.
        let server_path = match path {
            "/" => "/".to_owned(),
            _ => self.shared.hosts.server_path(path),
        };
        let request = DeleteRequest {
            path: text(&server_path),
            version,
        };
        self.call(OpCode::DELETE, &request).await.map(drop)
    }

    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = ExistsRequest {
            path: text(&server_path),
            watch,
        };
        let arming = watch.then(|| Arming {
            path: path.to_owned(),
            on_ok: WatchKind::Data,
            on_no_node: Some(WatchKind::Exist),
        });
        match self.call_arming(OpCode::EXISTS, &request, arming).await {
            Ok(reply) => Ok(Some(read::<ExistsResponse>(&reply)?.stat)),
            Err(ErrorCode::NO_NODE) => Ok(None),
            Err(code) => Err(code),
        }
    }

    pub async fn data(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Vec<u8>>, Stat), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        self.data_at(&server_path, path, watch).await
    }

    /// The ensemble's configuration, which no chroot hides.
    pub async fn config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat), ErrorCode> {
        self.data_at(CONFIG_PATH, CONFIG_PATH, watch).await
    }

    async fn data_at(
        &self,
        server_path: &str,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Vec<u8>>, Stat), ErrorCode> {
        let request = GetDataRequest {
            path: text(server_path),
            watch,
        };
        let arming = Arming::new(watch, path, WatchKind::Data);
        let reply = self.call_arming(OpCode::GET_DATA, &request, arming).await?;
        let response: GetDataResponse<'_> = read(&reply)?;
        Ok((response.data.map(<[u8]>::to_vec), response.stat))
    }

    pub async fn set_data(
        &self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = SetDataRequest {
            path: text(&server_path),
            data,
            version,
        };
        let reply = self.call(OpCode::SET_DATA, &request).await?;
        Ok(read::<SetDataResponse>(&reply)?.stat)
    }

    /// Names in the server's order.
    pub async fn children(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<String>, Stat), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = GetChildrenRequest {
            path: text(&server_path),
            watch,
        };
        let arming = Arming::new(watch, path, WatchKind::Child);
        let reply = self
            .call_arming(OpCode::GET_CHILDREN2, &request, arming)
            .await?;
        let response: GetChildren2Response<'_> = read(&reply)?;
        Ok((owned(response.children), response.stat))
    }

    pub async fn acl(&self, path: &str) -> Result<(Vec<Acl<'static>>, Stat), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = GetAclRequest {
            path: text(&server_path),
        };
        let reply = self.call(OpCode::GET_ACL, &request).await?;
        let response: GetAclResponse<'_> = read(&reply)?;
        let entries = response.acl.unwrap_or_default().into_iter();
        Ok((entries.map(owned_acl).collect(), response.stat))
    }

    pub async fn set_acl(
        &self,
        path: &str,
        acl: Vec<Acl<'_>>,
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = SetAclRequest {
            path: text(&server_path),
            acl: Some(acl),
            version,
        };
        let reply = self.call(OpCode::SET_ACL, &request).await?;
        Ok(read::<SetAclResponse>(&reply)?.stat)
    }

    pub async fn sync(&self, path: &str) -> Result<(), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let path = text(&server_path);
        self.call(OpCode::SYNC, &SyncRequest { path })
            .await
            .map(drop)
    }

    /// Applies all changes, in order, or none of them.
    ///
    /// # Errors
    /// The code of the change that failed, and its number where there is one.
    pub async fn apply(&self, changes: &[Change]) -> Result<(), (Option<usize>, ErrorCode)> {
        let paths = changes.iter().map(Change::path);
        let paths: Vec<String> = paths
            .map(|path| self.shared.hosts.server_path(path))
            .collect();
        let ops = changes
            .iter()
            .zip(&paths)
            .map(|(change, path)| change.op(path));
        let request = MultiRequest { ops: ops.collect() };
        let reply = self.call(OpCode::MULTI, &request).await;
        let reply = reply.map_err(|code| (None, code))?;
        let response: MultiResponse<'_> = read(&reply).map_err(|code| (None, code))?;
        // Those before the one that failed say 0 in its place, those behind it
        // RUNTIME_INCONSISTENCY.
        let failed = response
            .results
            .iter()
            .enumerate()
            .find_map(|(index, result)| match result {
                MultiResult::Error(ErrorCode::OK | ErrorCode::RUNTIME_INCONSISTENCY) => None,
                MultiResult::Error(code) => Some((Some(index), *code)),
                _ => None,
            });
        failed.map_or(Ok(()), Err)
    }

    /// The ephemeral nodes of this session whose paths begin with `prefix`. Paths are the
    /// server's: upstream's client leaves the chroot out of this one.
    pub async fn ephemerals(&self, prefix: &str) -> Result<Vec<String>, ErrorCode> {
        let request = GetEphemeralsRequest {
            prefix_path: text(prefix),
        };
        let reply = self.call(OpCode::GET_EPHEMERALS, &request).await?;
        Ok(owned(read::<GetEphemeralsResponse<'_>>(&reply)?.ephemerals))
    }

    pub async fn all_children_number(&self, path: &str) -> Result<i32, ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let request = GetAllChildrenNumberRequest {
            path: text(&server_path),
        };
        let reply = self.call(OpCode::GET_ALL_CHILDREN_NUMBER, &request).await?;
        Ok(read::<GetAllChildrenNumberResponse>(&reply)?.total_number)
    }

    /// Scheme and user of each identity of this connection.
    pub async fn who_am_i(&self) -> Result<Vec<(String, String)>, ErrorCode> {
        let reply = self.call(OpCode::WHO_AM_I, &Empty).await?;
        let response: WhoAmIResponse<'_> = read(&reply)?;
        let infos = response.client_info.unwrap_or_default().into_iter();
        let own = |text: Str<'_>| text.unwrap_or_default().into_owned();
        Ok(infos
            .map(|info| (own(info.auth_scheme), own(info.user)))
            .collect())
    }

    /// Replaces or changes the members; returns the new configuration.
    pub async fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        version: i64,
    ) -> Result<(Vec<u8>, Stat), ErrorCode> {
        let request = ReconfigRequest {
            joining_servers: joining.and_then(text),
            leaving_servers: leaving.and_then(text),
            new_members: members.and_then(text),
            cur_config_id: version,
        };
        let reply = self.call(OpCode::RECONFIG, &request).await?;
        let response: GetDataResponse<'_> = read(&reply)?;
        Ok((response.data.unwrap_or_default().to_vec(), response.stat))
    }

    /// Sends a credential, now and on each new connection. A refused one ends the session, which
    /// the notices tell.
    pub async fn add_auth(&self, scheme: &str, auth: Option<&[u8]>) {
        let credential = Credential {
            scheme: scheme.to_owned(),
            auth: auth.map(<[u8]>::to_vec),
        };
        let link = self.shared.status.borrow().link.clone();
        self.shared.credentials.lock().push(credential.clone());
        if let Link::Up(client) = link
            && let Ok(pending) = self.shared.send_credential(&client, &credential).await
        {
            // What the reply says is done by now; a lost connection sends it again.
            let _ = pending.await;
        }
    }

    /// Sets a persistent watch, recursive or not.
    pub async fn add_watch(&self, path: &str, recursive: bool) -> Result<(), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let (mode, kind) = if recursive {
            (
                add_watch_mode::PERSISTENT_RECURSIVE,
                WatchKind::PersistentRecursive,
            )
        } else {
            (add_watch_mode::PERSISTENT, WatchKind::Persistent)
        };
        let request = AddWatchRequest {
            path: text(&server_path),
            mode,
        };
        let arming = Arming::new(true, path, kind);
        self.call_arming(OpCode::ADD_WATCH, &request, arming)
            .await
            .map(drop)
    }

    /// Whether this session has set such a watch.
    #[must_use]
    pub fn has_watch(&self, path: &str, kind: WatchKind) -> bool {
        self.shared.watches.lock().has_any(&[kind], path)
    }

    /// Hears no more of such a watch, whatever the server knows of it.
    pub fn forget_watch(&self, path: &str, kind: WatchKind) {
        self.shared.watches.lock().forget(&[kind], path);
    }

    /// Removes the watches of a kind at a path, or of all kinds; the notices tell which. With
    /// `locally` a server that cannot be asked is no obstacle.
    ///
    /// # Errors
    /// `NO_WATCHER` when there was none.
    pub async fn remove_watches(
        &self,
        path: &str,
        kind: Option<WatchKind>,
        locally: bool,
    ) -> Result<(), ErrorCode> {
        let server_path = self.shared.hosts.server_path(path);
        let (wire_kind, kinds): (i32, &'static [WatchKind]) = match kind {
            None => (
                watcher_type::ANY,
                &[
                    WatchKind::Child,
                    WatchKind::Data,
                    WatchKind::Exist,
                    WatchKind::Persistent,
                    WatchKind::PersistentRecursive,
                ],
            ),
            Some(WatchKind::Child) => (watcher_type::CHILDREN, &[WatchKind::Child]),
            Some(WatchKind::Data | WatchKind::Exist) => {
                (watcher_type::DATA, &[WatchKind::Data, WatchKind::Exist])
            }
            Some(WatchKind::Persistent) => (watcher_type::PERSISTENT, &[WatchKind::Persistent]),
            Some(WatchKind::PersistentRecursive) => (
                watcher_type::PERSISTENT_RECURSIVE,
                &[WatchKind::PersistentRecursive],
            ),
        };
        let request = RemoveWatchesRequest {
            path: text(&server_path),
            kind: wire_kind,
        };
        let answer = self.call(OpCode::REMOVE_WATCHES, &request).await;
        // As upstream: where there is no watch, it does not matter why the server was not asked.
        if !self.shared.watches.lock().has_any(kinds, path) {
            return Err(ErrorCode::NO_WATCHER);
        }
        if let Err(code) = answer
            && !locally
        {
            return Err(code);
        }
        let removed = self.shared.watches.lock().forget(kinds, path);
        for removed in &removed {
            let path = path.to_owned();
            let removed = *removed;
            self.shared.tell(Notice::WatchRemoved { removed, path });
        }
        Ok(())
    }
}

fn read<'a, T: Decode<'a>>(message: &'a Message) -> Result<T, ErrorCode> {
    message.read().map_err(|_| ErrorCode::MARSHALLING_ERROR)
}

fn owned_acl(acl: Acl<'_>) -> Acl<'static> {
    let own = |text: Str<'_>| text.map(|text| text.into_owned().into());
    Acl {
        perms: acl.perms,
        id: Id {
            scheme: own(acl.id.scheme),
            id: own(acl.id.id),
        },
    }
}

fn mode(options: CreateOptions) -> i32 {
    let CreateOptions {
        ephemeral,
        sequential,
        container,
        ttl_ms,
    } = options;
    match (ephemeral, sequential, ttl_ms.is_some()) {
        (true, true, _) => create_mode::EPHEMERAL_SEQUENTIAL,
        (true, false, _) => create_mode::EPHEMERAL,
        (false, true, true) => create_mode::PERSISTENT_SEQUENTIAL_WITH_TTL,
        (false, true, false) => create_mode::PERSISTENT_SEQUENTIAL,
        (false, false, true) => create_mode::PERSISTENT_WITH_TTL,
        (false, false, false) if container => create_mode::CONTAINER,
        (false, false, false) => create_mode::PERSISTENT,
    }
}
