use super::annotations::LogLevel;
use super::mode::Mode;
use super::resources::Resources;
use super::{PullPolicy, Reason};

/// A decision, and what the object's author should know though it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict<D> {
    pub(crate) decision: D,
    pub(crate) warnings: Vec<String>,
}

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodDecision<'a> {
    /// Let it through. Where a sidecar was wanted, the reason is noted on the pod.
    Skip(Reason<'a>),
    /// Refuse it.
    Deny(Reason<'a>),
    /// Add the sidecar.
    Inject(Injection<'a>),
}

/// What is to be done with a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkloadDecision<'a> {
    /// Let it through.
    Skip(Reason<'a>),
    /// Bring the label of its pod template up to date.
    CopyLabel(LabelCopy<'a>),
}

/// The sidecar that a pod gets: plain data, which JSON Patch is one way to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Injection<'a> {
    pub(crate) mode: Mode,
    pub(crate) image: &'a str,
    pub(crate) pull_policy: Option<PullPolicy>,
    pub(crate) legacy_port: u16,
    pub(crate) health_port: u16,
    pub(crate) secret_name: &'a str,
    pub(crate) secret_key: &'a str,
    /// Where the Secret is, as far as anybody knows: a manifest may leave it to `kubectl apply -n`.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) log_level: LogLevel,
    pub(crate) resources: Resources<'a>,
    pub(crate) run_as_user: Option<u32>,
    /// The container that kubectl is told to take without `-c`, where it needs telling.
    pub(crate) default_container: Option<&'a str>,
}

/// What happens to the label of a workload's pod template, and to the note of it on the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelCopy<'a> {
    /// Both get the value of the workload's label.
    Set(&'a str),
    /// The workload's label is gone, and both go with it.
    Remove,
}

impl LabelCopy<'_> {
    /// A short name for metrics and logs: `set` or `removed`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Remove => "removed",
        }
    }
}
