//! The way to the API server.

use webhook::cluster::client;

use crate::api_server::ApiServer;
use crate::running::{Files, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_asked_with_the_kubeconfigs_token_and_ca() {
    let api_server = ApiServer::start();
    let version = async |kubeconfig| {
        let client = client(Some(kubeconfig)).await.unwrap();
        within(client.apiserver_version()).await
    };
    let kubeconfig = api_server.kubeconfig();
    assert_eq!(version(&kubeconfig).await.unwrap().minor, "33");
    assert_eq!(api_server.cluster().asked, ["GET /version"]);

    let other_ca = api_server.kubeconfig_with(&Files::new().ca_pem(), "t0p");
    assert!(version(&other_ca).await.is_err());
    // It was hung up on before anything was said.
    assert_eq!(api_server.cluster().asked.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_an_error() {
    let api_server = ApiServer::start();
    let kubeconfig = api_server.kubeconfig();
    let content = std::fs::read_to_string(&kubeconfig).unwrap();
    std::fs::write(&kubeconfig, content.replace("t0p", "other")).unwrap();
    let client = client(Some(&kubeconfig)).await.unwrap();
    assert!(within(client.apiserver_version()).await.is_err());
    assert_eq!(api_server.cluster().asked.len(), 1);
}
