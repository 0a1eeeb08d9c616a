//! Session transactions. Clients never send these bodies; entries of the log hold them.

use crate::Buf;

records! {
    pub struct CreateSessionTxn<'a> {
        timeout_ms: i32,
        password: Buf<'a>,
    }
}
