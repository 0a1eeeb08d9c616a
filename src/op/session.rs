//! createSession and closeSession: log entries that no client sends as such.

use jute::proto::CreateSessionTxn;
use jute::{ErrorCode, Reader};

use super::{Apply, Reply, delete};
use crate::session::Session;
use crate::tree::NodeId;

/// # Errors
/// `MARSHALLING_ERROR` for a body that is no record.
pub(super) fn create(tx: &mut Apply<'_>, body: &[u8]) -> Result<Reply, ErrorCode> {
    let request: CreateSessionTxn<'_> = Reader::new(body)
        .read()
        .map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
    let password = request
        .password
        .and_then(|password| password.try_into().ok())
        .ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let session = Session {
        timeout_ms: request.timeout_ms,
        password,
        attach: 0,
    };
    tx.sessions.insert(tx.session, session);
    Ok(Reply::Session {
        id: tx.session,
        timeout_ms: request.timeout_ms,
        password,
    })
}

/// Deletes all ephemerals of the session under one zxid, each with its events, and then the
/// session. Closing what is gone changes nothing.
pub(super) fn close(tx: &mut Apply<'_>) -> Reply {
    let owned: Vec<NodeId> = tx.tree.ephemerals(tx.session).collect();
    for id in owned {
        let path = tx.tree.path_of(id);
        // An ephemeral has no children but for those made while the TTL types were switched off.
        if tx.tree.child_count(id) == 0 {
            delete::remove(tx, id, path.into());
        }
    }
    tx.sessions.remove(tx.session);
    Reply::Empty
}
