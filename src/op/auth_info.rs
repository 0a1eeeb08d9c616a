//! whoAmI.

use bytes::BytesMut;
use jute::proto::{ClientInfo, WhoAmIResponse};
use jute::{Encode as _, ErrorCode, text};

use super::Look;

/// The caller's identities. Those of no scheme, such as super, have an empty user name.
pub(super) fn who_am_i(look: &Look<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
    let client_info = look
        .identities
        .iter()
        .map(|identity| ClientInfo {
            auth_scheme: text(&identity.scheme),
            user: text(
                look.schemes
                    .get(&identity.scheme)
                    .map_or("", |scheme| scheme.user_name(&identity.id)),
            ),
        })
        .collect();
    WhoAmIResponse {
        client_info: Some(client_info),
    }
    .encode(out);
    Ok(())
}
