//! Requests that get an HTTP error instead of an AdmissionReview.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONNECTION, HeaderValue};

use super::Refused;
use crate::review::Unreadable;

/// Why a request gets an HTTP error. The API server repeats the text to whoever created the pod; it
/// never says anything of the body but where it is unreadable.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 404.
    #[error("no such path: POST /mutate/pods or /mutate/workloads")]
    Path,
    /// 405, with `Allow: POST`.
    #[error("wrong method: POST an AdmissionReview")]
    Method,
    /// 415: another `Content-Type` than `application/json`, or none.
    #[error("wrong Content-Type: expected application/json")]
    NotJson,
    /// 415: compressed.
    #[error("Content-Encoding is not supported: send the AdmissionReview as it is")]
    Encoded,
    /// 413.
    #[error("the body is larger than {most} bytes")]
    TooLarge {
        /// The limit.
        most: usize,
    },
    /// 408.
    #[error("the body took longer than {} to arrive", seconds(time))]
    TooSlow {
        /// The limit.
        time: Duration,
    },
    /// 503: other requests' bodies use up the budget, and none of them ended in time.
    #[error("too many large requests at the same time: try again")]
    Busy,
    /// 400: the connection ended, or the transfer coding is broken.
    #[error("the body ended before it was complete")]
    BrokenOff,
    /// 400: not an AdmissionReview that can be answered.
    #[error(transparent)]
    Unreadable(Unreadable),
    /// 500: a bug. The process and all other requests go on.
    #[error("internal error: the webhook's log says where")]
    Panicked,
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

impl Refusal {
    /// The HTTP status that says it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson | Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenOff | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the body was read to its end, so that the connection can carry another request.
    fn body_was_read(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Panicked)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        response.extensions_mut().insert(Refused(self.to_string()));
        if !self.body_was_read() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
