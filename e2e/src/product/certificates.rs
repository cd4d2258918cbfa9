//! Certificates from files, for a webhook that does not keep any itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use lab::cluster::pki::Authority;

/// Issues a certificate for `host` from a new CA and writes `ca.crt`, `tls.crt` and `tls.key` into a
/// folder, readable for everybody who can reach it: the webhook's user may be another one.
pub(crate) fn issue(host: &str, folder: &Path) -> Result<()> {
    Authority::new(folder, "ca")?.issue("tls", "webhook", &[], &[host])?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o444))?;
    }
    Ok(())
}
