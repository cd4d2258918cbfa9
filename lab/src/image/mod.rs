//! Images without an engine, with whatever engine is there, and in the nodes of a cluster.
//!
//! ```text
//!     program ─▶ archive ─────┐      no engine: one tar, no root
//!                             ├─▶ load ─▶ kind, k3d, minikube, containerd
//!     Dockerfile ─▶ engine ───┘      docker, podman, nerdctl, buildah
//!                    │
//!                    ├─ dockerd    a dockerd of our own, where none runs
//!                    ├─ builder    an image to build in, where no registry can be reached
//!                    └─ container  what runs, with a pod's limits and restrictions
//! ```

mod architecture;
mod archive;
mod builder;
mod container;
mod dockerd;
mod engine;
mod load;

pub use architecture::Architecture;
pub use archive::{Image, Spec, write};
pub use builder::builder;
pub use container::{Container, End, cpus, hardening};
pub use dockerd::Dockerd;
pub use engine::{Build, ENGINES, Engine};
pub use load::{Target, load};
