//! What a port gives to its clients.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are not connections: the runtime's, the log, certificates, connections to an API server.
const OTHER_FILES: usize = 64;

/// Ports of one process share its files, and as many connections may wait for a place as may have one.
const SHARES: usize = 4;

/// How much all clients of a port may use up together, and how long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have a place at the same time; as many more may wait for one. Two ports of a
    /// process need four times as many open files, so [`bind`](crate::bind) raises the process's limit
    /// as far as it may, and lowers this to what that allows.
    pub connections: usize,
    /// Bytes of one request's body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are in memory at the same time. An address may hold as many as are then
    /// left free, so this should be at least four times `body_bytes`. A body that arrives in one piece
    /// with its head does not count.
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

impl Limits {
    /// Raises the limit on open files as far as it may be, and lowers the connections to what that allows.
    pub(crate) fn within_open_files(self) -> Self {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Raising the soft limit up to the hard one is always allowed. If it fails, it stays what it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let allowed =
            usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES) / SHARES;
        Self { connections: self.connections.min(allowed).max(1), ..self }
    }

    /// What the kernel may keep of each connection, in each direction. It is memory of ours that a client
    /// fills without being asked, so it is small where there are no bodies; and where there are, large
    /// enough for 16 MB/s at a distance of 1 ms.
    pub(crate) fn kernel_buffer(&self) -> usize {
        self.body_bytes.clamp(4 << 10, 16 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_and_keep_connections_within() {
        let limits = Limits { connections: usize::MAX, ..Limits::default() }.within_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert!(maximum.is_none_or(|files| 4 * limits.connections as u64 + 64 <= files));
    }
}
