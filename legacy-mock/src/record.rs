//! What Legacy was asked and what it logged, for tests to look at and to wait for.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::watch;

use crate::config::AccessLog;

/// How often something was asked of Legacy, since [`Legacy::start`](crate::Legacy::start): its
/// restarts don't set them back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections accepted, whatever became of them.
    pub connections: u64,
    /// Those of them that are open now.
    pub open: u64,
    /// Those of them that their client ended without having asked anything.
    pub bare: u64,
    /// Requests, by method and path: `GET /internal/key`. A request counts as soon as its head is
    /// read, whatever fault its answer meets.
    pub requests: BTreeMap<String, u64>,
    /// Secrets accepted: the handshakes, answered 202.
    pub accepted: u64,
    /// Secrets refused: 400 and 500.
    pub refused: u64,
}

impl Counts {
    /// How often this was asked: `"GET /"`, `"POST /internal/secret"`.
    #[must_use]
    pub fn of(&self, request: &str) -> u64 {
        self.requests.get(request).copied().unwrap_or(0)
    }

    /// How many secrets were posted, whatever the answer.
    #[must_use]
    pub fn secrets(&self) -> u64 {
        self.of("POST /internal/secret")
    }

    /// How many requests there were, of all methods and paths.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// When things happened to the Legacy that runs now, or ran last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// It began to listen.
    pub listening: Option<Instant>,
    /// It accepted its first connection.
    pub connected: Option<Instant>,
    /// It accepted a secret: just before the 202 was written.
    pub accepted: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Record {
    counts: watch::Sender<Counts>,
    moments: Mutex<Moments>,
    lines: Mutex<Vec<String>>,
    access_log: AccessLog,
}

impl Record {
    pub(crate) fn new(access_log: AccessLog) -> Self {
        Self {
            counts: watch::Sender::new(Counts::default()),
            moments: Mutex::default(),
            lines: Mutex::default(),
            access_log,
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(crate) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    pub(crate) fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self, line: String) {
        match self.access_log {
            AccessLog::Keep => self.lines().push(line),
            // A closed stdout is the reader's wish; Legacy goes on serving.
            AccessLog::Print => drop(writeln!(std::io::stdout().lock(), "{line}")),
        }
    }
}

/// Now, as Go's `log` writes it, in UTC.
pub(crate) fn timestamp() -> String {
    OffsetDateTime::now_utc()
        .format(format_description!("[year]/[month]/[day] [hour]:[minute]:[second]"))
        .unwrap_or_default()
}
