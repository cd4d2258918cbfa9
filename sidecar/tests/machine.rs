//! Every transition of the machine, and what follows from many of them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::time::Duration;

use proptest::prelude::*;
use sidecar::handshake::{Action, Event, Failure, Handshake, Loss, Next, Report, State, Timing};
use sidecar::secret::HalfError;
use sidecar::{Answer, Cause, Check, Request, RequestError};

const MISSING: Failure = Failure::Half(HalfError::Missing);
const WRONG_HALF: Failure =
    Failure::Request(RequestError { request: Request::Secret, cause: Cause::WrongHalf });
const GONE: RequestError = RequestError { request: Request::Check, cause: Cause::Refused };
const BROKEN: RequestError = RequestError { request: Request::Check, cause: Cause::Broken };
const UNVERIFIED: Failure = Failure::Unverified(Duration::from_secs(5));

const ACCEPTED: Event = Event::Accepted;
const REFUSED: Event = Event::Refused;
const INITIALISED: Event = Event::Checked(Ok(Check::Initialised(200)));
const UNINITIALISED: Event = Event::Checked(Ok(Check::Uninitialised));
const UNCLEAR: Event = Event::Checked(Ok(Check::Unclear));
const CHECK_GONE: Event = Event::Checked(Err(GONE));
const CHECK_SILENT: Event = Event::Checked(Ok(Check::Silent));
const CHECK_BROKEN: Event = Event::Checked(Err(BROKEN));
const TAKEN: Event = Event::Answered(Ok(Answer::Accepted));
const REPEATED: Event = Event::Answered(Ok(Answer::AlreadyDone));
const NO_HALF: Event = Event::Answered(Err(MISSING));
const SECRET_GONE: Event = Event::Answered(Err(Failure::Request(GONE)));
const SERVES_MANY: Event = Event::Watched { serves_one_at_a_time: false };
const SERVES_ONE: Event = Event::Watched { serves_one_at_a_time: true };

const EVENTS: [Event; 16] = [
    REFUSED,
    ACCEPTED,
    INITIALISED,
    UNINITIALISED,
    UNCLEAR,
    CHECK_GONE,
    CHECK_SILENT,
    CHECK_BROKEN,
    TAKEN,
    REPEATED,
    NO_HALF,
    SECRET_GONE,
    SERVES_MANY,
    SERVES_ONE,
    Event::WatchEnded,
    Event::Slept,
];

/// The time of the event in question, an hour after the start; what led there took no time.
const NOW: Duration = Duration::from_secs(3600);

/// The places that the machine can be in, and the events that lead there.
const PLACES: [(&str, &[Event]); 12] = [
    ("waiting", &[REFUSED, Event::Slept]),
    ("checking", &[REFUSED, ACCEPTED]),
    ("handshaking", &[ACCEPTED, UNINITIALISED]),
    ("verifying", &[ACCEPTED, UNINITIALISED, TAKEN]),
    ("verifying a 204", &[ACCEPTED, UNINITIALISED, REPEATED]),
    ("failing", &[ACCEPTED, UNINITIALISED, NO_HALF]),
    ("idle, opening the watch", &[ACCEPTED, INITIALISED]),
    ("idle, watched", &[ACCEPTED, INITIALISED, SERVES_MANY]),
    ("idle, watch ended", &[ACCEPTED, INITIALISED, SERVES_MANY, INITIALISED, Event::WatchEnded]),
    (
        "idle, watch ended after a false alarm",
        &[
            ACCEPTED,
            INITIALISED,
            SERVES_MANY,
            INITIALISED,
            Event::WatchEnded,
            ACCEPTED,
            INITIALISED,
            SERVES_MANY,
            Event::WatchEnded,
        ],
    ),
    ("idle, unwatched", &[ACCEPTED, INITIALISED, SERVES_ONE]),
    (
        "idle, unwatched, silent for long",
        &[ACCEPTED, INITIALISED, SERVES_ONE, CHECK_SILENT, CHECK_SILENT],
    ),
];

fn machine_at(place: &str) -> Handshake {
    let (_, path) = PLACES.iter().find(|(name, _)| *name == place).unwrap();
    let mut machine = Handshake::new(Timing::default(), NOW);
    for event in *path {
        machine.step(*event, NOW, 0.0);
    }
    machine
}

fn sleep(millis: u64) -> Action {
    Action::Sleep(Duration::from_millis(millis))
}

fn failed(failure: Failure, millis: u64) -> Report {
    Report::Failed { failure, retry_in: Duration::from_millis(millis), repeated: false }
}

