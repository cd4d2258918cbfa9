//! Where certificates come from: the webhook's own keeper, or files.

use std::future::pending;
use std::path::Path;

use anyhow::Context as _;
use certs::cluster::{Cluster, ObjectNames};
use certs::issue::Names;
use certs::keeper::Keeper;
use certs::settings::Settings;

use super::Task;
use crate::admin::Readiness;
use crate::args::CertificateArgs;
use crate::cluster;
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
    let names = around.namespace.map(|namespace| args.names(namespace));
    let CertificateArgs {
        service: _,
        cert_name: _,
        cluster_domain: _,
        ca_secret,
        configuration,
        life,
        tls_cert,
        tls_key,
        ca_bundle,
        client_ca,
        tls_poll,
    } = args;
    let clients = if client_ca.is_some() { Clients::WithCertificate } else { Clients::Anyone };
    let tls = Tls::new(clients, around.metrics.clone())?;
    let mut tasks: Vec<Task> = Vec::new();
    if let Some(file) = client_ca {
        let condition = around.readiness.condition("client-ca", "not read yet");
        tasks.push(Box::pin(files::follow_client_ca(tls.clone(), file, tls_poll, condition)));
    }
    let objects = |namespace: &str| ObjectNames {
        namespace: namespace.to_owned(),
        secret: ca_secret,
        configuration,
    };
    let (Some(certificate), Some(key)) = (tls_cert, tls_key) else {
        let settings = Settings::try_from(&life)?;
        let (Some(namespace), Some(names)) = (around.namespace, names) else {
            anyhow::bail!(
                "to keep certificates itself, the webhook has to know its namespace: --namespace; \
                 or give it a certificate: --tls-cert and --tls-key"
            );
        };
        let cluster = reach(around.kubeconfig, objects(namespace)).await?;
        keep(&tls, cluster, names, settings, &around, &mut tasks);
        return Ok(Certificates { tls, tasks });
    };
    if let Some(file) = ca_bundle {
        // A configuration has no namespace, and no Secret is asked for.
        let cluster = reach(around.kubeconfig, objects("")).await?;
        let names =
            names.context("--ca-bundle needs --namespace, to check the certificate's name")?;
        // The API server asks for this one, if it asks for the Service.
        let names = Names { dns: names.dns.into_iter().take(1).collect(), ips: Vec::new() };
        let condition = around.readiness.condition("ca-bundle", "not compared yet");
        let follow = cluster::ca_bundle::follow(cluster, file, tls.clone(), names, condition);
        tasks.push(Box::pin(follow));
    }
    let condition = around.readiness.condition("certificate", "not read yet");
    let follow = files::follow_certificate(tls.clone(), certificate, key, tls_poll, condition);
    tasks.push(Box::pin(follow));
    Ok(Certificates { tls, tasks })
}

async fn reach(kubeconfig: Option<&Path>, names: ObjectNames) -> anyhow::Result<Cluster> {
    let client = cluster::client(kubeconfig).await.context(
        "to keep certificates or caBundles, the webhook has to reach the API server: it needs the \
         service account of its pod, or --kubeconfig",
    )?;
    Ok(Cluster::over(client, names))
}

/// The webhook keeps its own house.
fn keep(
    tls: &Tls,
    cluster: Cluster,
    names: Names,
    settings: Settings,
    around: &Surroundings<'_>,
    tasks: &mut Vec<Task>,
) {
    let keeper = Keeper::new(cluster, names, settings, fastrand::u64(..));
    let kept = Kept::by(&keeper);
    let condition = around.readiness.condition("certificate", "not asked for yet");
    let metrics = around.metrics.certificates().clone();
    tasks.push(Box::pin(kept.follow(tls.clone(), condition, metrics)));
    tasks.push(Box::pin(keeper.run(pending())));
}
