//! The webhook's CA, serving certificate and caBundle: issued, inspected, kept and rotated.
//!
//! ```text
//!   key ─▶ issue ─▶ serving           a CA, and from it a certificate to serve with
//!            │
//!         inspect                     what is in a certificate, in a PEM file
//!
//!         store    bundle             what is in the Secret, in the caBundles (pure)
//!             ╲    ╱
//!             rotate                  … and my leaf, and the time: the next step (pure)
//!               │
//!            replica                  one replica's life, step by step (no I/O)
//!               │
//!   keeper ─ cluster ─▶ API server    the loop, and its calls
//!      └─▶ serving, status            to the TLS server; to /readyz, /metrics and people
//! ```

pub mod args;
pub mod bundle;
pub mod clock;
pub mod cluster;
pub mod duration;
pub mod inspect;
pub mod issue;
pub mod keeper;
pub mod key;
pub mod replica;
pub mod rotate;
pub mod serving;
pub mod settings;
pub mod status;
pub mod store;
pub mod validity;
pub mod write;
