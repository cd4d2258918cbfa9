//! Helm, as people use it, built from its Go module as Kubernetes is.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::spawn_blocking;

use super::kubectl::{Kubectl, Printed};
use super::programs;
use crate::command::{command, feed};

/// What `helm install --wait` may take, and a bit.
const CALL: Duration = Duration::from_secs(360);

/// One release of Helm, and the cluster that it works on.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubectl: Kubectl,
}

impl Helm {
    /// Helm of a release such as `4.3.1`, for kubectl's cluster. It is built once and kept in `cache`.
    pub async fn new(cache: PathBuf, release: &'static str, kubectl: &Kubectl) -> Result<Self> {
        let program = spawn_blocking(move || programs::helm(&cache, release)).await??;
        Ok(Self { program, kubectl: kubectl.clone() })
    }

    /// Runs `helm ARGUMENTS` with `input`, whatever comes of it.
    pub async fn call<A: AsRef<OsStr>>(&self, arguments: &[A], input: &str) -> Result<Printed> {
        let mut helm = command(&self.program, arguments);
        // Nothing of a person's own settings, repositories and plugins.
        for (variable, folder) in
            [("CACHE", "helm-cache"), ("CONFIG", "helm-config"), ("DATA", "helm-data")]
        {
            helm.env(format!("HELM_{variable}_HOME"), self.kubectl.cache.with_file_name(folder));
        }
        if let Some(kubeconfig) = &self.kubectl.kubeconfig {
            helm.env("KUBECONFIG", kubeconfig);
        }
        if let Some(context) = &self.kubectl.context {
            helm.env("HELM_KUBECONTEXT", context);
        }
        Ok(Printed::from(feed(helm, input, CALL).await?))
    }

    /// Runs `helm ARGUMENTS`, which must succeed, and gives its standard output.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        let printed = self.call(arguments, "").await?;
        let words = || {
            let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
            words.collect::<Vec<_>>().join(" ")
        };
        ensure!(printed.success, "helm {} failed: {}", words(), printed.stderr);
        Ok(printed.stdout)
    }
}
