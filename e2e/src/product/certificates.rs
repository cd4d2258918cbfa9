//! Certificates from files, for a webhook that does not keep any itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use certs::ca::Authority;
use certs::certificate::{Validity, pem_of};
use k8s_openapi::jiff::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Issues a certificate for `host` from a new CA and writes `ca.crt`, `tls.crt` and `tls.key` into a
/// folder, readable for everybody who can reach it: the webhook's user may be another one.
pub(crate) fn issue(host: &str, folder: &Path) -> Result<()> {
    let day = Validity::starting(Timestamp::now(), DAY);
    let ca = Authority::new(day)?;
    let serving = ca.issue(&[host.to_owned()], day)?;
    for (file, content) in [
        ("ca.crt", pem_of([ca.certificate()])),
        ("tls.crt", pem_of(serving.chain())),
        ("tls.key", serving.key_pem().to_string()),
    ] {
        let path = folder.join(file);
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o444)))
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}
