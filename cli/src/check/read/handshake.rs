//! A TLS handshake with each replica by itself: what it serves, whatever the Service would choose.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::Api;
use kube::client::UpgradeConnectionError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::certificates::Served;
use super::super::replicas::{Replica, Replicas};
use super::AT_ONCE;
use crate::cluster::{Cluster, Unreadable};
use crate::webhook::{ServiceName, Webhook};

const LIMIT: Duration = Duration::from_secs(10);

/// The handshakes with all replicas that are ready, or with whatever answers at the URLs.
pub(super) async fn all(
    cluster: &Cluster,
    webhook: &Webhook,
    replicas: &Replicas,
    target: &IntOrString,
) -> Result<Vec<Served>, Unreadable> {
    let Some(service) = &webhook.service else { return Ok(at_urls(&urls(webhook)).await) };
    let pods = match &replicas.pods {
        Ok(pods) => pods.as_deref().unwrap_or_default(),
        Err(error) => return Err(error.clone()),
    };
    let ready = pods.iter().filter(|pod| pod.is_ready);
    let served = stream::iter(ready).map(|pod| with_pod(cluster, service, pod, target));
    Ok(served.buffered(AT_ONCE).collect().await)
}

async fn with_pod(
    cluster: &Cluster,
    service: &ServiceName,
    pod: &Replica,
    target: &IntOrString,
) -> Served {
    let ServiceName { namespace, name } = service;
    let api_name = format!("{name}.{namespace}.svc");
    let forwarded = async {
        let port = pod.port(target).ok_or_else(|| failed("it has no port https".to_owned()))?;
        let api = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
        let forwarder = api.portforward(&pod.name, &[port]).await;
        let mut forwarder = forwarder.map_err(|error| not_forwarded(namespace, error))?;
        let stream = forwarder.take_stream(port);
        let stream = stream.ok_or_else(|| failed("nothing was forwarded".to_owned()))?;
        let chain = handshake(stream, &api_name).await;
        forwarder.abort();
        chain
    };
    let chain = within_limit(forwarded).await;
    Served { by: format!("{namespace}/{}", pod.name), name: api_name, is_at_url: false, chain }
}

fn not_forwarded(namespace: &str, error: kube::Error) -> Unreadable {
    match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status))
            if status.as_u16() == 403 =>
        {
            Unreadable::Forbidden(format!("create pods/portforward in namespace {namespace}"))
        }
        error => failed(format!("no port-forward: {:#}", anyhow::Error::from(error))),
    }
}

/// The addresses, `host:port`, of entries that name a URL.
fn urls(webhook: &Webhook) -> BTreeSet<(String, u16)> {
    let configuration = webhook.configuration.iter().flatten();
    let entries = configuration.flat_map(|it| it.webhooks.iter().flatten());
    entries
        .filter_map(|entry| {
            let uri: http::Uri = entry.client_config.url.as_ref()?.parse().ok()?;
            Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(443)))
        })
        .collect()
}

async fn at_urls(urls: &BTreeSet<(String, u16)>) -> Vec<Served> {
    let served = stream::iter(urls).map(|(host, port)| async move {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let answer = async {
            let stream = TcpStream::connect((name, *port)).await;
            let stream = stream.map_err(|error| failed(error.to_string()))?;
            handshake(stream, name).await
        };
        let chain = within_limit(answer).await;
        Served { by: format!("{host}:{port}"), name: name.to_owned(), is_at_url: true, chain }
    });
    served.buffered(AT_ONCE).collect().await
}

type Chain = Result<Vec<CertificateDer<'static>>, Unreadable>;

async fn within_limit(answer: impl Future<Output = Chain>) -> Chain {
    let answer = tokio::time::timeout(LIMIT, answer).await;
    answer.unwrap_or_else(|_| Err(failed(format!("no TLS handshake within {LIMIT:?}"))))
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin, name: &str) -> Chain {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(VerifiedLater(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(error.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let connected = connected.map_err(|error| failed(format!("no TLS handshake: {error}")))?;
    let (_, connection) = connected.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

fn failed(reason: String) -> Unreadable {
    Unreadable::Failed(reason)
}

/// Takes any certificate whose key the server has: nothing is sent over this connection, and whether the
/// API server would trust the certificate is judged from what comes back.
#[derive(Debug)]
struct VerifiedLater(Arc<CryptoProvider>);

impl ServerCertVerifier for VerifiedLater {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
