//! Every transition of the machine, and what follows from many of them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::time::Duration;

use proptest::prelude::*;
use sidecar::failure::{Failure, Request};
use sidecar::machine::{
    Action, Answer, Event, How, Kindness, Knock, Loss, Machine, News, Next, Pace, Seen, State,
};
use sidecar::secret::HalfProblem;

const MISSING: Failure = Failure::Half(HalfProblem::Missing);
const GONE: Failure = Failure::Gone(Request::Look);
const SILENT: Failure = Failure::Silent(Request::Look, Duration::from_secs(2));
const UNVERIFIED: Failure = Failure::Unverified(Duration::from_secs(5));

const ACCEPTED: Event = Event::Knocked(Knock::Accepted);
const REFUSED: Event = Event::Knocked(Knock::Refused);
const INITIALISED: Event = Event::Looked(Ok(Seen::Initialised));
const UNINITIALISED: Event = Event::Looked(Ok(Seen::Uninitialised));
const UNCLEAR: Event = Event::Looked(Ok(Seen::Unclear));
const LOOK_GONE: Event = Event::Looked(Err(GONE));
const LOOK_SILENT: Event = Event::Looked(Err(SILENT));
const TAKEN: Event = Event::Shaken(Ok(Answer::Accepted));
const REPEATED: Event = Event::Shaken(Ok(Answer::Repeated));
const NO_HALF: Event = Event::Shaken(Err(MISSING));
const SHAKE_GONE: Event = Event::Shaken(Err(GONE));
const KIND: Event = Event::Watched(Kindness::Kind);
const UNKIND: Event = Event::Watched(Kindness::Unkind);

const EVENTS: [Event; 15] = [
    REFUSED,
    ACCEPTED,
    INITIALISED,
    UNINITIALISED,
    UNCLEAR,
    LOOK_GONE,
    LOOK_SILENT,
    TAKEN,
    REPEATED,
    NO_HALF,
    SHAKE_GONE,
    KIND,
    UNKIND,
    Event::WatchEnded,
    Event::Rested,
];

/// The time of the event in question, an hour after the start; what led there took no time.
const NOW: Duration = Duration::from_secs(3600);

/// The places that the machine can be in, and the events that lead there.
const PLACES: [(&str, &[Event]); 12] = [
    ("waiting", &[REFUSED, Event::Rested]),
    ("looking", &[REFUSED, ACCEPTED]),
    ("shaking", &[ACCEPTED, UNINITIALISED]),
    ("verifying", &[ACCEPTED, UNINITIALISED, TAKEN]),
    ("verifying a 204", &[ACCEPTED, UNINITIALISED, REPEATED]),
    ("failing", &[ACCEPTED, UNINITIALISED, NO_HALF]),
    ("idle, opening the watch", &[ACCEPTED, INITIALISED]),
    ("idle, watched", &[ACCEPTED, INITIALISED, KIND]),
    ("idle, watch ended", &[ACCEPTED, INITIALISED, KIND, INITIALISED, Event::WatchEnded]),
    (
        "idle, watch ended after a false alarm",
        &[
            ACCEPTED,
            INITIALISED,
            KIND,
            INITIALISED,
            Event::WatchEnded,
            ACCEPTED,
            INITIALISED,
            KIND,
            Event::WatchEnded,
        ],
    ),
    ("idle, unwatched", &[ACCEPTED, INITIALISED, UNKIND]),
    (
        "idle, unwatched, silent for long",
        &[ACCEPTED, INITIALISED, UNKIND, LOOK_SILENT, LOOK_SILENT],
    ),
];

fn machine_at(place: &str) -> Machine {
    let (_, path) = PLACES.iter().find(|(name, _)| *name == place).unwrap();
    let mut machine = Machine::new(Pace::default(), NOW);
    for event in *path {
        machine.step(*event, NOW, 0.0);
    }
    machine
}

fn rest(millis: u64) -> Action {
    Action::Rest(Duration::from_millis(millis))
}

fn failed(failure: Failure, millis: u64) -> News {
    News::Failed { failure, retry_in: Duration::from_millis(millis), repeated: false }
}

