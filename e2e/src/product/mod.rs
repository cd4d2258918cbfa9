//! The product on a cluster: its images, its manifests, its webhook as pods or as processes.

mod build;
mod images;
pub(crate) mod injector;
pub(crate) mod install;
pub(crate) mod pods;
pub(crate) mod replicas;
pub(crate) mod tool;
pub(crate) mod webhook;

pub(crate) use build::{compile, make, programs, sidecar};
pub use images::{Product, VERSION};
