//! The webhook keeps its own certificates: against an API server, with what a client trusts that goes
//! by the caBundle alone.

use http::StatusCode;
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use crate::api_server::{ApiServer, ENTRIES, NAMESPACE};
use crate::client::{Client, get};
use crate::load::Load;
use crate::running::{Files, Running, eventually};

const SERVICE: &str = "secret-handshake-webhook.secret-handshake.svc";

async fn start(api_server: &ApiServer, flags: &[&str]) -> Running {
    let kubeconfig = format!("--kubeconfig={}", api_server.kubeconfig().display());
    let namespace = format!("--namespace={NAMESPACE}");
    let own = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=0s"];
    let own = own.into_iter().chain([&*kubeconfig, &*namespace]);
    let all: Vec<_> = own.chain(flags.iter().copied()).collect();
    Running::start_with(&all).await
}

/// A client that trusts what the caBundle of an entry says now.
fn client(api_server: &ApiServer, running: &Running, entry: usize) -> Client {
    let trusted = api_server.bundle(entry);
    Client::trusting(running.webhook, SERVICE, &trusted, &[&TLS13, &TLS12], &["http/1.1"], None)
}

async fn ready(running: &Running) {
    eventually("ready", async || running.ready().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_agree_and_every_entry_trusts_both() {
    let api_server = ApiServer::start();
    let (one, two) = tokio::join!(start(&api_server, &[]), start(&api_server, &[]));
    for running in [&one, &two] {
        ready(running).await;
        for entry in 0..ENTRIES.len() {
            let mut connection = client(&api_server, running, entry).connect().await.unwrap();
            assert_eq!(connection.post("{}").await.unwrap().status, 200);
        }
        assert_eq!(running.metric("cabundle_matches").await, 1);
        assert!(running.metric("ca_not_after_seconds").await > 1_700_000_000);
    }
    assert_eq!(api_server.bundle(0).len(), 1);
    let secret = api_server.cluster().secret.clone();
    assert!(secret["data"]["cas.json"].is_string());
    assert!(!api_server.cluster().asked.iter().any(|asked| asked.contains("list")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_bundle_is_put_right() {
    let api_server = ApiServer::start();
    let running = start(&api_server, &[]).await;
    ready(&running).await;
    let good = api_server.bundle(0);
    api_server.vandalise(|configuration| {
        configuration["webhooks"][1]["clientConfig"] = json!({});
        configuration["webhooks"][2]["clientConfig"]["caBundle"] = json!("bm8gUEVN");
    });
    eventually("all is as it was", async || (0..3).all(|entry| api_server.bundle(entry) == good))
        .await;
    eventually("it is counted", async || running.metric("cabundle_repairs_total").await == 1).await;
    ready(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ca_takes_over_under_load() {
    let api_server = ApiServer::start();
    let running = start(&api_server, &["--ca-settle=1s", "--cert-life=10s"]).await;
    ready(&running).await;
    let old = api_server.bundle(0);
    let first = client(&api_server, &running, 0).connect().await.unwrap().certificate;
    // Each connection trusts what the caBundle says at that moment.
    let (server, address) = (api_server.clone(), running.webhook);
    let load = Load::start(10, move || {
        let trusted = server.bundle(0);
        Client::trusting(address, SERVICE, &trusted, &[&TLS13], &["http/1.1"], None)
    });
    load.goes_on(50).await;
    api_server.ask_for_a_new_ca(certs::secret::ROTATE);
    eventually("a leaf of the new CA is served", async || {
        let new =
            api_server.bundle(0).into_iter().filter(|ca| !old.contains(ca)).collect::<Vec<_>>();
        let only_new =
            Client::trusting(running.webhook, SERVICE, &new, &[&TLS13], &["http/1.1"], None);
        only_new.connect().await.is_ok_and(|connection| connection.certificate != first)
    })
    .await;
    eventually("the old CA is dropped", async || !api_server.bundle(0).contains(&old[0])).await;
    load.goes_on(50).await;
    load.end().await;
    assert!(api_server.bundle(0) != old && running.ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_it_is_unready_at_first_and_serves_on_later() {
    let api_server = ApiServer::start();
    api_server.cluster().refuses = Some(StatusCode::SERVICE_UNAVAILABLE);
    let running = start(&api_server, &[]).await;
    eventually("the reason is told", async || {
        let (status, reasons) = get(running.admin, "/readyz").await.unwrap();
        status == 503 && reasons.contains("503 Service Unavailable")
    })
    .await;
    api_server.cluster().refuses = None;
    ready(&running).await;

    let mut connection = client(&api_server, &running, 0).connect().await.unwrap();
    api_server.cluster().refuses = Some(StatusCode::SERVICE_UNAVAILABLE);
    let asked = api_server.cluster().asked.len();
    eventually("it is asked in vain", async || api_server.cluster().asked.len() > asked + 1).await;
    assert!(running.ready().await);
    assert_eq!(connection.post("{}").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rbac_forbids_is_told_with_what_to_do() {
    let api_server = ApiServer::start();
    api_server.cluster().refuses = Some(StatusCode::FORBIDDEN);
    let running = start(&api_server, &[]).await;
    eventually("the reason is told", async || {
        let (_, reasons) = get(running.admin, "/readyz").await.unwrap();
        reasons.contains("403 Forbidden: apply the webhook's roles again")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_from_a_file_is_kept_for_a_certificate_from_files() {
    let api_server = ApiServer::start();
    let files = Files::new();
    let bundle = files.path("bundle.pem");
    // What was published last, and is not the certificate's CA.
    std::fs::write(&bundle, Files::new().ca_pem()).unwrap();
    let kubeconfig = format!("--kubeconfig={}", api_server.kubeconfig().display());
    let flag = format!("--ca-bundle={}", bundle.display());
    let flags = [&*kubeconfig, &*flag, "--namespace=secret-handshake"];
    let running = Running::start_unready(&files, &flags).await;
    eventually("the reason is told", async || {
        let (_, reasons) = get(running.admin, "/readyz").await.unwrap();
        reasons.contains("don't go together")
    })
    .await;
    std::fs::write(&bundle, files.ca_pem()).unwrap();
    eventually("it is published", async || {
        (0..3).all(|entry| api_server.bundle(entry) == [files.ca.certificate().clone()])
    })
    .await;
    // The certificate is for another name than the Service's.
    let (_, reasons) = get(running.admin, "/readyz").await.unwrap();
    assert!(reasons.contains("ca-bundle: "), "{reasons}");
}
