//! Reading a body within its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refusal;

/// What a body may use up.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes of one body.
    pub most: usize,
    /// From the end of the head to the end of the body, the wait for a share of `in_flight` included.
    pub time: Duration,
    /// Bytes of all bodies that are in memory at one time.
    pub in_flight: usize,
}

/// The bytes that all bodies together may hold.
///
/// A body takes its share as its bytes arrive, so whoever announces much and sends nothing holds
/// nothing. Bodies that wait for each other's share could wait for ever; so one at a time may go over
/// the budget, by at most the size of one body, and through that one all others get on.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
    over: Arc<Semaphore>,
    gauge: Gauge,
}

impl Budget {
    pub(super) fn new(bytes: usize, gauge: Gauge) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            over: Arc::new(Semaphore::new(1)),
            gauge,
        }
    }
}

/// What one body holds of the budget.
#[derive(Debug)]
struct Share {
    budget: Budget,
    bytes: Option<OwnedSemaphorePermit>,
    over: Option<OwnedSemaphorePermit>,
    counted: i64,
    waits: bool,
}

impl Share {
    /// Takes `count` bytes more, when there are as many.
    async fn grow(&mut self, count: usize) {
        if self.over.is_none() {
            // One read never has more than hyper's buffer.
            let wanted = u32::try_from(count).unwrap_or(u32::MAX);
            self.waits = true;
            let bytes = Arc::clone(&self.budget.bytes).acquire_many_owned(wanted);
            let over = Arc::clone(&self.budget.over).acquire_owned();
            // Neither semaphore is ever closed, so neither answer is an error.
            tokio::select! {
                biased;
                Ok(more) = bytes => match &mut self.bytes {
                    Some(held) => held.merge(more),
                    none => *none = Some(more),
                },
                Ok(over) = over => self.over = Some(over),
                else => {}
            }
            self.waits = false;
        }
        let counted = i64::try_from(count).unwrap_or(i64::MAX);
        self.counted += counted;
        self.budget.gauge.inc_by(counted);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.gauge.dec_by(self.counted);
    }
}

/// A body that is complete, or on its way there. Gives its share of the budget back when dropped.
#[derive(Debug)]
pub(super) struct Whole {
    first: Bytes,
    all: BytesMut,
    share: Share,
}

impl Whole {
    pub(super) fn new(budget: &Budget) -> Self {
        let share =
            Share { budget: budget.clone(), bytes: None, over: None, counted: 0, waits: false };
        Self { first: Bytes::new(), all: BytesMut::new(), share }
    }

    /// Reads `body` to its end.
    pub(super) async fn read(&mut self, body: Body, limits: &BodyLimits) -> Result<(), Refusal> {
        let announced = body.size_hint().lower();
        if usize::try_from(announced).map_or(true, |announced| announced > limits.most) {
            return Err(Refusal::TooLarge { most: limits.most });
        }
        match tokio::time::timeout(limits.time, self.collect(body, limits.most)).await {
            Ok(read) => read,
            Err(_) if self.share.waits => Err(Refusal::Busy),
            Err(_) => Err(Refusal::TooSlow { time: limits.time }),
        }
    }

    async fn collect(&mut self, mut body: Body, most: usize) -> Result<(), Refusal> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::BrokenOff)?;
            // Trailers say nothing to us.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if self.bytes().len() + data.len() > most {
                return Err(Refusal::TooLarge { most });
            }
            self.share.grow(data.len()).await;
            self.push(data);
        }
        Ok(())
    }

    /// Most bodies come in one or two pieces; one piece is used as it is.
    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.all.extend_from_slice(&data);
    }

    /// What was read.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::stream::{self, StreamExt as _};

    use super::*;

    const LIMITS: BodyLimits =
        BodyLimits { most: 100, time: Duration::from_secs(4), in_flight: 150 };

    fn budget() -> Budget {
        Budget::new(LIMITS.in_flight, Gauge::default())
    }

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece)).collect();
        Body::from_stream(stream::iter(pieces))
    }

    /// Sends `first` and then nothing.
    fn stalled(first: Bytes) -> Body {
        let first = stream::iter([Ok::<_, std::io::Error>(first)]);
        Body::from_stream(first.chain(stream::pending()))
    }

    #[tokio::test]
    async fn pieces_are_put_together() {
        for (sent, expected) in [
            (&[][..], ""),
            (&["", ""], ""),
            (&["abc"], "abc"),
            (&["abc", "", "de", "f"], "abcdef"),
            (&["", "abc", "def"], "abcdef"),
        ] {
            let mut whole = Whole::new(&budget());
            whole.read(pieces(sent), &LIMITS).await.unwrap();
            assert_eq!(whole.bytes(), expected.as_bytes(), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_body_may_have_as_many_bytes_as_the_limit_says_and_not_one_more() {
        for (body, fits) in [
            (Body::from("x".repeat(100)), true),
            (Body::from("x".repeat(101)), false),
            (pieces(&["0123456789"; 10]), true),
            (pieces(&["0123456789"; 11]), false),
        ] {
            let read = Whole::new(&budget()).read(body, &LIMITS).await;
            assert_eq!(read.is_ok(), fits, "{read:?}");
            assert!(fits || matches!(read, Err(Refusal::TooLarge { most: 100 })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_is_too_slow() {
        let read = Whole::new(&budget()).read(stalled("x".into()), &LIMITS).await;
        assert!(matches!(read, Err(Refusal::TooSlow { .. })), "{read:?}");
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error() {
        let broken = stream::iter([Ok("x"), Err(std::io::Error::other("gone"))]);
        let read = Whole::new(&budget()).read(Body::from_stream(broken), &LIMITS).await;
        assert!(matches!(read, Err(Refusal::BrokenOff)), "{read:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_their_share_and_one_at_a_time_goes_over_the_budget() {
        let budget = budget();
        let hundred = || Bytes::from("x".repeat(100));
        let mut first = Whole::new(&budget);
        first.read(Body::from(hundred()), &LIMITS).await.unwrap();
        assert_eq!(budget.gauge.get(), 100);
        // 50 are left: the second goes over the budget at once, the third waits.
        let mut second = Whole::new(&budget);
        second.read(Body::from(hundred()), &LIMITS).await.unwrap();
        assert_eq!(budget.gauge.get(), 200);
        let mut third = Whole::new(&budget);
        let mut reading = Box::pin(third.read(Body::from(hundred()), &LIMITS));
        assert!(reading.as_mut().now_or_never().is_none());
        drop(second);
        reading.await.unwrap();
        drop((first, third));
        assert_eq!(budget.gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_share_too_long_is_told_to_come_again() {
        let budget = budget();
        let mut holders = [Whole::new(&budget), Whole::new(&budget)];
        for holder in &mut holders {
            holder.read(Body::from("x".repeat(100)), &LIMITS).await.unwrap();
        }
        let read = Whole::new(&budget).read(Body::from("x".repeat(100)), &LIMITS).await;
        assert!(matches!(read, Err(Refusal::Busy)), "{read:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_announced_and_not_sent_holds_nothing() {
        let budget = budget();
        let mut silent = Whole::new(&budget);
        let mut reading = Box::pin(silent.read(stalled(Bytes::new()), &LIMITS));
        assert!(reading.as_mut().now_or_never().is_none());
        assert_eq!(budget.bytes.available_permits(), LIMITS.in_flight);
    }
}
