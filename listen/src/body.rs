//! Bodies: read whole, within a size, a time, and a share of the bytes that all may have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::place::Source;
use crate::{Event, Limits, Observer};

/// The answer where a body was not read, which an API server repeats to whoever made the request. The
/// rest of the body is still on its way, so the connection can carry no other request.
fn refuse(status: StatusCode, reason: &str) -> Response<Bytes> {
    let mut response = Response::new(format!("{reason}\n").into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn too_large(most: usize) -> Response<Bytes> {
    refuse(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {most} bytes"))
}

/// Reads `body` to its end. Its bytes count as held until the share beside them is dropped; those that
/// came in one go lie in the connection's own buffer, and have no share.
pub(crate) async fn read(
    body: Incoming,
    limits: &Limits,
    budget: &Arc<Budget>,
    source: Source,
) -> Result<(Bytes, Option<Share>), Response<Bytes>> {
    let mut waits = false;
    let reading = collect(body, limits.body_bytes, budget, source, &mut waits);
    match timeout(limits.body, reading).await {
        Ok(read) => read,
        Err(_) if waits => Err(refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many large requests at the same time: try again",
        )),
        Err(_) => {
            let seconds = limits.body.as_secs_f64();
            let reason = format!("the body took longer than {seconds} s to arrive");
            Err(refuse(StatusCode::REQUEST_TIMEOUT, &reason))
        }
    }
}

async fn collect(
    mut body: Incoming,
    most: usize,
    budget: &Arc<Budget>,
    source: Source,
    waits: &mut bool,
) -> Result<(Bytes, Option<Share>), Response<Bytes>> {
    // As announced, or as much as it may be.
    let size = body.size_hint().exact().map_or(Ok(most), usize::try_from);
    let size = size.ok().filter(|size| *size <= most).ok_or_else(|| too_large(most))?;
    let Some(first) = next(&mut body).await? else {
        return Ok((Bytes::new(), None));
    };
    if body.is_end_stream() && first.len() <= most {
        return Ok((first, None));
    }
    // All of it or nothing: bodies that were half read could wait for each other for good.
    *waits = true;
    let share = budget.reserve(source, size).await;
    *waits = false;
    let mut bytes = Vec::with_capacity(size);
    let mut piece = Some(first);
    while let Some(more) = piece {
        if bytes.len() + more.len() > size {
            return Err(too_large(most));
        }
        bytes.extend_from_slice(&more);
        piece = next(&mut body).await?;
    }
    Ok((bytes.into(), share))
}

/// The next bytes; trailers say nothing to us.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Response<Bytes>> {
    let broken = |_| refuse(StatusCode::BAD_REQUEST, "the body ended before it was complete");
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Whether an address that holds `own` of the `held` bytes may hold `more`: each may hold as much as is
/// then left free. So one address alone has up to half of `most`, a second one up to a quarter and so
/// on: there is always something left for an address that holds nothing.
fn fits(more: usize, own: usize, held: usize, most: usize) -> bool {
    own.saturating_add(more) <= most.saturating_sub(held).saturating_sub(more)
}

/// The bytes that the bodies on one port may hold.
pub(crate) struct Budget {
    most: usize,
    held: Mutex<Held>,
    observer: Observer,
}

#[derive(Default)]
struct Held {
    all: usize,
    by_source: HashMap<Source, usize>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    source: Source,
    bytes: usize,
    grant: oneshot::Sender<Share>,
}

impl Budget {
    pub(crate) fn new(most: usize, observer: Observer) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default(), observer })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the address may hold so many bytes more. Always `Some`.
    async fn reserve(self: &Arc<Self>, source: Source, bytes: usize) -> Option<Share> {
        let (grant, granted) = oneshot::channel();
        self.hand_out(|held| held.waiting.push(Waiting { source, bytes, grant }));
        granted.await.ok()
    }

    /// Gives bytes to all who wait and may have them, after a change.
    fn hand_out(self: &Arc<Self>, change: impl FnOnce(&mut Held)) {
        let mut held = self.lock();
        change(&mut held);
        let mut granted = Vec::new();
        for waiting in std::mem::take(&mut held.waiting) {
            let Waiting { source, bytes, ref grant } = waiting;
            let own = held.by_source.get(&source).copied().unwrap_or(0);
            if grant.is_closed() {
                // It has given up.
            } else if fits(bytes, own, held.all, self.most) {
                held.all += bytes;
                held.by_source.insert(source, own + bytes);
                granted.push(waiting);
            } else {
                held.waiting.push(waiting);
            }
        }
        drop(held);
        for Waiting { source, bytes, grant } in granted {
            (self.observer)(Event::BodyBytes(signed(bytes)));
            // If it has given up meanwhile, the share is dropped here.
            let _ = grant.send(Share { budget: Arc::clone(self), source, bytes });
        }
    }
}

/// What one body holds, given back when dropped.
pub(crate) struct Share {
    budget: Arc<Budget>,
    source: Source,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        (self.budget.observer)(Event::BodyBytes(-signed(self.bytes)));
        self.budget.hand_out(|held| {
            held.all -= self.bytes;
            if let Some(own) = held.by_source.get_mut(&self.source) {
                *own -= self.bytes;
            }
            held.by_source.retain(|_, own| *own > 0);
        });
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
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
            ("the second, not more", 26, 0, 50, 100, false),
            ("never over the sum", 1, 0, 100, 100, false),
            ("nothing is allowed", 1, 0, 0, 0, false),
            ("more than can be counted", usize::MAX, 1, 1, 100, false),
        ];
        for (what, more, own, held, most, expected) in cases {
            assert_eq!(fits(more, own, held, most), expected, "{what}");
        }
    }
}
