//! Distinct access control lists, stored once and shared by id.
//!
//! A tree of millions of znodes has a handful of lists. Upstream: `ReferenceCountedACLCache.java`.

use std::hash::Hasher as _;
use std::sync::Arc;

use jute::proto::perms;
use siphasher::sip::SipHasher13;

use crate::collections::HashMap;

/// One entry of a list, as stored: `auth` is expanded, the scheme is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// Bits of [`jute::proto::perms`]; others are kept as given.
    pub perms: i32,
    pub scheme: Box<str>,
    pub id: Box<str>,
}

impl AclEntry {
    #[must_use]
    pub fn new(perms: i32, scheme: &str, id: &str) -> Self {
        Self {
            perms,
            scheme: scheme.into(),
            id: id.into(),
        }
    }

    #[must_use]
    pub fn is_world(&self) -> bool {
        &*self.scheme == "world" && &*self.id == "anyone"
    }
}

pub type AclList = Arc<[AclEntry]>;

/// Names a list in an [`AclTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclId(pub u32);

#[derive(Debug, Clone)]
struct Slot {
    list: AclList,
    /// Znodes that use the list. A slot with none is free for the next new list.
    users: u32,
    digest: u64,
}

/// Invariant: `by_list` names exactly the slots with users, and the first two slots for ever.
#[derive(Debug, Clone)]
pub struct AclTable {
    slots: Vec<Slot>,
    free: Vec<AclId>,
    by_list: HashMap<AclList, AclId>,
}

impl AclTable {
    /// `world:anyone:cdrwa`, in most trees the list of nearly all znodes.
    pub const OPEN: AclId = AclId(0);
    /// `world:anyone:r`, the list of `/zookeeper/config`.
    pub const READ_ONLY: AclId = AclId(1);

    #[must_use]
    pub fn new() -> Self {
        let mut table = Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_list: HashMap::default(),
        };
        let open = table.acquire(&[AclEntry::new(perms::ALL, "world", "anyone")]);
        let read_only = table.acquire(&[AclEntry::new(perms::READ, "world", "anyone")]);
        assert_eq!((open, read_only), (Self::OPEN, Self::READ_ONLY));
        table
    }

    /// The id of a list, with one user more.
    pub fn acquire(&mut self, list: &[AclEntry]) -> AclId {
        if let Some(&id) = self.by_list.get(list) {
            self.retain(id);
            return id;
        }
        let list: AclList = list.into();
        let slot = Slot {
            list: Arc::clone(&list),
            users: 1,
            digest: digest(&list),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.0 as usize] = slot;
                id
            }
            None => {
                let id = AclId(u32::try_from(self.slots.len()).expect("fewer lists than znodes"));
                self.slots.push(slot);
                id
            }
        };
        self.by_list.insert(list, id);
        id
    }

    /// One user more of a list that has some already.
    pub fn retain(&mut self, id: AclId) {
        self.slots[id.0 as usize].users += 1;
    }

    /// One user fewer; the last one frees the list.
    pub fn release(&mut self, id: AclId) {
        let slot = &mut self.slots[id.0 as usize];
        slot.users -= 1;
        if slot.users == 0 && id > Self::READ_ONLY {
            self.by_list.remove(&slot.list);
            slot.list = Arc::default();
            self.free.push(id);
        }
    }

    /// All lists that znodes use.
    pub fn used(&self) -> impl Iterator<Item = (AclId, AclList)> {
        self.by_list
            .iter()
            .map(|(list, &id)| (id, Arc::clone(list)))
    }

    #[must_use]
    pub fn list(&self, id: AclId) -> &AclList {
        &self.slots[id.0 as usize].list
    }

    /// A hash of the list that is equal on all servers; ids are not.
    #[must_use]
    pub fn digest(&self, id: AclId) -> u64 {
        self.slots[id.0 as usize].digest
    }
}

impl Default for AclTable {
    fn default() -> Self {
        Self::new()
    }
}

fn digest(list: &[AclEntry]) -> u64 {
    let mut hasher = SipHasher13::new();
    for entry in list {
        hasher.write(&entry.perms.to_le_bytes());
        for text in [&entry.scheme, &entry.id] {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text.as_bytes());
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_shared_and_their_ids_reused() {
        let mut table = AclTable::new();
        let list = [AclEntry::new(1, "ip", "10.0.0.1")];
        let first = table.acquire(&list);
        assert_eq!(table.acquire(&list), first);
        table.release(first);
        assert_eq!(&**table.list(first), &list);
        table.release(first);
        let other = table.acquire(&[AclEntry::new(1, "ip", "10.0.0.2")]);
        assert_eq!(other, first, "a freed id is taken again");
        table.release(AclTable::OPEN);
        table.retain(AclTable::OPEN);
        assert!(table.list(AclTable::OPEN)[0].is_world());
    }
}
