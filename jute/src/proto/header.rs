//! Headers of requests and replies.

/// Reserved request ids. The server echoes what was sent, a ping's excepted.
pub mod xid {
    pub const NOTIFICATION: i32 = -1;
    pub const PING: i32 = -2;
    pub const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}

records! {
    pub struct RequestHeader {
        xid: i32,
        /// An [`OpCode`](crate::OpCode).
        op: i32,
    }

    /// Sixteen bytes in front of each server message but the connect response.
    pub struct ReplyHeader {
        xid: i32,
        zxid: i64,
        /// An [`ErrorCode`](crate::ErrorCode); a body follows only when it is 0.
        err: i32,
    }

    /// The body of replies that consist of an error code (addWatch).
    pub struct ErrorResponse {
        err: i32,
    }
}
