//! The tree and the sessions while the log is applied to a snapshot.
//!
//! A record may be applied to a tree that has it already, in whole or in part, and the outcome must
//! be as if it had not. So everything that the record decides stands in it as a number; what fails
//! is passed over. The oddities are `DataTree.java`'s and are kept: the result is what ZooKeeper
//! itself would show when it starts from the same files, but for three things:
//! * A record that deletes and one that creates a znode again may meet a snapshot that has the new
//!   znode and its children. ZooKeeper then forgets that they are its children: they can be read,
//!   but no list has them, and the next snapshot loses them. Here they stay.
//! * Their parent then counts them only when they were created by the oldest of the four kinds of
//!   create. Here it counts them all: otherwise the digests in the log show that something is wrong.
//! * `/zookeeper/config`, which 3.4 does not have, is added.
//!
//! Invariants: `digest` is the sum over all znodes that are not below `/zookeeper`; an ephemeral is
//! listed by its session and nothing else is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use jute::proto::txn::{StatPersisted, TxnBody, TxnHeader, TxnRecord};
use jute::proto::{Acl, perms};

use crate::tree::{AclEntry, AclList, CONFIG_PATH, Owner, StatsTrack};

const QUOTA_ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";
/// Znodes below are not part of the digest.
const NOT_DIGESTED: &str = "/zookeeper/";
/// The counter in a create that says: one more.
const COUNT_ONE_MORE: i32 = -1;

/// An access control list, or the key of one that is yet to be learned: a snapshot is written while
/// lists are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListRef {
    Known(AclList),
    Unknown(i64),
}

#[derive(Debug, Clone)]
pub struct ImageNode {
    pub data: Option<Box<[u8]>>,
    pub acl: ListRef,
    pub stat: StatPersisted,
}

#[derive(Debug)]
pub struct Image {
    /// By full path; the root is `""`. A znode's parent comes before it, its subtree is one range
    /// behind `path/`.
    nodes: BTreeMap<Box<str>, ImageNode>,
    /// Time-outs in ms of the sessions that were created and not closed.
    pub sessions: BTreeMap<i64, i32>,
    lists: HashSet<AclList>,
    lists_by_key: HashMap<i64, AclList>,
    open: AclList,
    ephemerals: HashMap<i64, BTreeSet<Box<str>>>,
    /// Paths with a limits znode.
    quotas: HashSet<Box<str>>,
    extended_types: bool,
    /// Whether a record has met a tree that had it already.
    was_repaired: bool,
    digest: u64,
    /// Of the last record.
    zxid: i64,
}

/// What had to be put right behind the last record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Ephemerals whose session is not there any more.
    pub orphaned_ephemerals: Vec<String>,
    /// Znodes whose parent is not there.
    pub parentless: Vec<String>,
    /// Znodes whose access control list is nowhere.
    pub without_list: Vec<String>,
}

