//! A Kubernetes for the length of a run, or somebody else's.
//!
//! ```text
//!   release ─▶ build ─▶ programs     which version; from KUBEBUILDER_ASSETS, else from Go modules, cached
//!                          │
//!   pki ─▶ control_plane ◀─┴─▶ node  etcd, API server, controllers, scheduler; containerd, kubelet, kube-proxy
//!                │
//!   install ─▶ webhook               deploy/webhook applied; the webhook as processes by URL, or as pods
//!                │
//!   api, kubectl, audit, wait        what the scenarios look at it with
//!
//!   state: whatever happens to this process, all that it started ends
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub mod api;
pub mod audit;
pub mod build;
pub mod control_plane;
mod go;
pub mod kubectl;
pub mod node;
pub mod pki;
pub mod release;

use crate::progress::say;
use crate::state::State;
use api::Api;
use audit::AuditLog;
use build::{Program, Programs};
use control_plane::{ControlPlane, Reach};
use kubectl::Kubectl;
use node::Node;
use release::Version;

/// A cluster that scenarios are run on.
pub struct Cluster {
    /// A connection to its API server, as an administrator.
    pub api: Api,
    /// `kubectl`, as an administrator.
    pub kubectl: Kubectl,
    own: Option<Own>,
    scratch: tempfile::TempDir,
}

/// What there is of a cluster that was made here.
struct Own {
    control_plane: ControlPlane,
    node: Option<Node>,
    programs: Programs,
    // The last field, so that it is dropped last: it ends everything.
    state: State,
}

impl Cluster {
    /// Makes a cluster without a node.
    ///
    /// # Errors
    ///
    /// Its programs can't be had, or it does not start.
    pub async fn control_plane(version: Version, state: State) -> Result<Self> {
        let programs = Programs::provide(version, Program::CONTROL_PLANE)?;
        say(&format!("starting a control plane of Kubernetes {}", programs.version));
        let control_plane = ControlPlane::start(&programs, &state, Reach::LOOPBACK)
            .await
            .inspect_err(|_| state.keep_logs())?;
        Self::own(Own { control_plane, node: None, programs, state }).await
    }

    /// Makes a cluster with a node.
    ///
    /// # Errors
    ///
    /// Its programs can't be had, or it does not start.
    pub async fn with_node(version: Version, state: State) -> Result<Self> {
        let wanted = [Program::CONTROL_PLANE, Program::NODE].concat();
        let programs = Programs::provide(version, &wanted)?;
        let reach = node::network(&state)?;
        say(&format!(
            "starting Kubernetes {} with a node (kubelet {})",
            programs.version,
            programs.version.kubelet()?
        ));
        let started = async {
            let control_plane = ControlPlane::start(&programs, &state, reach).await?;
            let api = Api::connect(Some(&control_plane.kubeconfig), None).await?;
            let node = Node::start(&programs, &state, &control_plane, &api).await?;
            anyhow::Ok((control_plane, node))
        };
        let (control_plane, node) = started.await.inspect_err(|_| state.keep_logs())?;
        Self::own(Own { control_plane, node: Some(node), programs, state }).await
    }

    async fn own(own: Own) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let config = own.control_plane.kubeconfig.clone();
        let program = own.programs.path(Program::Kubectl)?.to_owned();
        let cache = scratch.path().join("kubectl");
        Ok(Self {
            api: Api::connect(Some(&config), None).await?,
            kubectl: Kubectl::new(program, Some(config), None, cache),
            own: Some(own),
            scratch,
        })
    }

    /// A cluster that is there already, by the name of its context in the usual kubeconfig. Its
    /// `kubectl` is the one on the path.
    ///
    /// # Errors
    ///
    /// There is no such context, or its API server does not answer.
    pub async fn existing(context: &str) -> Result<Self> {
        let api = Api::connect(None, Some(context)).await?;
        api.text("/readyz").await.with_context(|| format!("the cluster of context {context}"))?;
        let scratch = tempfile::tempdir()?;
        let cache = scratch.path().join("kubectl");
        let kubectl = Kubectl::new("kubectl".into(), None, Some(context.to_owned()), cache);
        Ok(Self { api, kubectl, own: None, scratch })
    }

    /// A folder for files of this run, gone afterwards.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The state directory, if the cluster was made here.
    ///
    /// # Errors
    ///
    /// It was not.
    pub fn state(&self) -> Result<&State> {
        Ok(&self.made_here()?.state)
    }

    /// The API server's audit log, if the cluster was made here.
    ///
    /// # Errors
    ///
    /// It was not.
    pub fn audit(&self) -> Result<AuditLog> {
        Ok(AuditLog::new(&self.made_here()?.control_plane.audit_log))
    }

    /// The node, if it was made here.
    ///
    /// # Errors
    ///
    /// It was not, or there is none.
    pub fn own_node(&self) -> Result<&Node> {
        self.made_here()?.node.as_ref().context("this cluster has no node")
    }

    /// The control plane, if the cluster was made here.
    ///
    /// # Errors
    ///
    /// It was not.
    pub fn own_control_plane(&self) -> Result<&ControlPlane> {
        Ok(&self.made_here()?.control_plane)
    }

    fn made_here(&self) -> Result<&Own> {
        self.own.as_ref().context("this is only possible with a cluster that was made here")
    }

    /// Keeps the logs of a cluster that was made here, for whoever looks into a failure.
    pub fn keep_logs(&self) {
        if let Some(own) = &self.own {
            own.state.keep_logs();
        }
    }

    /// Lets the cluster run on when this process ends, and gives its kubeconfig.
    ///
    /// # Errors
    ///
    /// It was not made here.
    pub fn leave_running(self) -> Result<PathBuf> {
        let own = self.own.context("this cluster was not made here")?;
        own.state.leave_running()?;
        Ok(own.control_plane.kubeconfig)
    }
}
