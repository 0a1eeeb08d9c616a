//! getEphemerals.

use bytes::BytesMut;
use jute::proto::{GetEphemeralsRequest, GetEphemeralsResponse};
use jute::{Encode as _, ErrorCode};

use super::Look;

/// The caller's ephemerals whose path starts with a string, not checked against any list. A null,
/// blank or `/` prefix means all.
pub(super) fn get_ephemerals(
    look: &Look<'_>,
    request: &GetEphemeralsRequest<'_>,
    out: &mut BytesMut,
) -> Result<(), ErrorCode> {
    let prefix = match request.prefix_path.as_deref() {
        Some(prefix) if !prefix.trim().is_empty() => prefix,
        _ => "/",
    };
    let ephemerals = look
        .tree
        .ephemerals(look.session)
        .map(|id| look.tree.path_of(id))
        .filter(|path| path.starts_with(prefix))
        .map(|path| Some(path.into()))
        .collect();
    GetEphemeralsResponse {
        ephemerals: Some(ephemerals),
    }
    .encode(out);
    Ok(())
}
