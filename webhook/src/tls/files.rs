//! Certificates from files, as cert-manager, Vault and the kubelet keep them.

use std::path::PathBuf;
use std::time::Duration;

use certs::certificate::Validity;
use jiff::Timestamp;

use super::Tls;
use super::content::{Files, Look, ticks};
use crate::admin::Condition;

/// Keeps `tls` serving with the certificate in the two files. A pair that can't be used is
/// logged once and left alone until it changes; the one before stays in use.
pub(crate) async fn follow_certificate(
    tls: Tls,
    certificate: PathBuf,
    key: PathBuf,
    every: Duration,
    condition: Condition,
) {
    let mut files = Files::new([certificate, key]);
    let mut in_use: Option<Validity> = None;
    let mut ticks = ticks(every);
    loop {
        ticks.tick().await;
        let problem = match files.look().await {
            Look::Unchanged => None,
            Look::Unreadable(reason) => Some(reason),
            Look::New([certificate, key]) => match tls.install_pem(&certificate, &key) {
                Ok(validity) => {
                    in_use = Some(validity);
                    None
                }
                Err(error) => Some(format!("{}: {error}", files.names())),
            },
        };
        if let Some(problem) = problem {
            match in_use {
                Some(_) => tracing::error!(problem, "new certificate refused, the old one stays"),
                None => condition.unmet(problem),
            }
        }
        match in_use {
            Some(validity) if validity.contains(Timestamp::now()) => condition.met(),
            Some(Validity { not_before, not_after }) => condition.unmet(format!(
                "the certificate in {} is valid from {not_before} to {not_after}, and not now",
                files.names()
            )),
            None => {}
        }
    }
}

/// Keeps `tls` demanding certificates of the CAs in the file. What can't be used is logged
/// once; what held before holds on, and before the first one nobody is let in.
pub(crate) async fn follow_client_ca(
    tls: Tls,
    file: PathBuf,
    every: Duration,
    condition: Condition,
) {
    let mut files = Files::new([file]);
    let mut in_use = false;
    let mut ticks = ticks(every);
    loop {
        ticks.tick().await;
        let problem = match files.look().await {
            Look::Unchanged => continue,
            Look::Unreadable(reason) => reason,
            Look::New([pem]) => match tls.demand(&pem) {
                Ok(()) => {
                    in_use = true;
                    condition.met();
                    continue;
                }
                Err(error) => format!("{}: {error}", files.names()),
            },
        };
        if in_use {
            tracing::error!(problem, "new client CA refused, the old one stays");
        } else {
            condition.unmet(problem);
        }
    }
}
