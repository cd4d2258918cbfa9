//! A Kubernetes cluster that is made for a run, or one that exists already.
//!
//! ```text
//!   release ─▶ programs            which version; from KUBEBUILDER_ASSETS, else from Go modules, kept
//!                        │
//!   pki ─▶ control_plane ◀┴─▶ node   etcd, API server, controllers, scheduler; containerd, kubelet, kube-proxy
//!                │
//!   api, kubectl, helm, load, audit   what is asked of it, and what it has been asked
//! ```

pub mod api;
pub mod audit;
mod control_plane;
pub mod helm;
pub mod kubectl;
pub mod load;
pub mod node;
pub mod pki;
mod programs;
pub mod release;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::progress::say;
use crate::state::State;
use api::{Api, client};
use audit::AuditLog;
pub use control_plane::ControlPlane;
use kubectl::Kubectl;
use node::Node;
use programs::Programs;
use release::Version;

/// A cluster that was made here, or one that existed already.
pub struct Cluster {
    pub api: Api,
    pub kubectl: Kubectl,
    own: Option<OwnCluster>,
    scratch: tempfile::TempDir,
}

/// What there is of a cluster that was made here.
struct OwnCluster {
    control_plane: ControlPlane,
    node: Option<Node>,
    // The last field, so that it is dropped last: it ends everything.
    state: State,
}

#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    pub version: Version,
    /// Whether it has a node, on which pods run. That takes root; see [`node::missing`].
    pub node: bool,
    /// The folder for what is built once and kept: Kubernetes' programs, the pause image.
    pub cache: &'a Path,
}

impl Cluster {
    /// Makes a cluster that ends with `state`.
    ///
    /// # Errors
    ///
    /// A program of it can't be built, or it does not start; its logs are kept then.
    pub async fn start(setup: &Setup<'_>, state: State) -> Result<Self> {
        let for_node = if setup.node { programs::NODE } else { &[] };
        let wanted = [programs::CONTROL_PLANE, for_node].concat();
        let programs = Programs::provide(setup.cache, setup.version, &wanted)?;
        let node = if setup.node {
            format!(" with a node (kubelet {})", programs.version.kubelet()?)
        } else {
            String::new()
        };
        say(&format!("starting Kubernetes {}{node}", programs.version));
        let started = async {
            let address = if setup.node { node::network(&state)? } else { Ipv4Addr::LOCALHOST };
            let control_plane = ControlPlane::start(&programs, &state, address.into()).await?;
            let node = if setup.node {
                Some(Node::start(setup.cache, &programs, &state, &control_plane.api).await?)
            } else {
                None
            };
            anyhow::Ok((control_plane, node))
        };
        let (control_plane, node) = started.await.inspect_err(|_| state.keep_logs())?;
        let scratch = tempfile::tempdir()?;
        Ok(Self {
            api: control_plane.api.clone(),
            kubectl: Kubectl {
                program: programs.path("kubectl")?.to_owned(),
                kubeconfig: Some(control_plane.kubeconfig.clone()),
                context: None,
                cache: scratch.path().join("kubectl"),
            },
            own: Some(OwnCluster { control_plane, node, state }),
            scratch,
        })
    }

    /// A cluster that is there already, by the name of its context in the usual kubeconfig. Its
    /// `kubectl` is the one on the path.
    pub async fn existing(context: &str) -> Result<Self> {
        let client = client(None, Some(context)).await?;
        let api = Api::new(client).await.with_context(|| format!("the cluster of {context}"))?;
        let scratch = tempfile::tempdir()?;
        let kubectl = Kubectl {
            program: "kubectl".into(),
            kubeconfig: None,
            context: Some(context.to_owned()),
            cache: scratch.path().join("kubectl"),
        };
        Ok(Self { api, kubectl, own: None, scratch })
    }

    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub fn state(&self) -> Result<&State> {
        Ok(&self.made_here()?.state)
    }

    pub fn audit(&self) -> Result<AuditLog> {
        Ok(AuditLog::new(&self.state()?.log("audit")))
    }

    pub fn node(&self) -> Result<&Node> {
        self.made_here()?.node.as_ref().context("this cluster has no node")
    }

    pub fn control_plane(&self) -> Result<&ControlPlane> {
        Ok(&self.made_here()?.control_plane)
    }

    fn made_here(&self) -> Result<&OwnCluster> {
        self.own.as_ref().context("this is only possible with a cluster that was made here")
    }

    pub fn keep_logs(&self) {
        if let Some(own) = &self.own {
            own.state.keep_logs();
        }
    }

    /// Lets the cluster run on when this process ends, and gives its kubeconfig.
    pub fn leave_running(self) -> Result<PathBuf> {
        let own = self.own.context("this cluster was not made here")?;
        own.state.leave_running()?;
        Ok(own.control_plane.kubeconfig)
    }
}
