//! A client as the API server is one, with its connections in the open.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use certs::ca::Authority;
use certs::certificate::Fingerprint;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::running::{DEADLINE, NAME};

/// What a connection is opened with.
#[derive(Clone)]
pub(crate) struct Client {
    config: ClientConfig,
    address: SocketAddr,
    name: &'static str,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, ca: &Authority) -> Self {
        Self::with(address, ca, &[&TLS13, &TLS12], &["http/1.1"], None)
    }

    pub(crate) fn with(
        address: SocketAddr,
        ca: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Self {
        let roots = [ca.certificate().clone()];
        Self::trusting(address, NAME, &roots, versions, protocols, identity)
    }

    pub(crate) fn trusting(
        address: SocketAddr,
        name: &'static str,
        trusted: &[CertificateDer<'static>],
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { config, address, name }
    }

    /// TLS alone, for a test that speaks HTTP by hand.
    pub(crate) async fn tls(&self) -> io::Result<TlsStream<TcpStream>> {
        self.tls_from(TcpSocket::new_v4()?).await
    }

    /// The same from the address that the socket is bound to.
    pub(crate) async fn tls_from(&self, socket: TcpSocket) -> io::Result<TlsStream<TcpStream>> {
        let connect = async {
            let tcp = socket.connect(self.address).await?;
            let name = self.name.try_into().unwrap();
            TlsConnector::from(Arc::new(self.config.clone())).connect(name, tcp).await
        };
        tokio::time::timeout(DEADLINE, connect).await?
    }

    pub(crate) async fn connect(&self) -> io::Result<Conversation> {
        let tls = self.tls().await?;
        let (_, session) = tls.get_ref();
        let certificate = Fingerprint::of(&session.peer_certificates().unwrap()[0]);
        let version = session.protocol_version().unwrap();
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        let (send, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Conversation { send, certificate, version, protocol })
    }

    /// A request on a connection of its own.
    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> io::Result<Response> {
        self.connect().await?.post(body).await
    }
}

/// One connection.
pub(crate) struct Conversation {
    send: SendRequest<Full<Bytes>>,
    pub(crate) certificate: Fingerprint,
    pub(crate) version: ProtocolVersion,
    pub(crate) protocol: Option<Vec<u8>>,
}

impl Conversation {
    /// A request as an API server sends it.
    pub(crate) async fn post(&mut self, body: impl Into<Bytes>) -> io::Result<Response> {
        let request = Request::post("/mutate/pods?timeout=5s")
            .header("Host", NAME)
            .header("Content-Type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        let exchange = async {
            self.send.ready().await?;
            let (head, body) = self.send.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(DEADLINE, exchange).await?.map_err(io::Error::other)
    }

    /// The server has closed the connection, or said that it will.
    pub(crate) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    pub(crate) fn is_last(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

/// One plain GET, on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut tcp = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
    };
    tokio::time::timeout(DEADLINE, exchange).await?
}
