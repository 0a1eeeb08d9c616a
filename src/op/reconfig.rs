//! reconfig, as a server without an ensemble answers it.

use jute::ErrorCode;

use super::{Apply, Flags, Reply};

/// # Errors
/// First match wins: `RECONFIG_DISABLED`, `SESSION_EXPIRED`, `UNIMPLEMENTED`.
pub(super) fn reconfig(tx: &Apply<'_>) -> Result<Reply, ErrorCode> {
    if !tx.flags.contains(Flags::RECONFIG_ENABLED) {
        return Err(ErrorCode::RECONFIG_DISABLED);
    }
    tx.check_session()?;
    Err(ErrorCode::UNIMPLEMENTED)
}
