//! Ready is a webhook for which every condition is met.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The conditions, by name. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    unmet: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Adds a condition that is not met, for the `reason` given.
    #[must_use]
    pub fn condition(&self, name: &'static str, reason: impl Into<String>) -> Condition {
        self.unmet().insert(name, reason.into());
        Condition { name, readiness: self.clone() }
    }

    /// The names and reasons of the conditions that are not met; empty: ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<(&'static str, String)> {
        self.unmet().iter().map(|(name, reason)| (*name, reason.clone())).collect()
    }

    fn unmet(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition, held by whoever knows whether it is met. Each change is logged.
#[derive(Debug)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Condition {
    /// It is met.
    pub fn met(&self) {
        let mut unmet = self.readiness.unmet();
        let changed = unmet.remove(self.name).is_some();
        let ready = unmet.is_empty();
        drop(unmet);
        if changed && ready {
            tracing::info!("ready");
        }
    }

    /// It is not met, and why: one line, which says what to do if anything can be done.
    pub fn unmet(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let before = self.readiness.unmet().insert(self.name, reason.clone());
        if before.as_ref() != Some(&reason) {
            tracing::warn!(condition = self.name, reason, "not ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_condition_is_met() {
        let readiness = Readiness::default();
        let certificate = readiness.condition("certificate", "none yet");
        let version = readiness.condition("version", "not asked yet");
        assert_eq!(
            readiness.reasons(),
            [("certificate", "none yet".into()), ("version", "not asked yet".into())]
        );
        certificate.met();
        version.met();
        assert!(readiness.reasons().is_empty());
        certificate.unmet("expired");
        assert_eq!(readiness.reasons(), [("certificate", "expired".into())]);
        certificate.met();
        assert!(readiness.reasons().is_empty());
    }
}