/// From each place, each event that can happen there: the state, the action and the news that follow.
/// Everything happens at one moment, with a jitter of a half: a look's pause is 4.5 ms of 5, the pause
/// after a first failure 50 ms of 100.
#[expect(clippy::too_many_lines, reason = "a table with a row for each transition")]
fn table() -> Vec<(&'static str, Event, &'static str, Action, Option<News>)> {
    let now = Duration::ZERO;
    let pause = Action::Rest(Duration::from_micros(4500));
    let again = Some(News::Waiting { waited: now });
    let initialised = |answer| Some(News::Initialised { how: How::Handshake(answer), waited: now });
    let already = Some(News::Initialised { how: How::Already, waited: now });
    let taken = |answer| Some(News::Taken { answer, took: now });
    let lost = |loss| Some(News::Lost(loss));
    let mut table = vec![
        ("waiting", REFUSED, "waiting", pause, None),
        ("waiting", ACCEPTED, "looking", Action::Look, Some(News::Listening { waited: now })),
        ("waiting", Event::Rested, "waiting", Action::Knock, None),
        ("looking", INITIALISED, "watching", Action::Watch, already),
        (
            "looking",
            UNINITIALISED,
            "shaking",
            Action::Shake,
            Some(News::Found(Seen::Uninitialised)),
        ),
        ("looking", UNCLEAR, "shaking", Action::Shake, Some(News::Found(Seen::Unclear))),
        // It has been told before that nothing listens.
        ("looking", LOOK_GONE, "waiting", pause, None),
        ("looking", LOOK_SILENT, "failing", rest(50), Some(failed(SILENT, 50))),
        ("shaking", TAKEN, "verifying", Action::Look, taken(Answer::Accepted)),
        ("shaking", REPEATED, "verifying", Action::Look, taken(Answer::Repeated)),
        ("shaking", NO_HALF, "failing", rest(50), Some(failed(MISSING, 50))),
        ("shaking", SHAKE_GONE, "waiting", pause, again),
        ("verifying", INITIALISED, "watching", Action::Watch, initialised(Answer::Accepted)),
        ("verifying", UNINITIALISED, "verifying", rest(20), None),
        ("verifying", UNCLEAR, "verifying", rest(20), None),
        ("verifying", LOOK_SILENT, "verifying", rest(20), None),
        ("verifying", LOOK_GONE, "waiting", pause, again),
        ("verifying", Event::Rested, "verifying", Action::Look, None),
        ("verifying a 204", INITIALISED, "watching", Action::Watch, initialised(Answer::Repeated)),
        ("verifying a 204", UNCLEAR, "watching", Action::Watch, initialised(Answer::Repeated)),
        ("verifying a 204", UNINITIALISED, "verifying", rest(20), None),
        ("verifying a 204", LOOK_SILENT, "verifying", rest(20), None),
        ("verifying a 204", LOOK_GONE, "waiting", pause, again),
        ("verifying a 204", Event::Rested, "verifying", Action::Look, None),
        ("failing", Event::Rested, "waiting", Action::Knock, None),
        ("idle, opening the watch", KIND, "watching", Action::Look, None),
        ("idle, opening the watch", UNKIND, "polling", rest(5000), Some(News::WatchGivenUp)),
        ("idle, watched", Event::Rested, "watching", Action::Look, None),
        ("idle, watched", INITIALISED, "watching", rest(60_000), None),
        // The process that was initialised is still there.
        ("idle, watched", UNCLEAR, "watching", rest(5000), None),
        ("idle, watched", LOOK_SILENT, "watching", rest(5000), None),
        ("idle, watch ended", ACCEPTED, "watching", Action::Look, None),
        ("idle, watch ended", INITIALISED, "watching", Action::Watch, None),
        ("idle, watch ended", UNCLEAR, "waiting", Action::Knock, lost(Loss::Silent)),
        ("idle, watch ended", LOOK_SILENT, "waiting", Action::Knock, lost(Loss::Silent)),
        ("idle, watch ended after a false alarm", ACCEPTED, "watching", rest(5000), None),
        ("idle, watch ended after a false alarm", Event::Rested, "watching", Action::Look, None),
        ("idle, watch ended after a false alarm", INITIALISED, "watching", Action::Watch, None),
        ("idle, unwatched", Event::Rested, "polling", Action::Look, None),
        ("idle, unwatched", INITIALISED, "polling", rest(5000), None),
        // It may be serving somebody else.
        ("idle, unwatched", UNCLEAR, "polling", rest(5000), None),
        ("idle, unwatched", LOOK_SILENT, "polling", rest(5000), None),
        ("idle, unwatched, silent for long", INITIALISED, "polling", rest(5000), None),
        ("idle, unwatched, silent for long", UNCLEAR, "waiting", Action::Knock, lost(Loss::Silent)),
        (
            "idle, unwatched, silent for long",
            LOOK_SILENT,
            "waiting",
            Action::Knock,
            lost(Loss::Silent),
        ),
    ];
    for (place, _) in PLACES.iter().filter(|(place, _)| place.starts_with("idle")) {
        table.extend([
            (*place, REFUSED, "waiting", pause, lost(Loss::Gone)),
            (*place, LOOK_GONE, "waiting", pause, lost(Loss::Gone)),
            (*place, UNINITIALISED, "shaking", Action::Shake, lost(Loss::Forgot)),
        ]);
    }
    table.extend(
        ["idle, opening the watch", "idle, watched"]
            .map(|place| (place, Event::WatchEnded, "watching", Action::Knock, None)),
    );
    table
}

