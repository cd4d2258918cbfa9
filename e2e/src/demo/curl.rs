//! A caller of Legacy, as its Service would send one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::{Answer, send};
use super::screen;

/// How long Legacy may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks for `/` and shows what curl would show.
pub(crate) async fn curl(port: u16) -> Result<(u16, String)> {
    screen::command(format_args!(r"curl -sw '%{{http_code}}\n' http://localhost:{port}/"));
    let answer = timeout(LIMIT, get(port, "/"))
        .await
        .with_context(|| format!("Legacy has not answered within {LIMIT:?}"))?
        .context("Legacy can't be asked")?;
    let status = answer.status.as_u16();
    let body = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
    for line in [&body, &status.to_string()] {
        screen::output(line, answer.status.is_success());
    }
    Ok((status, body))
}

/// `GET`s a path from this machine's port.
pub(crate) async fn get(port: u16, path: &str) -> Result<Answer> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = Request::get(path)
        .header("Host", format!("localhost:{port}"))
        .header("Connection", "close")
        .header("User-Agent", "demo")
        .body(Full::<Bytes>::default())?;
    send(stream, request).await
}
