//! Which of a kubelet's probes wait.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use sidecar::Probes;

/// The most addresses that are remembered, and for how long they are without another answer.
const ADDRESSES: u8 = 8;
const FORGOTTEN: Duration = Duration::from_millis(1500);

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
        let mut last = NOT_READY;
        for event in *past {
            now += Duration::from_millis(1);
            let (address, ready) = match *event {
                Told(ready) | Lost(ready) => (KUBELET, ready),
                OtherTold(ready) => (other(1), ready),
                Left => {
                    assert!(probes.asked(KUBELET, last, now));
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
            if address == KUBELET {
                last = ready;
            }
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
    let strangers = (1..=ADDRESSES).map(other);
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
    // Besides these two there is room for six.
    for number in 10..16 {
        probes.answered(other(number), READY, later);
        assert!(probes.asked(other(number), READY, later));
    }
    probes.answered(other(16), READY, later);
    assert!(!probes.asked(other(16), READY, later));
}
