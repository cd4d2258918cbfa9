//! The API server: its version, what it lets this user do, its clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Check, Finding};
use crate::cluster::Unreadable;

/// The oldest version whose kubelets all know native sidecars.
const OLDEST: (u32, u32) = (1, 32);

/// How far the two clocks may be apart.
const APART: SignedDuration = SignedDuration::from_secs(60);

/// What was read of the API server itself.
pub(crate) struct ApiServer {
    pub(crate) version: Result<Version, Unreadable>,
    /// The rights that the checks need and the user does not have.
    pub(crate) missing: Result<Vec<String>, Unreadable>,
    pub(crate) clocks: Result<Clocks, Unreadable>,
}

/// A Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: (u32, u32),
    pub(crate) text: String,
}

/// Two clocks at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// The `Date` of an answer: whole seconds, rounded down.
    pub(crate) server: Timestamp,
    /// This machine's clock when the answer was there.
    pub(crate) here: Timestamp,
    /// How long the answer took: the `Date` is at most that much older.
    pub(crate) took: Duration,
}

impl Clocks {
    /// How much this machine's clock is ahead of the API server's, give or take what can't be known.
    fn ahead(&self) -> SignedDuration {
        let most = self.here.duration_since(self.server);
        let unknown = SignedDuration::try_from(self.took).unwrap_or(SignedDuration::MAX);
        let least = most.saturating_sub(unknown).saturating_sub(SignedDuration::from_secs(1));
        // Zero where that is possible.
        if least.is_positive() { least } else { most.min(SignedDuration::ZERO) }
    }
}

pub(crate) fn version(facts: &ApiServer) -> Finding {
    let check = Check::ApiVersion;
    let version = match &facts.version {
        Ok(version) => version,
        Err(Unreadable::Forbidden(_)) => {
            return Finding::skipped(
                check,
                "the API server answers, but does not tell its version",
            );
        }
        Err(Unreadable::Failed(reason)) => {
            return Finding::failed(check, format!("the API server does not answer: {reason}"))
                .means("Nothing else can be checked.")
                .remedy("kubectl cluster-info");
        }
    };
    if version.number < OLDEST {
        let (major, minor) = OLDEST;
        return Finding::failed(check, format!("the API server is {}", version.text))
            .means(format!(
                "Kubernetes {major}.{minor} or newer is needed: nodes of older clusters may not know native sidecars."
            ))
            .remedy("upgrade the cluster");
    }
    Finding::ok(check, format!("the API server answers: {}", version.text))
}

pub(crate) fn permissions(facts: &ApiServer) -> Finding {
    let check = Check::Permissions;
    match &facts.missing {
        Ok(missing) if missing.is_empty() => {
            Finding::ok(check, "you have all the rights that the checks need")
        }
        Ok(missing) => {
            let what = format!("you lack {} of the rights that the checks need", missing.len());
            Finding::skipped(check, what)
                .objects(missing.iter().cloned())
                .means("What needs them is skipped below.")
        }
        Err(error) => Finding::skipped(check, format!("your rights are not known: {error}")),
    }
}

pub(crate) fn clocks(facts: &ApiServer) -> Finding {
    let check = Check::Clocks;
    let ahead = match &facts.clocks {
        Ok(clocks) => clocks.ahead(),
        Err(error) => return Finding::unreadable(check, error),
    };
    if ahead.abs() <= APART {
        return Finding::ok(check, "this machine's clock and the API server's agree");
    }
    let direction = if ahead.is_positive() { "ahead of" } else { "behind" };
    let what =
        format!("this machine's clock is {} s {direction} the API server's", ahead.abs().as_secs());
    Finding::warning(check, what)
        .means("One of the two is wrong. Certificates are judged by the API server's clock.")
        .remedy("compare both with a time server (`timedatectl`)")
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn facts() -> ApiServer {
        let version = Version { number: (1, 37), text: "v1.37.2".to_owned() };
        let server: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let clocks = Clocks { server, here: server, took: Duration::ZERO };
        ApiServer { version: Ok(version), missing: Ok(Vec::new()), clocks: Ok(clocks) }
    }

    #[test]
    fn old_versions_and_silence_are_failures() {
        let failed = Unreadable::Failed("connection refused".to_owned());
        let forbidden = Unreadable::Forbidden("get version".to_owned());
        for (version, state) in [
            (Ok((1, 37)), State::Ok),
            (Ok((1, 32)), State::Ok),
            (Ok((2, 0)), State::Ok),
            (Ok((1, 31)), State::Failed),
            (Err(failed), State::Failed),
            (Err(forbidden), State::Skipped),
        ] {
            let version = version.map(|number| Version { number, text: "v".to_owned() });
            let finding = super::version(&ApiServer { version, ..facts() });
            assert_eq!(finding.state, state, "{finding:?}");
        }
    }

    #[test]
    fn missing_rights_are_listed_and_not_fatal() {
        assert_eq!(permissions(&facts()).state, State::Ok);
        let missing = Ok(vec!["list pods".to_owned()]);
        let finding = permissions(&ApiServer { missing, ..facts() });
        assert_eq!(
            (finding.state, finding.objects.named),
            (State::Skipped, vec!["list pods".to_owned()])
        );
        let unknown = Err(Unreadable::Failed("x".to_owned()));
        let finding = permissions(&ApiServer { missing: unknown, ..facts() });
        assert_eq!(finding.state, State::Skipped);
    }

    #[test]
    fn clocks_may_be_a_minute_apart_and_what_a_slow_answer_hides() {
        let server: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (ahead, took, expected) in [
            (0, 0, None),
            (61, 0, None),
            (62, 0, Some("61 s ahead of")),
            (-60, 0, None),
            (-61, 0, Some("61 s behind")),
            (3600, 0, Some("3599 s ahead of")),
            (70, 20, None),
            (20, 30, None),
        ] {
            let here = server + SignedDuration::from_secs(ahead);
            let clocks = Ok(Clocks { server, here, took: Duration::from_secs(took) });
            let finding = super::clocks(&ApiServer { clocks, ..facts() });
            let state = if expected.is_some() { State::Warning } else { State::Ok };
            assert_eq!(finding.state, state, "{ahead}: {finding:?}");
            assert!(finding.what.contains(expected.unwrap_or("agree")), "{finding:?}");
        }
    }
}
