//! Why a command has failed: what goes to stderr, and the exit code (`CliException.java`,
//! `CliWrapperException.java`, `KeeperException.java`).

use jute::ErrorCode;

use super::options::OptionError;

/// Of any failed command.
pub(super) const EXIT_FAILED: u8 = 1;
/// Of a configuration that cannot be used.
pub(super) const EXIT_INVALID_INVOCATION: u8 = 2;
/// Of a word that is no command.
const EXIT_NOT_FOUND: u8 = 127;
/// Of a command that was stopped with Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) exit_code: u8,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            exit_code: EXIT_FAILED,
        }
    }

    /// The doubled words are upstream's.
    pub(super) fn not_found(word: &str) -> Self {
        Self {
            text: format!("Command not found: Command not found {word}"),
            exit_code: EXIT_NOT_FOUND,
        }
    }

    pub(super) fn interrupted() -> Self {
        Self {
            text: String::new(),
            exit_code: EXIT_INTERRUPTED,
        }
    }

    /// A code that the server answered, or the client in its place.
    pub(super) fn refused(code: ErrorCode, path: Option<&str>) -> Self {
        let at = path.unwrap_or("null");
        Self::new(match code {
            ErrorCode::NO_NODE => format!("Node does not exist: {at}"),
            ErrorCode::NO_CHILDREN_FOR_EPHEMERALS => {
                format!("Ephemerals cannot have children: {at}")
            }
            ErrorCode::NODE_EXISTS => format!("Node already exists: {at}"),
            ErrorCode::NOT_EMPTY => format!("Node not empty: {at}"),
            ErrorCode::NOT_READ_ONLY => format!("Not a read-only call: {at}"),
            ErrorCode::INVALID_ACL => format!("Acl is not valid : {at}"),
            ErrorCode::NO_AUTH => format!("Insufficient permission : {at}"),
            ErrorCode::BAD_ARGUMENTS => format!("Arguments are not valid : {at}"),
            ErrorCode::BAD_VERSION => format!("version No is not valid : {at}"),
            ErrorCode::RECONFIG_IN_PROGRESS => "Another reconfiguration is in progress -- \
                concurrent reconfigs not supported (yet)"
                .to_owned(),
            ErrorCode::NEW_CONFIG_NO_QUORUM => "No quorum of new config is connected and \
                up-to-date with the leader of last commmitted config - try invoking \
                reconfiguration after new servers are connected and synced"
                .to_owned(),
            ErrorCode::QUOTA_EXCEEDED => format!("Quota has exceeded : {at}"),
            code => keeper_message(code, path),
        })
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::new(error.to_string())
    }
}

/// `KeeperException.getMessage`.
pub(super) fn keeper_message(code: ErrorCode, path: Option<&str>) -> String {
    let name = code_name(code);
    match path {
        None | Some("") => format!("KeeperErrorCode = {name}"),
        Some(path) => format!("KeeperErrorCode = {name} for {path}"),
    }
}

/// Upstream's words for a code.
fn code_name(code: ErrorCode) -> String {
    let name = match code {
        ErrorCode::OK => "ok",
        ErrorCode::SYSTEM_ERROR => "SystemError",
        ErrorCode::RUNTIME_INCONSISTENCY => "RuntimeInconsistency",
        ErrorCode::DATA_INCONSISTENCY => "DataInconsistency",
        ErrorCode::CONNECTION_LOSS => "ConnectionLoss",
        ErrorCode::MARSHALLING_ERROR => "MarshallingError",
        ErrorCode::NEW_CONFIG_NO_QUORUM => "NewConfigNoQuorum",
        ErrorCode::RECONFIG_IN_PROGRESS => "ReconfigInProgress",
        ErrorCode::UNIMPLEMENTED => "Unimplemented",
        ErrorCode::OPERATION_TIMEOUT => "OperationTimeout",
        ErrorCode::BAD_ARGUMENTS => "BadArguments",
        ErrorCode::NO_NODE => "NoNode",
        ErrorCode::NO_AUTH => "NoAuth",
        ErrorCode::BAD_VERSION => "BadVersion",
        ErrorCode::NO_CHILDREN_FOR_EPHEMERALS => "NoChildrenForEphemerals",
        ErrorCode::NODE_EXISTS => "NodeExists",
        ErrorCode::INVALID_ACL => "InvalidACL",
        ErrorCode::AUTH_FAILED => "AuthFailed",
        ErrorCode::NOT_EMPTY => "Directory not empty",
        ErrorCode::SESSION_EXPIRED => "Session expired",
        ErrorCode::INVALID_CALLBACK => "Invalid callback",
        ErrorCode::SESSION_MOVED => "Session moved",
        ErrorCode::NOT_READ_ONLY => "Not a read-only call",
        ErrorCode::EPHEMERAL_ON_LOCAL_SESSION => "Ephemeral node on local session",
        ErrorCode::NO_WATCHER => "No such watcher",
        ErrorCode::RECONFIG_DISABLED => "Reconfig is disabled",
        ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH => {
            "Session closed because client failed to authenticate"
        }
        ErrorCode::QUOTA_EXCEEDED => "Quota has exceeded",
        ErrorCode::THROTTLED_OP => "Op throttled due to high load",
        ErrorCode(other) => return format!("Unknown error {other}"),
    };
    name.to_owned()
}
