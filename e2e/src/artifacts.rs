//! The project's own programs, built by cargo when they are not up to date.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::image::workspace;

/// From this time on a build is worth a word.
const WORTH_MENTIONING: Duration = Duration::from_secs(1);

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The packages, for `-p`: cargo unifies features over them, so a program whose size counts is
    /// built alone.
    pub packages: &'a [&'a str],
    /// The programs among them.
    pub programs: &'a [&'a str],
    /// The profile of the workspace's `Cargo.toml`.
    pub profile: &'a str,
    /// How the programs are linked.
    pub linkage: Linkage,
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// As this machine does by itself.
    Host,
    /// For this target, with everything in one file.
    Static(&'static str),
}

impl Build<'_> {
    /// The sidecar as pods get it, but for this machine's own C library.
    pub const SIDECAR: Self = Build {
        packages: &["sidecar"],
        programs: &["sidecar"],
        profile: "sidecar",
        linkage: Linkage::Host,
    };

    /// Builds, and returns where each program is. On a terminal cargo shows its progress; `say` is
    /// told what is being built, and how long it took if that was noticeable.
    ///
    /// The environment is cargo's own: `CARGO`, `CARGO_TARGET_DIR` and the like count.
    ///
    /// # Errors
    ///
    /// Cargo can't be run, or it fails: then it has said why on stderr.
    pub async fn run(&self, say: impl Fn(&str)) -> Result<BTreeMap<String, PathBuf>> {
        let programs = self.programs.join(", ");
        say(&format!("building {programs}"));
        let began = Instant::now();
        let mut command = self.command();
        let output = command
            .output()
            .await
            .with_context(|| format!("can't run {}", command.as_std().get_program().display()))?;
        if !output.status.success() {
            bail!("cargo could not build {programs} ({})", output.status);
        }
        if began.elapsed() >= WORTH_MENTIONING {
            say(&format!(
                "built {programs} in {:.1} s",
                began.elapsed().as_secs_f64()
            ));
        }
        let found = executables(&output.stdout);
        for program in self.programs {
            if !found.contains_key(*program) {
                bail!("cargo has built {programs}, but names no program {program}");
            }
        }
        Ok(found)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--message-format=json-render-diagnostics"]);
        command.args(["--profile", self.profile]);
        for package in self.packages {
            command.args(["-p", package]);
        }
        for program in self.programs {
            command.args(["--bin", program]);
        }
        if !std::io::stderr().is_terminal() {
            command.arg("--quiet");
        }
        if let Linkage::Static(target) = self.linkage {
            command.args(["--target", target]);
            // What musl's target does by itself; glibc's has to be told.
            command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        }
        command
            .current_dir(workspace())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command.kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_about_this_package) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// Whether cargo sets this variable for the program that it runs: build scripts would take another
/// package's values for a change, and everything that depends on them would be built again.
fn is_about_this_package(variable: &str) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// The programs in cargo's messages, one JSON object a line:
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>.
fn executables(messages: &[u8]) -> BTreeMap<String, PathBuf> {
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?;
            let path = message["executable"].as_str()?;
            Some((name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_their_names() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"x\"},\"executable\":null}\n",
            "not json\n",
            "{\"target\":{\"name\":\"webhook\"},\"executable\":\"/t/debug/webhook\"}\n",
            "{\"target\":{\"name\":\"certs\"},\"executable\":\"/t/debug/certs\"}\n",
        );
        let found = executables(messages.as_bytes());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["certs", "webhook"]);
        assert_eq!(found["webhook"], PathBuf::from("/t/debug/webhook"));
    }

    #[test]
    fn the_environment_of_this_package_is_not_passed_on() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let command = Build::SIDECAR.command();
        let removed = |wanted: &str| {
            let mut changes = command.as_std().get_envs();
            changes.any(|(name, value)| name == wanted && value.is_none())
        };
        assert!(removed("CARGO_MANIFEST_DIR") && removed("CARGO_PKG_NAME"));
        assert!(!removed("CARGO_TARGET_DIR"));
    }

    #[test]
    fn the_sidecar_is_built_alone() {
        let command = Build::SIDECAR.command();
        let arguments: Vec<_> = command
            .as_std()
            .get_args()
            .filter_map(|arg| arg.to_str())
            .collect();
        let packages = arguments
            .iter()
            .filter(|argument| **argument == "-p")
            .count();
        assert_eq!(packages, 1, "{arguments:?}");
        assert!(
            arguments
                .windows(2)
                .any(|pair| pair == ["--profile", "sidecar"])
        );
    }
}
