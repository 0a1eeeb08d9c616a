//! A znode and its children.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jute::proto::{Stat, perms};

use super::select::First;
use super::walk::{SLICE_ZNODES, Way, join, look_and_pause, walk};
use super::{Asked, Refusal};
use crate::admin::json::Json;
use crate::state::State;
use crate::tree::path::parent_for_clients;
use crate::tree::{NodeId, Owner};
use crate::types::Zxid;

/// Children in one answer.
const CHILDREN_MAX: usize = 1000;
const CHILDREN_DEFAULT: usize = 200;

/// Bytes of data in one answer.
const DATA_BYTES_MAX: usize = 256 << 10;

pub(super) fn no_node(path: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("No znode: {path}"))
}

fn find(state: &State, path: &str) -> Result<NodeId, Refusal> {
    state.tree.find(path).ok_or_else(|| no_node(path))
}

fn zxid(zxid: i64) -> Json {
    Zxid(zxid).to_string().into()
}

fn stat(stat: &Stat) -> Json {
    Json::object([
        ("czxid", zxid(stat.czxid)),
        ("mzxid", zxid(stat.mzxid)),
        ("pzxid", zxid(stat.pzxid)),
        ("ctime", stat.ctime.into()),
        ("mtime", stat.mtime.into()),
        ("version", stat.version.into()),
        ("cversion", stat.cversion.into()),
        ("aversion", stat.aversion.into()),
        (
            "ephemeral_owner",
            format!("0x{:x}", stat.ephemeral_owner).into(),
        ),
        ("data_length", stat.data_length.into()),
        ("num_children", stat.num_children.into()),
    ])
}

fn kind(owner: Owner) -> Json {
    let name = match owner {
        Owner::Persistent => "persistent",
        Owner::Session(_) => "ephemeral",
        Owner::Container => "container",
        Owner::Ttl(_) => "ttl",
    };
    name.into()
}

/// As getACL answers, with letters for the permissions.
fn acl(asked: &Asked, state: &State, id: NodeId) -> Json {
    let asker = &asked.asker;
    if !asker.may(state, id, perms::READ | perms::ADMIN) {
        return Json::Null;
    }
    let is_masked = !asker.may(state, id, perms::ADMIN);
    let entries = state.tree.acl(id).iter().map(|entry| {
        let shown = match entry.id.split_once(':') {
            Some((user, _)) if is_masked && &*entry.scheme == "digest" => format!("{user}:x"),
            _ => entry.id.to_string(),
        };
        Json::object([
            ("scheme", (&*entry.scheme).into()),
            ("id", shown.into()),
            ("perms", perms::letters(entry.perms).into()),
        ])
    });
    Json::list(entries)
}

/// What the asker may do, reading as a client and writing as [`super::change`] has it.
fn may(asked: &Asked, state: &State, path: &str, id: NodeId) -> Json {
    let asker = &asked.asker;
    let parent = state.tree.parent(id);
    Json::object([
        ("read", asker.may(state, id, perms::READ).into()),
        ("set", asker.is_named(state, id, perms::WRITE).into()),
        ("create", asker.is_named(state, id, perms::CREATE).into()),
        (
            "delete",
            (path != "/" && asker.is_named(state, parent, perms::DELETE)).into(),
        ),
    ])
}

/// `znode?path=P[&from=N]`: stat, access control list, and data from a byte on.
pub(super) fn znode(asked: &Asked) -> Result<Json, Refusal> {
    let path = asked.parameters.path()?;
    let from: usize = asked.parameters.number("from", 0)?;
    asked.sources.core.look(|state| {
        let id = find(state, path)?;
        let owner = state.tree.owner(id);
        let bytes = state.tree.data(id).unwrap_or_default();
        let from = from.min(bytes.len());
        let until = (from + DATA_BYTES_MAX).min(bytes.len());
        let data = match state.tree.data(id) {
            _ if !asked.asker.may(state, id, perms::READ) => Json::Null,
            None => Json::object([("is_null", true.into()), ("base64", "".into())]),
            Some(bytes) => Json::object([
                ("is_null", false.into()),
                ("from", from.into()),
                ("more", (bytes.len() - until).into()),
                ("base64", STANDARD.encode(&bytes[from..until]).into()),
            ]),
        };
        let ttl_ms = match owner {
            Owner::Ttl(ttl_ms) => ttl_ms.into(),
            Owner::Persistent | Owner::Session(_) | Owner::Container => Json::Null,
        };
        Ok(Json::object([
            ("path", path.into()),
            ("parent", parent_for_clients(path).into()),
            ("kind", kind(owner)),
            ("ttl_ms", ttl_ms),
            ("zxid", zxid(state.zxid().0)),
            ("stat", stat(&state.tree.stat(id))),
            ("acl", acl(asked, state, id)),
            ("data", data),
            ("may", may(asked, state, path, id)),
        ]))
    })
}

