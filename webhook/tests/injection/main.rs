//! The pure side of the webhook from the outside: reviews in, answers out, and the same offline.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failed expectation is how a test fails"
)]

mod exchange;
mod golden;
mod hostile;
mod matrix;
mod oracle;
mod pods;
mod properties;
