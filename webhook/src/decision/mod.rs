//! What is to be done with an object: pure, from the object and the policy to a plan.

mod policy;
mod quantity;
mod version;

pub use policy::{InvalidPullPolicy, Policy, PullPolicy};
pub use quantity::{Cpu, InvalidQuantity, Memory};
pub use version::{InvalidVersion, KubernetesVersion};
