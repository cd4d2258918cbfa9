//! What a port gives to its clients.

use std::time::Duration;

/// How much all clients of a port may use up together, and how long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open at the same time. It is lowered to what the limit on open files allows.
    pub connections: usize,
    /// Bytes of one request's body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are in memory at the same time.
    pub all_body_bytes: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the end of the head to the end of the body.
    pub body: Duration,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// From the moment when the client takes no more of an answer to the answer's end.
    pub write: Duration,
    /// How long requests are served after the shutdown has begun.
    pub drain: Duration,
}

/// For a port that is asked now and then, without bodies.
impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            body_bytes: 0,
            all_body_bytes: 0,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(5),
            // An API server waits 5 s for the answer; so it hears why it gets none.
            body: Duration::from_secs(4),
            // Go's client, and with it an API server, closes an idle connection after 90 s. It should be
            // the one to close it: a request that crosses our closing is lost.
            idle: Duration::from_secs(120),
            write: Duration::from_secs(5),
            drain: Duration::ZERO,
        }
    }
}
