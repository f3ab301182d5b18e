//! `api_burst`: a protected endpoint called above its rate, in parallel, or without ever a pause; or accounts made there in numbers.
//!
//! **Measure.** The generic cell rate algorithm (ITU-T I.371) on the calls to each endpoint, driven by the packets' time: a
//! call is in order if it comes no earlier than its rate and burst allow. Calls in flight, for how long more than allowed.
//! How long calls have gone on without a pause of ten seconds. At endpoints of the kind `signup` none of these, but how many
//! sign-ups there were within a window: what is posted, and inside TLS and QUIC visits. A visit is a connection that does not come
//! within two seconds of the one before, since a page may take several.
//!
//! **Numbers.** One call a second, ten at once; more than one in flight for 5 s; 10 minutes without a pause. Five sign-ups in ten
//! minutes. Each endpoint may have its own.
//!
//! **Look-alikes that stay silent.** A client at the rate, however long its connection lives. A page that fetches a few things at
//! once: the burst. Attempts at an endpoint that is down: only what was answered is a call. Streams of messages, downloads and uploads: a
//! call each. Requests for other paths, or for other hosts at the same address.
//!
//! **Evasion.** Calls that are multiplexed over one encrypted connection count by turns, so as fewer than they are, and those as short as
//! what keeps such a connection up do not count. Where an endpoint is known by name only, a hidden or a missing name (Encrypted
//! Client Hello, no SNI) hides the connection. An account made in one connection with others is one visit.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use reeve_policy::language::thresholds::{ApiBurst, Endpoint, EndpointKind};
use reeve_policy::{Alert, Class, Metric, Outcome, Target, TargetSeen, Timestamp};

use super::{Finding, REPEAT};
use crate::meter::sliding::Sliding;
use crate::stream::calls::Call;

/// Without a call for this long, calling was paused.
const PAUSE: Duration = Duration::from_secs(10);

/// Connections to a place for sign-ups that come closer than this are one visit.
const VISIT: Duration = Duration::from_secs(2);
/// Into so many parts the window of sign-ups is divided.
const SIGNUP_PARTS: usize = 10;

/// A moment of packet time, as the rate limiter wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(u64);

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.as_u64()))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, span: Nanos) -> Self {
        Self(self.0.checked_sub(span.as_u64()).unwrap_or(self.0))
    }
}

/// A clock that shows what it was set to: the time of the packet at hand.
#[derive(Debug)]
struct PacketClock(AtomicU64);

impl Clock for PacketClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, PacketClock, NoOpMiddleware<Moment>>;

/// One tenant's calls to one endpoint.
#[derive(Debug)]
struct Calls {
    limiter: Limiter,
    in_flight: u32,
    /// Since when more are in flight than allowed.
    crowded_since: Option<Timestamp>,
    /// Since when calls have gone on without a pause, how many there were, and the last one.
    since: Timestamp,
    number: u64,
    last: Timestamp,
    signups: Sliding<SIGNUP_PARTS>,
    last_connection: Option<Timestamp>,
    target: Target,
    last_alert: Option<Timestamp>,
}

/// One tenant's calls.
#[derive(Debug, Default)]
pub struct Api {
    /// By the endpoint's place.
    calls: Vec<Option<Box<Calls>>>,
}

impl Api {
    /// The most bytes that it takes, for the 32 endpoints that a policy may have.
    pub const BYTES: usize = size_of::<Self>() + 32 * (size_of::<Calls>() + size_of::<usize>());

    /// Takes what was told of a connection to endpoint `place`, which is at `target`.
    pub fn handle(
        &mut self,
        endpoints: &[Endpoint],
        place: usize,
        target: Target,
        call: Call,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        let Some(endpoint) = endpoints.get(place) else { return };
        if self.calls.len() <= place {
            self.calls.resize_with(place + 1, || None);
        }
        let calls =
            self.calls[place].get_or_insert_with(|| Box::new(Calls::new(&endpoint.numbers, target, at)));
        if endpoint.kind == EndpointKind::Signup {
            found.extend(calls.sign_up(endpoint, target, call, at));
            return;
        }
        match call {
            Call::Opened => found.extend(calls.count(endpoint, target, at)),
            Call::Began { counts } => {
                calls.in_flight = calls.in_flight.saturating_add(1);
                if counts {
                    found.extend(calls.count(endpoint, target, at));
                }
            }
            Call::Answered => calls.in_flight = calls.in_flight.saturating_sub(1),
            Call::Dropped(number) => calls.in_flight = calls.in_flight.saturating_sub(number),
        }
        calls.crowd(endpoint, at);
    }

    /// Forgets all calls: the endpoints are others.
    pub fn clear(&mut self) {
        self.calls.clear();
    }

