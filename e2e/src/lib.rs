//! The demo, the tests against real parts, and the benchmarks' drivers.

pub mod artifacts;
pub mod cluster;
pub mod command_line;
pub mod demo;
pub mod footprint;
pub mod image;
pub mod process;
pub mod scenarios;
