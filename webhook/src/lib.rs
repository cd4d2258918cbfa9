//! The mutating admission webhook that adds the handshake sidecar to pods that ask for it.

pub mod decision;
pub mod inject;
pub mod review;
