//! Go, and what the module proxy has.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// The Go toolchain of this machine.
pub(super) struct Go;

impl Go {
    /// Go, if it is new enough to fetch for itself the toolchain that a module asks for.
    ///
    /// # Errors
    ///
    /// There is none, or one older than 1.21.
    pub(super) fn find() -> Result<Self> {
        let remedy = "install Go 1.21 or newer (https://go.dev/dl/; it fetches the toolchain that \
                      Kubernetes asks for by itself), or put a cluster's programs into a folder and \
                      name it in KUBEBUILDER_ASSETS, or use a cluster you have: cargo e2e -- --context NAME";
        let Ok(said) = Command::new("go").args(["env", "GOVERSION"]).output() else {
            bail!("Kubernetes is to be built, and there is no Go on this machine: {remedy}");
        };
        let said = String::from_utf8_lossy(&said.stdout);
        let minor = said.trim().strip_prefix("go1.").and_then(|rest| {
            rest.split(|other: char| !other.is_ascii_digit()).next()?.parse::<u32>().ok()
        });
        ensure!(
            minor.is_some_and(|minor| minor >= 21),
            "Kubernetes is to be built, and Go here is {}: {remedy}",
            said.trim()
        );
        Ok(Self)
    }

    /// The versions that the module proxy has of a module.
    ///
    /// # Errors
    ///
    /// The proxy can't be reached.
    pub(super) fn versions_of(&self, module: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let said = self.run(folder.path(), &["list", "-m", "-versions", module])?;
        Ok(said.split_whitespace().skip(1).map(str::to_owned).collect())
    }

    #[expect(clippy::unused_self, reason = "only who has found Go can run it")]
    pub(super) fn run(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let said = Command::new("go")
            .args(arguments)
            .current_dir(folder)
            .stderr(Stdio::piped())
            .output()
            .context("go does not run")?;
        ensure!(
            said.status.success(),
            "`go {}` failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&said.stderr)
        );
        Ok(String::from_utf8(said.stdout)?)
    }
}
