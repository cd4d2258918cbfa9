//! `cargo images`: the product's images, how they are made, and what they are tried with.
//!
//! ```text
//!                   ┌─▶ product::make ────────┐      no engine: a static binary and one tar, no root
//!   Options ─▶ run ─┤                         ├─▶ lab::image::load ─▶ kind, k3d, minikube, containerd
//!                   └─▶ lab::image::Engine ───┘      docker, podman, nerdctl, buildah: the Dockerfiles
//! ```
//!
//! Both ways end in the same image: one static binary in an otherwise empty file system, a numeric
//! user, an entry point and labels. `test` runs the images as containers and looks whether they are
//! what they should be; `throttle` measures how little CPU the sidecar can do with.

mod args;
mod run;
mod test;
mod throttle;

pub use args::Options;
pub use run::run;
