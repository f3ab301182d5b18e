//! Trials on a history: what an agent kept of the last days.
//!
//! Three engines go side by side. One is what ran, by the policies of the time, and says what measures really held back then, since that shows
//! in what was recorded. The other two play their measures, the policy to hold against and the candidate, on what was seen in spite of the
//! real ones. Both are taken as if they were enforced, however far the node went then.
//!
//! Left out: pauses and the tenants of today. A candidate is not softened because somebody pressed the stop button then, and tenants are those of
//! the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_core::Frame;
use reeve_core::engine::{Engine, EngineConfig, Input, Output};
use reeve_core::shard::Hearing;
use reeve_core::stream::StreamEvent;
use reeve_core::topology::TenantIx;
use reeve_policy::judge::Standing;
use reeve_policy::language::Policy;
use reeve_policy::{DesiredState, Mode, Name, PolicyVersion, TenantId, Timestamp};

use super::{Comparison, Course, Trial, version};
use crate::history::{Event, History, HistoryError, Start};

/// Tries a policy on a history, against another one, or against whatever ran at the time. What was decided before `since` is not told.
///
/// # Errors
/// When the history cannot be read.
pub fn history(
    history: &History,
    candidate: &Arc<Policy>,
    against: Option<&Arc<Policy>>,
    since: Option<Timestamp>,
) -> Result<Trial, HistoryError> {
    let side = |policy: Option<&Arc<Policy>>| Side { course: Course::idle(since), policy: policy.cloned() };
    let mut player = Player {
        live: None,
        running: side(against),
        candidate: side(Some(candidate)),
        places: Vec::new(),
        endpoints: Vec::new(),
        held: None,
        ran: BTreeSet::new(),
        known_endpoints: BTreeSet::new(),
        frames: 0,
        span: None,
        notes: Vec::new(),
        runs: 0,
    };
    history.play(&mut |event| player.take(event))?;
    player.note_endpoints(candidate);
    let Player { running, candidate: tried, ran, frames, span, notes, .. } = player;
    let ran = ran.into_iter().collect::<Vec<_>>();
    let against = match (against, ran.as_slice()) {
        (Some(policy), _) => Some(version(policy)),
        (None, [(name, version)]) => Some(PolicyVersion { name: name.clone(), version: *version }),
        _ => None,
    };
    Ok(Trial {
        candidate: version(candidate),
        against,
        frames,
        from: span.map(|(first, _)| first),
        to: span.map(|(_, last)| last),
        comparison: Comparison::of(running.course.end(), tried.course.end()),
        notes,
    })
}

/// Plays a history through an engine as it ran, and hands over what comes out: the same as did live, from the agent's beginning on.
///
/// # Errors
/// When the history cannot be read.
pub fn as_it_ran(history: &History, mut sink: impl FnMut(Output)) -> Result<(), HistoryError> {
    let mut live: Option<Engine> = None;
    history.play(&mut |event| {
        match event {
            Event::Start { continues: true, .. } | Event::Places(_) => {}
            Event::Start { start, .. } => live = Some(begin(start.config.clone(), &start, None, false)),
            Event::Frame(frame) => live.iter_mut().for_each(|live| live.handle_frame(&frame)),
            Event::Input(input) => {
                if let Some(live) = &mut live {
                    live.handle(input);
                }
            }
        }
        while let Some(output) = live.as_mut().and_then(Engine::poll) {
            sink(output);
        }
    })
}

/// What an engine holds and knows of tenants.
type Left = (DesiredState, Standing);

/// An engine that goes on from a segment's start, with what is `left` to it, or what was left then.
fn begin(config: EngineConfig, start: &Start, left: Option<Left>, pretends: bool) -> Engine {
    let mut engine = Engine::new(config);
    engine.set_hearing(Hearing::Told);
    if pretends {
        engine.pretend_measures();
    }
    let then = || (!start.is_first).then(|| (start.desired.clone(), start.standing.clone()));
    if let Some((desired, standing)) = left.or_else(then) {
        engine.restore(desired, standing);
    }
    if !start.is_first {
        engine.handle_topology(start.tenants.clone(), start.vantages.clone(), start.at);
        engine.restore_usage(&start.usage);
        if !start.is_up {
            engine.handle_upstream(false, start.at);
        }
    }
    engine
}

/// One of the policies that are held against each other.
struct Side {
    course: Course,
    /// The policy; `None` for what ran.
    policy: Option<Arc<Policy>>,
}

impl Side {
    /// Goes on in an engine of its own from a segment's start.
    fn begin(&mut self, start: &Start) {
        let policy = self.policy.as_ref().unwrap_or(&start.config.policy);
        let config = EngineConfig { mode: Mode::Enforce, policy: Arc::clone(policy), ..start.config.clone() };
        // What it would hold by now, and not what was held.
        let engine = begin(config, start, self.course.left(), true);
        self.course.go_on_in(engine);
    }

    fn take(&mut self, input: &Input, is_first_run: bool) {
        match input {
            // After a restart it goes on from what is its own.
            Input::Restore { .. } if !is_first_run => {}
            Input::Policy { policy, at, .. } => match self.policy {
                Some(_) => self.course.tick(*at),
                None => {
                    let (policy, at) = (Arc::clone(policy), *at);
                    self.course.handle(Input::Policy { policy, mode: Mode::Enforce, at });
                }
            },
            Input::Pause { at, .. } => self.course.tick(*at),
            other => self.course.handle(other.clone()),
        }
    }