/// Parent and name. The parent of a top-level znode is the root, `""`.
fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// The root has two names.
fn key_of(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

impl Image {
    /// No znode at all; a snapshot brings them.
    #[must_use]
    pub fn bare(zxid: i64, extended_types: bool) -> Self {
        let open: AclList = [AclEntry::new(perms::ALL, "world", "anyone")].into();
        Self {
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lists: HashSet::from([AclList::clone(&open)]),
            lists_by_key: HashMap::new(),
            open,
            ephemerals: HashMap::new(),
            quotas: HashSet::new(),
            extended_types,
            was_repaired: false,
            digest: 0,
            zxid,
        }
    }

    /// A new server's tree.
    #[must_use]
    pub fn new(extended_types: bool) -> Self {
        let mut image = Self::bare(0, extended_types);
        for path in ["", "/zookeeper", QUOTA_ROOT] {
            let node = ImageNode {
                data: Some(Box::default()),
                acl: ListRef::Known(image.open_list()),
                stat: StatPersisted::default(),
            };
            // A fresh root shows cversion -1, as its counter does not know of /zookeeper.
            image.place(path.to_owned(), node);
        }
        image.add_config();
        image
    }

    /// Adds `/zookeeper/config`, which 3.4 does not have.
    pub fn add_config(&mut self) {
        if self.nodes.contains_key(CONFIG_PATH) {
            return;
        }
        let list = self.known(&[AclEntry::new(perms::READ, "world", "anyone")]);
        let node = ImageNode {
            data: Some(Box::default()),
            acl: ListRef::Known(list),
            stat: StatPersisted {
                aversion: -1,
                ..StatPersisted::default()
            },
        };
        self.place(CONFIG_PATH.to_owned(), node);
    }

    /// Empties `/zookeeper/config`: who is a member is for the next ensemble to say.
    pub fn forget_config(&mut self) {
        self.change(CONFIG_PATH, |node| node.data = Some(Box::default()));
    }

    #[must_use]
    pub fn zxid(&self) -> i64 {
        self.zxid
    }

    /// As upstream counts it since 3.6.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether a record was applied to a tree that had it already, in whole or in part.
    #[must_use]
    pub fn was_repaired(&self) -> bool {
        self.was_repaired
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All znodes, parents first.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &ImageNode)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    #[must_use]
    pub fn node(&self, path: &str) -> Option<&ImageNode> {
        self.nodes.get(key_of(path))
    }

    /// Ephemerals of all sessions.
    #[must_use]
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    #[must_use]
    pub fn quota_count(&self) -> usize {
        self.quotas.len()
    }

    // ---- access control lists --------------------------------------------------------------

    #[must_use]
    pub fn open_list(&self) -> AclList {
        AclList::clone(&self.open)
    }

    /// The one copy of a list.
    pub fn known(&mut self, list: &[AclEntry]) -> AclList {
        if let Some(known) = self.lists.get(list) {
            return AclList::clone(known);
        }
        let list: AclList = list.into();
        self.lists.insert(AclList::clone(&list));
        list
    }

    fn known_acl(&mut self, acl: Option<&[Acl<'_>]>) -> ListRef {
        let Some(acl) = acl else {
            return ListRef::Known(self.open_list());
        };
        let text = |text: &Option<std::borrow::Cow<'_, str>>| -> String {
            text.as_deref().unwrap_or_default().to_owned()
        };
        let entries: Vec<AclEntry> = acl
            .iter()
            .map(|entry| AclEntry::new(entry.perms, &text(&entry.id.scheme), &text(&entry.id.id)))
            .collect();
        ListRef::Known(self.known(&entries))
    }

    /// Gives a list the key by which znodes of the snapshot name it.
    pub(super) fn define_list(&mut self, key: i64, list: &[AclEntry]) {
        let list = self.known(list);
        self.lists_by_key.insert(key, list);
    }

    pub(super) fn list_of(&self, key: i64) -> ListRef {
        self.lists_by_key.get(&key).map_or_else(
            || ListRef::Unknown(key),
            |list| ListRef::Known(AclList::clone(list)),
        )
    }

    /// The lists that znodes use, in the order of those.
    #[must_use]
    pub fn lists(&self) -> Vec<AclList> {
        let mut seen = HashSet::new();
        let known = self.nodes.values().filter_map(|node| match &node.acl {
            ListRef::Known(list) => Some(list),
            ListRef::Unknown(_) => None,
        });
        known
            .filter(|list| seen.insert(AclList::clone(list)))
            .cloned()
            .collect()
    }

    // ---- znodes ----------------------------------------------------------------------------

    pub(super) fn has_root(&self) -> bool {
        self.nodes.contains_key("")
    }

    /// Puts a znode where a snapshot says; false without its parent.
    pub fn place(&mut self, path: String, node: ImageNode) -> bool {
        if !path.is_empty() {
            match split(&path) {
                Some((parent, name)) if !name.is_empty() && self.nodes.contains_key(parent) => {}
                _ => return false,
            }
        }
        self.remove(&path);
        self.insert(path.into(), node);
        true
    }

    fn insert(&mut self, path: Box<str>, node: ImageNode) {
        self.digest = self.digest.wrapping_add(digest_of(&path, &node));
        if let Some(session) = self.session_of(&node) {
            let listed = self.ephemerals.entry(session).or_default();
            listed.insert(path.clone());
        }
        self.nodes.insert(path, node);
    }

    fn remove(&mut self, path: &str) -> Option<ImageNode> {
        let node = self.nodes.remove(path)?;
        self.digest = self.digest.wrapping_sub(digest_of(path, &node));
        if let Some(session) = self.session_of(&node)
            && let Some(listed) = self.ephemerals.get_mut(&session)
        {
            listed.remove(path);
        }
        Some(node)
    }

    /// Changes a znode but for its owner; false when it is not there.
    fn change(&mut self, path: &str, change: impl FnOnce(&mut ImageNode)) -> bool {
        let path = key_of(path);
        let Some(node) = self.nodes.get_mut(path) else {
            return false;
        };
        let before = digest_of(path, node);
        change(node);
        let after = digest_of(path, node);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        true
    }

    /// The session that an ephemeral belongs to.
    fn session_of(&self, node: &ImageNode) -> Option<i64> {
        match Owner::from_raw(node.stat.ephemeral_owner, self.extended_types) {
            Owner::Session(session) => Some(session.0),
            Owner::Persistent | Owner::Container | Owner::Ttl(_) => None,
        }
    }

    // ---- records ---------------------------------------------------------------------------

    /// Applies a record of the log.
    pub fn apply(&mut self, record: &TxnRecord<'_>) {
        match &record.body {
            TxnBody::CreateSession(txn) => {
                self.sessions
                    .insert(record.header.client_id, txn.timeout_ms);
            }
            TxnBody::CloseSession(txn) => {
                self.sessions.remove(&record.header.client_id);
                let listed = txn.as_ref().and_then(|txn| txn.paths_to_delete.as_ref());
                for path in listed.into_iter().flatten() {
                    self.delete(path.as_deref().unwrap_or_default(), record.header.zxid);
                }
                self.kill_session(record.header.client_id, record.header.zxid);
            }
            TxnBody::Multi(bodies) => {
                for body in bodies {
                    self.apply_single(&record.header, body);
                }
            }
            single => self.apply_single(&record.header, single),
        }
        self.zxid = self.zxid.max(record.header.zxid);
    }

    fn apply_single(&mut self, header: &TxnHeader, body: &TxnBody<'_>) {
        match body {
            TxnBody::Create(_, txn) => {
                let new = New {
                    path: txn.path.as_deref(),
                    data: txn.data,
                    acl: txn.acl.as_deref(),
                    owner: if txn.ephemeral { header.client_id } else { 0 },
                    parent_cversion: txn.parent_cversion,
                };
                self.create(header, &new);
            }
            TxnBody::CreateContainer(txn) => {
                let new = New {
                    path: txn.path.as_deref(),
                    data: txn.data,
                    acl: txn.acl.as_deref(),
                    owner: Owner::Container.to_raw(),
                    parent_cversion: txn.parent_cversion,
                };
                self.create(header, &new);
            }
            TxnBody::CreateTtl(txn) => {
                let new = New {
                    path: txn.path.as_deref(),
                    data: txn.data,
                    acl: txn.acl.as_deref(),
                    owner: Owner::Ttl(txn.ttl_ms).to_raw(),
                    parent_cversion: txn.parent_cversion,
                };
                self.create(header, &new);
            }
            TxnBody::Delete(txn) => {
                self.delete(txn.path.as_deref().unwrap_or_default(), header.zxid);
            }
            TxnBody::SetData(txn) => {
                let path = txn.path.as_deref().unwrap_or_default();
                self.set_data(header, path, txn.data, txn.version);
            }
            TxnBody::SetAcl(txn) => {
                let acl = self.known_acl(txn.acl.as_deref());
                let mut is_new = false;
                self.change(txn.path.as_deref().unwrap_or_default(), |node| {
                    is_new = node.stat.aversion < txn.version;
                    node.acl = acl;
                    node.stat.aversion = txn.version;
                });
                self.was_repaired |= !is_new;
            }
            TxnBody::Check(_)
            | TxnBody::Error(_)
            | TxnBody::CreateSession(_)
            | TxnBody::CloseSession(_)
            | TxnBody::Multi(_) => {}
        }
    }

    /// Of what is there already only the access control list changes. Its parent may not know of it
    /// yet: it was deleted and created again by records that the snapshot has in part.
    fn create(&mut self, header: &TxnHeader, new: &New<'_>) {
        let path = new.path.unwrap_or_default();
        let Some((parent, name)) = split(path) else {
            return;
        };
        if name.is_empty() || !self.nodes.contains_key(parent) {
            self.was_repaired = true;
            return;
        }
        let acl = self.known_acl(new.acl);
        self.count_created(parent, new.parent_cversion, header.zxid);
        if let Some(there) = self.nodes.get_mut(path) {
            there.acl = acl;
            self.was_repaired = true;
            return;
        }
        let node = ImageNode {
            data: new.data.map(Into::into),
            acl,
            stat: StatPersisted {
                czxid: header.zxid,
                mzxid: header.zxid,
                pzxid: header.zxid,
                ctime: header.time_ms,
                mtime: header.time_ms,
                ephemeral_owner: new.owner,
                ..StatPersisted::default()
            },
        };
        self.insert(path.into(), node);
        if let Some(subject) = parent.strip_prefix(QUOTA_ROOT) {
            match name {
                LIMITS => {
                    self.quotas.insert(subject.into());
                }
                STATS => self.count_quota(subject),
                _ => {}
            }
        }
        let bytes = new.data.map_or(0, <[u8]>::len);
        self.add_to_quota(path, 1, signed(bytes));
    }

    /// Counters of created children only grow, and pzxid with them.
    fn count_created(&mut self, parent: &str, counter: i32, zxid: i64) {
        let mut is_new = false;
        self.change(parent, |node| {
            let counter = match counter {
                COUNT_ONE_MORE => node.stat.cversion.wrapping_add(1),
                counter => counter,
            };
            is_new = counter > node.stat.cversion;
            if is_new {
                node.stat.cversion = counter;
                node.stat.pzxid = zxid;
            }
        });
        self.was_repaired |= !is_new;
    }

    /// The parent remembers the deletion even when the znode is gone already.
    fn delete(&mut self, path: &str, zxid: i64) {
        let Some((parent, name)) = split(path) else {
            return;
        };
        let mut is_new = false;
        let has_parent = self.change(parent, |node| {
            // Several of one record have the same.
            is_new = node.stat.pzxid <= zxid;
            node.stat.pzxid = node.stat.pzxid.max(zxid);
        });
        self.was_repaired |= !is_new;
        if !has_parent {
            return;
        }
        let Some(node) = self.remove(path) else {
            self.was_repaired = true;
            return;
        };
        if name == LIMITS
            && let Some(subject) = parent.strip_prefix(QUOTA_ROOT)
        {
            self.quotas.remove(subject);
        }
        self.add_to_quota(path, -1, -signed(data_len(&node)));
    }

    fn set_data(&mut self, header: &TxnHeader, path: &str, data: Option<&[u8]>, version: i32) {
        let mut old_len = 0;
        let mut is_new = false;
        let is_there = self.change(path, |node| {
            is_new = node.stat.mzxid <= header.zxid;
            old_len = data_len(node);
            node.data = data.map(Into::into);
            node.stat.mtime = header.time_ms;
            node.stat.mzxid = header.zxid;
            node.stat.version = version;
        });
        self.was_repaired |= !is_new;
        if is_there {
            let new_len = data.map_or(0, <[u8]>::len);
            self.add_to_quota(path, 0, signed(new_len) - signed(old_len));
        }
    }

    /// Deletes what a session owns.
    fn kill_session(&mut self, session: i64, zxid: i64) {
        for path in self.ephemerals.remove(&session).unwrap_or_default() {
            self.delete(&path, zxid);
        }
    }

    // ---- quotas ----------------------------------------------------------------------------

    /// Counts below a path are made anew when a snapshot was read: they may be older or newer than
    /// the znodes.
    pub(super) fn count_all_quotas(&mut self) {
        let below = format!("{QUOTA_ROOT}/");
        let end = format!("/{LIMITS}");
        let subjects: Vec<String> = self
            .range_below(&below)
            .filter(|(path, _)| path.ends_with(&end) && !self.has_children(path))
            .filter_map(|(path, _)| {
                let (subject, _) = path.strip_prefix(QUOTA_ROOT)?.split_once(&end)?;
                Some(subject.to_owned())
            })
            .collect();
        for subject in subjects {
            self.count_quota(&subject);
            self.quotas.insert(subject.into());
        }
    }

    /// Znodes whose path begins with `prefix`, which ends with a slash.
    fn range_below(&self, prefix: &str) -> impl Iterator<Item = (&str, &ImageNode)> {
        let range = (Bound::Excluded(prefix), Bound::Unbounded);
        let from = self.nodes.range::<str, _>(range);
        let prefix = prefix.to_owned();
        from.map(|(path, node)| (&**path, node))
            .take_while(move |(path, _)| path.starts_with(&prefix))
    }

    fn has_children(&self, path: &str) -> bool {
        self.range_below(&format!("{path}/")).next().is_some()
    }

    /// Writes how much there is at and below a path.
    fn count_quota(&mut self, subject: &str) {
        let (mut count, mut bytes) = (0, 0);
        if let Some(top) = self.nodes.get(subject) {
            let below = format!("{subject}/");
            let all = self.range_below(&below).map(|(_, node)| node);
            for node in all.chain([top]) {
                count += 1;
                bytes += signed(data_len(node));
            }
        }
        let track = StatsTrack {
            count,
            bytes,
            ..StatsTrack::UNLIMITED
        };
        self.write_totals(subject, track);
    }

    /// Adds to the totals of the deepest quota above a path.
    fn add_to_quota(&mut self, path: &str, count: i64, bytes: i64) {
        if self.quotas.is_empty() {
            return;
        }
        let deepest = crate::tree::path::ancestors(path).find(|path| self.quotas.contains(*path));
        let Some(subject) = deepest.filter(|subject| !matches!(*subject, "/" | "/zookeeper"))
        else {
            return;
        };
        let subject = subject.to_owned();
        let Some(stats) = self.nodes.get(&*format!("{QUOTA_ROOT}{subject}/{STATS}")) else {
            return;
        };
        let mut track = StatsTrack::parse(stats.data.as_deref()).unwrap_or(StatsTrack {
            count: 0,
            bytes: 0,
            ..StatsTrack::UNLIMITED
        });
        track.count = track.count.saturating_add(count);
        track.bytes = track.bytes.saturating_add(bytes);
        self.write_totals(&subject, track);
    }

    fn write_totals(&mut self, subject: &str, track: StatsTrack) {
        self.change(&format!("{QUOTA_ROOT}{subject}/{STATS}"), |node| {
            node.data = Some(track.to_text().into_bytes().into());
        });
    }

    /// The module's invariants, by a walk over everything.
    ///
    /// # Errors
    /// A sentence that names the first one that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let mut digest = 0u64;
        let mut owned = 0;
        for (path, node) in self.nodes() {
            digest = digest.wrapping_add(digest_of(path, node));
            if let Some(session) = self.session_of(node) {
                owned += 1;
                let listed = self.ephemerals.get(&session);
                if !listed.is_some_and(|listed| listed.contains(path)) {
                    return Err(format!("{path} is not listed by its session"));
                }
            }
        }
        if digest != self.digest {
            return Err(format!("the digest is {:x}, not {digest:x}", self.digest));
        }
        if owned != self.ephemeral_count() {
            return Err(format!(
                "{} ephemerals are listed of {owned}",
                self.ephemeral_count()
            ));
        }
        Ok(())
    }

    // ---- behind the last record ------------------------------------------------------------

    /// Puts right what ZooKeeper puts right when it has read its files, and what would not be a
    /// tree.
    pub fn finish(&mut self) -> Repairs {
        let mut repairs = Repairs::default();
        let dead: Vec<i64> = self
            .ephemerals
            .keys()
            .copied()
            .filter(|session| !self.sessions.contains_key(session))
            .collect();
        for session in dead {
            let listed = self.ephemerals.get(&session).into_iter().flatten();
            repairs
                .orphaned_ephemerals
                .extend(listed.map(|path| path.to_string()));
            self.kill_session(session, self.zxid);
        }
        repairs.orphaned_ephemerals.sort();
        let parentless: Vec<Box<str>> = {
            let mut lost: HashSet<&str> = HashSet::new();
            for path in self.nodes.keys().filter(|path| !path.is_empty()) {
                let parent = split(path).map_or("", |(parent, _)| parent);
                if lost.contains(parent) || !self.nodes.contains_key(parent) {
                    lost.insert(path);
                }
            }
            lost.into_iter().map(Into::into).collect()
        };
        for path in parentless {
            self.remove(&path);
            repairs.parentless.push(path.into());
        }
        repairs.parentless.sort();
        let without_list = |node: &ImageNode| matches!(node.acl, ListRef::Unknown(_));
        let without_list = self.nodes().filter(|(_, node)| without_list(node));
        repairs.without_list = without_list.map(|(path, _)| path.to_owned()).collect();
        self.add_config();
        repairs
    }
}

/// What a create brings, whatever its kind.
struct New<'a> {
    path: Option<&'a str>,
    data: Option<&'a [u8]>,
    acl: Option<&'a [Acl<'a>]>,
    owner: i64,
    parent_cversion: i32,
}

fn data_len(node: &ImageNode) -> usize {
    node.data.as_ref().map_or(0, |data| data.len())
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// A znode's share of the digest: the CRC-32 of path, data and numbers (`DigestCalculator.java`).
fn digest_of(path: &str, node: &ImageNode) -> u64 {
    if path.starts_with(NOT_DIGESTED) {
        return 0;
    }
    let stat = &node.stat;
    let mut crc = crc32fast::Hasher::new();
    crc.update(path.as_bytes());
    crc.update(node.data.as_deref().unwrap_or_default());
    for number in [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime] {
        crc.update(&number.to_be_bytes());
    }
    for number in [stat.version, stat.cversion, stat.aversion] {
        crc.update(&number.to_be_bytes());
    }
    crc.update(&stat.ephemeral_owner.to_be_bytes());
    u64::from(crc.finalize())
}
