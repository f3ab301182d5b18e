//! Detectors: pure algorithms over what the flow stage and the meters tell, one file per family.
//!
//! Each module says what abuse it finds, the measure and where that comes from, its numbers, what benign traffic looks
//! like it and why that stays silent, and how it may be evaded. [`Detectors`] is all of one tenant's state: bounded by
//! [`Detectors::BYTES`], made when the tenant first does something worth noting, dropped when it has been idle.

pub mod api;
pub mod claims;
pub mod crash;
pub mod flood;
pub mod horizontal;
pub mod identity;
pub mod mail;
pub mod routing;
pub mod source;
pub mod stealth;
pub mod vertical;

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Class, Metric, Outcome, Profile, Protocol, Target, TargetSeen, Timestamp};

use crate::flow::{FlowEvent, Restrictions};
use crate::meter::samples::Samples;
use crate::meter::targets::TargetWindow;
use crate::packet::{Ip, TcpFlags, Transport};
use crate::stream::StreamEvent;

/// While abuse goes on, its alert is repeated this often, so that its episode stays open.
const REPEAT: Duration = Duration::from_secs(10);

/// What a detector found; the shard adds whose it is, samples and loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The class of abuse.
    pub class: Class,
    /// When it began, as far as the window reaches.
    pub start: Timestamp,
    /// The observation or deadline that decided it.
    pub at: Timestamp,
    /// The numbers.
    pub metrics: Vec<Metric>,
    /// How sure, in percent.
    pub confidence_percent: u8,
    /// The targets that weigh most.
    pub targets: Vec<TargetSeen>,
    /// Whether it is a suspicion only (see [`reeve_policy::Alert::is_suspicion`]).
    pub is_suspicion: bool,
}

/// A count beside its threshold.
fn count(name: &'static str, value: u32, threshold: u32) -> Metric {
    Metric { name: name.into(), value: value.into(), threshold: Some(threshold.into()) }
}

/// A share, 0 to 1, beside its threshold.
fn share(name: &'static str, value: f64, threshold: Option<f64>) -> Metric {
    Metric { name: name.into(), value, threshold }
}

/// Whether the tenant's own addresses make dials to bogons leaks rather than attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// It has public addresses.
    Public,
    /// It lives on private addresses itself.
    Private,
}

/// All detectors of one tenant.
#[derive(Debug, Default)]
pub struct Detectors {
    connections: TargetWindow,
    datagrams: TargetWindow,
    probes: stealth::Probes,
    floods: flood::Floods,
    crash: crash::Crashes,
    samples: Samples,
    /// Made when the tenant first has to do with mail, and with a protected endpoint.
    mail: Option<Box<mail::Mail>>,
    api: Option<Box<api::Api>>,
    /// Made when the tenant first says that it is somebody else.
    identity: Option<Box<identity::Identity>>,
    last_alert: [Option<Timestamp>; Class::ALL.len()],
    last_suspicion: [Option<Timestamp>; Class::ALL.len()],
    last_active: Timestamp,
}

impl Detectors {
    /// The most bytes that one tenant's detectors take.
    pub const BYTES: usize = size_of::<Self>()
        + 2 * TargetWindow::BYTES
        + stealth::Probes::BYTES
        + flood::Floods::BYTES
        + Samples::BYTES
        + Self::RARE_BYTES;

    /// What of that only those take who do something that most never do.
    const RARE_BYTES: usize = flood::Floods::RARE_BYTES
        + crash::Crashes::RARE_BYTES
        + mail::Mail::BYTES
        + api::Api::BYTES
        + identity::Identity::BYTES;

