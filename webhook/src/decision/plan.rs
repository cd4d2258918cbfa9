use super::annotations::LogLevel;
use super::mode::Mode;
use super::resources::Resources;
use super::{PullPolicy, Reason};

/// A decision, and what the object's author should know though it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<D> {
    pub decision: D,
    pub warnings: Vec<String>,
}

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodDecision<'a> {
    /// Let it through. Where a sidecar was wanted, the reason is noted on the pod.
    Skip(Reason<'a>),
    /// Refuse it.
    Deny(Reason<'a>),
    /// Add the sidecar.
    Inject(Injection<'a>),
}

/// What is to be done with a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadDecision<'a> {
    /// Let it through.
    Skip(Reason<'a>),
    /// Bring the label of its pod template up to date.
    CopyLabel(LabelCopy<'a>),
}

/// The sidecar that a pod gets: plain data, which JSON Patch is one way to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection<'a> {
    pub mode: Mode,
    pub image: &'a str,
    pub pull_policy: Option<PullPolicy>,
    pub legacy_port: u16,
    pub health_port: u16,
    pub secret_name: &'a str,
    pub secret_key: &'a str,
    /// Where the Secret is, as far as anybody knows: a manifest may leave it to `kubectl apply -n`.
    pub namespace: Option<&'a str>,
    pub log_level: LogLevel,
    pub resources: Resources<'a>,
    pub run_as_user: Option<u32>,
    /// The container that kubectl is told to take without `-c`, where it needs telling.
    pub default_container: Option<&'a str>,
}

/// What happens to the label of a workload's pod template, and to the note of it on the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelCopy<'a> {
    /// Both get the value of the workload's label.
    Set(&'a str),
    /// The workload's label is gone, and both go with it.
    Remove,
}

impl LabelCopy<'_> {
    /// A short name for metrics and logs: `set` or `removed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Remove => "removed",
        }
    }
}
