//! The API server, as the webhook reaches it: a [`kube::Client`] over a small transport of our own.
//!
//! ```text
//! kubeconfig, or the pod's service account ─▶ Access ─▶ request ─▶ connection of its own
//!                                                        ▲ CA, token: read anew each time
//! ```
//!
//! kube's own transport knows every way in which a person logs in to a cluster: programs to run,
//! `JSONPath`, proxies. That is an eighth of the whole binary, and a webhook uses none of it. It asks the
//! API server for something a few times an hour, so a connection for each request is cheap, is never a
//! stale one, and finds a rotated CA or token by itself.

mod access;
pub mod ca_bundle;
mod transport;

use std::path::Path;
use std::sync::Arc;

use kube::Client;
use tower::service_fn;

use access::Access;

/// A client for the API server: by the kubeconfig named, else by the one that the environment variable
/// `KUBECONFIG` names, else by the pod's service account. `~/.kube/config` is not looked at: a webhook
/// that is started by hand should not find a cluster that nobody named.
///
/// Each request has time limits for connecting and for the answer's head; reading its body has none.
///
/// # Errors
/// If there is none of them, or it is not usable here.
pub async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let access = Arc::new(Access::find(kubeconfig).await?);
    let namespace = access.namespace.clone();
    let service = service_fn(move |request| {
        let access = Arc::clone(&access);
        async move { transport::send(&access, request).await }
    });
    Ok(Client::new(service, namespace))
}