/// From each place, each event that can happen there: the state, the action and the news that follow.
/// Everything happens at one moment, with a jitter of a half: a connect's pause is 4.5 ms of 5, the pause
/// after a first failure 50 ms of 100.
fn table() -> Vec<(&'static str, Event, &'static str, Action, Option<Report>)> {
    let now = Duration::ZERO;
    let pause = Action::Sleep(Duration::from_micros(4500));
    let again = Some(Report::Waiting(now));
    let initialised = |answer| Some(Report::Initialised(answer, now));
    let already = Some(Report::AlreadyInitialised(200, now));
    let taken = |answer| Some(Report::Accepted(answer, now));
    let lost = |loss| Some(Report::Lost(loss));
    let needed = |check| Some(Report::Needed(check));
    let mut table = vec![
        ("waiting", REFUSED, "waiting", pause, None),
        ("waiting", ACCEPTED, "checking", Action::Check, Some(Report::Listening(now))),
        ("waiting", Event::Slept, "waiting", Action::Connect, None),
        ("checking", INITIALISED, "watching", Action::Watch, already),
        ("checking", UNINITIALISED, "handshaking", Action::Handshake, needed(Check::Uninitialised)),
        ("checking", UNCLEAR, "handshaking", Action::Handshake, needed(Check::Unclear)),
        ("checking", CHECK_SILENT, "handshaking", Action::Handshake, needed(Check::Silent)),
        // It has been reported before that nothing listens.
        ("checking", CHECK_GONE, "waiting", pause, None),
        ("checking", CHECK_BROKEN, "failing", sleep(50), Some(failed(BROKEN.into(), 50))),
        ("handshaking", TAKEN, "verifying", Action::Check, taken(Answer::Accepted)),
        ("handshaking", REPEATED, "verifying", Action::Check, taken(Answer::AlreadyDone)),
        ("handshaking", NO_HALF, "failing", sleep(50), Some(failed(MISSING, 50))),
        ("handshaking", SECRET_GONE, "waiting", pause, again),
        ("verifying", INITIALISED, "watching", Action::Watch, initialised(Answer::Accepted)),
        ("verifying", UNINITIALISED, "verifying", sleep(20), None),
        ("verifying", UNCLEAR, "verifying", sleep(20), None),
        ("verifying", CHECK_SILENT, "verifying", sleep(20), None),
        ("verifying", CHECK_BROKEN, "verifying", sleep(20), None),
        ("verifying", CHECK_GONE, "waiting", pause, again),
        ("verifying", Event::Slept, "verifying", Action::Check, None),
        (
            "verifying a 204",
            INITIALISED,
            "watching",
            Action::Watch,
            initialised(Answer::AlreadyDone),
        ),
        ("verifying a 204", UNCLEAR, "watching", Action::Watch, initialised(Answer::AlreadyDone)),
        ("verifying a 204", UNINITIALISED, "verifying", sleep(20), None),
        (
            "verifying a 204",
            CHECK_SILENT,
            "watching",
            Action::Watch,
            initialised(Answer::AlreadyDone),
        ),
        ("verifying a 204", CHECK_BROKEN, "verifying", sleep(20), None),
        ("verifying a 204", CHECK_GONE, "waiting", pause, again),
        ("verifying a 204", Event::Slept, "verifying", Action::Check, None),
        ("failing", Event::Slept, "waiting", Action::Connect, None),
        ("idle, opening the watch", SERVES_MANY, "watching", Action::Check, None),
        ("idle, opening the watch", SERVES_ONE, "polling", sleep(5000), Some(Report::WatchGivenUp)),
        ("idle, watched", Event::Slept, "watching", Action::Check, None),
        ("idle, watched", INITIALISED, "watching", sleep(60_000), None),
        // The process that was initialised is still there.
        ("idle, watched", UNCLEAR, "watching", sleep(5000), None),
        ("idle, watched", CHECK_SILENT, "watching", sleep(5000), None),
        ("idle, watch ended", ACCEPTED, "watching", Action::Check, None),
        ("idle, watch ended", INITIALISED, "watching", Action::Watch, None),
        ("idle, watch ended", UNCLEAR, "waiting", Action::Connect, lost(Loss::Silent)),
        ("idle, watch ended", CHECK_SILENT, "waiting", Action::Connect, lost(Loss::Silent)),
        ("idle, watch ended after a false alarm", ACCEPTED, "watching", sleep(5000), None),
        ("idle, watch ended after a false alarm", Event::Slept, "watching", Action::Check, None),
        ("idle, watch ended after a false alarm", INITIALISED, "watching", Action::Watch, None),
        ("idle, unwatched", Event::Slept, "polling", Action::Check, None),
        ("idle, unwatched", INITIALISED, "polling", sleep(5000), None),
        // It may be serving somebody else.
        ("idle, unwatched", UNCLEAR, "polling", sleep(5000), None),
        ("idle, unwatched", CHECK_SILENT, "polling", sleep(5000), None),
        ("idle, unwatched, silent for long", INITIALISED, "polling", sleep(5000), None),
        (
            "idle, unwatched, silent for long",
            UNCLEAR,
            "waiting",
            Action::Connect,
            lost(Loss::Silent),
        ),
        (
            "idle, unwatched, silent for long",
            CHECK_SILENT,
            "waiting",
            Action::Connect,
            lost(Loss::Silent),
        ),
    ];
    for (place, _) in PLACES.iter().filter(|(place, _)| place.starts_with("idle")) {
        table.extend([
            (*place, REFUSED, "waiting", pause, lost(Loss::Gone)),
            (*place, CHECK_GONE, "waiting", pause, lost(Loss::Gone)),
            (*place, UNINITIALISED, "handshaking", Action::Handshake, lost(Loss::Uninitialised)),
        ]);
    }
    table.extend(
        ["idle, opening the watch", "idle, watched"]
            .map(|place| (place, Event::WatchEnded, "watching", Action::Connect, None)),
    );
    table
}

