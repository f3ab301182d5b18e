//! `flood.frag` and `flood.other`: fragments; and other IP protocols, IPv4 options and IPv6 extension headers, at a high rate.
//!
//! **Measure.** Such packets in a second to one host, one network and in all, against what comes from there in return: anything but a reset or an
//! ICMP error. A fragment costs its receiver memory until it is whole (RFC 4963, RFC 8900); an extension header sends a packet through
//! a router's slow path (RFC 9098).
//!
//! **Numbers.** 1,000/s to one host with under 2 % answered; 10,000/s in all, and a quarter of that to one /24 or /48.
//!
//! **Look-alikes that stay silent.** Tunnels and VPNs (GRE, IPIP, ESP, SCTP) at line rate, whose ends both speak; tunnels that fragment; NFS over UDP;
//! name servers with large answers, which are asked. One-sided tunnels (a load balancer's IPIP to its servers, ERSPAN) are not told
//! apart from a flood: a tenant that runs one gets numbers of its own.
//!
//! **Evasion.** Below the rates; an accomplice that answers.

use std::net::IpAddr;

use reeve_policy::language::thresholds::{FloodFrag, FloodOther, Thresholds};
use reeve_policy::{Class, Protocol, Timestamp};

use super::{NEVER, Terms, Told, is_enough, judge, limits, packet_rate, part};
use crate::detect::{Finding, share};
use crate::meter::rates::{Rates, Ready, Sent};
use crate::meter::tally::{PATIENCE, Pace};
use crate::packet::{Fragment, Ip};

const TERMS: Terms = Terms { seconds: 1, at_once: u64::MAX, confidence_percent: 90 };

/// What is known of odd packets.
#[derive(Debug, Default)]
pub struct Odd {
    fragments: Option<Box<Rates>>,
    others: Option<Box<Rates>>,
    /// The protocol of the last one.
    protocol: Option<Protocol>,
}

fn rates() -> Box<Rates> {
    Box::new(Rates::new(Pace::Answers(PATIENCE)))
}

impl Odd {
    /// One went out.
    pub fn sent(&mut self, numbers: &Thresholds, ip: &Ip<'_>, sent: Sent) {
        if ip.fragment != Fragment::No {
            let numbers = &numbers.flood_frag;
            let limits = limits(numbers.packets_per_second, numbers.total_packets_per_second);
            self.fragments.get_or_insert_with(rates).sent(ip.destination, sent, &limits);
        } else {
            let numbers = &numbers.flood_other;
            let limits = limits(numbers.packets_per_second, numbers.total_packets_per_second);
            self.others.get_or_insert_with(rates).sent(ip.destination, sent, &limits);
        }
        self.protocol = Some(ip.protocol);
    }

    /// Something came that is no refusal.
    #[inline]
    pub fn received(&mut self, source: IpAddr, packets: u64) {
        if let Some(fragments) = &mut self.fragments {
            fragments.answered(source, packets);
        }
        if let Some(others) = &mut self.others {
            others.answered(source, packets);
        }
    }

    /// When there is something to judge.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        let due = |rates: &Option<Box<Rates>>| rates.as_ref().map_or(NEVER, |rates| rates.due());
        due(&self.fragments).min(due(&self.others))
    }

    /// Judges what is ready.
    pub fn judge(&mut self, frag: &FloodFrag, other: &FloodOther, now: Timestamp, found: &mut Vec<Finding>) {
        let protocol = self.protocol.unwrap_or(Protocol::Udp);
        let frag = (Class::FloodFrag, frag.packets_per_second, frag.total_packets_per_second, frag.answered);
        let other =
            (Class::FloodOther, other.packets_per_second, other.total_packets_per_second, other.answered);
        let both = [(&mut self.fragments, frag), (&mut self.others, other)];
        for (rates, (class, host, total, limit)) in both {
            let Some(rates) = rates else { continue };
            let over = |ready: &Ready| {
                let answered = part(ready.second.answered, ready.second.sent);
                (is_enough(ready, host, total) && answered < limit).then(|| Told {
                    class,
                    protocol,
                    metrics: vec![packet_rate(ready, host, total), share("answered", answered, Some(limit))],
                })
            };
            judge(rates, &TERMS, now, found, over);
        }
    }
}
