//! AdmissionReview in, AdmissionReview out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use injection::{
    Change, Context, Decision, Metadata, Outcome, Pod, Policy, Reason, Workload, WorkloadKind,
    decide_pod, decide_workload, printable,
};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;
use thiserror::Error;

/// Which of the webhook's two paths a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/mutate/pods`: pods that ask for the sidecar, or whose namespace does.
    Pods,
    /// `/mutate/workloads`: workloads whose label is to reach their pod template.
    Workloads,
}

/// What goes back to the API server, and what is written down about it. Every text but the body is
/// printable, short, and never part of the object but its name.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The AdmissionReview with the response, as JSON.
    pub body: Vec<u8>,
    /// The request's uid, which the answer repeats.
    pub uid: String,
    /// The object's namespace; empty if the request names none.
    pub namespace: String,
    /// The object's name, or its generateName; empty if it has neither.
    pub name: String,
    /// `Pod`, `Deployment`, …, or `other`.
    pub kind: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT` or `other`.
    pub operation: &'static str,
    /// What was done with the object, and why.
    pub outcome: Outcome,
    /// How many warnings the answer carries.
    pub warnings: usize,
}

/// Why a body is not an AdmissionReview that can be answered (HTTP 400). It says where, never what
/// stood there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "lines count from 1, columns and `at` in bytes")]
pub enum Unreadable {
    /// JSON is UTF-8 (RFC 8259).
    #[error("the body is not UTF-8 (byte {at})")]
    Encoding { at: usize },
    /// Not JSON, or JSON that ends too early.
    #[error("the body is not valid JSON (line {line}, column {column})")]
    Json { line: usize, column: usize },
    /// Valid JSON, but a field of the AdmissionReview is of another type than Kubernetes gives it.
    #[error("the body is JSON, but not an AdmissionReview (line {line}, column {column})")]
    Review { line: usize, column: usize },
    /// The same of the object in it, or the object is larger than anything that Kubernetes runs.
    #[error("the object is not a valid {kind}: {problem} (its line {line}, column {column})")]
    Object { kind: &'static str, problem: &'static str, line: usize, column: usize },
    /// An AdmissionReview of a version that this webhook doesn't speak, or another kind.
    #[error("expected kind AdmissionReview of apiVersion admission.k8s.io/v1")]
    Version,
    /// An AdmissionReview without a request: a response, perhaps.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The longest name that Kubernetes takes.
const LONGEST_NAME: usize = 253;

/// An AdmissionReview. The rest of it, the user who asks and the old object among it, is skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request<'a> {
    uid: String,
    kind: GroupKind,
    sub_resource: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    operation: String,
    /// Read when it is known what it should be: one that isn't for us may be of any shape.
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

/// The kind of the object, after the API server converted it to what the webhook asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GroupKind {
    group: String,
    kind: String,
}

/// The AdmissionReview that goes back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

/// Why an object is refused. The code and the reason are what kubectl and controllers know an admission
/// webhook's refusal by.
#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// The namespace of the pod in `body`, if it is a new pod that asks for a sidecar: then the settings on
/// its Namespace count. What [`answer`] finds unreadable has none.
#[must_use]
pub fn asking_namespace(endpoint: Endpoint, body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        metadata: Option<Metadata>,
    }
    let request = read_request(body).ok()?;
    let is_new_pod = endpoint == Endpoint::Pods
        && request.is_pod()
        && !request.is_for_subresource()
        && request.operation == "CREATE";
    let object = request.object.filter(|_| is_new_pod)?;
    let pod: Head = read(object, "Pod").ok()?;
    injection::asks(pod.metadata.as_ref(), context(&request, None)).ok()?;
    request.namespace().map(str::to_owned)
}

/// Answers the AdmissionReview in `body`; `namespace` is the metadata of its pod's Namespace, if it was
/// read.
///
/// # Errors
///
/// If the body is not an AdmissionReview v1 with a request, or its object not what it is said to be.
pub fn answer(
    endpoint: Endpoint,
    body: &[u8],
    namespace: Option<&Metadata>,
    policy: &Policy,
) -> Result<Answer, Unreadable> {
    let request = read_request(body)?;

    let skip = |reason| Ok(reply(&request, None, Decision::skip(reason)));
    if request.is_for_subresource() {
        return skip(Reason::Subresource);
    }
    match (endpoint, request.is_pod(), request.workload_kind()) {
        (Endpoint::Pods, true, _) => match (&*request.operation, request.object) {
            ("CREATE", Some(object)) => answer_pod(&request, object, namespace, policy),
            ("CREATE", None) => skip(Reason::NoObject),
            _ => skip(Reason::OtherOperation),
        },
        (Endpoint::Workloads, _, Some(kind)) => match (&*request.operation, request.object) {
            ("CREATE" | "UPDATE", Some(object)) => answer_workload(&request, kind, object, policy),
            ("CREATE" | "UPDATE", None) => skip(Reason::NoObject),
            _ => skip(Reason::OtherOperation),
        },
        _ => skip(Reason::OtherKind),
    }
}

fn read_request(body: &[u8]) -> Result<Request<'_>, Unreadable> {
    // Checked as a whole, which is quicker than string by string.
    let body = std::str::from_utf8(body)
        .map_err(|error| Unreadable::Encoding { at: error.valid_up_to() })?;
    let review: Review<'_> =
        serde_json::from_str(body).map_err(|error| unreadable_review(&error))?;
    if review.api_version != API_VERSION || review.kind != KIND {
        return Err(Unreadable::Version);
    }
    let request = review.request.filter(|request| !request.uid.is_empty());
    request.ok_or(Unreadable::NoRequest)
}

/// That a pod without a label comes at all says what its namespace asks for, unless the webhook itself
/// reads a no there in a spelling that the selector doesn't know.
fn context<'a>(request: &'a Request<'_>, namespace: Option<&'a Metadata>) -> Context<'a> {
    let label = namespace.and_then(Metadata::label);
    Context {
        namespace: request.namespace(),
        workload_label: None,
        namespace_asks: Some(label.is_none_or(injection::says_yes)),
        namespace_metadata: namespace,
    }
}

fn answer_pod(
    request: &Request<'_>,
    object: &RawValue,
    namespace: Option<&Metadata>,
    policy: &Policy,
) -> Result<Answer, Unreadable> {
    let pod: Pod = read(object, "Pod")?;
    let decision = decide_pod(&pod, context(request, namespace), policy, &[]);
    Ok(reply(request, pod.metadata.as_ref(), decision))
}

fn answer_workload(
    request: &Request<'_>,
    kind: WorkloadKind,
    object: &RawValue,
    policy: &Policy,
) -> Result<Answer, Unreadable> {
    let workload: Workload = read(object, kind.as_str())?;
    let is_update = request.operation == "UPDATE";
    let change = Change { kind, is_update, namespace: request.namespace() };
    let decision = decide_workload(&workload, change, policy);
    Ok(reply(request, workload.metadata.as_ref(), decision))
}

fn read<'a, T: Deserialize<'a>>(object: &'a RawValue, kind: &'static str) -> Result<T, Unreadable> {
    serde_json::from_str(object.get()).map_err(|error| {
        let too_long = error.to_string().starts_with(injection::TOO_MANY_ENTRIES);
        let problem =
            if too_long { injection::TOO_MANY_ENTRIES } else { "a field of another type" };
        Unreadable::Object { kind, problem, line: error.line(), column: error.column() }
    })
}

/// Keeps the place alone: the error's own text may hold a part of the object.
fn unreadable_review(error: &serde_json::Error) -> Unreadable {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Data => Unreadable::Review { line, column },
        Category::Syntax | Category::Eof | Category::Io => Unreadable::Json { line, column },
    }
}

fn reply(request: &Request<'_>, metadata: Option<&Metadata>, decision: Decision) -> Answer {
    let Decision { outcome, patch, mut warnings } = decision;
    // kubectl shows warnings of all webhooks alike; this one says which it is from.
    for warning in &mut warnings {
        warning.insert_str(0, "secret-handshake: ");
    }
    let status = matches!(outcome, Outcome::Denied(_)).then(|| Status {
        code: 403,
        reason: "Forbidden",
        message: outcome.to_string(),
    });
    let patch = (!patch.is_empty()).then(|| STANDARD.encode(json(&patch)));
    let response = Response {
        uid: &request.uid,
        allowed: status.is_none(),
        status,
        warnings: &warnings,
        patch_type: patch.as_ref().map(|_| "JSONPatch"),
        patch,
    };
    let name = request.name.as_deref().filter(|name| !name.is_empty());
    let name = name.or(metadata.map(Metadata::name)).unwrap_or_default();
    Answer {
        body: json(&Reply { api_version: API_VERSION, kind: KIND, response }),
        uid: printable(&request.uid, LONGEST_NAME),
        namespace: printable(request.namespace().unwrap_or_default(), LONGEST_NAME),
        name: printable(name, LONGEST_NAME),
        kind: request.kind_name(),
        operation: request.operation_name(),
        outcome,
        warnings: warnings.len(),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    #[expect(
        clippy::expect_used,
        reason = "writing to a Vec can't fail, and nothing here is a map with other keys than strings"
    )]
    serde_json::to_vec(value).expect("plain data is JSON")
}

impl Request<'_> {
    fn is_pod(&self) -> bool {
        self.kind.group.is_empty() && self.kind.kind == "Pod"
    }

    fn workload_kind(&self) -> Option<WorkloadKind> {
        WorkloadKind::of(&self.kind.group, &self.kind.kind)
    }

    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    fn is_for_subresource(&self) -> bool {
        self.sub_resource.as_deref().is_some_and(|name| !name.is_empty())
    }

    fn kind_name(&self) -> &'static str {
        if self.is_pod() {
            return "Pod";
        }
        self.workload_kind().map_or("other", WorkloadKind::as_str)
    }

    fn operation_name(&self) -> &'static str {
        ["CREATE", "UPDATE", "DELETE", "CONNECT"]
            .into_iter()
            .find(|name| self.operation == *name)
            .unwrap_or("other")
    }
}
