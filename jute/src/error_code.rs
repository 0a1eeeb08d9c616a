//! Error codes (`KeeperException.Code`).

use std::fmt;

/// An error code as it stands in a reply header; 0 is success. Java clients that meet an unknown
/// code fail internally, so the server sends only codes listed here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub i32);

macro_rules! error_codes {
    ($( $(#[$meta:meta])* $name:ident = $value:literal; )*) => {
        impl ErrorCode {
            $( $(#[$meta])* pub const $name: Self = Self($value); )*

            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$name => Some(stringify!($name)), )*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    OK = 0;
    SYSTEM_ERROR = -1;
    /// In a failed multi: an operation behind the one that failed.
    RUNTIME_INCONSISTENCY = -2;
    DATA_INCONSISTENCY = -3;
    CONNECTION_LOSS = -4;
    MARSHALLING_ERROR = -5;
    UNIMPLEMENTED = -6;
    OPERATION_TIMEOUT = -7;
    BAD_ARGUMENTS = -8;
    UNKNOWN_SESSION = -12;
    NEW_CONFIG_NO_QUORUM = -13;
    RECONFIG_IN_PROGRESS = -14;
    NO_NODE = -101;
    NO_AUTH = -102;
    BAD_VERSION = -103;
    NO_CHILDREN_FOR_EPHEMERALS = -108;
    NODE_EXISTS = -110;
    NOT_EMPTY = -111;
    SESSION_EXPIRED = -112;
    INVALID_CALLBACK = -113;
    INVALID_ACL = -114;
    AUTH_FAILED = -115;
    SESSION_MOVED = -118;
    NOT_READ_ONLY = -119;
    EPHEMERAL_ON_LOCAL_SESSION = -120;
    NO_WATCHER = -121;
    REQUEST_TIMEOUT = -122;
    RECONFIG_DISABLED = -123;
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124;
    QUOTA_EXCEEDED = -125;
    THROTTLED_OP = -127;
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error({})", self.0),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
