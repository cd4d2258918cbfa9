//! One static binary, the same bytes whoever builds it, wherever.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;

use super::command::{command, read, succeeds};
use super::{Architecture, Product};

/// The workspace's folder.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Builds `product` as a static binary for `architecture` and returns where it is.
///
/// Alone (`--package`), as a build of the whole workspace would give it other members' features, and
/// with this machine's paths replaced by those that the Dockerfiles have too: the same sources and
/// the same toolchain give the same bytes in any folder. With cargo-auditable, where it is installed,
/// so that the binary carries the list of its crates.
///
/// # Errors
///
/// When cargo fails; what it says is on stderr then. The remedy for a missing target is in the error.
pub fn compile(product: Product, architecture: Architecture) -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let target = architecture.target();
    let auditable = succeeds(&mut command("cargo-auditable", ["auditable", "--version"]));
    let mut cargo = command(&cargo, auditable.then_some("auditable"));
    cargo
        .args([
            "build",
            "--locked",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--package", product.package(), "--bin", product.package()])
        .args(["--profile", product.profile(), "--target", target])
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .env("RUSTFLAGS", remap(&cargo_home(), workspace()))
        // Rust's own linker comes with every toolchain, and knows every architecture.
        .env(linker_variable(target), "rust-lld");
    let messages = read(&mut cargo).with_context(|| {
        format!(
            "building {} (is the target there? `rustup target add {target}`)",
            product.package()
        )
    })?;
    executable(&messages)
        .with_context(|| format!("cargo built {} and named no executable", product.package()))
}

/// The variable by which cargo takes a target's linker.
fn linker_variable(target: &str) -> String {
    format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    )
}

/// The flags that take this machine's folders out of panic messages, which is where rustc puts them.
fn remap(cargo_home: &Path, workspace: &Path) -> String {
    format!(
        "--remap-path-prefix={}=/cargo --remap-path-prefix={}=/src",
        cargo_home.display(),
        workspace.display()
    )
}

/// Where cargo keeps the sources of dependencies; see
/// <https://doc.rust-lang.org/cargo/guide/cargo-home.html>.
fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    )
}

/// The last executable among cargo's messages, one JSON object a line; see
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/webhook\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}"
        );
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/release/webhook"))
        );
        assert_eq!(executable(""), None);
    }
}
