//! What is checked, and what a check comes to.

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::cluster::Unreadable;
use crate::visible::is_visible;

/// How many objects a finding names; the others are counted.
const MOST_NAMED: usize = 10;

/// One of the checks, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    ApiVersion,
    Permissions,
    Clocks,
    Configuration,
    Istio,
    CaBundles,
    CertificateAuthorities,
    ServingCertificates,
    Replicas,
    NetworkPolicies,
    DryRun,
    Call,
    Labels,
    Settings,
    MissingSidecars,
    OldSidecars,
    Secrets,
    LimitsAndQuotas,
    Images,
    SidecarStates,
}

impl Check {
    pub(crate) const ALL: [Self; 20] = [
        Self::ApiVersion,
        Self::Permissions,
        Self::Clocks,
        Self::Configuration,
        Self::Istio,
        Self::CaBundles,
        Self::CertificateAuthorities,
        Self::ServingCertificates,
        Self::Replicas,
        Self::NetworkPolicies,
        Self::DryRun,
        Self::Call,
        Self::Labels,
        Self::Settings,
        Self::MissingSidecars,
        Self::OldSidecars,
        Self::Secrets,
        Self::LimitsAndQuotas,
        Self::Images,
        Self::SidecarStates,
    ];

    /// Its name for machines, which is also its paragraph's anchor in `docs/troubleshooting.md`.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::ApiVersion => "api-version",
            Self::Permissions => "permissions",
            Self::Clocks => "clocks",
            Self::Configuration => "configuration",
            Self::Istio => "istio",
            Self::CaBundles => "ca-bundles",
            Self::CertificateAuthorities => "certificate-authorities",
            Self::ServingCertificates => "serving-certificates",
            Self::Replicas => "replicas",
            Self::NetworkPolicies => "network-policies",
            Self::DryRun => "dry-run",
            Self::Call => "call",
            Self::Labels => "labels",
            Self::Settings => "settings",
            Self::MissingSidecars => "missing-sidecars",
            Self::OldSidecars => "old-sidecars",
            Self::Secrets => "secrets",
            Self::LimitsAndQuotas => "limits-and-quotas",
            Self::Images => "images",
            Self::SidecarStates => "sidecar-states",
        }
    }

    /// The heading that it is shown under.
    pub(crate) const fn category(self) -> &'static str {
        match self {
            Self::ApiVersion | Self::Permissions | Self::Clocks => "API server",
            Self::Configuration | Self::Istio | Self::CaBundles => "Configuration",
            Self::CertificateAuthorities | Self::ServingCertificates => "Certificates",
            Self::Replicas | Self::NetworkPolicies => "Replicas",
            Self::DryRun | Self::Call => "Admission",
            Self::Labels => "Labels",
            Self::Settings => "Settings",
            Self::MissingSidecars | Self::OldSidecars | Self::Secrets | Self::LimitsAndQuotas => {
                "Pods"
            }
            Self::Images | Self::SidecarStates => "Sidecars",
        }
    }

    /// Whether it has a meaning while nothing is installed yet.
    pub(crate) const fn is_before_installing(self) -> bool {
        matches!(
            self,
            Self::ApiVersion
                | Self::Permissions
                | Self::Clocks
                | Self::Configuration
                | Self::Istio
                | Self::Labels
                | Self::LimitsAndQuotas
        )
    }

    /// Whether it is about a single namespace, and not about the installation.
    pub(crate) const fn is_about_a_namespace(self) -> bool {
        !matches!(
            self,
            Self::Configuration
                | Self::Istio
                | Self::CaBundles
                | Self::CertificateAuthorities
                | Self::ServingCertificates
                | Self::Replicas
                | Self::NetworkPolicies
        )
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) state: State,
    /// One line.
    pub(crate) what: String,
    /// The objects that it is about, each in a line.
    pub(crate) objects: Named,
    /// What it means, in a sentence or two; empty if there is nothing to explain.
    pub(crate) means: String,
    /// What to do, as commands or as sentences.
    pub(crate) remedy: Vec<String>,
}

/// The first objects of a kind that were found, and how many more there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) named: Vec<String>,
    pub(crate) more: usize,
}

