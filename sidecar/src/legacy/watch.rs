//! One kept-alive connection that ends when Legacy's process ends.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Limited};

use super::exchange::{Line, Sender, connect, failure, message};
use crate::failure::{Failure, Request};

/// The most bytes of an answer to `/health` that are read.
const BODY_MAX: usize = 16 * 1024;

/// A connection to Legacy at rest.
pub(crate) struct Watch {
    line: Line,
    _sender: Sender,
}

impl Watch {
    /// Connects and asks `/health` once: a Go server waits up to 5 s with its shutdown for a
    /// connection that never carried a request (`net/http`, `Server.Shutdown`).
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let request = Request::Health;
        let (mut sender, mut line) = connect(address, request).await?;
        let asked = async {
            let response = sender.send_request(message(address, request, None)).await;
            let body = response.map_err(|error| failure(request, &error))?.into_body();
            let read = Limited::new(body, BODY_MAX).collect().await;
            read.map(drop).map_err(|_| Failure::Broken(request))
        };
        tokio::select! {
            biased;
            asked = asked => asked?,
            _ = &mut line => return Err(Failure::Broken(request)),
        }
        Ok(Self { line, _sender: sender })
    }

    /// Waits for the end of the connection, which is most likely the end of Legacy's process.
    pub(crate) async fn ended(&mut self) {
        // Why it ended makes no difference: the next look tells.
        let _ = self.line.as_mut().await;
    }
}