/// Names in one kept listing, all together.
const LISTED_BYTES_MAX: usize = 1 << 20;

/// A listing of a znode that is written to all the time may be so old.
const LISTED_FOR: Duration = Duration::from_secs(3);

/// What is listed: some of the children of a znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    path: String,
    /// Tells it from a later one of the same path.
    czxid: i64,
    after: Option<String>,
    find: String,
    limit: usize,
}

/// Names in their order, and how the znode was then.
pub(super) struct Listed {
    names: Vec<String>,
    found: usize,
    more: usize,
    pzxid: i64,
    cversion: i32,
}

pub(super) fn child_count(asked: &Asked) -> usize {
    let path = asked.parameters.path().unwrap_or_default();
    let tree = |state: &State| Some(state.tree.child_count(state.tree.find(path)?));
    asked.sources.core.look(tree).unwrap_or(0)
}

/// `children?path=P[&after=NAME][&find=TEXT][&limit=N][&with=NAME]`: children in the order of their
/// names, and one child more by its name.
pub(super) fn children(asked: &Asked) -> Result<Json, Refusal> {
    let path = asked.parameters.path()?;
    let limit: usize = asked.parameters.number("limit", CHILDREN_DEFAULT)?;
    let core = &asked.sources.core;
    let top = core.look(|state| {
        let top = readable(asked, state, path)?;
        Ok(state.tree.stat(top))
    })?;
    let listed = listed(
        asked,
        &top,
        Listing {
            path: path.to_owned(),
            czxid: top.czxid,
            after: asked.parameters.get("after").map(str::to_owned),
            find: asked.parameters.get("find").unwrap_or_default().to_owned(),
            limit: limit.min(CHILDREN_MAX),
        },
    );
    let show = |state: &State| {
        let tree = &state.tree;
        let top = readable(asked, state, path)?;
        let child = |name: &str| {
            let id = tree.find(&join(path, name))?;
            Some(Json::object([
                ("name", name.into()),
                ("kind", kind(tree.owner(id))),
                ("children", tree.child_count(id).into()),
                ("bytes", tree.data(id).map_or(0, <[u8]>::len).into()),
                ("readable", asked.asker.may(state, id, perms::READ).into()),
            ]))
        };
        let children = listed.names.iter().filter_map(|name| child(name));
        let also = asked.parameters.get("with");
        let also = also.filter(|name| !name.contains('/')).and_then(child);
        Ok(Json::object([
            ("path", path.into()),
            ("with", also.unwrap_or(Json::Null)),
            ("total", tree.child_count(top).into()),
            ("found", listed.found.into()),
            ("children", Json::list(children)),
            ("more", listed.more.into()),
        ]))
    };
    look_and_pause(|| core.look(show))
}

fn readable(asked: &Asked, state: &State, path: &str) -> Result<NodeId, Refusal> {
    let id = find(state, path)?;
    match asked.asker.may(state, id, perms::READ) {
        true => Ok(id),
        false => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!("Reading {path} needs an identity that its ACL grants it"),
        )),
    }
}

/// The names of a listing. Those of many children are kept until the znode changes, and a little longer.
fn listed(asked: &Asked, top: &Stat, listing: Listing) -> Arc<Listed> {
    let is_large = usize::try_from(top.num_children).unwrap_or(0) > SLICE_ZNODES;
    if is_large && let Some((kept, age)) = asked.caches.children.get(&listing) {
        let is_same = (kept.pzxid, kept.cversion) == (top.pzxid, top.cversion);
        if is_same || age < LISTED_FOR {
            return kept;
        }
    }
    let mut first: First<String> = First::new(listing.limit);
    let mut found = 0_usize;
    walk(&asked.sources.core, &listing.path, usize::MAX, |seen| {
        let name = seen.name;
        if name.contains(&listing.find) {
            found += 1;
            if listing.after.as_deref().is_none_or(|after| name > after) {
                first.offer_made_of(name, || name.to_owned());
            }
        }
        Way::Beside
    });
    let (names, more) = first.finish();
    let bytes: usize = names.iter().map(String::len).sum();
    let listed = Arc::new(Listed {
        names,
        found,
        more,
        pzxid: top.pzxid,
        cversion: top.cversion,
    });
    if is_large && bytes <= LISTED_BYTES_MAX {
        asked.caches.children.put(listing, Arc::clone(&listed));
    }
    listed
}