#[test]
fn every_transition() {
    let mut seen = Vec::new();
    for (place, event, state, action, news) in table() {
        let mut machine = machine_at(place);
        let next = machine.step(event, NOW, 0.5);
        let got = (machine.state().label(), next.action, next.report);
        assert_eq!(got, (state, action, news), "{place}: {event:?}");
        assert!(!seen.contains(&(place, event)), "{place}: {event:?} has two rows");
        seen.push((place, event));
    }
    // What cannot happen must neither get it stuck nor make it spin.
    for (place, _) in PLACES {
        for event in EVENTS {
            if !seen.contains(&(place, event)) {
                let mut machine = machine_at(place);
                machine.step(event, NOW, 0.5);
                assert!(State::LABELS.contains(&machine.state().label()), "{place}: {event:?}");
            }
        }
    }
}

#[test]
fn each_state_and_each_action_has_a_row() {
    let table = table();
    for label in State::LABELS {
        assert!(table.iter().any(|(_, _, state, ..)| *state == label), "{label}");
    }
    for action in [Action::Connect, Action::Check, Action::Handshake, Action::Watch] {
        assert!(table.iter().any(|row| row.3 == action), "{action:?}");
    }
}

#[test]
fn a_given_up_watch_stays_given_up_when_legacy_restarts() {
    let mut machine = machine_at("idle, unwatched");
    for event in [CHECK_GONE, Event::Slept, ACCEPTED, UNINITIALISED, TAKEN] {
        machine.step(event, NOW, 0.0);
    }
    assert_eq!(machine.step(INITIALISED, NOW, 0.0).action, sleep(5000));
    assert_eq!(machine.state().label(), "polling");
}

#[test]
fn pauses_after_failures_double_up_to_the_most_and_start_anew_after_progress() {
    let mut machine = Handshake::new(Timing::default(), NOW);
    let mut pause = |events: &[Event]| {
        let mut last = Next::from(Action::Connect);
        for event in events {
            last = machine.step(*event, NOW, 0.999_999);
        }
        let Action::Sleep(pause) = last.action else { panic!("{last:?}") };
        let millis = pause.as_millis() + 1;
        machine.step(Event::Slept, NOW, 0.0);
        millis
    };
    let no_half = [ACCEPTED, UNINITIALISED, NO_HALF];
    for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        assert_eq!(pause(&no_half), expected);
    }
    let wrong_half = [ACCEPTED, UNINITIALISED, Event::Answered(Err(WRONG_HALF))];
    assert_eq!(pause(&wrong_half), 100, "further than ever before: progress");
    assert_eq!(pause(&no_half), 200, "not as far: none");
    assert_eq!(pause(&wrong_half), 400, "as far as before: none");
    let pause_of_a_connect = pause(&[ACCEPTED, CHECK_GONE]);
    assert_eq!(pause_of_a_connect, 4 + 1, "nothing listens: a connect's pause");
    assert_eq!(pause(&no_half), 100, "whatever listens now is another Legacy");
}

#[test]
fn full_jitter_spreads_pauses_after_failures_from_nothing_on() {
    let pause = |jitter| {
        let mut machine = machine_at("handshaking");
        machine.step(NO_HALF, NOW, jitter).action
    };
    assert_eq!(pause(0.0), sleep(0));
    assert_eq!(pause(0.25), sleep(25));
}

