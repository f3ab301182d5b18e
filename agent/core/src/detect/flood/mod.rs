//! Floods: one-sided traffic at a high rate, a module for each class.
//!
//! What they have in common: traffic is counted second by second to each destination, to each network and in all
//! ([`crate::meter::rates`]), so that neither random ports, nor forged sources, nor many destinations within one network hide it;
//! packets are wire segments, and what the kernel handed on a sample of is weighed. Once a second has reached its number, what
//! speaks for the traffic is waited for, half a second long where answers are evidence, and asked for. After Mirkovic and
//! Reiher, "D-WARD: A Source-End Defense against Flooding DDoS" (2005): a source network tells a flood by its asymmetry,
//! not by its volume.
//!
//! Where answers do not reach the sensor at all, what rests on their absence is a suspicion only.

pub mod amplify;
pub mod connect;
pub mod icmp;
pub mod odd;
pub mod syn;
pub mod tcp;
#[cfg(test)]
pub(crate) mod tests;
pub mod udp;
pub mod upstream;
pub mod volume;

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Class, Metric, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::Finding;
use crate::flow::{FlowEvent, Restrictions};
use crate::meter::rates::{Limits, Rates, Reach, Ready, Sent};
use crate::meter::tally::{Limit, SECOND, Second};
use crate::packet::{Fragment, Icmp, IcmpKind, Ip, TcpFlags, Transport};

/// While a flood goes on, its alert is repeated this often, so that its episode stays open.
pub const REPEAT: Duration = Duration::from_secs(10);

/// What one network may get of what all may get together.
const NET_SHARE: u64 = 4;

/// All flood detectors of one tenant.
#[derive(Debug)]
pub struct Floods {
    /// Not later than the first time when one of them has something to judge.
    due: Timestamp,
    syn: syn::Syn,
    udp: udp::Udp,
    icmp: icmp::Icmps,
    volume: volume::Volume,
    // What most tenants never do. Each is made when it is first done.
    tcp: tcp::Strays,
    connect: connect::Connects,
    odd: odd::Odd,
    upstreams: upstream::Upstreams,
    amplify: Option<Box<amplify::Amplify>>,
}

impl Default for Floods {
    fn default() -> Self {
        Self {
            due: NEVER,
            syn: syn::Syn::default(),
            udp: udp::Udp::default(),
            icmp: icmp::Icmps::default(),
            volume: volume::Volume::default(),
            tcp: tcp::Strays::default(),
            connect: connect::Connects::default(),
            odd: odd::Odd::default(),
            upstreams: upstream::Upstreams::default(),
            amplify: None,
        }
    }
}

impl Floods {
    /// Bytes that every tenant's tables take at most, beside the value itself.
    pub const BYTES: usize = 3 * Rates::BYTES + udp::Udp::BYTES;

    /// Bytes that the tables of a tenant that does everything take beyond that.
    pub const RARE_BYTES: usize =
        6 * (Rates::BYTES + size_of::<Rates>()) + amplify::Amplify::BYTES + upstream::Upstreams::BYTES;