    /// When [`Api::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self, endpoints: &[Endpoint]) -> Option<Timestamp> {
        let due = |(calls, endpoint): (&Option<Box<Calls>>, &Endpoint)| calls.as_ref()?.due(endpoint);
        self.calls.iter().zip(endpoints).filter_map(due).min()
    }

    /// Judges what has been in flight for too long.
    pub fn handle_timeout(&mut self, endpoints: &[Endpoint], now: Timestamp, found: &mut Vec<Finding>) {
        for (calls, endpoint) in self.calls.iter_mut().zip(endpoints) {
            if let Some(calls) = calls
                && calls.due(endpoint).is_some_and(|due| due <= now)
            {
                found.extend(calls.judge(endpoint, "in_flight", now));
            }
        }
    }

    /// Whether nothing here matters any more at `now`.
    #[must_use]
    pub fn is_idle(&self, endpoints: &[Endpoint], now: Timestamp) -> bool {
        const KEPT: Duration = Duration::from_secs(60);
        self.calls.iter().zip(endpoints).all(|(calls, endpoint)| {
            let is_signup = endpoint.kind == EndpointKind::Signup;
            let kept = if is_signup { KEPT.max(endpoint.numbers.signup_window) } else { KEPT };
            calls.as_ref().is_none_or(|calls| calls.in_flight == 0 && now.since(calls.last) > kept)
        })
    }
}

impl Calls {
    fn new(numbers: &ApiBurst, target: Target, at: Timestamp) -> Self {
        let interval = Duration::from_secs_f64(1.0 / numbers.calls_per_second);
        let quota = Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
        let quota = quota.allow_burst(NonZeroU32::new(numbers.burst).unwrap_or(NonZeroU32::MIN));
        Self {
            limiter: RateLimiter::direct_with_clock(quota, PacketClock(AtomicU64::new(at.as_nanos()))),
            in_flight: 0,
            crowded_since: None,
            since: at,
            number: 0,
            last: at,
            signups: Sliding::default(),
            last_connection: None,
            target,
            last_alert: None,
        }
    }

    /// Counts a call.
    fn count(&mut self, endpoint: &Endpoint, target: Target, at: Timestamp) -> Option<Finding> {
        if at.is_past(self.last, PAUSE) {
            (self.since, self.number) = (at, 0);
        }
        (self.last, self.target) = (at, target);
        self.number += 1;
        self.limiter.clock().0.store(at.as_nanos(), Ordering::Relaxed);
        if self.limiter.check().is_err() {
            return self.judge(endpoint, "calls_per_second", at);
        }
        let is_continuous = at.is_past(self.since, endpoint.numbers.continuous);
        if is_continuous { self.judge(endpoint, "continuous_seconds", at) } else { None }
    }

    /// Counts a sign-up.
    fn sign_up(&mut self, endpoint: &Endpoint, target: Target, call: Call, at: Timestamp) -> Option<Finding> {
        let is_one = match call {
            // A connection over which nothing can be read, or the first request of one, which follows at once.
            Call::Opened => {
                let before = self.last_connection.replace(at);
                before.is_none_or(|before| at.is_past(before, VISIT))
            }
            Call::Began { counts } => counts,
            Call::Answered | Call::Dropped(_) => false,
        };
        if !is_one {
            return None;
        }
        (self.last, self.target) = (at, target);
        let part = endpoint.numbers.signup_window / SIGNUP_PARTS as u32;
        if self.signups.sum(at, part) == 0 {
            self.since = at;
        }
        self.signups.add(at, part, 1);
        let number = self.signups.sum(at, part);
        self.number = number.into();
        if number > endpoint.numbers.signups { self.judge(endpoint, "signups", at) } else { None }
    }

    /// Takes note of how many are in flight now.
    fn crowd(&mut self, endpoint: &Endpoint, at: Timestamp) {
        if self.in_flight <= endpoint.numbers.in_flight {
            self.crowded_since = None;
        } else {
            self.crowded_since.get_or_insert(at);
        }
    }

    /// When it is to be looked whether too many are in flight.
    fn due(&self, endpoint: &Endpoint) -> Option<Timestamp> {
        let due = self.crowded_since? + endpoint.numbers.in_flight_window;
        Some(self.last_alert.map_or(due, |last| due.max(last + REPEAT)))
    }

