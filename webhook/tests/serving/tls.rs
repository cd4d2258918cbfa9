//! TLS: what is spoken, what is shown, what is demanded, and the swap of both under load.

use std::time::Duration;

use certs::ca::Authority;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use webhook::routes::router;
use webhook::tls::{Clients, Tls};

use crate::client::Client;
use crate::load::Load;
use crate::running::{Files, Running, echo, eventually, metrics, replace, serve_router, within};

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_alone_over_tls_1_2_and_1_3() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let address = running.webhook;
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        // What Go offers where the webhook is a URL on localhost.
        let client = Client::with(address, &files.ca, &[version], &["h2", "http/1.1"], None);
        let mut connection = client.connect().await.unwrap();
        assert_eq!(connection.version, expected);
        assert_eq!(connection.protocol.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(connection.post("{}").await.unwrap().status, 200);
    }
    let only_h2 = Client::with(address, &files.ca, &[&TLS13], &["h2"], None);
    assert!(only_h2.connect().await.is_err());
    let without = Client::with(address, &files.ca, &[&TLS13], &[], None);
    assert_eq!(without.post("{}").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_alive() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let mut connection = Client::new(running.webhook, &files.ca).connect().await.unwrap();
    for size in [0, 1, 8_000, 300_000] {
        let answer = connection.post("x".repeat(size)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, size.to_string().as_bytes()));
        assert!(!answer.is_last());
    }
    assert_eq!(running.metric("connections_opened_total{port=\"webhook\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pair_is_swapped_under_load() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let (address, ca) = (running.webhook, files.ca.clone());
    let client = move || Client::new(address, &ca);
    let load = Load::start(20, client.clone());
    let mut held = client().connect().await.unwrap();
    let first = held.certificate;
    for _ in 0..20 {
        let renewed = files.renew();
        eventually("new connections see the new certificate", async || {
            client().connect().await.unwrap().certificate == renewed
        })
        .await;
        load.goes_on(20).await;
        assert_eq!(held.post("{}").await.unwrap().status, 200);
    }
    assert_eq!(held.certificate, first);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_swaps_while_fifty_connections_post() {
    let files = Files::new();
    let tls = Tls::new(Clients::Anyone, metrics());
    let swap = || {
        let (fingerprint, certificate, key) = files.pair();
        tls.install_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        fingerprint
    };
    swap();
    let router = router(echo(), None, metrics());
    let server = serve_router(tls.clone(), router);
    let address = server.address;
    let client = move |ca: &Authority| Client::new(address, ca);
    let ca = files.ca.clone();
    let load = Load::start(50, move || client(&ca));
    for swaps in 1..=200 {
        let newest = swap();
        load.goes_on(1).await;
        if swaps % 20 == 0 {
            let connection = client(&files.ca).connect().await.unwrap();
            assert_eq!(connection.certificate, newest);
        }
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_is_refused_and_the_old_one_kept() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let client = || Client::new(running.webhook, &files.ca);
    let good = client().connect().await.unwrap().certificate;
    let (good_pem, key) = files.read();
    let (_, other_pem, other_key) = files.pair();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    for (refusals, (certificate, key)) in (1..).zip([
        ("", &*key),
        ("no PEM at all", &key),
        (no_certificate, &key),
        (&other_pem[..200], &key),
        (&good_pem, ""),
        (&good_pem, no_key),
        // Both are fine, and don't belong together.
        (&other_pem, &key),
        (&good_pem, &other_key),
    ]) {
        files.put(certificate, key);
        eventually("the pair is refused", async || {
            running.metric("cert_refusals_total").await == refusals
        })
        .await;
        let mut connection = client().connect().await.unwrap();
        assert_eq!(connection.certificate, good);
        assert_eq!(connection.post("{}").await.unwrap().status, 200);
        assert!(running.ready().await);
    }
    let renewed = files.renew();
    eventually("a good pair is taken again", async || {
        client().connect().await.unwrap().certificate == renewed
    })
    .await;
}

/// A CA for clients, and a certificate that it signed.
struct ClientCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl ClientCa {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(["kube-apiserver".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], key.into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_client_ca_only_the_api_server_is_let_in() {
    let files = Files::new();
    let (ca, other_ca) = (ClientCa::new(), ClientCa::new());
    let ca_file = files.path("client-ca.crt");
    let flag = format!("--client-ca={}", ca_file.display());
    let running = Running::start_unready(&files, &[&flag]).await;
    let accepted = async |identity| {
        let client = Client::with(running.webhook, &files.ca, &[&TLS13], &["http/1.1"], identity);
        match client.connect().await {
            // In TLS 1.3 the client is done before the server has looked at its certificate. One that is
            // refused while it sends does not always notice: hyper's client then waits for good, once in
            // ten thousand times.
            Ok(mut connection) => {
                let answer = timeout(Duration::from_secs(5), connection.post("{}")).await;
                matches!(answer, Ok(Ok(_)))
            }
            Err(_) => false,
        }
    };
    // The file is not there: nobody is let in, and readyz says so.
    assert!(!accepted(Some(ca.identity())).await);
    let (_, reasons) = crate::client::get(running.admin, "/readyz").await.unwrap();
    assert!(reasons.contains("client-ca: "), "{reasons}");

    replace(&ca_file, &ca.pem);
    eventually("ready", async || running.ready().await).await;
    assert!(accepted(Some(ca.identity())).await);
    assert!(!accepted(None).await);
    assert!(!accepted(Some(other_ca.identity())).await);
    let refused = "tls_handshake_failures_total{cause=\"client-certificate\"}";
    eventually("both are counted", async || running.metric(refused).await == 2).await;

    // The CA is changed while the webhook runs; what is no CA changes nothing.
    replace(&ca_file, "no PEM at all");
    eventually("it is refused", async || running.metric("cert_refusals_total").await == 1).await;
    assert!(accepted(Some(ca.identity())).await);
    replace(&ca_file, &other_ca.pem);
    eventually("the new CA holds", async || accepted(Some(other_ca.identity())).await).await;
    assert!(!accepted(Some(ca.identity())).await);
    // Whatever the clients noticed, the server has closed what it refused.
    let open = "connections{port=\"webhook\"}";
    eventually("all are closed", async || running.metric(open).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_trust_us_is_counted() {
    let (files, others) = (Files::new(), Files::new());
    let running = Running::start(&files, &[]).await;
    assert!(Client::new(running.webhook, &others.ca).connect().await.is_err());
    let distrusted = "tls_handshake_failures_total{cause=\"distrusted\"}";
    eventually("it is counted", async || running.metric(distrusted).await == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_gets_no_answer_on_the_tls_port() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let mut tcp = tokio::net::TcpStream::connect(running.webhook).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within(tcp.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"));
    let protocol = "tls_handshake_failures_total{cause=\"protocol\"}";
    eventually("it is counted", async || running.metric(protocol).await == 1).await;
}
