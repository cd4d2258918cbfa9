//! What a bare machine lacks to try something on Kubernetes, with no image pulled and no binary fetched.
//!
//! - [`cluster::Cluster::start`]: a control plane, built once from Kubernetes' own Go modules; with a node
//!   ([`cluster::node::Node`]: containerd, kubelet, kube-proxy on this machine, as root) pods run too.
//!   `cluster.api` and `cluster.kubectl` talk to it, `cluster.audit()` tells what it was asked.
//! - [`image::write`]: an image from nothing but files. [`image::Engine`]: docker, podman and the like, with
//!   a daemon of our own where none runs ([`image::Dockerd`]); [`image::Container`]: what it runs.
//! - [`cargo::Build`], [`process::Process`], [`daemon::Daemon`]: programs built, started, waited for, ended.
//! - [`cluster::load`], [`metrics`], [`proc`]: objects created in numbers; what a program counts and costs.
//! - [`until::until`]: waits for anything else. [`state`]: all that was started ends, whatever happens.
//!
//! To use it for another project, start a cluster, put your images on it and apply your manifests:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use lab::cluster::{Cluster, Setup};
//! use lab::state::State;
//!
//! let setup =
//!     Setup { version: "1.37".parse()?, node: true, cache: "/var/cache/my".as_ref() };
//! let cluster = Cluster::start(&setup, State::temporary("my-project-")?).await?;
//! cluster.node()?.load("my-image.tar".as_ref())?;
//! cluster.kubectl.run(&["apply", "-f", "my-manifests"]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The program's `main` calls [`state::guard`] when it is run as `PROGRAM guard DIR`.

#![expect(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    missing_docs,
    reason = "for this workspace alone: errors are anyhow's and say what happened, and a comment stands \
              where a name does not tell enough"
)]

pub mod cargo;
pub mod cluster;
pub mod command;
pub mod daemon;
pub mod http;
pub mod image;
pub mod metrics;
pub mod network;
pub mod proc;
pub mod process;
pub mod progress;
pub mod schema;
pub mod state;
pub mod until;
