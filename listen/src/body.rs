//! Bodies: read whole, within a size, a time, and a share of the bytes that all may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot;

use crate::place::Source;
use crate::{Event, Limits, Observer};

/// Why a body was not read. The text goes to the client; an API server repeats it to whoever made the
/// request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body took longer than {0} s to arrive")]
    TooSlow(f64),
    #[error("too many large requests at the same time: try again")]
    Busy,
    #[error("the body ended before it was complete")]
    BrokenOff,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
        }
    }
}

/// Whether an address that holds `own` of the `held` bytes may hold `more`: each may hold as much as is
/// then left free. So one address alone has up to half of `most`, a second one up to a quarter and so
/// on: there is always something left for an address that holds nothing.
fn fits(more: usize, own: usize, held: usize, most: usize) -> bool {
    own.saturating_add(more) <= most.saturating_sub(held).saturating_sub(more)
}

/// The bytes that bodies hold on one port.
#[derive(Debug)]
pub(crate) struct Budget {
    most: usize,
    held: Mutex<Held>,
    observer: Observer,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_source: HashMap<Source, usize>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    source: Source,
    bytes: usize,
    granted: oneshot::Sender<Share>,
}

impl Budget {
    pub(crate) fn new(most: usize, observer: Observer) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default(), observer })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the address may hold so many bytes more.
    async fn reserve(self: &Arc<Self>, source: Source, bytes: usize) -> Option<Share> {
        let granted = {
            let mut held = self.held();
            if let Some(share) = self.try_reserve(&mut held, source, bytes) {
                return Some(share);
            }
            let (granted, share) = oneshot::channel();
            held.waiting.push(Waiting { source, bytes, granted });
            share
        };
        granted.await.ok()
    }

    fn try_reserve(
        self: &Arc<Self>,
        held: &mut Held,
        source: Source,
        bytes: usize,
    ) -> Option<Share> {
        let own = held.by_source.get(&source).copied().unwrap_or(0);
        if !fits(bytes, own, held.all, self.most) {
            return None;
        }
        held.all += bytes;
        held.by_source.insert(source, own + bytes);
        self.observer.tell(Event::BodyBytes(signed(bytes)));
        Some(Share { budget: Arc::clone(self), source, bytes })
    }

    fn release(self: &Arc<Self>, source: Source, bytes: usize) {
        let mut guard = self.held();
        let held = &mut *guard;
        held.all -= bytes;
        if let Some(own) = held.by_source.get_mut(&source) {
            *own -= bytes;
            if *own == 0 {
                held.by_source.remove(&source);
            }
        }
        let mut granted = Vec::new();
        let waiting = std::mem::take(&mut held.waiting);
        for one in waiting.into_iter().filter(|one| !one.granted.is_closed()) {
            match self.try_reserve(held, one.source, one.bytes) {
                Some(share) => granted.push((one.granted, share)),
                None => held.waiting.push(one),
            }
        }
        drop(guard);
        self.observer.tell(Event::BodyBytes(-signed(bytes)));
        for (granted, share) in granted {
            // Whoever has given up meanwhile drops the share, which releases it.
            let _ = granted.send(share);
        }
    }
}

/// What one body holds, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    source: Source,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.release(self.source, self.bytes);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A body that is complete. Its bytes count as held until `_share` is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _share: Option<Share>,
}

pub(crate) async fn read(
    body: Incoming,
    limits: &Limits,
    budget: &Arc<Budget>,
    source: Source,
) -> Result<Whole, Refusal> {
    let mut waits = false;
    let reading = collect(body, limits.body_bytes, budget, source, &mut waits);
    match tokio::time::timeout(limits.body, reading).await {
        Ok(read) => read,
        Err(_) if waits => Err(Refusal::Busy),
        Err(_) => Err(Refusal::TooSlow(limits.body.as_secs_f64())),
    }
}

async fn collect(
    mut body: Incoming,
    most: usize,
    budget: &Arc<Budget>,
    source: Source,
    waits: &mut bool,
) -> Result<Whole, Refusal> {
    // Announced, or as much as it may be.
    let size = match body.size_hint().exact() {
        Some(size) => usize::try_from(size)
            .ok()
            .filter(|size| *size <= most)
            .ok_or(Refusal::TooLarge(most))?,
        None => most,
    };
    let Some(first) = next(&mut body).await? else {
        return Ok(Whole { bytes: Bytes::new(), _share: None });
    };
    if body.is_end_stream() && first.len() <= most {
        // It came in one go, and lies in the connection's own buffer, which is counted with it.
        return Ok(Whole { bytes: first, _share: None });
    }
    // All of it at once or nothing: bodies that were half read could wait for each other for good.
    *waits = true;
    let share = budget.reserve(source, size).await;
    *waits = false;
    let mut bytes = Vec::with_capacity(size);
    let mut piece = Some(first);
    while let Some(more) = piece {
        if bytes.len() + more.len() > size {
            return Err(Refusal::TooLarge(most));
        }
        bytes.extend_from_slice(&more);
        piece = next(&mut body).await?;
    }
    Ok(Whole { bytes: bytes.into(), _share: share })
}

/// The next bytes; trailers say nothing to us.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_hold_as_much_as_is_left_free() {
        let cases = [
            ("alone, up to half", 50, 0, 0, 100, true),
            ("alone, not more", 51, 0, 0, 100, false),
            ("in small steps up to half", 1, 49, 49, 100, true),
            ("in small steps not more", 1, 50, 50, 100, false),
            ("the second, up to a quarter", 25, 0, 50, 100, true),
            ("the first again", 1, 50, 50, 100, false),
            ("never over the sum", 1, 0, 100, 100, false),
            ("the second, not more", 26, 0, 50, 100, false),
            ("nothing is allowed", 1, 0, 0, 0, false),
            ("more than can be counted", usize::MAX, 1, 1, 100, false),
        ];
        for (what, more, own, held, most, expected) in cases {
            assert_eq!(fits(more, own, held, most), expected, "{what}");
        }
    }
}
