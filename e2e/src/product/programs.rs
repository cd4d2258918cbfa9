//! The product as programs of this machine.

use lab::cargo::{Build, Linkage, has_target};
use lab::image::Architecture;

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

/// The very sidecar that pods get, so that it is built once for all commands; with this machine's own C
/// library where the target of the images is not installed. It is built alone, for its size.
pub(crate) fn sidecar() -> Build<'static> {
    let target = Architecture::host().target();
    let linkage = if has_target(target) { Linkage::Static(target) } else { Linkage::Host };
    let (packages, programs) = (&["sidecar"], &["sidecar"]);
    Build { workspace: workspace(), packages, programs, profile: "sidecar", linkage }
}
