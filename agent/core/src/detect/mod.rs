//! Detectors: pure algorithms over what the flow stage and the meters tell, one file per family.
//!
//! Each module says what abuse it finds, the measure and where that comes from, its numbers, what benign traffic looks
//! like it and why that stays silent, and how it may be evaded. [`Detectors`] is all of one tenant's state: bounded by
//! [`Detectors::BYTES`], made when the tenant first does something worth noting, dropped when it has been idle.

pub mod flood;
pub mod horizontal;
pub mod stealth;
pub mod vertical;

use std::time::Duration;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Class, Metric, Outcome, Protocol, Target, TargetSeen, Timestamp};

use crate::flow::FlowEvent;
use crate::meter::rates::RateTable;
use crate::meter::samples::Samples;
use crate::meter::targets::TargetWindow;
use crate::packet::{Fragment, IcmpKind, Ip, TcpFlags, Transport};

/// While a scan goes on, its alert is repeated this often, so that its episode stays open.
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
    syn: RateTable,
    udp: RateTable,
    icmp: RateTable,
    udp_total: flood::UdpTotal,
    samples: Samples,
    last_scan_alert: [Option<Timestamp>; 3],
    last_active: Timestamp,
}

impl Detectors {
    /// The most bytes that one tenant's detectors take.
    pub const BYTES: usize = size_of::<Self>()
        + 2 * TargetWindow::BYTES
        + stealth::Probes::BYTES
        + 3 * RateTable::BYTES
        + Samples::BYTES;

    /// Takes a packet that the tenant sent; `own` says whether its source address is the tenant's.
    pub fn handle_sent(
        &mut self,
        numbers: &Thresholds,
        ip: &Ip<'_>,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last_active = at;
        let (segments, bytes) = (u64::from(ip.segments), u64::from(ip.length));
        match &ip.transport {
            Transport::Tcp(tcp) => {
                if tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN {
                    self.syn.sent(ip.destination, tcp.destination_port, at, segments, bytes);
                    self.samples.record(at, ip.length, ip.headers);
                } else if tcp.flags.classic() & !TcpFlags::PSH != TcpFlags::ACK {
                    self.samples.record(at, ip.length, ip.headers);
                }
            }
            Transport::Udp(udp) => {
                self.udp.sent(ip.destination, udp.destination_port, at, segments, bytes);
                found.extend(self.udp_total.sent(&numbers.flood_udp, at, segments));
                self.samples.record(at, ip.length, ip.headers);
            }
            Transport::Icmp(icmp) => {
                if icmp.kind == IcmpKind::Request {
                    self.icmp.sent(ip.destination, 0, at, segments, bytes);
                }
                self.samples.record(at, ip.length, ip.headers);
            }
            Transport::Sctp(_)
            | Transport::Other
            | Transport::Absent
            | Transport::Tiny { .. }
            | Transport::Malformed(_) => {
                // Later fragments of a UDP flood carry its bytes; and what no stack would take is a flood all the same.
                if ip.protocol == Protocol::Udp {
                    self.udp.sent(ip.destination, 0, at, segments, bytes);
                    found.extend(self.udp_total.sent(&numbers.flood_udp, at, segments));
                } else if ip.protocol == Protocol::Tcp && ip.fragment != Fragment::Later {
                    self.syn.sent(ip.destination, 0, at, segments, bytes);
                }
                self.samples.record(at, ip.length, ip.headers);
            }
        }
    }

    /// Takes a packet that reached the tenant.
    pub fn handle_received(&mut self, ip: &Ip<'_>, at: Timestamp) {
        if ip.protocol == Protocol::Udp {
            self.udp.answered(ip.source, at, i64::from(ip.segments));
            self.udp_total.received(ip.segments.into());
        }
    }

    /// Takes what the flow stage tells.
    pub fn handle_flow(
        &mut self,
        numbers: &Thresholds,
        event: &FlowEvent,
        home: Home,
        found: &mut Vec<Finding>,
    ) {
        match event {
            FlowEvent::Outcome { target, opened, at, outcome, .. } => {
                self.last_active = *at;
                self.handle_outcome(numbers, target, (*opened, *at), *outcome, home, found);
            }
            FlowEvent::Probe { target, opened, at, kind, .. } => {
                self.last_active = *at;
                let finding = self.probes.observe(&numbers.stealth, target, *kind, *opened, *at);
                self.raise(finding, found);
            }
        }
    }

    /// When [`Detectors::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.syn.next_due(), self.udp.next_due(), self.icmp.next_due()].into_iter().flatten().min()
    }

    /// Judges the seconds that are over.
    pub fn handle_timeout(&mut self, numbers: &Thresholds, now: Timestamp, found: &mut Vec<Finding>) {
        flood::judge_syn(&mut self.syn, &numbers.flood_syn, now, found);
        flood::judge_udp(&mut self.udp, &numbers.flood_udp, now, found);
        flood::judge_icmp(&mut self.icmp, &numbers.flood_icmp, now, found);
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
        now.since(self.last_active) > longest + REPEAT && self.probes.idle(now, numbers.stealth.window)
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
        if target.protocol == Protocol::Tcp {
            let number = match outcome {
                Outcome::Answered => 1,
                Outcome::Aborted => -1,
                _ => 0,
            };
            self.syn.answered(target.address, opened, number);
        }
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

    /// Lets a scan's finding through unless its class has just been told.
    fn raise(&mut self, finding: Option<Finding>, found: &mut Vec<Finding>) {
        let Some(finding) = finding else { return };
        let last = match finding.class {
            Class::PortscanHorizontal => &mut self.last_scan_alert[0],
            Class::PortscanVertical => &mut self.last_scan_alert[1],
            _ => &mut self.last_scan_alert[2],
        };
        if last.is_none_or(|last| finding.at.since(last) >= REPEAT) {
            *last = Some(finding.at);
            found.push(finding);
        }
    }
}

// One tenant stays within its share of memory.
const _: () = assert!(Detectors::BYTES <= 64 * 1024);