    /// Takes what was said, told of the tenants and endpoints as this policy numbers them.
    fn hear(&mut self, said: &[StreamEvent], endpoints: &[Name], at: Timestamp) {
        let said = match &self.policy {
            None => said.to_vec(),
            Some(policy) => {
                let own = &policy.thresholds.endpoints;
                let place = |then: usize| own.iter().position(|one| endpoints.get(then) == Some(&one.name));
                said.iter().filter_map(|event| at_endpoint(event, place)).collect()
            }
        };
        if !said.is_empty() {
            self.course.handle(Input::Said { said, at });
        }
    }
}

struct Player {
    live: Option<Engine>,
    running: Side,
    candidate: Side,
    /// The tenants by the places that they had.
    places: Vec<TenantId>,
    /// The endpoints that were protected then.
    endpoints: Vec<Name>,
    /// The version of what was held, as it was last told.
    held: Option<u64>,
    ran: BTreeSet<(Name, u32)>,
    known_endpoints: BTreeSet<Name>,
    frames: u64,
    span: Option<(Timestamp, Timestamp)>,
    notes: Vec<String>,
    /// How often it began without going on.
    runs: u32,
}

impl Player {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start { continues: true, .. } => {}
            Event::Start { start, .. } => self.start(&start),
            Event::Places(places) => self.places = places,
            Event::Frame(frame) => self.frame(&frame),
            Event::Input(Input::Said { said, at }) => self.hear(said, at),
            Event::Input(input) => self.input(input),
        }
    }

    fn start(&mut self, start: &Start) {
        match (&self.live, start.is_first) {
            (None, true) => {}
            (None, false) => self.notes.push(format!(
                "it begins in the midst of a run, at {}: what detectors held of the time before is not in it",
                start.at
            )),
            (Some(_), true) => self.notes.push("the agent was started anew in between".to_owned()),
            (Some(_), false) => {
                self.notes.push(format!("frames are missing before {}: {}", start.at, start.lost));
            }
        }
        // Of many restarts one line is enough.
        self.notes.dedup();
        self.runs += 1;
        self.live = Some(begin(start.config.clone(), start, None, false));
        self.places = start.tenants.iter().map(|tenant| tenant.id.clone()).collect();
        self.know(&start.config.policy);
        self.running.begin(start);
        self.candidate.begin(start);
        self.held = None;
        self.sync();
    }

    fn know(&mut self, policy: &Policy) {
        self.endpoints = policy.thresholds.endpoints.iter().map(|one| one.name.clone()).collect();
        self.known_endpoints.extend(self.endpoints.iter().cloned());
        self.ran.insert((policy.name.clone(), policy.version));
    }

    /// What deadlines bring comes before the frame, for all three.
    fn frame(&mut self, frame: &Frame<'_>) {
        let Some(live) = &mut self.live else { return };
        self.frames += 1;
        let (first, last) = self.span.unwrap_or((frame.at, frame.at));
        self.span = Some((first.min(frame.at), last.max(frame.at)));
        live.handle_tick(frame.at);
        self.running.course.tick(frame.at);
        self.candidate.course.tick(frame.at);
        self.sync();
        if let Some(live) = &mut self.live {
            live.handle_frame(frame);
        }
        self.running.course.frame(frame);
        self.candidate.course.frame(frame);
        self.sync();
    }

    fn input(&mut self, input: Input) {
        let Some(live) = &mut self.live else { return };
        self.running.take(&input, self.runs == 1);
        self.candidate.take(&input, self.runs == 1);
        if let Input::Policy { policy, .. } = &input {
            let policy = Arc::clone(policy);
            live.handle(input);
            self.know(&policy);
        } else {
            live.handle(input);
        }
        self.sync();
    }

    fn hear(&mut self, mut said: Vec<StreamEvent>, at: Timestamp) {
        let Some(live) = &mut self.live else { return };
        let topology = Arc::clone(live.topology());
        let places = &self.places;
        said.retain_mut(|event| {
            let now = places.get(event.tenant().0 as usize).and_then(|id| topology.index_of(id));
            now.is_some_and(|now| {
                *tenant_of(event) = now;
                true
            })
        });
        self.running.hear(&said, &self.endpoints, at);
        self.candidate.hear(&said, &self.endpoints, at);
        live.handle(Input::Said { said, at });
        self.sync();
    }

    /// Tells both sides what was really held back, if that is other than before.
    fn sync(&mut self) {
        let Some(live) = &mut self.live else { return };
        while live.poll().is_some() {}
        let now = Some(live.desired().version);
        if self.held != now {
            self.held = now;
            let held: BTreeMap<_, _> = live.restrictions();
            self.running.course.set_held(held.clone());
            self.candidate.course.set_held(held);
        }
    }

    /// What was said to endpoints is known of those only that were protected then.
    fn note_endpoints(&mut self, candidate: &Policy) {
        let unknown =
            candidate.thresholds.endpoints.iter().filter(|one| !self.known_endpoints.contains(&one.name));
        let names: Vec<&str> = unknown.map(|one| one.name.as_str()).collect();
        if !names.is_empty() {
            self.notes.push(format!(
                "calls are not known of endpoints that no policy protected then: {}",
                names.join(", ")
            ));
        }
    }
}

/// The same at the endpoint's place now; `None` if it is protected no more.
fn at_endpoint(event: &StreamEvent, place: impl Fn(usize) -> Option<usize>) -> Option<StreamEvent> {
    let mut event = event.clone();
    if let StreamEvent::Call { endpoint, .. } = &mut event {
        *endpoint = place(*endpoint)?;
    }
    Some(event)
}

fn tenant_of(event: &mut StreamEvent) -> &mut TenantIx {
    match event {
        StreamEvent::Mail { tenant, .. }
        | StreamEvent::Call { tenant, .. }
        | StreamEvent::Page { tenant, .. }
        | StreamEvent::Listed { tenant, .. }
        | StreamEvent::Login { tenant, .. } => tenant,
    }
}
