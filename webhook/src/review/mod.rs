//! AdmissionReview in, AdmissionReview out.

#[doc(hidden)]
#[allow(clippy::must_use_candidate, reason = "on its way into a crate of its own")]
pub mod borrowed;
#[doc(hidden)]
#[allow(clippy::must_use_candidate, reason = "on its way into a crate of its own")]
pub mod object;
mod request;
mod response;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use thiserror::Error;

use self::object::{Pod, Workload};
use self::request::{Request, Review};
use self::response::Ruling;
use crate::decision::plan::{PodDecision, Verdict, WorkloadDecision};
use crate::decision::pod::Asked;
use crate::decision::workload::Change;
use crate::decision::{self, Policy, Reason, keys};
use crate::patch;

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
    /// JSON is UTF-8 (RFC 8259), and this isn't.
    #[error("the body is not UTF-8 (byte {at})")]
    Encoding {
        /// How many bytes are.
        at: usize,
    },
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

impl From<serde_json::Error> for Unreadable {
    /// Keeps the place alone: the error's own text may hold a part of the object.
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Self::Shape { line, column },
            Category::Syntax | Category::Eof | Category::Io => Self::Json { line, column },
        }
    }
}

/// What an AdmissionReview that this webhook speaks says it is.
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Answers the AdmissionReview in `body`.
///
/// # Errors
///
/// If the body is not an AdmissionReview v1 with a request.
pub fn answer(endpoint: Endpoint, body: &[u8], policy: &Policy) -> Result<Answer, Unreadable> {
    // Checked as a whole, which is quicker than text by text.
    let body = std::str::from_utf8(body)
        .map_err(|error| Unreadable::Encoding { at: error.valid_up_to() })?;
    match endpoint {
        Endpoint::Pods => match read::<Pod<'_>>(body) {
            Ok(request) => Ok(answer_pod(&request, policy)),
            Err(unreadable) => answer_other(endpoint, body, unreadable),
        },
        Endpoint::Workloads => match read::<Workload<'_>>(body) {
            Ok(request) => Ok(answer_workload(&request, policy)),
            Err(unreadable) => answer_other(endpoint, body, unreadable),
        },
    }
}

/// Looks at the envelope alone: an object of a kind that isn't changed here may be of any shape.
fn answer_other(
    endpoint: Endpoint,
    body: &str,
    unreadable: Unreadable,
) -> Result<Answer, Unreadable> {
    let request = read::<IgnoredAny>(body)?;
    let reason = request.not_for(endpoint).ok_or(unreadable)?;
    Ok(pass(&request, None, &reason))
}

fn answer_pod(request: &Request<'_, Pod<'_>>, policy: &Policy) -> Answer {
    let Some(pod) = request.object.as_ref() else {
        return pass(request, None, &request.not_for(Endpoint::Pods).unwrap_or(Reason::NoObject));
    };
    let name = pod.metadata.as_ref().and_then(|metadata| metadata.any_name());
    if let Some(reason) = request.not_for(Endpoint::Pods) {
        return pass(request, name, &reason);
    }
    // That a pod without a label comes at all says what its namespace wishes.
    let asked = Asked { namespace: request.namespace(), inherited: Some(true), ..Asked::default() };
    let Verdict { decision, mut warnings } = decision::pod::decide(pod, asked, policy);
    let (outcome, reason, ruling) = match &decision {
        PodDecision::Inject(plan) => {
            let ruling = Ruling::Patch(patch::inject(plan, pod, &[]));
            (Outcome::Injected, plan.mode.as_str(), ruling)
        }
        PodDecision::Skip(reason) => {
            let note = if reason.is_unmet_wish() {
                warnings.push(format!("this pod gets no sidecar: {reason}"));
                patch::note_status(reason, pod, &[])
            } else {
                None
            };
            (Outcome::Skipped, reason.as_str(), note.map_or(Ruling::Allow, Ruling::Patch))
        }
        PodDecision::Deny(reason) => {
            let message = format!("its label {} asks for a sidecar, but {reason}", keys::LABEL);
            (Outcome::Denied, reason.as_str(), Ruling::Deny(message))
        }
    };
    conclude(request, name, (outcome, reason), &ruling, warnings)
}

fn answer_workload(request: &Request<'_, Workload<'_>>, policy: &Policy) -> Answer {
    let not_for = request.not_for(Endpoint::Workloads);
    let (Some(workload), Some(kind), None) = (&request.object, request.workload_kind(), &not_for)
    else {
        return pass(request, None, &not_for.unwrap_or(Reason::NoObject));
    };
    let name = workload.metadata.as_ref().and_then(|metadata| metadata.any_name());
    let change =
        Change { kind, is_update: *request.operation == *"UPDATE", namespace: request.namespace() };
    let Verdict { decision, warnings } = decision::workload::decide(workload, change, policy);
    let (outcome, reason, ruling) = match decision {
        WorkloadDecision::CopyLabel(copy) => {
            let patch = patch::copy_label(copy, workload, kind.template_path());
            (Outcome::LabelCopied, copy.as_str(), Ruling::Patch(patch))
        }
        WorkloadDecision::Skip(reason) => (Outcome::Skipped, reason.as_str(), Ruling::Allow),
    };
    conclude(request, name, (outcome, reason), &ruling, warnings)
}

/// Lets an object through as it is, without a word.
fn pass<O>(request: &Request<'_, O>, name: Option<&str>, reason: &Reason<'_>) -> Answer {
    let outcome = (Outcome::Skipped, reason.as_str());
    conclude(request, name, outcome, &Ruling::Allow, Vec::new())
}

fn conclude<O>(
    request: &Request<'_, O>,
    name: Option<&str>,
    (outcome, reason): (Outcome, &'static str),
    ruling: &Ruling,
    mut warnings: Vec<String>,
) -> Answer {
    // kubectl shows warnings of all webhooks alike; this one says which it is from.
    for warning in &mut warnings {
        warning.insert_str(0, "secret-handshake: ");
    }
    let name = request.name.as_deref().filter(|name| !name.is_empty()).or(name);
    Answer {
        body: response::write(&request.uid, ruling, &warnings),
        record: Record {
            uid: printable(&request.uid),
            namespace: printable(request.namespace().unwrap_or_default()),
            name: printable(name.unwrap_or_default()),
            kind: request.kind_name(),
            operation: request.operation_name(),
            outcome,
            reason,
            warnings: warnings.len(),
        },
    }
}

/// A name as a log may show it. The API server lets no other names through than short ASCII ones,
/// but it need not be the API server who asks.
fn printable(name: &str) -> String {
    if name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return name.to_owned();
    }
    let graphic = |char: char| if char.is_ascii_graphic() { char } else { '?' };
    name.chars().take(253).map(graphic).collect()
}

fn read<'a, O: Deserialize<'a>>(body: &'a str) -> Result<Request<'a, O>, Unreadable> {
    let review: Review<'a, O> = serde_json::from_str(body)?;
    if *review.api_version != *API_VERSION || *review.kind != *KIND {
        return Err(Unreadable::Version);
    }
    review.request.filter(|request| !request.uid.is_empty()).ok_or(Unreadable::NoRequest)
}
