//! One plain HTTP GET at a time, over a connection of its own: what a probe does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most that is read of an answer.
const LIMIT: u64 = 4 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

/// Asks for `path`, and waits for the whole answer for at most `limit`.
///
/// # Errors
///
/// Nothing listens, or what answers is not HTTP, or not in time.
pub async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<Answer> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LIMIT).read_to_end(&mut answer).await?;
        parse(&answer)
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => answer.with_context(|| format!("http://{address}{path}")),
        Err(_) => bail!("http://{address}{path}: no answer within {limit:?}"),
    }
}

/// Reads an answer that ended with its connection.
pub(super) fn parse(answer: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(Answer {
        status: status.context("an answer without a status")?,
        body: if chunked { dechunk(body)? } else { body.to_owned() },
    })
}

fn dechunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).context("an odd chunk")?;
        if size == 0 {
            break;
        }
        body.push_str(after.get(..size).context("half a chunk")?);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_ending_a_body_are_read() {
        let plain =
            parse(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nUninitialized\n").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (503, "Uninitialized\n"));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nIt \r\n6\r\nworks!\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "It works!");
        assert!(parse(b"").is_err());
    }
}
