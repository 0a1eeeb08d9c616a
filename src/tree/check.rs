//! The tree's invariants, checked.

use super::node::Owner;
use super::{DataTree, NodeId, len, path_hash};

impl DataTree {
    /// The module's invariants, by a full walk.
    ///
    /// # Errors
    /// A sentence that names the first one that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let (mut digest, mut bytes, mut seen, mut owned, mut reapable) = (0u64, 0u64, 0, 0, 0);
        let mut path_bytes = 0;
        let mut stack = vec![NodeId::ROOT];
        while let Some(id) = stack.pop() {
            let node = self
                .slab
                .get(id)
                .ok_or_else(|| format!("{id:?} is listed but missing"))?;
            seen += 1;
            if seen > self.slab.len() {
                return Err("the tree has a cycle".to_owned());
            }
            digest = digest.wrapping_add(self.node_digest(node));
            bytes += len(node.data.as_deref()) as u64;
            path_bytes += self.path_len(id) as u64;
            let path = self.path_of(id);
            if self.find(&path) != Some(id) {
                return Err(format!("{path} is not in the index"));
            }
            if node.path_hash != path_hash(&path) {
                return Err(format!("{path} has a wrong path hash"));
            }
            match Owner::from_raw(node.owner, self.extended_types) {
                Owner::Session(session) => {
                    owned += 1;
                    if !self
                        .ephemerals
                        .get(&session)
                        .is_some_and(|ids| ids.contains(&id))
                    {
                        return Err(format!("{path} is not listed by its session {session}"));
                    }
                }
                Owner::Container | Owner::Ttl(_) => {
                    reapable += 1;
                    if !self.reapable.contains(&id) {
                        return Err(format!("{path} is not listed for the reaper"));
                    }
                }
                Owner::Persistent => {}
            }
            let mut children = 0;
            for child in self.child_ids(id) {
                children += 1;
                if self.slab.node(child).parent != id {
                    return Err(format!("a child of {path} has another parent"));
                }
                stack.push(child);
            }
            if children != node.child_count {
                return Err(format!(
                    "{path} counts {} children of {children}",
                    node.child_count
                ));
            }
        }
        let equal = |what: &str, found: u64, kept: u64| {
            if found == kept {
                Ok(())
            } else {
                Err(format!("{what}: found {found}, kept {kept}"))
            }
        };
        equal("znodes", seen as u64, self.slab.len() as u64)?;
        equal("data bytes", bytes, self.data_bytes)?;
        equal("path bytes", path_bytes, self.path_bytes)?;
        equal("ephemerals", owned, self.ephemeral_count() as u64)?;
        equal("reapable", reapable, self.reapable.len() as u64)?;
        equal("digest", digest, self.digest)
    }
}
