//! Benchmarks that need no cluster.

pub mod admission;
