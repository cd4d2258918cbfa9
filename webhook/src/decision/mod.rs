//! What is to be done with an object: pure, from the object and the policy to a plan.
//!
//! ```text
//! pod ──────▶ pod ─┬─ annotations ─ mode ─ resources ─▶ Inject(plan) ┐
//!                  └─ reason ─▶ Skip, Deny                           ├─▶ Verdict
//! workload ─▶ workload ─▶ CopyLabel, Skip                            ┘
//! ```

pub mod annotations;
pub mod keys;
pub mod mode;
pub mod plan;
pub mod pod;
mod policy;
mod quantity;
mod reason;
pub mod resources;
pub mod workload;

pub use annotations::LogLevel;
pub use mode::Mode;
pub use policy::{InvalidPullPolicy, Policy, PullPolicy};
pub use quantity::is_zero;
pub use quantity::{Cpu, InvalidQuantity, Memory};
pub use reason::Reason;

/// The name of the sidecar's container, by which an injected pod is known.
pub const SIDECAR: &str = "secret-handshake";

/// The name of the volume with the operations half.
pub const SECRET_VOLUME: &str = "secret-handshake";

/// The name of the empty volume that keeps a service-account token out of the sidecar.
pub const NO_TOKEN_VOLUME: &str = "secret-handshake-no-token";
