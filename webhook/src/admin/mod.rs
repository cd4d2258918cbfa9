//! The plain-HTTP port for the kubelet, for Prometheus and for people.
//!
//! ```text
//! GET /livez     200 as long as the process answers
//! GET /readyz    200, or 503 with a line for each reason
//! GET /metrics   OpenMetrics text
//! GET /cert      which certificates are in use, until when, and what happens next; ?json for JSON
//! ```

mod readiness;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

pub use readiness::{Condition, Readiness};

use crate::metrics::Metrics;

/// How `/cert` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One screen for a person.
    Text,
    /// For a program.
    Json,
}

impl Form {
    /// Where on the admin port it is asked for.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Text => "/cert",
            Self::Json => "/cert?json",
        }
    }
}

/// What `/cert` says, asked anew for each request.
pub type CertificateReport = dyn Fn(Form) -> String + Send + Sync;

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    metrics: Metrics,
    certificates: Arc<CertificateReport>,
}

/// The admin port's paths. The router can be called without a socket.
pub fn router(
    readiness: Readiness,
    metrics: Metrics,
    certificates: Arc<CertificateReport>,
) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/cert", get(cert))
        .with_state(Admin { readiness, metrics, certificates })
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

async fn cert(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    if query.as_deref() == Some("json") {
        let report = (admin.certificates)(Form::Json);
        return ([(CONTENT_TYPE, "application/json")], report).into_response();
    }
    (admin.certificates)(Form::Text).into_response()
}
