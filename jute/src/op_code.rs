//! Operation codes (`ZooDefs.OpCode`).

use std::fmt;

/// An operation code as it stands on the wire. Values we do not know survive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpCode(pub i32);

macro_rules! op_codes {
    ($( $name:ident = $value:literal, $label:literal; )*) => {
        impl OpCode {
            $( pub const $name: Self = Self($value); )*

            /// Upstream's name of the operation, as in its logs and metrics.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$name => Some($label), )*
                    _ => None,
                }
            }
        }
    };
}

op_codes! {
    NOTIFICATION = 0, "notification";
    CREATE = 1, "create";
    DELETE = 2, "delete";
    EXISTS = 3, "exists";
    GET_DATA = 4, "getData";
    SET_DATA = 5, "setData";
    GET_ACL = 6, "getACL";
    SET_ACL = 7, "setACL";
    GET_CHILDREN = 8, "getChildren";
    SYNC = 9, "sync";
    PING = 11, "ping";
    GET_CHILDREN2 = 12, "getChildren2";
    CHECK = 13, "check";
    MULTI = 14, "multi";
    CREATE2 = 15, "create2";
    RECONFIG = 16, "reconfig";
    CHECK_WATCHES = 17, "checkWatches";
    REMOVE_WATCHES = 18, "removeWatches";
    CREATE_CONTAINER = 19, "createContainer";
    DELETE_CONTAINER = 20, "deleteContainer";
    CREATE_TTL = 21, "createTTL";
    MULTI_READ = 22, "multiRead";
    AUTH = 100, "auth";
    SET_WATCHES = 101, "setWatches";
    SASL = 102, "sasl";
    GET_EPHEMERALS = 103, "getEphemerals";
    GET_ALL_CHILDREN_NUMBER = 104, "getAllChildrenNumber";
    SET_WATCHES2 = 105, "setWatches2";
    ADD_WATCH = 106, "addWatch";
    WHO_AM_I = 107, "whoAmI";
    CREATE_SESSION = -10, "createSession";
    CLOSE_SESSION = -11, "closeSession";
    ERROR = -1, "error";
}

impl fmt::Debug for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "op({})", self.0),
        }
    }
}
