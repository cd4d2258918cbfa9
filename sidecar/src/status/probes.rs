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

/// A kubelet that was answered asks again within its `periodSeconds` of 1. One that takes so much longer has
/// restarted, and may have forgotten what it was told.
const FORGOTTEN: Duration = Duration::from_millis(2500);

/// So many 503 in a row make a pod not ready: the `failureThreshold` of the probe that is injected. One 200
/// makes it ready.
const FAILURE_THRESHOLD: u8 = 2;

/// What each address was told.
#[derive(Debug)]
pub(super) struct Probes {
    told: Vec<Told>,
    /// The most that wait at one time.
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
    pub(super) fn new(held_max: usize) -> Self {
        Self { told: Vec::new(), held_max, answered: false }
    }

    /// Takes in a probe: whether it waits, because `ready` is what the kubelet at this address knows. Each
    /// one that waits has to be [`released`](Self::released).
    pub(super) fn asked(&mut self, address: IpAddr, ready: bool, now: Instant) -> bool {
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
    pub(super) fn released(&mut self, address: IpAddr) {
        if let Some(told) = self.find(address) {
            told.held = told.held.saturating_sub(1);
        }
    }

    /// An answer is on its way.
    pub(super) fn answered(&mut self, address: IpAddr, ready: bool, now: Instant) {
        self.answered = true;
        if let Some(told) = self.find(address) {
            let before = if told.ready == ready { told.times } else { 0 };
            (told.ready, told.times, told.at) = (ready, before.saturating_add(1), now);
        } else if self.told.len() < ADDRESSES {
            self.told.push(Told { address, ready, times: 1, at: now, held: 0 });
        }
    }

    /// A connection ended before its answer was read.
    pub(super) fn broke(&mut self, address: IpAddr) {
        if let Some(told) = self.find(address) {
            told.times = 0;
        }
    }

    fn find(&mut self, address: IpAddr) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.address == address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::{ADDRESSES, FORGOTTEN, Probes};

    const KUBELET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const READY: bool = true;
    const NOT_READY: bool = false;

    fn other(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 1, last).into()
    }

    /// What happened to a kubelet's probes before the one in question.
    #[derive(Clone, Copy, Debug)]
    enum Past {
        /// It was answered so.
        Told(bool),
        /// It was answered so, and the answer was not delivered.
        Lost(bool),
        /// It left while it waited.
        Left,
        /// Another address was answered so.
        OtherTold(bool),
        /// So many milliseconds went by.
        Passed(u64),
    }
    use Past::{Left, Lost, OtherTold, Passed, Told};

