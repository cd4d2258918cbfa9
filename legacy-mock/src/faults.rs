//! What can go wrong with Legacy, each kind as its clients would meet it on the wire.

use std::time::Duration;

/// The faults in force. [`Faults::default`] is a healthy Legacy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What a new connection meets.
    pub door: Door,
    /// The next connection is accepted only when the one before it has ended.
    pub one_at_a_time: bool,
    /// A connection on which no request is being answered is closed after this time.
    pub close_idle_after: Option<Duration>,
    /// An answer that goes wrong.
    pub answer: Option<AnswerFault>,
    /// What `GET /internal/key` answers instead of the key.
    pub key: KeyFault,
    /// Every secret is refused with 400 `invalid key`, as if its operations half were wrong.
    pub reject_secret: bool,
    /// For this long after the 202, Legacy still says that it is uninitialised.
    pub uninitialized_for: Duration,
    /// The older build: an uninitialised Legacy answers 200, not 503, with `Uninitialized`.
    pub old_build: bool,
}

/// What a new connection meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// A server that accepts it and answers.
    #[default]
    Open,
    /// No listener: the connection is refused.
    Refuse,
    /// It is accepted, and whatever it says is met with silence, until the client closes it.
    Silent,
    /// It is accepted and reset at once.
    Reset,
    /// It waits in the listener's queue, connected and unanswered, and is served when this fault
    /// ends: a Legacy that listens long before it serves.
    Queue,
}

/// An answer that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerFault {
    /// How it goes wrong.
    pub what: What,
    /// The path whose answers go wrong; `None` means all of them, `/health` too.
    pub path: Option<String>,
    /// How many answers go wrong before it heals; `None` means all of them.
    pub times: Option<u32>,
}

impl AnswerFault {
    /// Every answer goes wrong, on every path.
    #[must_use]
    pub fn always(what: What) -> Self {
        Self { what, path: None, times: None }
    }

    /// The same, on one path alone.
    #[must_use]
    pub fn on(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// The same, for the next `times` answers.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// How an answer goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// This status, with its own name as the body; the request has no effect.
    Status(u16),
    /// 302 to this address; the request has no effect.
    Redirect(String),
    /// The request takes effect, and is never answered.
    Silent,
    /// The request takes effect, and the connection is reset instead of an answer.
    Reset,
    /// The right answer, one byte of its body at a time with this pause before each.
    SlowBody(Duration),
    /// The right answer's head, and a body that never ends.
    EndlessBody,
    /// The right answer's head, half of the body, and the end of the connection.
    CutBody,
}

/// What `GET /internal/key` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyFault {
    /// The key, as a healthy Legacy does.
    #[default]
    None,
    /// Bytes that are not base64.
    Garbage,
    /// Two mebibytes of valid base64.
    Oversized,
    /// A newline alone: the base64 of nothing.
    Empty,
}
