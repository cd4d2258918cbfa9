//! The demo, the tests against real parts, and the benchmarks' drivers.

pub mod image;
