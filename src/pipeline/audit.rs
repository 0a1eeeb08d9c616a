//! Who did what, for the audit log (`ZKAuditProvider.java`): a line for each write, at the server
//! that its client is connected to, once it is applied.
//!
//! Lines wait in a queue for a thread of their own to write them. A full queue holds up whoever
//! applies, as upstream's logger does: an audit log with holes is worth little, and a disk that takes
//! no lines will soon take no log either.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::{Core, Service};
use crate::auth::{Identities, Identity};
use crate::collections::HashMap;
use crate::op::audit::{Deed, deeds};
use crate::op::{Change, ChangeKind};
use crate::state::{Applied, Request, State};
use crate::types::{ConnId, SessionId};

/// Lines that may wait.
pub const AUDIT_WAITING_MAX: usize = 8192;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub session: Option<SessionId>,
    /// All identities of the session, or the user that the server runs as.
    pub users: Arc<str>,
    pub ip: Option<IpAddr>,
    pub deed: Deed,
    /// What is asked for and not over: the end of the server.
    pub is_invoked: bool,
}

impl Record {
    /// Nothing comes behind it: the server stops, or has not started.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.is_invoked || self.session.is_none() && !self.deed.is_done
    }
}

impl fmt::Display for Record {
    /// Fields between tabs, in upstream's order, absent ones left out. Control characters are
    /// escaped, which upstream does not do: a path with a line break would be a line of its own.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(session) = self.session {
            write!(out, "session=0x{:x}\t", session.0)?;
        }
        write!(out, "user={}", Escaped(&self.users))?;
        if let Some(ip) = self.ip {
            write!(out, "\tip={ip}")?;
        }
        let deed = &self.deed;
        write!(out, "\toperation={}", deed.operation)?;
        if let Some(path) = &deed.path {
            write!(out, "\tznode={}", Escaped(path))?;
        }
        if let Some(znode_type) = deed.znode_type {
            write!(out, "\tznode_type={znode_type}")?;
        }
        if let Some(acl) = &deed.acl {
            write!(out, "\tacl={}", Escaped(acl))?;
        }
        let result = match (self.is_invoked, deed.is_done) {
            (true, _) => "invoked",
            (false, true) => "success",
            (false, false) => "failure",
        };
        write!(out, "\tresult={result}")
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    write!(out, "{}{}", &part[..at], last.escape_default())?;
                }
                _ => out.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Connections that hung up with writes in flight, of which so many are remembered: what one of the
/// others wrote has no line. No more than the requests that wait for their entry, in practice.
pub(super) const GONE_MAX: usize = 1 << 16;

/// Whose write it is.
pub(super) struct Writer {
    pub(super) session: SessionId,
    pub(super) identities: Identities,
    pub(super) ip: IpAddr,
}

/// Who hung up before its writes were applied: they have happened all the same.
#[derive(Default)]
pub(super) struct Gone(HashMap<ConnId, (Writer, usize)>);

impl Gone {
    /// Remembers a connection with so many writes in flight.
    pub(super) fn remember(&mut self, conn: ConnId, writer: Writer, writes: usize) {
        if writes == 0 {
            return;
        }
        if self.0.len() >= GONE_MAX {
            metrics::counter!("meerkat_audit_failures").increment(1);
            tracing::error!(
                session = %writer.session,
                writes,
                "too many clients hung up: writes are not in the audit log"
            );
            return;
        }
        self.0.insert(conn, (writer, writes));
    }

    /// One of its writes is applied: whose it was.
    pub(super) fn applied<T>(&mut self, conn: ConnId, then: impl FnOnce(&Writer) -> T) {
        let std::collections::hash_map::Entry::Occupied(mut found) = self.0.entry(conn) else {
            return;
        };
        let (writer, writes) = found.get_mut();
        then(writer);
        *writes -= 1;
        if *writes == 0 {
            found.remove();
        }
    }

    /// Nothing of the others will be applied any more.
    pub(super) fn keep_only(&mut self, keep: impl Fn(ConnId) -> bool) {
        self.0.retain(|conn, _| keep(*conn));
    }
}

/// Where the lines go.
#[derive(Debug, Clone)]
pub struct Audit {
    pub records: SyncSender<Record>,
    /// The user that the server runs as: ephemerals are deleted in its name.
    pub own_user: Arc<str>,
}

impl Audit {
    fn put(&self, record: Record) {
        // The writer ends with the server.
        let _ = self.records.send(record);
    }

    /// Of the server itself.
    pub fn put_own(&self, deed: Deed, is_invoked: bool) {
        self.put(Record {
            session: None,
            users: Arc::clone(&self.own_user),
            ip: None,
            deed,
            is_invoked,
        });
    }

    /// What a client of this server wrote.
    pub(super) fn written(
        &self,
        state: &State,
        writer: &Writer,
        request: &Request<'_>,
        applied: &Applied,
    ) {
        let deeds = deeds(request.op, request.body, &applied.result);
        if deeds.is_empty() {
            return;
        }
        let users: Arc<str> = users(state, &writer.identities).into();
        for deed in deeds {
            self.put(Record {
                session: Some(writer.session),
                users: Arc::clone(&users),
                ip: Some(writer.ip),
                deed,
                is_invoked: false,
            });
        }
    }

    /// What went with a session: every server says so. One that catches up does not; it said so
    /// before, or others did.
    pub(super) fn session_closed(&self, core: &Core, session: SessionId, changes: &[Change]) {
        if core.service() == Service::Nobody {
            return;
        }
        for change in changes {
            if change.kind == ChangeKind::Deleted {
                self.put(Record {
                    session: Some(session),
                    users: Arc::clone(&self.own_user),
                    ip: None,
                    deed: Deed::ephemeral_gone(&change.path),
                    is_invoked: false,
                });
            }
        }
    }
}

/// The names of those identities that have one (`AuthUtil.getUsers`).
fn users(state: &State, identities: &[Identity]) -> String {
    let names = identities.iter().filter_map(|identity| {
        let scheme = state.schemes().get(&identity.scheme)?;
        Some(scheme.user_name(&identity.id))
    });
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let mut deed = Deed::ephemeral_gone("/a\nuser=root\tx\u{85}y");
        deed.acl = Some("digest:é:r".to_owned());
        let record = Record {
            session: Some(SessionId(-1)),
            users: "a\tb".into(),
            ip: None,
            deed,
            is_invoked: false,
        };
        assert_eq!(
            record.to_string(),
            "session=0xffffffffffffffff\tuser=a\\tb\toperation=ephemeralZNodeDeletionOnSessionCloseOrExpire\t\
             znode=/a\\nuser=root\\tx\\u{85}y\tacl=digest:é:r\tresult=success"
        );
    }
}
