//! Programs of a cargo workspace, built when they are not up to date.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{command, succeeds};

const WORTH_MENTIONING: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    pub workspace: &'a Path,
    /// The packages, for `-p`: cargo unifies features over them, so a program whose size counts is
    /// built alone.
    pub packages: &'a [&'a str],
    pub programs: &'a [&'a str],
    pub profile: &'a str,
    /// A target of musl, for static programs; without, they are linked as this machine's are. Whatever folder
    /// a static one is built in, the same sources and the same toolchain give the same bytes; with
    /// cargo-auditable, where it is installed, the list of its crates is among them (its own path counts, but
    /// no other does).
    pub target: Option<&'static str>,
}

/// Whether the toolchain has the standard library for `target`.
pub fn has_target(target: &str) -> bool {
    let folder = Command::new("rustc").args(["--print=target-libdir", "--target", target]).output();
    folder.is_ok_and(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).exists())
}

impl Build<'_> {
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
        let mut cargo = tokio::process::Command::from(self.command());
        let output = cargo.kill_on_drop(true).output().await.context("can't run cargo")?;
        if began.elapsed() >= WORTH_MENTIONING {
            say(&format!("built {programs} in {:.1} s", began.elapsed().as_secs_f64()));
        }
        if !output.status.success() {
            let missing = self.target.filter(|target| !has_target(target));
            let remedy =
                missing.map(|it| format!(": add the target with `rustup target add {it}`"));
            let remedy = remedy.unwrap_or_default();
            bail!("cargo could not build {programs} ({}){remedy}", output.status);
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
        if self.target.is_some() && has_auditable() {
            command.arg("auditable");
        }
        command.args(["build", "--locked"]);
        command.arg("--message-format=json-render-diagnostics");
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
        if let Some(target) = self.target {
            let flags = static_flags(&cargo_home());
            command.args(["--target", target]);
            // Added to what `.cargo/config.toml` says for the target; RUSTFLAGS would replace it.
            command.arg(format!("--config=target.{target}.rustflags={flags}"));
        }
        command.current_dir(self.workspace).stdin(Stdio::null()).stderr(Stdio::inherit());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_about_this_package) {
                command.env_remove(name);
            }
        }
        command
    }
}

fn has_auditable() -> bool {
    succeeds(&mut command("cargo-auditable", ["auditable", "--version"]))
}

/// The compiler's flags for a static program, as TOML: the folder of the dependencies' sources is taken
/// out of panic messages, which is where rustc puts it (cargo names the workspace's own sources relative
/// to it).
fn static_flags(cargo_home: &Path) -> String {
    format!("{:?}", [format!("--remap-path-prefix={}=/cargo", cargo_home.display())])
}

/// Where cargo keeps the sources of dependencies; see
/// <https://doc.rust-lang.org/cargo/guide/cargo-home.html>.
fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    )
}

/// Whether cargo sets this variable for the program that it runs: build scripts would take another
/// package's values for a change, and everything that depends on them would be built again.
fn is_about_this_package(variable: &str) -> bool {
    let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];
    prefixes.iter().any(|prefix| variable.starts_with(prefix))
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

    fn build() -> Build<'static> {
        Build {
            workspace: Path::new("."),
            packages: &["one"],
            programs: &["one"],
            profile: "small",
            target: None,
        }
    }

    #[test]
    fn programs_are_found_by_their_names() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"x\"},\"executable\":null}\n",
            "not json\n",
            "{\"target\":{\"name\":\"webhook\"},\"executable\":\"/t/debug/webhook\"}\n",
            "{\"target\":{\"name\":\"legacy-mock\"},\"executable\":\"/t/debug/legacy-mock\"}\n",
        );
        let found = executables(messages.as_bytes());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["legacy-mock", "webhook"]);
        assert_eq!(found["webhook"], PathBuf::from("/t/debug/webhook"));
    }

    #[test]
    fn the_environment_of_this_package_is_not_passed_on() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let command = build().command();
        let removed = |wanted: &str| {
            let mut changes = command.get_envs();
            changes.any(|(name, value)| name == wanted && value.is_none())
        };
        assert!(removed("CARGO_MANIFEST_DIR") && removed("CARGO_PKG_NAME"));
        assert!(!removed("CARGO_TARGET_DIR"));
    }

    #[test]
    fn a_package_is_built_alone() {
        let command = build().command();
        let arguments: Vec<_> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        let packages = arguments.iter().filter(|argument| **argument == "-p").count();
        assert_eq!(packages, 1, "{arguments:?}");
        assert!(arguments.windows(2).any(|pair| pair == ["--profile", "small"]));
    }

    #[test]
    fn a_static_program_has_no_folder_of_this_machine_in_it() {
        let flags = static_flags(Path::new("/home/x/.cargo"));
        assert_eq!(flags, r#"["--remap-path-prefix=/home/x/.cargo=/cargo"]"#);
    }
}
