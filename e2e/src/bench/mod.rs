//! `cargo e2e -- bench`: what the product costs.

pub(crate) mod admission;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod scale;
pub(crate) mod start;
