//! A client that says what it wants byte by byte, from whichever loopback address it wants.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Within this time everything happens, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Fails the test if `future` takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it took too long")
}

/// `GET` of a path.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

/// A review of a pod, padded to 30 KB so that it comes in several pieces.
pub(crate) fn review() -> Vec<u8> {
    let review = include_bytes!("../../../webhook/tests/reviews/pod-create-legacy-mock.json");
    let mut body = review.to_vec();
    body.resize(30_000, b' ');
    [post_head(30_000).as_bytes(), &body].concat()
}

/// `POST` of a body of that length, as an API server does it.
pub(crate) fn post(length: usize) -> Vec<u8> {
    let mut request = post_head(length).into_bytes();
    request.resize(request.len() + length, b' ');
    request
}

pub(crate) fn post_head(length: usize) -> String {
    format!(
        "POST /mutate/pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Where the API server and the kubelet are in these tests.
pub(crate) const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Where the attacker is.
pub(crate) const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A port and what is spoken there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
}

impl Target {
    pub(crate) async fn connect(self, from: IpAddr) -> io::Result<Connection> {
        Ok(Connection(self.tls(self.tcp(from, None).await?).await?))
    }

    /// With a kernel buffer of that size for what is received.
    pub(crate) async fn tcp(
        self,
        from: IpAddr,
        buffer: Option<u32>,
    ) -> io::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        socket.bind((from, 0).into())?;
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(Box::new(tcp))
    }

    /// Shakes hands, where that is done.
    pub(crate) async fn tls(self, tcp: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        if !self.tls {
            return Ok(tcp);
        }
        let name = ServerName::try_from("webhook.test").unwrap();
        let connector = TlsConnector::from(Arc::clone(&CONFIG));
        Ok(Box::new(connector.connect(name, tcp).await?))
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(self, from: IpAddr, request: &[u8]) -> io::Result<Answer> {
        self.connect(from).await?.ask(request).await
    }
}

pub(crate) struct Connection(pub(crate) Box<dyn Stream>);

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Connection {
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// The next answer, which has a `Content-Length`.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        tokio::time::timeout(DEADLINE, self.read_answer()).await?
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse().ok());
        let (Some(status), Some(length)) = (status, length) else {
            return Err(io::Error::other(head));
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        let body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(Answer { status, head, body })
    }

    /// Waits until the server has closed the connection. Whatever it sends until then is returned.
    pub(crate) async fn closed(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = within(self.0.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Believes every certificate: who the server is does not matter here.
static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    Arc::new(config)
});

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
