//! AdmissionReview in, AdmissionReview out.

use thiserror::Error;

use crate::decision::Policy;

/// Which of the webhook's two paths a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/mutate/pods`: pods that ask for the sidecar, or whose namespace does.
    Pods,
    /// `/mutate/workloads`: workloads whose label is to reach their pod template.
    Workloads,
}

/// What goes back to the API server, and what is written down about it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The AdmissionReview with the response, as JSON.
    pub body: Vec<u8>,
    /// For the log line and the metrics.
    pub record: Record,
}

/// What one log line and the metrics need of an admission. Every text is printable (no control
/// characters), short, and never part of the object but its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The request's uid, which the answer echoes.
    pub uid: String,
    /// The object's namespace; empty if the request names none.
    pub namespace: String,
    /// The object's name, or its generateName; empty if it has neither.
    pub name: String,
    /// `Pod`, `Deployment`, …, or `other`.
    pub kind: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT` or `other`.
    pub operation: &'static str,
    /// What was done.
    pub outcome: Outcome,
    /// Why, as a short name out of a fixed list, such as `host-network`: fit for a metric's label.
    pub reason: &'static str,
    /// How many warnings the answer carries.
    pub warnings: usize,
}

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The pod got the sidecar.
    Injected,
    /// The workload's label was copied to its pod template, changed there or removed there.
    LabelCopied,
    /// Let through without a sidecar or a copy.
    Skipped,
    /// Refused.
    Denied,
}

impl Outcome {
    /// A short name, fit for a metric's label: `injected`, `label-copied`, `skipped`, `denied`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::LabelCopied => "label-copied",
            Self::Skipped => "skipped",
            Self::Denied => "denied",
        }
    }
}

/// Why a body is not an AdmissionReview that can be answered (HTTP 400). It says where, never what
/// stood there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// No JSON, or JSON that ends too early.
    #[error("the body is not valid JSON (line {line}, column {column})")]
    Json {
        /// The line of the body, from 1.
        line: usize,
        /// The column of that line, in bytes.
        column: usize,
    },
    /// Valid JSON, but a field is missing or of another type than Kubernetes gives it.
    #[error(
        "the body is JSON, but not an AdmissionReview of a valid object (line {line}, column {column})"
    )]
    Shape {
        /// The line of the body, from 1.
        line: usize,
        /// The column of that line, in bytes.
        column: usize,
    },
    /// An AdmissionReview of a version that this webhook doesn't speak, or another kind.
    #[error("expected kind AdmissionReview of apiVersion admission.k8s.io/v1")]
    Version,
    /// An AdmissionReview without a request: a response, perhaps.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

/// Answers the AdmissionReview in `body`.
///
/// # Errors
///
/// If the body is not an AdmissionReview v1 with a request.
pub fn answer(endpoint: Endpoint, body: &[u8], policy: &Policy) -> Result<Answer, Unreadable> {
    let _ = (endpoint, body, policy);
    Err(Unreadable::NoRequest)
}
