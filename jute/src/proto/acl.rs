//! Access control lists and identities.

use crate::{Buf, Str, proto::Stat};

/// Permission bits of an [`Acl`].
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;

    /// A letter for each, in the order in which upstream prints them (`ZKUtil.getPermString`).
    #[must_use]
    pub fn letters(bits: i32) -> String {
        let letters = [
            (CREATE, 'c'),
            (DELETE, 'd'),
            (READ, 'r'),
            (WRITE, 'w'),
            (ADMIN, 'a'),
        ];
        let granted = letters.into_iter().filter(|(bit, _)| bits & bit != 0);
        granted.map(|(_, letter)| letter).collect()
    }
}

records! {
    pub struct Id<'a> {
        scheme: Str<'a>,
        id: Str<'a>,
    }

    pub struct Acl<'a> {
        /// Bits of [`perms`]; upstream stores others as given.
        perms: i32,
        id: Id<'a>,
    }

    pub struct GetAclRequest<'a> {
        path: Str<'a>,
    }

    pub struct GetAclResponse<'a> {
        acl: Option<Vec<Acl<'a>>>,
        stat: Stat,
    }

    pub struct SetAclRequest<'a> {
        path: Str<'a>,
        acl: Option<Vec<Acl<'a>>>,
        version: i32,
    }

    pub struct SetAclResponse {
        stat: Stat,
    }

    pub struct AuthPacket<'a> {
        /// Unused; clients send 0.
        kind: i32,
        scheme: Str<'a>,
        auth: Buf<'a>,
    }

    pub struct GetSaslRequest<'a> {
        token: Buf<'a>,
    }

    pub struct SetSaslResponse<'a> {
        token: Buf<'a>,
    }

    pub struct ClientInfo<'a> {
        auth_scheme: Str<'a>,
        user: Str<'a>,
    }

    pub struct WhoAmIResponse<'a> {
        client_info: Option<Vec<ClientInfo<'a>>>,
    }
}

#[cfg(test)]
mod tests {
    use super::perms;

    #[test]
    fn permissions_have_letters_in_upstreams_order() {
        let check = |bits, letters: &str| assert_eq!(perms::letters(bits), letters);
        check(perms::ALL, "cdrwa");
        check(perms::READ | perms::ADMIN, "ra");
        check(0, "");
        check(!perms::ALL, "");
    }
}
