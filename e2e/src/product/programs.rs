//! The product as programs of this machine.

use lab::cargo::{Build, Linkage};

use crate::workspace;

/// All but the sidecar, in one build with the features that this program itself was built with: cargo
/// then has most of it already. The programs are named as their packages.
pub(crate) fn programs() -> Build<'static> {
    Build {
        workspace: workspace(),
        packages: &["e2e", "legacy-mock", "webhook"],
        programs: &["legacy-mock", "webhook"],
        profile: "dev",
        linkage: Linkage::Host,
    }
}

/// The sidecar as pods get it, but for this machine's own C library. It is built alone, for its size.
pub(crate) fn sidecar() -> Build<'static> {
    Build { packages: &["sidecar"], programs: &["sidecar"], profile: "sidecar", ..programs() }
}
