//! The plain-HTTP port for the kubelet, for Prometheus and for people.
//!
//! ```text
//! GET /livez     200 as long as the process answers
//! GET /readyz    200, or 503 with a line for each reason
//! GET /metrics   OpenMetrics text
//! ```

mod readiness;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

pub use readiness::{Condition, Readiness};

use crate::metrics::Metrics;

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// The admin port's paths. The router can be called without a socket.
pub(crate) fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .with_state(Admin { readiness, metrics })
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let reasons = admin.readiness.reasons();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let mut body = String::from("not ready\n");
    for (condition, reason) in reasons {
        body.extend([condition, ": ", &reason, "\n"]);
    }
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn metrics_page(State(admin): State<Admin>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, OPEN_METRICS)], admin.metrics.render()).into_response()
}