#[test]
fn every_transition() {
    let mut seen = Vec::new();
    for (place, event, state, action, news) in table() {
        let mut machine = machine_at(place);
        let next = machine.step(event, NOW, 0.5);
        let got = (machine.state().label(), next.action, next.news);
        assert_eq!(got, (state, action, news), "{place}: {event:?}");
        assert!(!seen.contains(&(place, event)), "{place}: {event:?} has two rows");
        seen.push((place, event));
    }
    // What cannot happen must neither get it stuck nor make it spin.
    for (place, _) in PLACES {
        for event in EVENTS {
            if !seen.contains(&(place, event)) {
                machine_at(place).step(event, NOW, 0.5);
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
    for action in [Action::Knock, Action::Look, Action::Shake, Action::Watch] {
        assert!(table.iter().any(|row| row.3 == action), "{action:?}");
    }
}

#[test]
fn a_given_up_watch_stays_given_up_when_legacy_restarts() {
    let mut machine = machine_at("idle, unwatched");
    for event in [LOOK_GONE, Event::Rested, ACCEPTED, UNINITIALISED, TAKEN] {
        machine.step(event, NOW, 0.0);
    }
    assert_eq!(machine.step(INITIALISED, NOW, 0.0).action, rest(5000));
    assert_eq!(machine.state().label(), "polling");
}

#[test]
fn pauses_after_failures_double_up_to_the_most_and_start_anew_after_progress() {
    let mut machine = Machine::new(Pace::default(), NOW);
    let mut pause = |events: &[Event]| {
        let mut last = Next::from(Action::Knock);
        for event in events {
            last = machine.step(*event, NOW, 0.999_999);
        }
        let Action::Rest(pause) = last.action else { panic!("{last:?}") };
        let millis = pause.as_millis() + 1;
        machine.step(Event::Rested, NOW, 0.0);
        millis
    };
    let no_half = [ACCEPTED, UNINITIALISED, NO_HALF];
    for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        assert_eq!(pause(&no_half), expected);
    }
    let wrong_half = [ACCEPTED, UNINITIALISED, Event::Shaken(Err(Failure::WrongHalf))];
    assert_eq!(pause(&wrong_half), 100, "further than ever before: progress");
    assert_eq!(pause(&no_half), 200, "not as far: none");
    assert_eq!(pause(&wrong_half), 400, "as far as before: none");
    let pause_of_a_look = pause(&[ACCEPTED, LOOK_GONE]);
    assert_eq!(pause_of_a_look, 4 + 1, "nothing listens: a look's pause");
    assert_eq!(pause(&no_half), 100, "whatever listens now is another Legacy");
}

#[test]
fn full_jitter_spreads_pauses_after_failures_from_nothing_on() {
    let pause = |jitter| {
        let mut machine = machine_at("shaking");
        machine.step(NO_HALF, NOW, jitter).action
    };
    assert_eq!(pause(0.0), rest(0));
    assert_eq!(pause(0.25), rest(25));
}

#[test]
fn checks_after_the_202_end_after_five_seconds() {
    let mut machine = machine_at("verifying");
    let almost = NOW + Duration::from_millis(4999);
    assert_eq!(machine.step(UNINITIALISED, almost, 0.5).action, rest(20));
    machine.step(Event::Rested, almost, 0.5);
    let next = machine.step(UNINITIALISED, NOW + Duration::from_secs(5), 0.5);
    assert_eq!(next.news, Some(failed(UNVERIFIED, 50)));
}

#[test]
fn the_same_is_not_told_again_within_ten_seconds() {
    let at = |seconds| NOW + Duration::from_secs(seconds);
    let mut machine = Machine::new(Pace::default(), NOW);
    let told: Vec<_> =
        (0..35).filter(|second| machine.step(REFUSED, at(*second), 0.5).news.is_some()).collect();
    assert_eq!(told, [0, 10, 20, 30]);

    let mut machine = machine_at("shaking");
    let told: Vec<_> = (0..35)
        .filter(|second| {
            let next = machine.step(NO_HALF, at(*second), 0.5);
            for event in [Event::Rested, ACCEPTED, UNINITIALISED] {
                assert_eq!(machine.step(event, at(*second), 0.5).news, None);
            }
            matches!(next.news, Some(News::Failed { repeated: false, .. }))
        })
        .collect();
    assert_eq!(told, [0, 10, 20, 30]);
    let other = machine.step(Event::Shaken(Err(Failure::WrongHalf)), at(35), 0.5).news;
    assert!(matches!(other, Some(News::Failed { repeated: false, .. })), "another cause: at once");
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
    knocks: Vec<Duration>,
    looks: Vec<Duration>,
    shakes: Vec<Duration>,
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
            knocks: Vec::new(),
            looks: Vec::new(),
            shakes: Vec::new(),
        }
    }

    fn act(&mut self, action: Action) -> Event {
        match action {
            Action::Knock => {
                self.knocks.push(self.now);
                if self.now < self.listens_at { REFUSED } else { ACCEPTED }
            }
            Action::Look => {
                self.looks.push(self.now);
                if self.initialised { INITIALISED } else { UNINITIALISED }
            }
            Action::Shake => {
                self.shakes.push(self.now);
                self.initialised = true;
                TAKEN
            }
            Action::Watch if self.one_at_a_time => UNKIND,
            Action::Watch => {
                self.watch_opened = Some(self.now);
                KIND
            }
            Action::Rest(pause) => {
                let closes = self.watch_opened.map(|opened| {
                    opened.saturating_add(self.closes_idle_after).saturating_sub(self.now)
                });
                if let Some(closes) = closes.filter(|closes| *closes <= pause) {
                    self.now += closes;
                    self.watch_opened = None;
                    return Event::WatchEnded;
                }
                self.now += pause;
                Event::Rested
            }
        }
    }

    fn run(&mut self, until: Duration) -> Machine {
        let mut machine = Machine::new(Pace::default(), self.now);
        let mut action = machine.first();
        while self.now < until {
            let event = self.act(action);
            // Jitter that is different each time and the same in each run.
            let jitter = f64::from(u8::try_from(self.knocks.len() % 16).unwrap()) / 16.0;
            action = machine.step(event, self.now, jitter).action;
        }
        machine
    }
}

