//! What the machine is told, what it says, and where it stands.

use std::time::Duration;

use crate::failure::Failure;

/// Where the handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing listens on Legacy's port; a bare TCP connect looks for it.
    Waiting,
    /// Something listens; `/` is asked whether it is initialised already.
    Looking,
    /// Half, key and secret are on their way.
    Shaking,
    /// Legacy took the secret; `/` is asked until it is initialised.
    Verifying {
        /// What Legacy answered to the secret.
        answer: Answer,
        /// When the checks have gone on for long enough.
        until: Duration,
    },
    /// Legacy is initialised.
    Idle(Idle),
    /// An attempt failed; the next comes after a pause.
    Failing,
}

/// What is known of an initialised Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// How a restart would be noticed.
    pub watch: Watch,
    /// When `/` was last asked since Legacy was initialised.
    pub looked: Option<Duration>,
    /// Whether a watch has ended though Legacy was still initialised.
    pub false_alarm: bool,
    /// How many looks in a row told nothing.
    pub unanswered: u8,
}

impl Idle {
    /// Legacy has just become initialised.
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, looked: None, false_alarm: false, unanswered: 0 }
    }
}

/// The kept-alive connection that ends when Legacy's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It is being opened.
    Opening,
    /// It rests, and others are served beside it.
    Open,
    /// It ended, and why is not known yet.
    Ended,
    /// Legacy serves one connection at a time: it would keep others out.
    GivenUp,
}

impl State {
    /// Each [`State::label`].
    pub const LABELS: [&'static str; 7] =
        ["waiting", "looking", "shaking", "verifying", "watching", "polling", "failing"];

    /// The state's name in metrics: one of [`State::LABELS`].
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Looking => "looking",
            Self::Shaking => "shaking",
            Self::Verifying { .. } => "verifying",
            Self::Idle(Idle { watch: Watch::GivenUp, .. }) => "polling",
            Self::Idle(_) => "watching",
            Self::Failing => "failing",
        }
    }

    /// Whether Legacy is initialised, as far as is known.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle(_))
    }
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// After [`Action::Knock`].
    Knocked(Knock),
    /// After [`Action::Look`].
    Looked(Result<Seen, Failure>),
    /// After [`Action::Shake`].
    Shaken(Result<Answer, Failure>),
    /// After [`Action::Watch`]: the watch rests.
    Watched(Kindness),
    /// After [`Action::Watch`] or during [`Action::Rest`]: the watch ended, or could not be opened.
    WatchEnded,
    /// After [`Action::Rest`].
    Rested,
}

/// What a bare TCP connect met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    /// Something listens.
    Accepted,
    /// Nothing listens, or nothing that accepts.
    Refused,
}

/// What `GET /` says about Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A status below 500 and a body other than `Uninitialized`.
    Initialised,
    /// The body `Uninitialized`, whatever the status.
    Uninitialised,
    /// A status of 500 or more with another body: it may be either.
    Unclear,
}

/// How Legacy took the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202.
    Accepted,
    /// 204: it has had the handshake already.
    Repeated,
}

/// Whether Legacy serves others beside the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kindness {
    /// A second connection was served.
    Kind,
    /// It was not: the watch keeps others out.
    Unkind,
}

/// What is to be done next. Each action is answered by one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A bare TCP connect to Legacy's port.
    Knock,
    /// `GET /`.
    Look,
    /// Read the half, get the key, send the secret.
    Shake,
    /// Open the watch, and see whether Legacy serves others beside it.
    Watch,
    /// Do nothing for so long, or until the watch ends if there is one.
    Rest(Duration),
}

/// What is worth telling, in the log and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing listens: the first time, and once in a while.
    Waiting {
        /// For how long so far.
        waited: Duration,
    },
    /// Something listens.
    Listening {
        /// After how long.
        waited: Duration,
    },
    /// What Legacy says of itself, when it is not that it is initialised.
    Found(Seen),
    /// Legacy took the secret.
    Taken {
        /// How.
        answer: Answer,
        /// How long the attempt took so far.
        took: Duration,
    },
    /// Legacy is initialised.
    Initialised {
        /// Why.
        how: How,
        /// After how long, waiting included.
        waited: Duration,
    },
    /// An attempt failed.
    Failed {
        /// Why.
        failure: Failure,
        /// The pause before the next attempt.
        retry_in: Duration,
        /// Whether this very failure has been told of just now.
        repeated: bool,
    },
    /// Legacy was initialised and is not any more.
    Lost(Loss),
    /// Legacy serves one connection at a time.
    WatchGivenUp,
}

/// How Legacy came to be initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By this sidecar's handshake.
    Handshake(Answer),
    /// It was so when this sidecar looked, and nothing was sent.
    Already,
}

/// How an initialised Legacy was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing listens any more.
    Gone,
    /// It says `Uninitialized`.
    Forgot,
    /// It listens, its watch ended or there is none, and it does not say what it is.
    Silent,
}

/// What comes next, and what is worth telling about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What is to be done.
    pub action: Action,
    /// What is to be told.
    pub news: Option<News>,
}

impl Action {
    pub(super) fn telling(self, news: impl Into<Option<News>>) -> Next {
        Next { action: self, news: news.into() }
    }
}

impl From<Action> for Next {
    fn from(action: Action) -> Self {
        action.telling(None)
    }
}
