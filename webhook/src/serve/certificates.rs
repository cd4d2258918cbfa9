//! Where certificates come from: the webhook's own keeper, or files.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use certs::api_server::{ApiServer, ObjectNames};
use certs::keeper::keep;

use crate::admin::Readiness;
use crate::args::CertificateArgs;
use crate::cluster::{self, ca_bundle};
use crate::metrics::Metrics;
use crate::tls::{Clients, Tls, files, kept};

/// Work that goes on beside serving, for as long as the webhook serves.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// TLS as the flags say, and the tasks that keep its certificates.
pub(super) async fn prepare(
    args: CertificateArgs,
    namespace: Option<&str>,
    kubeconfig: Option<&Path>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Tls, Vec<Task>)> {
    let clients = if args.client_ca.is_some() { Clients::WithCertificate } else { Clients::Anyone };
    let tls = Tls::new(clients, Arc::clone(metrics));
    let mut tasks: Vec<Task> = Vec::new();
    if let Some(file) = args.client_ca.clone() {
        let condition = readiness.condition("client-ca", "not read yet");
        let tls = tls.clone();
        tasks.push(Box::pin(files::follow([file], args.tls_poll, condition, move |[pem]| {
            tls.demand(pem)
        })));
    }
    let condition = readiness.condition("certificate", "not read yet");
    let (Some(certificate), Some(key)) = (args.tls_cert.clone(), args.tls_key.clone()) else {
        let settings = args.settings()?;
        let mut api_server = api_server(&args, namespace, kubeconfig).await.context(
            "the webhook can't keep certificates itself; --tls-cert and --tls-key give it one",
        )?;
        let (serving, status) = (api_server.serving(), api_server.status());
        let metrics = metrics.certificates().clone();
        tasks.push(Box::pin(kept::follow(serving, status, tls.clone(), condition, metrics)));
        tasks.push(Box::pin(async move { keep(&mut api_server, &settings).await }));
        return Ok((tls, tasks));
    };
    if let Some(file) = args.ca_bundle.clone() {
        let api_server =
            api_server(&args, namespace, kubeconfig).await.context("--ca-bundle can't be kept")?;
        let condition = readiness.condition("ca-bundle", "not compared yet");
        let name = api_server.service_name().to_owned();
        let follow = ca_bundle::follow(api_server, file, tls.clone(), name, condition);
        tasks.push(Box::pin(follow));
    }
    let installed = tls.clone();
    let pair = [certificate, key];
    tasks.push(Box::pin(files::follow(pair, args.tls_poll, condition, move |[pem, key]| {
        installed.install_pem(pem, key)
    })));
    Ok((tls, tasks))
}

async fn api_server(
    args: &CertificateArgs,
    namespace: Option<&str>,
    kubeconfig: Option<&Path>,
) -> anyhow::Result<ApiServer> {
    let namespace = namespace.context("the webhook's own namespace is not known: --namespace")?;
    let client = cluster::client(kubeconfig).await.context(
        "the API server can't be reached: the webhook needs the service account of its pod, or \
         --kubeconfig",
    )?;
    let objects = ObjectNames {
        namespace: namespace.to_owned(),
        secret: args.ca_secret.clone(),
        configuration: args.configuration.clone(),
    };
    Ok(ApiServer::new(client, objects, args.names(namespace)))
}