#[test]
fn a_watch_is_trusted_only_after_a_look_that_followed_it() {
    let mut machine = machine_at("idle, opening the watch");
    let mut step = |event, now| machine.step(event, now, 0.0).action;
    assert_eq!(step(KIND, NOW), Action::Look, "the first at once");
    assert_eq!(step(INITIALISED, NOW), rest(60_000));
    // One that closes its connections is not asked more often than once in 5 s for all that.
    let later = NOW + Duration::from_secs(60);
    assert_eq!(step(Event::WatchEnded, later), Action::Knock);
    assert_eq!(step(ACCEPTED, later), Action::Look);
    assert_eq!(step(INITIALISED, later), Action::Watch);
    assert_eq!(step(KIND, later), rest(5_000));
    assert_eq!(step(Event::Rested, later), Action::Look);
    assert_eq!(step(INITIALISED, later), rest(60_000));
}

#[test]
fn a_listener_is_found_after_at_most_one_pause_however_late_it_comes() {
    for millis in [0, 100, 1000, 5000, 20_000, 600_000] {
        let listens_at = Duration::from_millis(millis);
        let mut world = World::new(listens_at);
        world.run(listens_at + Duration::from_secs(1));
        let late = world.shakes[0].abs_diff(listens_at);
        let most = (listens_at / 200).clamp(Duration::from_millis(5), Duration::from_millis(50));
        assert!(late <= most, "{listens_at:?}: {late:?} late");
        assert_eq!(world.shakes.len(), 1);
        let before: Vec<_> = world.looks.iter().filter(|look| **look < listens_at).collect();
        assert!(before.is_empty(), "HTTP before anything listens: {before:?}");
    }
}