    #[test]
    fn what_is_known_waits_and_what_is_not_is_told_at_once() {
        let no_more: u64 = u64::try_from(FORGOTTEN.as_millis()).unwrap() + 1;
        // What happened, the state now, and whether the next probe waits.
        let table: &[(&[Past], bool, bool)] = &[
            // A container that has just started is known as not ready, and one that is ready is news.
            (&[], NOT_READY, true),
            (&[Passed(60_000)], NOT_READY, true),
            (&[], READY, false),
            // Ready is known after one 200.
            (&[Told(READY)], READY, true),
            (&[Told(READY)], NOT_READY, false),
            (&[Told(NOT_READY), Told(READY)], READY, true),
            // Not ready is known after two 503 in a row.
            (&[Told(READY), Told(NOT_READY)], NOT_READY, false),
            (&[Told(READY), Told(NOT_READY), Told(NOT_READY)], NOT_READY, true),
            (&[Told(READY), Told(NOT_READY), Told(NOT_READY)], READY, false),
            (&[Told(NOT_READY), Told(READY), Told(NOT_READY)], NOT_READY, false),
            (&[Told(READY), Told(NOT_READY)], READY, false),
            // So often told, it stays known.
            (&[Told(READY), Told(READY), Told(READY)], READY, true),
            (&[Told(READY), Told(READY), Told(NOT_READY)], NOT_READY, false),
            // A kubelet that was away is not known to have kept it.
            (&[Told(READY), Passed(no_more - 1)], READY, true),
            (&[Told(READY), Passed(no_more)], READY, false),
            (&[Told(NOT_READY), Told(NOT_READY), Passed(no_more)], NOT_READY, false),
            (&[Told(NOT_READY), Passed(no_more), Told(NOT_READY)], NOT_READY, false),
            (&[Told(READY), Passed(no_more), Told(READY)], READY, true),
            // Nor is one whose connection broke.
            (&[Lost(READY)], READY, false),
            (&[Told(READY), Lost(READY)], READY, false),
            (&[Told(READY), Lost(READY), Told(READY)], READY, true),
            (&[Told(NOT_READY), Lost(NOT_READY)], NOT_READY, false),
            (&[Lost(NOT_READY), Told(NOT_READY)], NOT_READY, false),
            (&[Lost(NOT_READY), Told(NOT_READY), Told(NOT_READY)], NOT_READY, true),
            (&[Left], NOT_READY, false),
            (&[Told(READY), Left], READY, false),
            (&[Told(READY), Left, Told(READY)], READY, true),
            // Nobody stands for anybody else.
            (&[Told(READY), OtherTold(NOT_READY), OtherTold(NOT_READY)], NOT_READY, false),
            (&[OtherTold(READY)], READY, false),
            (&[OtherTold(NOT_READY), OtherTold(NOT_READY)], NOT_READY, false),
            (&[Told(READY), OtherTold(NOT_READY)], READY, true),
        ];
        for (past, ready, waits) in table {
            let mut now = Instant::now();
            let mut probes = Probes::new(16);
            for event in *past {
                now += Duration::from_millis(1);
                let (address, ready) = match *event {
                    Told(ready) | Lost(ready) => (KUBELET, ready),
                    OtherTold(ready) => (other(1), ready),
                    Left => {
                        let ready = probes.told.first().is_some_and(|told| told.ready);
                        assert!(probes.asked(KUBELET, ready, now));
                        probes.released(KUBELET);
                        probes.broke(KUBELET);
                        continue;
                    }
                    Passed(millis) => {
                        // The millisecond before the next event counts.
                        now += Duration::from_millis(millis - 2);
                        continue;
                    }
                };
                if probes.asked(address, ready, now) {
                    // It waits for as long as a kubelet can.
                    now += Duration::from_secs(4);
                    probes.released(address);
                }
                probes.answered(address, ready, now);
                if matches!(event, Lost(_)) {
                    probes.broke(address);
                }
            }
            now += Duration::from_millis(1);
            assert_eq!(probes.asked(KUBELET, *ready, now), *waits, "{past:?}, now {ready}");
        }
    }

    #[test]
    fn only_so_many_wait() {
        let now = Instant::now();
        let mut probes = Probes::new(3);
        for _ in 0..3 {
            assert!(probes.asked(KUBELET, NOT_READY, now));
        }
        assert!(!probes.asked(KUBELET, NOT_READY, now));
        assert!(!probes.asked(other(1), NOT_READY, now));
        probes.released(KUBELET);
        assert!(probes.asked(KUBELET, NOT_READY, now));
    }

    #[test]
    fn so_many_addresses_are_remembered_and_the_forgotten_make_room() {
        let now = Instant::now();
        let mut probes = Probes::new(16);
        let strangers = (1..=u8::try_from(ADDRESSES).unwrap()).map(other);
        for stranger in strangers.clone() {
            probes.answered(stranger, READY, now);
        }
        probes.answered(KUBELET, READY, now);
        assert!(!probes.asked(KUBELET, READY, now), "not remembered, so it does not wait");
        for stranger in strangers {
            assert!(probes.asked(stranger, READY, now));
            probes.released(stranger);
        }
        // One of them waits on, the others are gone.
        assert!(probes.asked(other(1), READY, now));
        let later = now + FORGOTTEN + Duration::from_millis(1);
        assert!(!probes.asked(KUBELET, READY, later));
        probes.answered(KUBELET, READY, later);
        assert!(probes.asked(KUBELET, READY, later));
        assert_eq!(probes.told.len(), 2);
    }
}
