//! Which probes can wait: the kubelet is told at once what it does not know, and waits for what it knows.
//! Pure: times are handed in.
//!
//! ```text
//! asked ──▶ wait, for the state to change ──▶ answered ──▶ (broke, if the answer was not delivered)
//!       └─▶ or don't ──────────────────────┘
//! ```

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What was told is kept for so many addresses. One kubelet asks from one; a proxy of a service mesh, or a
/// stranger who claims to be a kubelet, may be others.
const ADDRESSES: usize = 8;

/// A kubelet that was answered asks again within its `periodSeconds` of 1. One that takes longer may have
/// restarted, which takes 1.6 s at least, and have forgotten what it was told.
const FORGOTTEN: Duration = Duration::from_millis(1500);

/// So many 503 in a row make a pod not ready: the `failureThreshold` of the probe that is injected. One 200
/// makes it ready.
const FAILURE_THRESHOLD: u8 = 2;

/// What each address was told.
#[derive(Debug)]
pub struct Probes {
    told: Vec<Told>,
    held_max: usize,
    /// Whether anybody was ever answered. Until then the container has just started, and the kubelet takes
    /// it for not ready.
    answered: bool,
}

#[derive(Debug)]
struct Told {
    address: IpAddr,
    ready: bool,
    /// How often in a row; 0 if it is not known what has arrived.
    times: u8,
    at: Instant,
    /// How many probes from there wait.
    held: usize,
}

impl Told {
    fn knows(&self, ready: bool) -> bool {
        let enough = if ready { 1 } else { FAILURE_THRESHOLD };
        self.ready == ready && self.times >= enough
    }

    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > FORGOTTEN
    }
}

impl Probes {
    /// Nobody was told anything; at most so many wait at one time.
    #[must_use]
    pub fn new(held_max: usize) -> Self {
        Self { told: Vec::new(), held_max, answered: false }
    }

    /// Takes in a probe: whether it waits, because `ready` is what the kubelet at this address knows. Each
    /// one that waits has to be [`released`](Self::released).
    #[must_use]
    pub fn asked(&mut self, address: IpAddr, ready: bool, now: Instant) -> bool {
        self.told.retain(|told| told.held > 0 || !told.is_old(now));
        let held: usize = self.told.iter().map(|told| told.held).sum();
        if held >= self.held_max {
            return false;
        }
        if !self.answered && self.find(address).is_none() && self.told.len() < ADDRESSES {
            let times = FAILURE_THRESHOLD;
            self.told.push(Told { address, ready: false, times, at: now, held: 0 });
        }
        match self.find(address) {
            Some(told) if told.knows(ready) && !told.is_old(now) => {
                told.held += 1;
                true
            }
            _ => false,
        }
    }

    /// A probe that waited does so no more.
    pub fn released(&mut self, address: IpAddr) {
        if let Some(told) = self.find(address) {
            told.held = told.held.saturating_sub(1);
        }
    }

    /// An answer is on its way.
    pub fn answered(&mut self, address: IpAddr, ready: bool, now: Instant) {
        self.answered = true;
        if let Some(told) = self.find(address) {
            let before = if told.ready == ready { told.times } else { 0 };
            (told.ready, told.times, told.at) = (ready, before.saturating_add(1), now);
        } else if self.told.len() < ADDRESSES {
            self.told.push(Told { address, ready, times: 1, at: now, held: 0 });
        }
    }

    /// A connection ended before its answer was read.
    pub fn broke(&mut self, address: IpAddr) {
        if let Some(told) = self.find(address) {
            told.times = 0;
        }
    }

    fn find(&mut self, address: IpAddr) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.address == address)
    }
}