#[test]
fn a_long_wait_costs_at_most_25_knocks_a_second() {
    let mut world = World::new(Duration::MAX);
    world.run(Duration::from_secs(600));
    assert!(world.knocks.len() < 600 * 25 + 1000, "{}", world.knocks.len());
}

#[test]
fn ten_minutes_of_idling_put_at_most_eleven_lines_into_legacys_log() {
    let mut world = World::new(Duration::ZERO);
    world.initialised = true;
    world.run(Duration::from_secs(600));
    assert!(world.looks.len() <= 11, "{:?}", world.looks);
    assert!(world.looks.len() >= 10, "it does look: {:?}", world.looks);
    assert_eq!(world.shakes.len(), 0);
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
        let idle = &world.looks[2..];
        let gaps = idle.windows(2).map(|two| two[1].abs_diff(two[0]));
        assert!(gaps.min().unwrap() >= Duration::from_secs(5), "{millis} ms: {idle:?}");
        assert_eq!(world.shakes.len(), 0);
    }
}

#[test]
fn a_legacy_that_serves_one_connection_at_a_time_is_asked_every_five_seconds() {
    let mut world = World::new(Duration::ZERO);
    world.one_at_a_time = true;
    let machine = world.run(Duration::from_secs(600));
    assert_eq!(machine.state().label(), "polling");
    let gaps: Vec<_> = world.looks[2..].windows(2).map(|two| two[1].abs_diff(two[0])).collect();
    assert!(gaps.iter().all(|gap| *gap == Duration::from_secs(5)), "{gaps:?}");
}

fn any_event() -> impl Strategy<Value = Event> {
    (0..EVENTS.len()).prop_map(|index| EVENTS[index])
}

proptest! {
    #[test]
    fn whatever_happens_it_goes_on_and_says_ready_only_of_an_initialised_legacy(
        events in proptest::collection::vec((any_event(), 0_u64..100_000, 0.0..1.0), 1..200),
    ) {
        let mut machine = Machine::new(Pace::default(), NOW);
        let mut now = NOW;
        for (event, millis, jitter) in events {
            now += Duration::from_millis(millis);
            let was_ready = machine.state().is_ready();
            let next = machine.step(event, now, jitter);
            if let Action::Rest(pause) = next.action {
                prop_assert!(pause <= Duration::from_secs(60));
            }
            let became_ready = !was_ready && machine.state().is_ready();
            let told = matches!(next.news, Some(News::Initialised { .. }));
            prop_assert_eq!(became_ready, told);
            if became_ready {
                prop_assert!(matches!(event, Event::Looked(Ok(Seen::Initialised | Seen::Unclear))));
            }
            let lost = was_ready && !machine.state().is_ready();
            prop_assert_eq!(lost, matches!(next.news, Some(News::Lost(_))));
        }
    }
}
