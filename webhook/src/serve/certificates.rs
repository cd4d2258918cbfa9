//! Where certificates come from: the webhook's own keeper, or files.

use std::path::Path;

use anyhow::Context as _;
use certs::api_server::{ApiServer, ObjectNames};
use certs::keeper::keep;

use super::Task;
use crate::admin::Readiness;
use crate::args::CertificateArgs;
use crate::cluster::{self, ca_bundle};
use crate::metrics::Metrics;
use crate::tls::kept::Kept;
use crate::tls::{Clients, Tls, files};

/// TLS by the flags, what goes on beside it, and how it is told.
pub(super) struct Certificates {
    pub(super) tls: Tls,
    pub(super) tasks: Vec<Task>,
}

/// What certificates have to do with the rest of the webhook.
pub(super) struct Surroundings<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) kubeconfig: Option<&'a Path>,
    pub(super) readiness: &'a Readiness,
    pub(super) metrics: &'a Metrics,
}

pub(super) async fn prepare(
    args: CertificateArgs,
    around: Surroundings<'_>,
) -> anyhow::Result<Certificates> {
    let clients = if args.client_ca.is_some() { Clients::WithCertificate } else { Clients::Anyone };
    let tls = Tls::new(clients, around.metrics.clone())?;
    let mut tasks: Vec<Task> = Vec::new();
    if let Some(file) = args.client_ca.clone() {
        let condition = around.readiness.condition("client-ca", "not read yet");
        tasks.push(Box::pin(files::follow_client_ca(tls.clone(), file, args.tls_poll, condition)));
    }
    let condition = around.readiness.condition("certificate", "not read yet");
    let (Some(certificate), Some(key)) = (args.tls_cert.clone(), args.tls_key.clone()) else {
        let settings = args.settings()?;
        let mut api_server = api_server(&args, &around).await.context(
            "the webhook can't keep certificates itself; --tls-cert and --tls-key give it one",
        )?;
        let metrics = around.metrics.certificates().clone();
        let kept = Kept::of(&api_server);
        tasks.push(Box::pin(kept.follow(tls.clone(), condition, metrics)));
        tasks.push(Box::pin(async move { keep(&mut api_server, &settings).await }));
        return Ok(Certificates { tls, tasks });
    };
    if let Some(file) = args.ca_bundle.clone() {
        let api_server = api_server(&args, &around).await.context("--ca-bundle can't be kept")?;
        let condition = around.readiness.condition("ca-bundle", "not compared yet");
        let name = api_server.service_name().to_owned();
        let follow = ca_bundle::follow(api_server, file, tls.clone(), name, condition);
        tasks.push(Box::pin(follow));
    }
    let (every, tls_of_files) = (args.tls_poll, tls.clone());
    let follow = files::follow_certificate(tls_of_files, certificate, key, every, condition);
    tasks.push(Box::pin(follow));
    Ok(Certificates { tls, tasks })
}

async fn api_server(
    args: &CertificateArgs,
    around: &Surroundings<'_>,
) -> anyhow::Result<ApiServer> {
    let namespace =
        around.namespace.context("the webhook's own namespace is not known: --namespace")?;
    let client = cluster::client(around.kubeconfig).await.context(
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
