//! The product on a cluster: its images, its manifests, its webhook as pods or as processes.

pub(crate) mod certificates;
mod images;
pub mod install;
pub mod pods;
pub mod replicas;

pub use images::{Product, VERSION, sidecar};