    /// What is to be told, with the number that `which` names first; nothing if it has just been told.
    fn judge(&mut self, endpoint: &Endpoint, which: &str, at: Timestamp) -> Option<Finding> {
        if self.last_alert.is_some_and(|last| !at.is_past(last, REPEAT)) {
            return None;
        }
        self.last_alert = Some(at);
        let numbers = &endpoint.numbers;
        let seconds = at.since(self.since).as_secs_f64();
        // Over less than a second a rate means little.
        let rate = self.number as f64 / seconds.max(1.0);
        let metric = |name: &'static str, value: f64, threshold: f64| Metric {
            name: name.into(),
            value,
            threshold: Some(threshold),
        };
        let mut metrics = if endpoint.kind == EndpointKind::Signup {
            vec![
                metric("signups", self.number as f64, numbers.signups.into()),
                Metric { name: "seconds".into(), value: seconds, threshold: None },
            ]
        } else {
            vec![
                metric("calls_per_second", rate, numbers.calls_per_second),
                metric("in_flight", self.in_flight.into(), numbers.in_flight.into()),
                metric("continuous_seconds", seconds, numbers.continuous.as_secs_f64()),
            ]
        };
        let first = metrics.iter().position(|metric| metric.name == which).unwrap_or(0);
        metrics.swap(0, first);
        // Which endpoint it was: people know it by its name, and one that is known by name has no address of its own.
        let name = format!("{}{}", Alert::CALLS_AT, endpoint.name);
        metrics.push(Metric { name: name.into(), value: self.number as f64, threshold: None });
        Some(Finding {
            class: Class::ApiBurst,
            start: self.since,
            at,
            metrics,
            confidence_percent: 90,
            is_suspicion: false,
            targets: vec![TargetSeen {
                target: self.target,
                first: self.since,
                last: self.last,
                outcome: Outcome::Productive,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use reeve_policy::Protocol;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            name: "api".parse().unwrap(),
            kind: EndpointKind::Api,
            addresses: vec!["20.80.7.7/32".parse().unwrap()],
            hosts: Vec::new(),
            ports: vec![443],
            paths: Vec::new(),
            numbers: ApiBurst::default(),
        }
    }

    fn target() -> Target {
        Target { address: [20, 80, 7, 7].into(), protocol: Protocol::Tcp, port: Some(443) }
    }

    /// Plays `calls` calls of `long_ms` each, one every `step_ms`; the first numbers of what is found.
    fn check(calls: u64, step_ms: u64, long_ms: u64, expect: &[&str]) {
        let (mut api, mut found, endpoints) = (Api::default(), Vec::new(), [endpoint()]);
        let mut events: Vec<(u64, Call)> = (0..calls)
            .flat_map(|number| {
                [
                    (number * step_ms, Call::Began { counts: true }),
                    (number * step_ms + long_ms, Call::Answered),
                ]
            })
            .collect();
        events.sort_by_key(|(millis, _)| *millis);
        for (millis, call) in events {
            while let Some(due) = api.next_deadline(&endpoints).filter(|due| *due <= at(millis)) {
                api.handle_timeout(&endpoints, due, &mut found);
            }
            api.handle(&endpoints, 0, target(), call, at(millis), &mut found);
        }
        let mut told: Vec<&str> = found.iter().map(|finding| finding.metrics[0].name.as_ref()).collect();
        told.dedup();
        assert_eq!(told, expect, "{calls} every {step_ms} ms for {long_ms} ms");
    }

    #[test]
    fn each_fires_at_its_number_and_not_below() {
        check(11, 0, 0, &["calls_per_second"]);
        check(10, 0, 0, &[]);
        check(13, 100, 10, &["calls_per_second"]);
        check(300, 1_000, 100, &[]);
        check(8, 1_000, 6_100, &["in_flight"]);
        check(8, 1_000, 900, &[]);
        check(602, 1_000, 100, &["continuous_seconds"]);
    }

    #[test]
    fn a_pause_begins_anew() {
        check(200, 11_000, 100, &[]);
    }

    #[test]
    fn it_is_told_again_while_it_goes_on_and_not_more_often() {
        let (mut api, mut found, endpoints) = (Api::default(), Vec::new(), [endpoint()]);
        for number in 0..250 {
            let call = Call::Began { counts: true };
            api.handle(&endpoints, 0, target(), call, at(number * 100), &mut found);
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_call_a_second_is_in_order_for_ever() {
        let mut endpoint = endpoint();
        endpoint.numbers.continuous = Duration::from_secs(86_400);
        let (mut api, mut found, endpoints) = (Api::default(), Vec::new(), [endpoint]);
        for number in 0..6 * 3_600 {
            for call in [Call::Began { counts: true }, Call::Answered] {
                api.handle(&endpoints, 0, target(), call, at(number * 1_000), &mut found);
            }
        }
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn sign_ups_are_counted_within_their_window() {
        let signup = Endpoint { kind: EndpointKind::Signup, ..endpoint() };
        let check = |calls: &[(u64, Call)], expect: usize| {
            let (mut api, mut found, endpoints) = (Api::default(), Vec::new(), [signup.clone()]);
            for (seconds, call) in calls {
                api.handle(&endpoints, 0, target(), *call, at(seconds * 1_000), &mut found);
            }
            assert_eq!(found.len(), expect, "{calls:?}");
            assert!(found.iter().all(|finding| finding.metrics[0].name == "signups"));
        };
        let posts = |number: u64, step| (0..number).map(move |n| (n * step, Call::Began { counts: true }));
        check(&posts(6, 100).collect::<Vec<_>>(), 1);
        check(&posts(5, 1).collect::<Vec<_>>(), 0);
        check(&posts(40, 121).collect::<Vec<_>>(), 0);
        // A page takes six connections at once; a visit each minute is another matter.
        check(&[(0, Call::Opened); 6], 0);
        check(&(0..6).map(|n| (n * 60, Call::Opened)).collect::<Vec<_>>(), 1);
        // Reading the form is no sign-up, and it may go on as long as it likes.
        check(&[(0, Call::Answered), (900, Call::Dropped(1))], 0);
    }
}