#[test]
fn checks_after_the_202_end_after_five_seconds() {
    let mut machine = machine_at("verifying");
    let almost = NOW + Duration::from_millis(4999);
    assert_eq!(machine.step(UNINITIALISED, almost, 0.5).action, sleep(20));
    machine.step(Event::Slept, almost, 0.5);
    let next = machine.step(UNINITIALISED, NOW + Duration::from_secs(5), 0.5);
    assert_eq!(next.report, Some(failed(UNVERIFIED, 50)));
}

#[test]
fn the_same_is_not_reported_again_within_ten_seconds() {
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let mut machine = Handshake::new(Timing::default(), NOW);
    let reported: Vec<_> =
        (0..35).filter(|second| machine.step(REFUSED, at(*second), 0.5).report.is_some()).collect();
    assert_eq!(reported, [0, 10, 20, 30]);

    let mut machine = machine_at("handshaking");
    let reported: Vec<_> = (0..35)
        .filter(|second| {
            let next = machine.step(NO_HALF, at(*second), 0.5);
            for event in [Event::Slept, ACCEPTED, UNINITIALISED] {
                assert_eq!(machine.step(event, at(*second), 0.5).report, None);
            }
            matches!(next.report, Some(Report::Failed { repeated: false, .. }))
        })
        .collect();
    assert_eq!(reported, [0, 10, 20, 30]);
    let other = machine.step(Event::Answered(Err(WRONG_HALF)), at(35), 0.5).report;
    assert!(
        matches!(other, Some(Report::Failed { repeated: false, .. })),
        "another cause: at once"
    );
}

/// Legacy as the machine sees it, in virtual time.
struct World {
    now: Duration,
    /// When Legacy begins to listen.
    listens_at: Duration,
    initialised: bool,
    /// Connections that carry no request are closed after this time.
    closes_idle_after: Duration,
    one_at_a_time: bool,
    watch_opened: Option<Duration>,
    connects: Vec<Duration>,
    checks: Vec<Duration>,
    secrets: Vec<Duration>,
}

impl World {
    fn new(listens_at: Duration) -> Self {
        Self {
            now: Duration::ZERO,
            listens_at,
            initialised: false,
            closes_idle_after: Duration::MAX,
            one_at_a_time: false,
            watch_opened: None,
            connects: Vec::new(),
            checks: Vec::new(),
            secrets: Vec::new(),
        }
    }

    fn act(&mut self, action: Action) -> Event {
        match action {
            Action::Connect => {
                self.connects.push(self.now);
                if self.now < self.listens_at { REFUSED } else { ACCEPTED }
            }
            Action::Check => {
                self.checks.push(self.now);
                if self.initialised { INITIALISED } else { UNINITIALISED }
            }
            Action::Handshake => {
                self.secrets.push(self.now);
                self.initialised = true;
                TAKEN
            }
            Action::Watch if self.one_at_a_time => SERVES_ONE,
            Action::Watch => {
                self.watch_opened = Some(self.now);
                SERVES_MANY
            }
            Action::Sleep(pause) => {
                let closes = self.watch_opened.map(|opened| {
                    opened.saturating_add(self.closes_idle_after).saturating_sub(self.now)
                });
                if let Some(closes) = closes.filter(|closes| *closes <= pause) {
                    self.now += closes;
                    self.watch_opened = None;
                    return Event::WatchEnded;
                }
                self.now += pause;
                Event::Slept
            }
        }
    }

    fn run(&mut self, until: Duration) -> Handshake {
        let mut machine = Handshake::new(Timing::default(), self.now);
        let mut action = Action::Connect;
        while self.now < until {
            let event = self.act(action);
            // Jitter that is different each time and the same in each run.
            let jitter = f64::from(u8::try_from(self.connects.len() % 16).unwrap()) / 16.0;
            action = machine.step(event, self.now, jitter).action;
        }
        machine
    }
}

#[test]
fn a_watch_is_trusted_only_after_a_check_that_followed_it() {
    let mut machine = machine_at("idle, opening the watch");
    let mut step = |event, now| machine.step(event, now, 0.0).action;
    assert_eq!(step(SERVES_MANY, NOW), Action::Check, "the first at once");
    assert_eq!(step(INITIALISED, NOW), sleep(60_000));
    // One that closes its connections is not asked more often than once in 5 s for all that.
    let later = NOW + Duration::from_secs(60);
    assert_eq!(step(Event::WatchEnded, later), Action::Connect);
    assert_eq!(step(ACCEPTED, later), Action::Check);
    assert_eq!(step(INITIALISED, later), Action::Watch);
    assert_eq!(step(SERVES_MANY, later), sleep(5_000));
    assert_eq!(step(Event::Slept, later), Action::Check);
    assert_eq!(step(INITIALISED, later), sleep(60_000));
}

