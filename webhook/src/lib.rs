//! The mutating admission webhook that adds the handshake sidecar to pods that ask for it.
