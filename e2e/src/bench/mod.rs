//! Benchmarks that need no cluster.

pub(crate) mod admission;
