//! `flood.tcp`: TCP outside any connection at a high rate: ACK, FIN, PSH, RST, SYN-ACK, odd flags.
//!
//! **Measure.** Packets in a second that belong to no connection in which the peer has spoken (the flow stage tells them). What was met in the middle
//! is taken back, packet for packet, as soon as the peer speaks in it. RST and SYN-ACK are what a host answers with: they count where that
//! destination sent next to nothing that they could answer (RFC 9293, section 3.10.7).
//!
//! **Numbers.** 500/s to one host; 5,000/s in all, and a quarter of that to one /24 or /48. Answers only to one host.
//!
//! **Look-alikes that stay silent.** Connections that opened before the agent did, or were evicted, or idle for long: the peer
//! acknowledges. A host that is scanned or flooded answers with RST and SYN-ACK: the other side began, or, where sources are
//! forged, each gets few. Connections that a measure broke: they are known.
//!
//! **Evasion.** Packets within a real connection; below the rates; RST and SYN-ACK spread over many hosts (which is what being
//! flooded looks like).

use std::net::IpAddr;

use reeve_policy::language::thresholds::FloodTcp;
use reeve_policy::{Class, Protocol, Timestamp};

use super::{NEVER, Terms, Told, is_enough, judge, limits, packet_rate, part};
use crate::detect::Finding;
use crate::meter::rates::{Limits, Rates, Ready, Sent};
use crate::meter::tally::{Limit, PATIENCE, Pace};

/// Above this share of what could have been answered, RST and SYN-ACK are answers.
const PROVOKED: f64 = 0.10;

const TERMS: Terms = Terms { seconds: 1, at_once: u64::MAX, confidence_percent: 90 };

/// What is known of TCP outside connections.
#[derive(Debug, Default)]
pub struct Strays {
    strays: Option<Box<Rates>>,
    answers: Option<Box<Rates>>,
}

fn rates() -> Box<Rates> {
    Box::new(Rates::new(Pace::Answers(PATIENCE)))
}

impl Strays {
    /// Such a packet went out. `is_answer` says whether it is RST or SYN-ACK.
    pub fn sent(&mut self, numbers: &FloodTcp, destination: IpAddr, sent: Sent, is_answer: bool) {
        let limits = limits(numbers.packets_per_second, numbers.total_packets_per_second);
        if is_answer {
            let never = Limit::packets(u64::MAX);
            let limits = Limits { net: never, all: never, ..limits };
            self.answers.get_or_insert_with(rates).sent(destination, sent, &limits);
        } else {
            self.strays.get_or_insert_with(rates).sent(destination, sent, &limits);
        }
    }

    /// The peer has spoken in a connection: its packets were none such.
    pub fn take_back(&mut self, destination: IpAddr, packets: u64) {
        if let Some(strays) = &mut self.strays {
            strays.take_back(destination, packets);
        }
    }

    /// Something came that may be answered by RST or SYN-ACK.
    pub fn received(&mut self, source: IpAddr, packets: u64) {
        if let Some(answers) = &mut self.answers {
            answers.answered(source, packets);
        }
    }

    /// When there is something to judge.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        let due = |rates: &Option<Box<Rates>>| rates.as_ref().map_or(NEVER, |rates| rates.due());
        due(&self.strays).min(due(&self.answers))
    }

    /// Judges what is ready.
    pub fn judge(&mut self, numbers: &FloodTcp, now: Timestamp, found: &mut Vec<Finding>) {
        let (host, total) = (numbers.packets_per_second, numbers.total_packets_per_second);
        let told = |ready: &Ready| Told {
            class: Class::FloodTcp,
            protocol: Protocol::Tcp,
            metrics: vec![packet_rate(ready, host, total)],
        };
        if let Some(strays) = &mut self.strays {
            let over = |ready: &Ready| is_enough(ready, host, total).then(|| told(ready));
            judge(strays, &TERMS, now, found, over);
        }
        if let Some(answers) = &mut self.answers {
            let is_unprovoked = |ready: &Ready| part(ready.second.answered, ready.second.sent) < PROVOKED;
            let over =
                |ready: &Ready| (is_enough(ready, host, total) && is_unprovoked(ready)).then(|| told(ready));
            judge(answers, &TERMS, now, found, over);
        }
    }
}
