//! The command line of `cargo images`.

use std::path::PathBuf;

use lab::image::{Architecture, ENGINES, Target};

use crate::product::{Product, VERSION};

/// What `--engine` is for images from cargo alone.
pub(super) const NO_ENGINE: &str = "none";

/// Builds the images of webhook, sidecar and Legacy's mock.
///
/// With docker, podman, nerdctl or buildah it builds the Dockerfiles; with none of them it compiles
/// the same static binaries with cargo and writes the same images as tar files by itself.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo images", bin_name = "cargo images", version)]
pub struct Options {
    /// Only these images
    #[arg(long, value_name = "IMAGE", value_delimiter = ',',
          value_parser = Product::ALL.map(|product| product.package))]
    pub(super) only: Vec<String>,
    /// What builds the images; by default the first engine that answers. With none each is a tar file
    /// straight from the compiled binary
    #[arg(long, value_parser = ENGINES.into_iter().chain([NO_ENGINE]).collect::<Vec<_>>())]
    pub(super) engine: Option<String>,
    /// The architecture that the images are for; this machine's by default
    #[arg(long, value_enum)]
    pub(super) arch: Option<Architecture>,
    /// Put before each image's name, such as `registry.example/team/`
    #[arg(long, default_value = "", hide_default_value = true, value_name = "REGISTRY/")]
    pub(super) prefix: String,
    #[arg(long, default_value = VERSION)]
    pub(super) tag: String,
    /// The image to build in, instead of the Dockerfiles' own choice: any Debian with Rust
    #[arg(long, env = "RUST_IMAGE", value_name = "IMAGE")]
    pub(super) rust_image: Option<String>,
    /// Build in an image made of this machine's own toolchain and Debian packages, where no registry
    /// can be reached (Docker only)
    #[arg(long, conflicts_with = "rust_image")]
    pub(super) local_builder: bool,
    /// The network that the engine builds in, such as `host`
    #[arg(long)]
    pub(super) network: Option<String>,
    /// Where archives are written
    #[arg(long, default_value = "target/images", value_name = "FOLDER")]
    pub(super) out: PathBuf,
    /// Load the images into the nodes of a cluster
    #[arg(long, value_name = "WHERE")]
    pub(super) load: Option<Target>,
    /// With --load: the kind or k3d cluster, minikube's profile, or the address of containerd's socket
    #[arg(long, value_name = "NAME", requires = "load")]
    pub(super) cluster: Option<String>,
    /// Fail if an image is larger than its goal
    #[arg(long)]
    pub(super) check: bool,
    /// Run the images as hardened containers and see whether Legacy is initialised. Needs root and
    /// Docker, whose daemon is started if there is none
    #[arg(long, conflicts_with_all = ["only", "arch"])]
    pub(super) test: bool,
    /// Measure the handshake under CPU limits, so many times for each; needs the same as --test
    #[arg(long, value_name = "ROUNDS", conflicts_with = "arch")]
    pub(super) throttle: Option<usize>,
}
