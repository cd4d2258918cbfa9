//! The webhook's CA, serving certificate and caBundle: issued, kept and rotated.
//!
//! ```text
//!   ca ─▶ serving                    a CA, and from it a certificate to serve with
//!    ╲     ╱
//!   certificate                      what a certificate says, what PEM holds
//!           │
//!        secret     bundle           what is in the Secret, in the caBundles, and the patches (pure)
//!             ╲     ╱
//!             rotate                 … and the leaf, and the time: the next step (pure)
//!               │
//!             keeper                 the loop: read, decide, one step, rest
//!               │
//!           api_server ─▶ kube       its calls
//! ```

pub mod api_server;
pub mod bundle;
pub mod ca;
pub mod certificate;
pub mod keeper;
pub mod rotate;
pub mod secret;
pub mod serving;
