//! What people are told of each object.

use std::fmt;

/// What came of one object.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where it stands, as in `deploy.yaml: document 2`.
    pub place: String,
    /// The object, as `Kind/name`.
    pub object: String,
    /// What was done with it.
    pub treatment: Treatment,
    /// Why.
    pub reason: String,
    /// What its author should know beside that.
    pub warnings: Vec<String>,
}

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It got the sidecar, or the sidecar that it had was made anew.
    Injected,
    /// It came back word for word.
    Unchanged,
    /// It has no sidecar, and its annotation `secret-handshake/status` says why.
    Noted,
    /// It asks for what it can't have.
    Refused,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, object, treatment, reason, warnings } = self;
        match treatment {
            Treatment::Injected => write!(f, "{object}: injected ({reason})"),
            Treatment::Unchanged => write!(f, "{object}: unchanged: {reason}"),
            Treatment::Noted => write!(f, "{object}: no sidecar: {reason}"),
            Treatment::Refused => write!(f, "{place}: {object}: refused: {reason}"),
        }?;
        warnings.iter().try_for_each(|warning| write!(f, "\n  warning: {warning}"))
    }
}
