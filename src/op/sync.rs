//! sync: by the time it is evaluated, everything committed before it has been applied here.

use bytes::BytesMut;
use jute::proto::SyncRequest;
use jute::{Encode as _, ErrorCode};

/// Echoes the path as it came, null too. It takes no zxid.
pub(super) fn sync(request: &SyncRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
    request.path.encode(out);
    Ok(())
}
