//! Bytes in, bytes out: the two paths, and what is refused before anybody looks at a body.
//!
//! ```text
//! POST /mutate/pods ──────┐                                                    ┌▶ 200 AdmissionReview
//! POST /mutate/workloads ─┴▶ method, path, type ─▶ body (size, time, budget) ──┼▶ one log line, metrics
//!                                  └▶ 4xx, 5xx: a line of plain text           └▶ 400
//! ```
//!
//! The router can be called without a socket.

mod body;
mod refusal;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::FutureExt as _;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

pub use body::BodyLimits;
pub use refusal::Refusal;

use crate::log;
use crate::metrics::Metrics;
use crate::review::{Answer, Endpoint, Unreadable};
use body::{Budget, Whole};

/// The largest body: an API server takes objects of up to 3 MiB (its own limit for a request), and an
/// update's review carries the old object and the new one.
pub const MAX_BODY: usize = 6 << 20;

/// Turns the body of a request into an answer. In the running webhook this is
/// [`crate::review::answer`] with the policy of the moment.
pub type AnswerFn = dyn Fn(Endpoint, &[u8]) -> Result<Answer, Unreadable> + Send + Sync;

struct Admissions {
    answer: Box<AnswerFn>,
    limits: BodyLimits,
    budget: Budget,
    metrics: Metrics,
}

/// The webhook's paths. A panic in `answer` costs the request that caused it, which gets a 500.
pub fn router(answer: Box<AnswerFn>, limits: BodyLimits, metrics: Metrics) -> Router {
    let admissions = Arc::new(Admissions {
        answer,
        limits,
        budget: Budget::new(limits.in_flight, metrics.body_bytes().clone()),
        metrics: metrics.clone(),
    });
    Router::new()
        .route(
            "/mutate/pods",
            post(async |State(admissions): State<Arc<Admissions>>, request: Request| {
                admissions.admit(Endpoint::Pods, request).await
            }),
        )
        .route(
            "/mutate/workloads",
            post(async |State(admissions): State<Arc<Admissions>>, request: Request| {
                admissions.admit(Endpoint::Workloads, request).await
            }),
        )
        .method_not_allowed_fallback(async || {
            ([(ALLOW, HeaderValue::from_static("POST"))], Refusal::Method)
        })
        .fallback(async || Refusal::Path)
        .with_state(admissions)
        .layer(from_fn_with_state(metrics, answer_for_panics))
}

impl Admissions {
    async fn admit(&self, endpoint: Endpoint, request: Request) -> Result<Response, Refusal> {
        let start = Instant::now();
        check_type(request.headers())?;
        let mut body = Whole::new(&self.budget);
        body.read(request.into_body(), &self.limits).await?;
        let answer = (self.answer)(endpoint, body.bytes()).map_err(Refusal::Unreadable)?;
        drop(body);

        let took = start.elapsed();
        let record = &answer.record;
        let name = endpoint_name(endpoint);
        self.metrics.admission(name, record.outcome.as_str(), record.reason, took);
        log::admission(name, record, took);
        Ok(([(CONTENT_TYPE, "application/json")], answer.body).into_response())
    }
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

/// Outermost: a panic below becomes a 500, and whatever was refused is counted and logged once.
async fn answer_for_panics(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    // What a panic leaves behind is dropped with the request; nothing of it is shared but counters.
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        metrics.panicked();
        Refusal::Panicked.into_response()
    });
    if response.status() != http::StatusCode::OK {
        metrics.refusal(response.status());
        if let Some(Refused(reason)) = response.extensions().get() {
            tracing::warn!(status = response.status().as_u16(), reason, "request refused");
        }
    }
    response
}

/// Beside a refusal's response, for the log.
#[derive(Clone, Debug)]
struct Refused(String);

impl Default for BodyLimits {
    fn default() -> Self {
        Self { most: MAX_BODY, time: Duration::from_secs(4), in_flight: 32 << 20 }
    }
}
