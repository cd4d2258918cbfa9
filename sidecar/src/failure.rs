//! What can go wrong in one attempt, in words that hold no secret.

use std::time::Duration;

use crate::secret::{HalfProblem, KeyProblem};

/// Why an attempt failed. It never holds a byte of what Legacy or the Secret said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing listens on Legacy's port any more.
    #[error("{0}: the connection was refused")]
    Gone(Request),
    /// Legacy took the connection and did not answer in time.
    #[error("{0}: no complete answer within {1:?}")]
    Silent(Request, Duration),
    /// The connection ended before the answer did.
    #[error("{0}: the connection ended before the answer did")]
    Broken(Request),
    /// What came back is not HTTP.
    #[error("{0}: the answer is not HTTP")]
    NotHttp(Request),
    /// An answer with a status that the request must not have.
    #[error("{0}: the answer was status {1}")]
    Status(Request, u16),
    /// The operations half cannot be read.
    #[error("the operations half {0}")]
    Half(#[from] HalfProblem),
    /// What Legacy gave as its key is not one.
    #[error("GET /internal/key: {0}")]
    Key(#[from] KeyProblem),
    /// Legacy answered 400: it expects another operations half.
    #[error("POST /internal/secret: Legacy refused the secret (status 400)")]
    WrongHalf,
    /// Legacy accepted the secret and went on saying `Uninitialized`.
    #[error("Legacy took the secret, but / was still uninitialised {0:?} later")]
    Unverified(Duration),
}

impl Failure {
    /// How far the attempt got: a failure further on than all before it is progress.
    #[must_use]
    pub fn reached(self) -> Reached {
        match self {
            Self::Gone(request)
            | Self::Silent(request, _)
            | Self::Broken(request)
            | Self::NotHttp(request)
            | Self::Status(request, _) => match request {
                Request::Look | Request::Health => Reached::Look,
                Request::Key => Reached::Key,
                Request::Secret => Reached::Secret,
            },
            Self::Half(_) => Reached::Half,
            Self::Key(_) => Reached::Key,
            Self::WrongHalf => Reached::Secret,
            Self::Unverified(_) => Reached::Check,
        }
    }

    /// Whether Legacy's port refused the connection, so that there is nobody to fail.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Gone(_))
    }

    /// Whether somebody has to act before another attempt can succeed.
    #[must_use]
    pub fn needs_an_operator(self) -> bool {
        matches!(self, Self::Half(_) | Self::WrongHalf)
    }
}

/// The steps of an attempt, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// `GET /`, to see whether Legacy is initialised already.
    Look,
    /// Reading the operations half.
    Half,
    /// `GET /internal/key`.
    Key,
    /// `POST /internal/secret`.
    Secret,
    /// `GET /` until it is no longer uninitialised.
    Check,
}

/// The requests that the sidecar sends to Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /`
    Look,
    /// `GET /internal/key`
    Key,
    /// `POST /internal/secret`
    Secret,
    /// `GET /health`, which Legacy does not log.
    Health,
}

impl Request {
    /// The path, without the query that no request has.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Look => "/",
            Self::Key => "/internal/key",
            Self::Secret => "/internal/secret",
            Self::Health => "/health",
        }
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let method = if *self == Self::Secret { "POST" } else { "GET" };
        write!(out, "{method} {}", self.path())
    }
}