impl Named {
    pub(crate) fn push(&mut self, text: impl FnOnce() -> String) {
        if self.named.len() < MOST_NAMED {
            self.named.push(line(&text(), 1_000));
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.named.len() + self.more
    }
}

impl FromIterator<String> for Named {
    fn from_iter<T: IntoIterator<Item = String>>(lines: T) -> Self {
        let mut named = Self::default();
        lines.into_iter().for_each(|line| named.push(|| line));
        named
    }
}

/// A text of somebody else as a terminal may show it: in one line, without control characters, and no
/// more than `most` characters.
pub(crate) fn line(text: &str, most: usize) -> String {
    let visible = |char: char| if is_visible(char) { char } else { ' ' };
    text.chars().map(visible).take(most).collect()
}

impl Finding {
    fn new(check: Check, state: State, what: impl Into<String>) -> Self {
        let (means, remedy) = (String::new(), Vec::new());
        let what = line(&what.into(), 1_000);
        Self { check, state, what, objects: Named::default(), means, remedy }
    }

    pub(crate) fn ok(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, State::Ok, what)
    }

    pub(crate) fn warning(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, State::Warning, what)
    }

    pub(crate) fn failed(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, State::Failed, what)
    }

    pub(crate) fn skipped(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, State::Skipped, what)
    }

    /// Something that the check needs could not be read: skipped where the user has no right to, since
    /// that says nothing about the cluster.
    pub(crate) fn unreadable(check: Check, error: &Unreadable) -> Self {
        match error {
            Unreadable::Forbidden(_) => Self::skipped(check, error.to_string()),
            Unreadable::Failed(reason) => {
                Self::failed(check, format!("{} could not be checked: {reason}", check.id()))
            }
        }
    }

    pub(crate) fn objects(self, objects: impl IntoIterator<Item = String>) -> Self {
        Self { objects: objects.into_iter().collect(), ..self }
    }

    pub(crate) fn named(self, objects: Named) -> Self {
        Self { objects, ..self }
    }

    pub(crate) fn means(self, means: impl Into<String>) -> Self {
        Self { means: means.into(), ..self }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy.push(remedy.into());
        self
    }

    pub(crate) fn remedies(mut self, remedies: impl IntoIterator<Item = String>) -> Self {
        self.remedy.extend(remedies);
        self
    }

    /// Where the documentation has more about it.
    pub(crate) fn docs(&self) -> String {
        /// The address of the documentation's folder; as long as it is published nowhere, the paths in
        /// the repository are told.
        const BASE: &str = "";
        format!("{BASE}docs/troubleshooting.md#{}", self.check.id())
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Finding", 9)?;
        object.serialize_field("id", self.check.id())?;
        object.serialize_field("category", self.check.category())?;
        object.serialize_field("state", &self.state)?;
        object.serialize_field("what", &self.what)?;
        object.serialize_field("objects", &self.objects.named)?;
        object.serialize_field("moreObjects", &self.objects.more)?;
        object.serialize_field("means", &self.means)?;
        object.serialize_field("remedy", &self.remedy)?;
        object.serialize_field("docs", &self.docs())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn checks_are_in_their_order_and_have_an_id_each() {
        assert!(Check::ALL.is_sorted());
        let ids: BTreeSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(ids.len(), Check::ALL.len());
    }

    #[test]
    fn every_check_has_its_paragraph_in_the_documentation() {
        let text = include_str!("../../../docs/troubleshooting.md");
        let headings = text.lines().filter_map(|line| line.strip_prefix("### "));
        // As GitHub and most others make anchors of headings.
        let anchors: Vec<_> = headings.map(|it| it.to_lowercase().replace(' ', "-")).collect();
        let ids: Vec<_> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(anchors, ids);
    }

    #[test]
    fn what_was_not_read_is_skipped_only_for_want_of_a_right() {
        let forbidden = Unreadable::Forbidden("list pods".to_owned());
        let finding = Finding::unreadable(Check::Images, &forbidden);
        assert_eq!((finding.state, &*finding.what), (State::Skipped, "no permission to list pods"));
        let failed = Unreadable::Failed("boom".to_owned());
        assert_eq!(Finding::unreadable(Check::Images, &failed).state, State::Failed);
    }

    #[test]
    fn only_some_objects_are_named() {
        let named: Named = (0..25).map(|number| number.to_string()).collect();
        assert_eq!((named.named.len(), named.more, named.len()), (10, 15, 25));
    }
}
