//! The same injection offline: manifests in, manifests with the sidecar out.

use crate::decision::{KubernetesVersion, Policy};

/// `webhook inject`: reads manifests and writes them with the sidecar in them.
#[derive(Clone, Debug, clap::Args)]
pub struct InjectArgs {
    /// The file with the manifests, YAML or JSON; `-` is the standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: std::path::PathBuf,

    /// The value of the namespace's `secret-handshake` label; left out, the namespace has none.
    #[arg(long, value_name = "VALUE")]
    pub namespace_label: Option<String>,

    /// The namespace of objects that name none.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The version of the cluster's API server, such as 1.32; left out, it is unknown.
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<KubernetesVersion>,
}

/// Injects what `args` names; the manifests go to the standard output, a line about each object
/// to the standard error.
///
/// # Errors
///
/// If the input can't be read, or an object asks for what cannot be done: then nothing is
/// written to the standard output.
pub fn run(args: InjectArgs, policy: Policy) -> anyhow::Result<()> {
    let _ = (args, policy);
    anyhow::bail!("not there yet")
}
