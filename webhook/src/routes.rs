//! The webhook's two paths, and what is refused before anybody looks at a body.
//!
//! ```text
//! POST /mutate/pods ──────┐                            ┌▶ 200 AdmissionReview, one log line, metrics
//! POST /mutate/workloads ─┴▶ path, method, type ─▶ review ─▶ 400 that says where it is unreadable
//!                                │                     └▶ 500 after a panic, or without the pod's Namespace
//!                                └▶ 404, 405, 415
//! ```
//!
//! Bodies have arrived whole, within their limits: the `listen` crate sees to that.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use http::StatusCode;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use injection::Metadata;
use tower_http::catch_panic::CatchPanicLayer;

use crate::log;
use crate::metrics::Metrics;
use crate::namespace::{Namespaces, Unavailable};
use crate::review::{Answer, Endpoint, Unreadable, asking_namespace};

/// Turns the body of a request, and what is known of its pod's Namespace, into an answer:
/// [`crate::review::answer`] with the webhook's policy.
pub type AnswerFn =
    dyn Fn(Endpoint, &[u8], Option<&Metadata>) -> Result<Answer, Unreadable> + Send + Sync;

#[derive(Clone)]
struct Admissions {
    answer: Arc<AnswerFn>,
    namespaces: Option<Namespaces>,
    metrics: Arc<Metrics>,
}

/// The webhook's paths. A panic in `answer` costs the request that caused it, which gets a 500. Without
/// `namespaces` only pods and flags set anything.
pub fn router(
    answer: Arc<AnswerFn>,
    namespaces: Option<Namespaces>,
    metrics: Arc<Metrics>,
) -> Router {
    let panicked = {
        let metrics = Arc::clone(&metrics);
        move |_: Box<dyn Any + Send>| {
            metrics.panicked();
            Refusal::Panicked.into_response()
        }
    };
    Router::new()
        .route("/mutate/pods", admit(Endpoint::Pods))
        .route("/mutate/workloads", admit(Endpoint::Workloads))
        .method_not_allowed_fallback(async || ([(ALLOW, "POST")], Refusal::Method))
        .fallback(async || Refusal::Path)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(map_response_with_state(Arc::clone(&metrics), count_refusals))
        .with_state(Admissions { answer, namespaces, metrics })
}

fn admit(endpoint: Endpoint) -> MethodRouter<Admissions> {
    post(async move |State(admissions): State<Admissions>, request: Request| {
        let start = Instant::now();
        check_type(request.headers())?;
        let body = to_bytes(request.into_body(), usize::MAX).await.map_err(Refusal::BrokenOff)?;
        // Of the pod nothing is kept while its Namespace is read: it can be larger than its JSON.
        let mut namespace = None;
        if let Some(namespaces) = &admissions.namespaces
            && let Some(name) = asking_namespace(endpoint, &body)
        {
            namespace = Some(namespaces.get(&name).await?);
        }
        let answer = (admissions.answer)(endpoint, &body, namespace.as_deref())?;
        let took = start.elapsed();
        let name = endpoint_name(endpoint);
        let outcome = &answer.outcome;
        admissions.metrics.admission(name, outcome.as_str(), outcome.reason(), took);
        log::admission(name, &answer, took);
        Ok::<_, Refusal>(([(CONTENT_TYPE, "application/json")], answer.body))
    })
}

fn endpoint_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Pods => "pods",
        Endpoint::Workloads => "workloads",
    }
}

/// JSON and nothing around it: no API server compresses a review.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"));
    if !json {
        return Err(Refusal::NotJson);
    }
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(Refusal::Encoded),
        _ => Ok(()),
    }
}

async fn count_refusals(State(metrics): State<Arc<Metrics>>, response: Response) -> Response {
    if response.status() != StatusCode::OK {
        metrics.refusal(response.status());
    }
    response
}

/// Why a request gets an HTTP error instead of an AdmissionReview. The API server repeats the text to
/// whoever created the pod; it never says anything of the body but where it is unreadable.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no such path: POST /mutate/pods or /mutate/workloads")]
    Path,
    #[error("wrong method: POST an AdmissionReview")]
    Method,
    #[error("wrong Content-Type: expected application/json")]
    NotJson,
    #[error("Content-Encoding is not supported: send the AdmissionReview as it is")]
    Encoded,
    /// Not from `listen`, which has whole bodies.
    #[error("the body can't be read: {0}")]
    BrokenOff(axum::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Namespace(#[from] Unavailable),
    #[error("internal error: the webhook's log says where")]
    Panicked,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson | Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BrokenOff(_) | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::Namespace(_) | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        tracing::warn!(status = status.as_u16(), reason = %self, "request refused");
        (status, format!("{self}\n")).into_response()
    }
}
