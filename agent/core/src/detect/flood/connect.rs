//! `flood.connect`: completed connections to one service at a high rate that carry nothing.
//!
//! **Measure.** Handshakes that the tenant completed in a second with one service (address and port), against those in which it said
//! something within a second. An empty connection costs a server a process or a slot as a full one does ("naptha", CERT CA-2000-21).
//!
//! **Numbers.** 200 connections/s to one service, under 10 % of which carry anything from the tenant.
//!
//! **Look-alikes that stay silent.** Load tests, crawlers, pools of database connections: they say something. Port scans: another service
//! each time. A service that takes connections and ends them before anything is said, because what is behind it died: where much was said in
//! connections to it lately, five times that (see `flood.syn`). Health checks: a few a second each. Where the capture keeps a sample of bulk TCP, both sides of the share are weighed alike.
//!
//! **Evasion.** A byte in each connection. A pile that grows slower than the number: idle connections alone are no abuse that could
//! be told from a pool's.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::FloodConnect;
use reeve_policy::{Class, Protocol, Target, Timestamp};

use super::upstream::Upstreams;
use super::{NEVER, Terms, Told, in_a_second, judge, part, rate};
use crate::detect::{Finding, share};
use crate::flow::table::{address, bits};
use crate::meter::rates::{Limits, Rates, Reach, Ready, Sent};
use crate::meter::tally::{Limit, Pace};

/// Where the server speaks first, the tenant has something to say a round trip later.
const PATIENCE: Duration = Duration::from_secs(1);

const TERMS: Terms = Terms { seconds: 1, at_once: u64::MAX, confidence_percent: 90 };

/// What is known of completed connections. The key is the service: an address with the port in bits that tell networks apart, so
/// only single ones are looked at.
#[derive(Debug, Default)]
pub struct Connects(Option<Box<Rates>>);

impl Connects {
    /// A handshake was gone through with.
    pub fn completed(&mut self, numbers: &FloodConnect, target: &Target, at: Timestamp, number: u64) {
        let never = Limit::packets(u64::MAX);
        let limits = Limits { host: Limit::packets(numbers.connections_per_second), net: never, all: never };
        let port = target.port.unwrap_or(0);
        let rates = self.0.get_or_insert_with(|| Box::new(Rates::new(Pace::Answers(PATIENCE))));
        rates.sent(
            service(target.address, port),
            Sent { at, ports: (0, port), packets: number, bytes: 0 },
            &limits,
        );
    }

    /// Something was said in one.
    pub fn carried(&mut self, target: &Target, number: u64) {
        if let Some(rates) = &mut self.0 {
            rates.answered(service(target.address, target.port.unwrap_or(0)), number);
        }
    }

    /// When there is something to judge.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.0.as_ref().map_or(NEVER, |rates| rates.due())
    }

    /// Judges what is ready.
    pub fn judge(
        &mut self,
        numbers: &FloodConnect,
        upstreams: &Upstreams,
        now: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        let Some(rates) = &mut self.0 else { return };
        let over = |ready: &Ready| {
            let carried = part(ready.second.answered, ready.second.sent);
            let Reach::Host(key) = ready.reach else { return None };
            let port = ready.traits.port;
            let number = numbers.connections_per_second;
            let most = upstreams.connections((service(key, port), port), number, now);
            let ready = if most > number { &in_a_second(ready, now) } else { ready };
            (carried < numbers.carried && ready.second.sent >= most).then(|| Told {
                class: Class::FloodConnect,
                protocol: Protocol::Tcp,
                metrics: vec![
                    rate("connections_per_second", ready.second.sent, most),
                    share("carried", carried, Some(numbers.carried)),
                ],
            })
        };
        let from = found.len();
        judge(rates, &TERMS, now, found, over);
        for seen in found[from..].iter_mut().flat_map(|finding| &mut finding.targets) {
            seen.target.address = service(seen.target.address, seen.target.port.unwrap_or(0));
        }
    }
}

/// The key of a service; of a key and the port, the address.
fn service(host: IpAddr, port: u16) -> IpAddr {
    address(bits(host) ^ u128::from(port) << 64)
}
