//! The product on a cluster: its images, its manifests, its webhook as pods or as processes.

pub(crate) mod certificates;
mod images;
pub(crate) mod install;
pub(crate) mod pods;
mod programs;
pub(crate) mod replicas;

pub use images::{Product, VERSION};
pub(crate) use programs::{programs, sidecar};
