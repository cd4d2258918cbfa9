//! One kept-alive connection that ends when Legacy's process ends.

use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::AGENT;
use crate::failure::{Failure, Request};

/// The most bytes of an answer to `/health` that are read.
const BODY_MAX: usize = 16 * 1024;

/// The smallest buffer that hyper takes.
const BUFFER: usize = 8 * 1024;

/// A connection to Legacy at rest.
pub(crate) struct Watch {
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
    /// hyper ends the connection when nobody can send on it any more.
    _sender: SendRequest<Empty<Bytes>>,
}

impl Watch {
    /// Connects and asks `/health` once: a Go server waits up to 5 s with its shutdown for a
    /// connection that never carried a request (`net/http`, `Server.Shutdown`).
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let broken = Failure::Broken(Request::Health);
        let stream = TcpStream::connect(address).await.map_err(|_| broken)?;
        let (mut sender, connection) = Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| broken)?;
        let mut connection = Box::pin(connection);
        let request = http::Request::get(Request::Health.path())
            .header(HOST, address.to_string())
            .header(USER_AGENT, AGENT)
            .body(Empty::new())
            .map_err(|_| broken)?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(|_| broken)?;
            let body = Limited::new(response.into_body(), BODY_MAX);
            body.collect().await.map(drop).map_err(|_| broken)
        };
        tokio::select! {
            biased;
            asked = asked => asked?,
            _ = &mut connection => return Err(broken),
        }
        Ok(Self {
            connection,
            _sender: sender,
        })
    }

    /// Waits for the end of the connection, which is most likely the end of Legacy's process.
    pub(crate) async fn ended(&mut self) {
        // Why it ended makes no difference: the next look tells.
        let _ = self.connection.as_mut().await;
    }
}
