//! One request over one connection.

use std::time::Duration;

use anyhow::Context as _;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::Access;

/// For the name's lookup and TCP, and again for the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the head of its answer. A watch has its head at once.
const ANSWER: Duration = Duration::from_secs(30);

pub(super) async fn send(
    access: &Access,
    mut request: Request<Body>,
) -> anyhow::Result<Response<Incoming>> {
    let server = &access.server;
    *request.uri_mut() = path(server, request.uri())?;
    let authority = server.authority().map_or("", |authority| authority.as_str());
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority)?);
    if let Some(authorization) = access.authorization().await? {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let to_server = || format!("can't reach the API server at {server}");
    let secure = server.scheme() != Some(&Scheme::HTTP);
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = server.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = timeout(CONNECT, TcpStream::connect((host, port)))
        .await
        .map_err(anyhow::Error::from)
        .and_then(|tcp| Ok(tcp?))
        .with_context(to_server)?;
    if !secure {
        return exchange(tcp, request).await.with_context(to_server);
    }
    let tls = TlsConnector::from(std::sync::Arc::new(access.tls().await?));
    let stream = timeout(CONNECT, tls.connect(access.server_name()?, tcp))
        .await
        .map_err(anyhow::Error::from)
        .and_then(|stream| Ok(stream?))
        .with_context(to_server)?;
    exchange(stream, request).await.with_context(to_server)
}

/// The path of `request` behind that of `server`, as behind Rancher's proxy.
fn path(server: &Uri, request: &Uri) -> anyhow::Result<Uri> {
    let prefix = server.path().trim_end_matches('/');
    let rest = request.path_and_query().map_or("/", |rest| rest.as_str());
    Ok(format!("{prefix}{rest}").parse()?)
}

async fn exchange<S>(stream: S, request: Request<Body>) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or when that is dropped.
    tokio::spawn(connection);
    let answer = timeout(ANSWER, sender.send_request(request)).await;
    Ok(answer.context("no answer")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_behind_the_servers_own() {
        for (server, request, expected) in [
            ("https://h:1", "/version", "/version"),
            ("https://h:1/", "/api?watch=true&x=1", "/api?watch=true&x=1"),
            ("https://h/k8s/clusters/c-1/", "/version", "/k8s/clusters/c-1/version"),
        ] {
            let found = path(&server.parse().unwrap(), &request.parse().unwrap()).unwrap();
            assert_eq!(found, expected);
        }
    }
}