#[test]
fn a_listener_is_found_after_at_most_one_pause_however_late_it_comes() {
    for millis in [0, 100, 1000, 5000, 20_000, 600_000] {
        let listens_at = Duration::from_millis(millis);
        let mut world = World::new(listens_at);
        world.run(listens_at + Duration::from_secs(1));
        let late = world.secrets[0].abs_diff(listens_at);
        let most = (listens_at / 200).clamp(Duration::from_millis(5), Duration::from_millis(50));
        assert!(late <= most, "{listens_at:?}: {late:?} late");
        assert_eq!(world.secrets.len(), 1);
        let before: Vec<_> = world.checks.iter().filter(|check| **check < listens_at).collect();
        assert!(before.is_empty(), "HTTP before anything listens: {before:?}");
    }
}

#[test]
fn a_long_wait_costs_at_most_25_connects_a_second() {
    let mut world = World::new(Duration::MAX);
    world.run(Duration::from_secs(600));
    assert!(world.connects.len() < 600 * 25 + 1000, "{}", world.connects.len());
}

#[test]
fn ten_minutes_of_idling_put_at_most_eleven_lines_into_legacys_log() {
    let mut world = World::new(Duration::ZERO);
    world.initialised = true;
    world.run(Duration::from_secs(600));
    assert!(world.checks.len() <= 11, "{:?}", world.checks);
    assert!(world.checks.len() >= 10, "it does check: {:?}", world.checks);
    assert_eq!(world.secrets.len(), 0);
}

#[test]
fn after_a_false_alarm_a_legacy_that_closes_idle_connections_is_asked_at_most_every_five_seconds() {
    for millis in [0, 1, 900, 4999, 5001, 30_000] {
        let mut world = World::new(Duration::ZERO);
        world.initialised = true;
        world.closes_idle_after = Duration::from_millis(millis);
        let machine = world.run(Duration::from_secs(600));
        assert_eq!(machine.state().label(), "watching");
        // The first of them is that of the handshake, the second makes sure of the watch, and the third is
        // the first false alarm.
        let idle = &world.checks[2..];
        let gaps = idle.windows(2).map(|two| two[1].abs_diff(two[0]));
        assert!(gaps.min().unwrap() >= Duration::from_secs(5), "{millis} ms: {idle:?}");
        assert_eq!(world.secrets.len(), 0);
    }
}

#[test]
fn a_legacy_that_serves_one_connection_at_a_time_is_asked_every_five_seconds() {
    let mut world = World::new(Duration::ZERO);
    world.one_at_a_time = true;
    let machine = world.run(Duration::from_secs(600));
    assert_eq!(machine.state().label(), "polling");
    let gaps: Vec<_> = world.checks[2..].windows(2).map(|two| two[1].abs_diff(two[0])).collect();
    assert!(gaps.iter().all(|gap| *gap == Duration::from_secs(5)), "{gaps:?}");
}

fn any_event() -> impl Strategy<Value = Event> {
    (0..EVENTS.len()).prop_map(|index| EVENTS[index])
}

proptest! {
    #[test]
    fn whatever_happens_it_says_ready_only_of_an_initialised_legacy(
        events in proptest::collection::vec((any_event(), 0_u64..100_000, 0.0..1.0), 1..200),
    ) {
        let mut machine = Handshake::new(Timing::default(), NOW);
        let (mut now, mut answer) = (NOW, None);
        for (event, millis, jitter) in events {
            now += Duration::from_millis(millis);
            let was_ready = machine.state().is_ready();
            let next = machine.step(event, now, jitter);
            if let Action::Sleep(pause) = next.action {
                prop_assert!(pause <= Duration::from_secs(60));
            }
            let became_ready = !was_ready && machine.state().is_ready();
            let reported = matches!(
                next.report,
                Some(Report::Initialised(..) | Report::AlreadyInitialised(..))
            );
            prop_assert_eq!(became_ready, reported);
            if became_ready {
                // What `/` does not tell, only a 204 does.
                let may = match event {
                    INITIALISED => true,
                    UNCLEAR | CHECK_SILENT => answer == Some(Answer::AlreadyDone),
                    _ => false,
                };
                prop_assert!(may, "{event:?}");
            }
            if let Event::Answered(Ok(given)) = event {
                answer = Some(given);
            }
            let lost = was_ready && !machine.state().is_ready();
            prop_assert_eq!(lost, matches!(next.report, Some(Report::Lost(_))));
        }
    }
}
