//! Four-letter words, asked of a server.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use super::Host;

/// How long a server may take to answer a four-letter word, and how much it may say, in bytes.
const ASK_LIMIT: Duration = Duration::from_secs(1);
const ANSWER_MAX: u64 = 16 << 20;

/// What a server answers to a four-letter word.
///
/// # Errors
/// It cannot be reached, does not answer in time, or says more than anybody reads.
pub async fn ask(server: &Host, word: &str) -> io::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect((server.name.as_str(), server.port)).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match time::timeout(ASK_LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
