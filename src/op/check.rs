//! check, which exists only inside a multi.

use jute::ErrorCode;
use jute::proto::{CheckVersionRequest, perms};

use super::data::valid_path;
use super::{Apply, check_version};

/// # Errors
/// First match wins: `BAD_ARGUMENTS` (path), `NO_NODE`, `NO_AUTH`, `BAD_VERSION`.
pub(super) fn check(tx: &Apply<'_>, request: &CheckVersionRequest<'_>) -> Result<(), ErrorCode> {
    tx.check_session()?;
    let path = valid_path(request.path.as_deref())?;
    let id = tx.find(path)?;
    tx.check_acl(id, perms::READ)?;
    check_version(tx.tree.stat(id).version, request.version)
}
