//! The webhook's CA, serving certificate and caBundle: issued, inspected, kept and rotated.
//!
//! ```text
//!   key ─▶ issue ─▶ serving          a CA, and from it a certificate to serve with
//!            │
//!         inspect                    what is in a certificate, a PEM file
//! ```

pub mod args;
pub mod duration;
pub mod inspect;
pub mod issue;
pub mod key;
pub mod serving;
pub mod validity;
pub mod write;
