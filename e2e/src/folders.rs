//! Where things are: the workspace, what is kept from one run to the next, and the cluster of `up`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The checkout that this was built from.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The folder for what is built once and kept, outside of any checkout: `$XDG_CACHE_HOME/secret-handshake`.
pub(crate) fn cache() -> Result<PathBuf> {
    Ok(base("XDG_CACHE_HOME", ".cache")?.join("secret-handshake"))
}

/// The state directory of `cargo e2e -- up`: `$XDG_STATE_HOME/secret-handshake/up`.
pub(crate) fn up() -> Result<PathBuf> {
    Ok(base("XDG_STATE_HOME", ".local/state")?.join("secret-handshake").join("up"))
}

/// <https://specifications.freedesktop.org/basedir-spec/latest/>
fn base(variable: &str, in_home: &str) -> Result<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let base = named.or_else(|| std::env::home_dir().map(|home| home.join(in_home)));
    base.with_context(|| format!("set HOME or {variable}"))
}
