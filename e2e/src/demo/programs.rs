//! The programs that the story is about.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::screen::say;
use crate::product::sidecar;
use crate::workspace;
use lab::cargo::{Build, Linkage};

/// All but the sidecar come from one build, with the features that this program itself was built with:
/// cargo then has most of it already. The sidecar is built alone, for its size.
fn ours() -> Build<'static> {
    Build {
        workspace: workspace(),
        packages: &["e2e", "legacy-mock", "webhook"],
        programs: &["legacy-mock", "webhook"],
        profile: "dev",
        linkage: Linkage::Host,
    }
}

/// Builds what is not up to date. The programs are named as their packages.
pub(crate) async fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut programs = ours().run(|text| say(text)).await?;
    programs.append(&mut sidecar().run(|text| say(text)).await?);
    Ok(programs)
}
