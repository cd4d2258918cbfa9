//! Go, and what the module proxy has.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::command::{command, read};

const REMEDY: &str = "install Go 1.21 or newer (https://go.dev/dl/; it fetches the toolchain that \
                      Kubernetes asks for by itself), or put a cluster's programs into a folder and \
                      name it in KUBEBUILDER_ASSETS, or use a cluster that you have";

/// Makes sure that there is a Go that fetches for itself the toolchain that a module asks for.
pub(super) fn check() -> Result<()> {
    let Ok(version) = read(&mut command("go", ["env", "GOVERSION"])) else {
        bail!("Kubernetes is to be built, and there is no Go on this machine: {REMEDY}");
    };
    let minor = version.strip_prefix("go1.").and_then(|rest| {
        rest.split(|other: char| !other.is_ascii_digit()).next()?.parse::<u32>().ok()
    });
    ensure!(
        minor.is_some_and(|minor| minor >= 21),
        "Kubernetes is to be built, and Go here is {version}: {REMEDY}"
    );
    Ok(())
}

/// The versions that the module proxy has of a module.
pub(super) fn versions_of(module: &str) -> Result<Vec<String>> {
    check()?;
    let folder = tempfile::tempdir()?;
    let listed = run(folder.path(), &["list", "-m", "-versions", module])?;
    Ok(listed.split_whitespace().skip(1).map(str::to_owned).collect())
}

/// Runs `go ARGUMENTS` in a folder and gives what it prints.
pub(super) fn run(folder: &Path, arguments: &[&str]) -> Result<String> {
    read(command("go", arguments).current_dir(folder))
}
