//! The watch: one connection to Legacy that rests, and ends when Legacy's process ends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::USER_AGENT;

/// The most bytes that Legacy may send on the watch; an answer to `/health` has some 200.
const LIMIT: usize = 64 * 1024;

/// A connection to Legacy at rest.
pub(crate) struct Watch {
    stream: TcpStream,
    /// How many more bytes Legacy may send.
    left: usize,
}

impl Watch {
    /// Connects and asks `/health` once: a Go server waits up to 5 s with its shutdown for a connection
    /// that never carried a request (`net/http`, `Server.Shutdown`). `limit` is the most time until the
    /// answer begins.
    pub(crate) async fn open(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let opened = timeout(limit, async {
            let stream = TcpStream::connect(address).await?;
            let mut watch = Self { stream, left: LIMIT };
            let request = format!(
                "GET /health HTTP/1.1\r\nhost: {address}\r\nuser-agent: {USER_AGENT}\r\n\r\n"
            );
            watch.stream.write_all(request.as_bytes()).await?;
            watch.read().await?;
            Ok(watch)
        });
        opened.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for the end of the connection, which is most likely the end of Legacy's process. Why it
    /// ended makes no difference: the next check tells.
    pub(crate) async fn ended(&mut self) {
        while self.read().await.is_ok() {}
    }

    /// Reads something and drops it: the answer says nothing that the connection does not.
    async fn read(&mut self) -> io::Result<()> {
        let read = self.stream.read(&mut [0; 512]).await?;
        let left = self.left.checked_sub(read).filter(|_| read > 0);
        self.left = left.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }
}