    /// Takes a packet that the tenant sent, which stands for `weight` like it, and of whose traffic measures hold back
    /// `restrictions`. `is_own` says whether it goes to the tenant itself.
    pub fn handle_sent(
        &mut self,
        numbers: &Thresholds,
        restrictions: &Restrictions,
        (ip, weight, is_own): (&Ip<'_>, u32, bool),
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        self.floods.handle_sent(numbers, restrictions, (ip, weight), at);
        if crash::may_be_harmful(ip) {
            self.crash.handle_sent(&numbers.crash, ip, is_own, at, found);
        }
        let is_plain = matches!(&ip.transport, Transport::Tcp(tcp)
            if tcp.flags.classic() & !TcpFlags::PSH == TcpFlags::ACK);
        if !is_plain {
            self.samples.record(at, ip.length, ip.headers);
        }
    }

    /// Takes a packet that reached the tenant, and stands for `weight` like it.
    pub fn handle_received(&mut self, numbers: &Thresholds, (ip, weight): (&Ip<'_>, u32), at: Timestamp) {
        self.floods.handle_received(numbers, (ip, weight), at);
    }

    /// Not later than the first time when a flood is to be judged.
    #[must_use]
    pub fn floods_due(&self) -> Option<Timestamp> {
        self.floods.next_due()
    }

    /// Takes what the flow stage tells, of a packet that stands for `weight` like it.
    pub fn handle_flow(
        &mut self,
        numbers: &Thresholds,
        (event, weight): (&FlowEvent, u32),
        home: Home,
        found: &mut Vec<Finding>,
    ) {
        self.floods.handle_flow(numbers, event, weight);
        match event {
            FlowEvent::Completed { .. } | FlowEvent::Stray { .. } | FlowEvent::Vouched { .. } => {}
            FlowEvent::Outcome { target, opened, at, outcome, .. } => {
                self.last_active = *at;
                if *outcome == Outcome::Refused && mail::is_exchanger(target) {
                    self.mail.get_or_insert_default().handle_refused(*target, *at);
                }
                self.handle_outcome(numbers, target, (*opened, *at), *outcome, home, found);
            }
            FlowEvent::Probe { target, opened, at, kind, .. } => {
                self.last_active = *at;
                let finding = self.probes.observe(&numbers.stealth, target, *kind, *opened, *at);
                self.raise(finding, found);
            }
        }
    }

    /// Takes what was told of a connection. `whence` says what is known of its other end.
    pub fn handle_stream(
        &mut self,
        numbers: &Thresholds,
        profile: Profile,
        event: &StreamEvent,
        whence: mail::Whence,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        match event {
            StreamEvent::Mail { local, peer, port, is_client, event, .. } => {
                let mail = self.mail.get_or_insert_default();
                if *is_client {
                    let mut told = Vec::new();
                    mail.handle_sent(numbers, profile, mail::exchanger(*peer, *port), event, at, &mut told);
                    told.into_iter().for_each(|finding| self.raise(Some(finding), found));
                } else {
                    mail.handle_received((*local, *port), event, whence, at);
                }
            }
            StreamEvent::Call { peer, port, is_quic, endpoint, call, .. } => {
                let protocol = if *is_quic { Protocol::Udp } else { Protocol::Tcp };
                let target = Target { address: *peer, protocol, port: Some(*port) };
                let api = self.api.get_or_insert_default();
                api.handle(&numbers.endpoints, *endpoint, target, *call, at, found);
            }
        }
    }

    /// Takes a sign that the tenant says that it is somebody else.
    pub fn handle_sign(
        &mut self,
        numbers: &Thresholds,
        sign: identity::Sign,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        let finding = self.identity.get_or_insert_default().handle(numbers, sign, at);
        self.raise(finding, found);
    }

    /// Begins to count anew, where windows are longer than the time after which a ladder goes on.
    pub fn restart(&mut self) {
        if let Some(mail) = &mut self.mail {
            mail.restart();
        }
    }

    /// The tenant's mail server that is to be asked whether it is an open relay, where there is one.
    #[must_use]
    pub fn mail_server(&self) -> Option<IpAddr> {
        self.mail.as_ref()?.server()
    }

    /// Forgets what was called: the endpoints are others.
    pub fn forget_calls(&mut self) {
        self.api = None;
    }

    /// When [`Detectors::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self, numbers: &Thresholds) -> Option<Timestamp> {
        let api = self.api.as_ref().and_then(|api| api.next_deadline(&numbers.endpoints));
        let identity = self.identity.as_ref().and_then(|identity| identity.next_deadline());
        [self.floods.next_due(), api, identity].into_iter().flatten().min()
    }

    /// Judges the seconds that are over. `hears` says whether answers reach the sensor.
    pub fn handle_timeout(
        &mut self,
        numbers: &Thresholds,
        hears: bool,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.floods.handle_timeout(numbers, hears, now, found);
        if let Some(api) = &mut self.api {
            api.handle_timeout(&numbers.endpoints, now, found);
        }
        found.extend(self.identity.as_mut().and_then(|identity| identity.handle_timeout(numbers, now)));
    }

    /// The last packet headers.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Whether nothing here matters any more at `now`.
    #[must_use]
    pub fn is_idle(&self, numbers: &Thresholds, now: Timestamp) -> bool {
        let longest = numbers.horizontal.window.max(numbers.vertical.window).max(numbers.stealth.window);
        now.since(self.last_active) > longest + REPEAT
            && self.probes.idle(now, numbers.stealth.window)
            && self.mail.as_ref().is_none_or(|mail| mail.is_idle(numbers, now))
            && self.api.as_ref().is_none_or(|api| api.is_idle(&numbers.endpoints, now))
            && self.identity.as_ref().is_none_or(|identity| identity.is_idle(now))
    }

    fn handle_outcome(
        &mut self,
        numbers: &Thresholds,
        target: &Target,
        (opened, at): (Timestamp, Timestamp),
        outcome: Outcome,
        home: Home,
        found: &mut Vec<Finding>,
    ) {
        if let Protocol::Other(_) = target.protocol {
            let finding = self.probes.observe_protocol(&numbers.stealth, target, opened, at);
            return self.raise(finding, found);
        }
        let longest = numbers.horizontal.window.max(numbers.vertical.window);
        let window = if matches!(target.protocol, Protocol::Tcp | Protocol::Sctp) {
            &mut self.connections
        } else {
            &mut self.datagrams
        };
        window.record(target, opened, at, outcome, longest);
        let vertical = vertical::judge(window, &numbers.vertical, target, outcome, at);
        let leak = home == Home::Public && horizontal::is_bogon(target.address);
        let horizontal =
            if leak { None } else { horizontal::judge(window, &numbers.horizontal, target, outcome, at) };
        self.raise(vertical, found);
        self.raise(horizontal, found);
    }

    /// Lets a finding through unless its class has just been told.
    fn raise(&mut self, finding: Option<Finding>, found: &mut Vec<Finding>) {
        let Some(finding) = finding else { return };
        // A suspicion does not keep what confirms it from being told.
        let last = if finding.is_suspicion { &mut self.last_suspicion } else { &mut self.last_alert };
        let last = &mut last[finding.class as usize];
        if last.is_none_or(|last| finding.at.since(last) >= REPEAT) {
            *last = Some(finding.at);
            found.push(finding);
        }
    }
}

// One tenant stays within its share of memory: 64 KiB, and as much again for one that does everything that most never do: mail,
// calls of protected endpoints, odd packets, answers to whoever asks.
const _: () = assert!(Detectors::BYTES - Detectors::RARE_BYTES <= 64 * 1024);
const _: () = assert!(Detectors::BYTES - identity::Identity::BYTES <= 136 * 1024);