    /// Takes a packet that the tenant sent, which stands for `weight` like it.
    #[inline]
    pub fn handle_sent(
        &mut self,
        numbers: &Thresholds,
        restrictions: &Restrictions,
        (ip, weight): (&Ip<'_>, u32),
        at: Timestamp,
    ) {
        let packets = u64::from(ip.segments) * u64::from(weight);
        let bytes = u64::from(ip.length) * u64::from(weight);
        self.volume.sent(&numbers.flood_volume, at, packets, bytes);
        self.due = self.due.min(self.volume.due());
        let sent = |ports| Sent { at, ports, packets, bytes };
        match &ip.transport {
            Transport::Tcp(tcp) => {
                if tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN {
                    let port = tcp.destination_port;
                    let target =
                        Target { address: ip.destination, protocol: Protocol::Tcp, port: Some(port) };
                    if restrictions.leave_rate(&target) {
                        self.syn.sent(&numbers.flood_syn, ip.destination, sent((tcp.source_port, port)));
                        self.due = self.due.min(self.syn.due());
                    }
                }
            }
            Transport::Udp(udp) => {
                self.datagram(numbers, ip, sent((udp.source_port, udp.destination_port)));
            }
            Transport::Icmp(Icmp { kind, .. }) => {
                self.icmp.sent(&numbers.flood_icmp, ip, *kind, sent((0, 0)));
                self.due = self.due.min(self.icmp.due());
            }
            _ => self.handle_headless(numbers, ip, sent((0, 0))),
        }
        if ip.fragment != Fragment::No || ip.extensions > 0 {
            self.odd.sent(numbers, ip, sent((0, 0)));
            self.due = self.due.min(self.odd.due());
        }
    }

    #[inline]
    fn datagram(&mut self, numbers: &Thresholds, ip: &Ip<'_>, sent: Sent) {
        self.udp.sent(&numbers.flood_udp, ip.destination, sent);
        self.due = self.due.min(self.udp.due());
        if let Some(amplify) = &mut self.amplify {
            amplify.sent(&numbers.flood_amplify, ip.destination, sent);
            self.due = self.due.min(amplify.due());
        }
    }

    /// Takes a packet without a header that could be read.
    #[inline(never)]
    fn handle_headless(&mut self, numbers: &Thresholds, ip: &Ip<'_>, sent: Sent) {
        match (ip.protocol, &ip.transport) {
            // Later fragments of a UDP flood carry its bytes; and what no stack would take is a flood all the same.
            (Protocol::Udp, _) => self.datagram(numbers, ip, sent),
            (Protocol::Tcp, Transport::Malformed(_) | Transport::Tiny { .. }) => {
                self.tcp.sent(&numbers.flood_tcp, ip.destination, sent, false);
                self.due = self.due.min(self.tcp.due());
            }
            (Protocol::Tcp, _) => {}
            // Told by their extension headers, or as fragments.
            _ if ip.extensions > 0 || ip.fragment != Fragment::No => {}
            _ => {
                self.odd.sent(numbers, ip, sent);
                self.due = self.due.min(self.odd.due());
            }
        }
    }

    /// Takes a packet that reached the tenant, and stands for `weight` like it.
    #[inline]
    pub fn handle_received(&mut self, numbers: &Thresholds, (ip, weight): (&Ip<'_>, u32), at: Timestamp) {
        let packets = u64::from(ip.segments) * u64::from(weight);
        self.volume.received(packets);
        let mut speaks = true;
        match &ip.transport {
            Transport::Udp(udp) => {
                self.udp.received(ip.source, (udp.source_port, udp.destination_port), packets, at);
                let ports = (udp.destination_port, udp.source_port);
                let has_spoken = || {
                    let is_asking = self.amplify.as_ref().is_some_and(|amplify| amplify.knows(ip.source));
                    !is_asking && self.udp.has_spoken_to(ip.source, at)
                };
                if amplify::may_be_asked(&numbers.flood_amplify, ports, has_spoken) {
                    let amplify = self.amplify.get_or_insert_default();
                    amplify.received(&numbers.flood_amplify, ip, udp, at);
                }
            }
            Transport::Tcp(tcp) => {
                speaks = !tcp.flags.any(TcpFlags::RST);
                if speaks {
                    self.tcp.received(ip.source, packets);
                }
            }
            Transport::Icmp(Icmp { kind, .. }) => {
                speaks = *kind == IcmpKind::Request;
                self.icmp.received(ip.source, *kind == IcmpKind::Reply, packets);
            }
            _ if ip.protocol == Protocol::Udp => self.udp.received(ip.source, (0, 0), packets, at),
            // Fragments of a SYN are answered as a whole one is.
            _ if ip.protocol == Protocol::Tcp => self.tcp.received(ip.source, packets),
            _ => {}
        }
        self.icmp.provoked(ip.source, packets);
        if speaks {
            self.odd.received(ip.source, packets);
        }
    }

    /// Takes what the flow stage tells, of a packet that stands for `weight` like it.
    pub fn handle_flow(&mut self, numbers: &Thresholds, event: &FlowEvent, weight: u32) {
        match event {
            FlowEvent::Completed { target, opened, at, .. } => {
                self.syn.completed(target.address, *opened, weight.into());
                self.connect.completed(&numbers.flood_connect, target, *at, weight.into());
                self.due = self.due.min(self.connect.due());
                self.upstreams.completed(target, weight, *at);
            }
            FlowEvent::Outcome { target, outcome, at, .. } if target.protocol == Protocol::Tcp => {
                if *outcome == Outcome::Productive {
                    self.connect.carried(target, weight.into());
                }
                self.upstreams.outcome(target, *outcome, weight, *at);
            }
            FlowEvent::Stray { target, at, packets, is_answer, .. } => {
                let ports = (0, target.port.unwrap_or(0));
                let sent = Sent { at: *at, ports, packets: u64::from(*packets), bytes: 0 };
                self.tcp.sent(&numbers.flood_tcp, target.address, sent, *is_answer);
                self.due = self.due.min(self.tcp.due());
            }
            FlowEvent::Vouched { target, packets, .. } => {
                self.tcp.take_back(target.address, u64::from(*packets));
            }
            FlowEvent::Served { peer, protocol: Protocol::Udp, local_port, at, .. }
                if amplify::is_high_service(&numbers.flood_amplify, *local_port) =>
            {
                self.amplify.get_or_insert_default().served(*peer, *at);
            }
            FlowEvent::Outcome { .. } | FlowEvent::Probe { .. } | FlowEvent::Served { .. } => {}
        }
    }

    /// When there is next something to judge; may be too early.
    #[must_use]
    #[inline]
    pub fn next_due(&self) -> Option<Timestamp> {
        (self.due != NEVER).then_some(self.due)
    }

    fn first_due(&self) -> Timestamp {
        let often = self.syn.due().min(self.udp.due()).min(self.icmp.due()).min(self.volume.due());
        let rare = self.tcp.due().min(self.connect.due()).min(self.odd.due());
        often.min(rare).min(self.amplify.as_ref().map_or(NEVER, |amplify| amplify.due()))
    }

    /// Judges the seconds that are over. `hears` says whether answers reach the sensor.
    pub fn handle_timeout(
        &mut self,
        numbers: &Thresholds,
        hears: bool,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        if self.due > now {
            return;
        }
        let from = found.len();
        self.syn.judge(&numbers.flood_syn, &self.upstreams, now, found);
        self.udp.judge(&numbers.flood_udp, &numbers.udp_stream, now, found);
        self.tcp.judge(&numbers.flood_tcp, now, found);
        self.connect.judge(&numbers.flood_connect, &self.upstreams, now, found);
        self.odd.judge(&numbers.flood_frag, &numbers.flood_other, now, found);
        self.volume.judge(&numbers.flood_volume, now, found);
        if !hears {
            found[from..].iter_mut().for_each(|finding| finding.is_suspicion = true);
        }
        self.icmp.judge(&numbers.flood_icmp, now, found);
        if let Some(amplify) = &mut self.amplify {
            amplify.judge(&numbers.flood_amplify, now, found);
        }
        self.due = self.first_due();
    }
}

/// What is never due.
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

/// The limits where one host may get `host`, and all together `total`.
fn limits(host: u64, total: u64) -> Limits {
    Limits {
        host: Limit::packets(host),
        net: Limit::packets((total / NET_SHARE).max(host)),
        all: Limit::packets(total),
    }
}

/// For how many seconds in a row something must be over, and how sure it is then.
struct Terms {
    seconds: u32,
    /// So many packets in one second are enough: the rule, where there is one, and its number.
    at_once: u64,
    confidence_percent: u8,
}

/// What a second that is over is told as.
struct Told {
    class: Class,
    /// ICMP stands for either version.
    protocol: Protocol,
    metrics: Vec<Metric>,
}

/// Judges the seconds of one kind that are ready. `over` says what one is, if it is a flood; of what is counted over several hosts,
/// those that were found to be nothing by themselves are taken out before.
fn judge(
    rates: &mut Rates,
    terms: &Terms,
    now: Timestamp,
    found: &mut Vec<Finding>,
    over: impl Fn(&Ready) -> Option<Told>,
) {
    judge_counted(rates, terms, now, found, |ready| over(ready).map(|told| (told, None)));
}

/// The same, where seconds need not be in a row: `over` also says how many there were, if they are enough.
fn judge_counted(
    rates: &mut Rates,
    terms: &Terms,
    now: Timestamp,
    found: &mut Vec<Finding>,
    mut over: impl FnMut(&Ready) -> Option<(Told, Option<u32>)>,
) {
    while let Some(mut ready) = rates.take_ready(now) {
        let is_host = matches!(ready.reach, Reach::Host(_));
        if !is_host {
            let (sent, answered) = rates.cleared(ready.reach, now);
            let left = ready.second.sent.saturating_sub(sent);
            // Bytes go with their packets, or what answers a harmless host's bytes would be taken away and they would stay.
            let share = if ready.second.sent == 0 { 0.0 } else { left as f64 / ready.second.sent as f64 };
            ready.second.bytes = (ready.second.bytes as f64 * share) as u64;
            ready.second.sent = left;
            ready.second.answered = ready.second.answered.saturating_sub(answered);
        }
        let told = over(&ready);
        let tally = rates.tally_mut(&ready);
        let (streak, since) = tally.judge(&ready.second, told.is_some());
        let Some((mut told, seconds)) = told else {
            tally.clear(now);
            continue;
        };
        // It has been a flood: that it goes on makes it no stream.
        rates.unsteady(&ready, now);
        let lasted = streak >= terms.seconds || seconds.is_some();
        if !lasted && ready.second.sent < terms.at_once {
            continue;
        }
        // What goes to one host goes to its network and to all: it is told once.
        let is_told = !is_host && rates.was_host_told(ready.reach, now, REPEAT + SECOND);
        if is_told || !rates.tally_mut(&ready).tell(now, REPEAT) {
            continue;
        }
        match told.metrics.first_mut() {
            // It is told by the number that it was found by.
            Some(first) if !lasted => first.threshold = Some(terms.at_once as f64),
            _ if terms.seconds > 1 => {
                let seconds = seconds.unwrap_or(streak).max(streak);
                told.metrics.push(rate("seconds", seconds.into(), terms.seconds.into()));
            }
            _ => {}
        }
        found.push(Finding {
            class: told.class,
            start: since,
            at: now,
            metrics: told.metrics,
            confidence_percent: terms.confidence_percent,
            targets: targets(rates, &ready, (since, now), told.protocol),
            is_suspicion: false,
        });
    }
}

/// Where a flood went: the one host, or those that got most of it together. None stands out where it is spread wider.
fn targets(
    rates: &Rates,
    ready: &Ready,
    (since, now): (Timestamp, Timestamp),
    protocol: Protocol,
) -> Vec<TargetSeen> {
    let seen = |(address, port): (IpAddr, u16)| {
        let is_six = protocol == Protocol::Icmp && address.is_ipv6();
        let protocol = if is_six { Protocol::Icmpv6 } else { protocol };
        let port = (protocol.has_ports() && port != 0).then_some(port);
        let target = Target { address, protocol, port };
        TargetSeen { target, first: since, last: now, outcome: Outcome::Unknown }
    };
    if let Reach::Host(host) = ready.reach {
        return vec![seen((host, ready.traits.port))];
    }
    let (busiest, sum) = rates.busiest(ready.reach, now);
    if sum * 2 < ready.second.sent { Vec::new() } else { busiest.into_iter().map(seen).collect() }
}

/// The packets of a second beside the number that they reached.
fn packet_rate(ready: &Ready, host: u64, total: u64) -> Metric {
    let (name, threshold) = match ready.reach {
        Reach::Host(_) => ("packets_per_second", host),
        Reach::Net(_) => ("network_packets_per_second", (total / NET_SHARE).max(host)),
        Reach::All => ("total_packets_per_second", total),
    };
    rate(name, ready.second.sent, threshold)
}

/// Whether, with what was cleared taken out, there is still enough.
fn is_enough(ready: &Ready, host: u64, total: u64) -> bool {
    ready.second.sent
        >= match ready.reach {
            Reach::Host(_) => host,
            Reach::Net(_) => (total / NET_SHARE).max(host),
            Reach::All => total,
        }
}

/// What a second would hold that was looked at before it was over: where the limit that counts lies beyond the one at which that
/// happens.
fn in_a_second(ready: &Ready, now: Timestamp) -> Ready {
    let elapsed = now.since(ready.second.start).clamp(Duration::from_millis(1), SECOND);
    let whole = |number: u64| (number as f64 * SECOND.as_secs_f64() / elapsed.as_secs_f64()) as u64;
    let second = Second { sent: whole(ready.second.sent), bytes: whole(ready.second.bytes), ..ready.second };
    let mut ready = *ready;
    ready.second = second;
    ready
}

/// `a` of `b` as a share, 0 to 1 and beyond; 1 where `b` is nothing.
fn part(a: u64, b: u64) -> f64 {
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

fn rate(name: &'static str, value: u64, threshold: u64) -> Metric {
    Metric { name: name.into(), value: value as f64, threshold: Some(threshold as f64) }
}
