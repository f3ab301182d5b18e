//! Mail of those who share the node's mail server: whose the next one is, and whether it may go.
//!
//! All that the server sends is its own to the kernel. Whose a message is the client says in the connection, in the command that names the
//! sender: its domain is some tenant's, or nobody's here. While a measure holds back mail of some tenant, the kernel lets such a command wait
//! (`ruleset::local`), and what is said here decides: it passes, or its connection is cut. Cut connections are the client's to
//! try again later; others' mail goes on in connections of their own.
//!
//! A segment that waits comes again by itself, so what was said of it is remembered and said again. A limit lets so many messages
//! through as it has connections.
//!
//! Nothing of this comes out of the engine as an output: it follows from frames and measures, and a replay has nobody to tell.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::rate::{Rate, Unit};
use reeve_policy::{DecisionId, DesiredState, Measure, Protocol, Target, TenantId, Timestamp};

use crate::flow::{Held, Restrictions};
use crate::frame::{Frame, Owner, Passage};
use crate::packet::{self, Body, Transport};
use crate::ruleset::local::MAIL_PORT;
use crate::stream::smtp::{Senders, named_sender};
use crate::topology::Topology;

/// What is to become of a connection of the mail server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailWord {
    /// The server's end.
    pub local: (IpAddr, u16),
    /// The other end.
    pub remote: (IpAddr, u16),
    /// Whether the command that waits may go; else the connection is cut.
    pub passes: bool,
}

/// The most that is remembered of what was said, and waits to be told.
const REMEMBERED: usize = 4_096;
/// TCP gives up a segment that never arrives after about a quarter of an hour; what was said of it is of use to nobody later.
const FORGOTTEN: Duration = Duration::from_secs(1_000);

/// A segment: its connection and its number.
type Segment = ((IpAddr, u16), (IpAddr, u16), u32);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Post {
    senders: Senders,
    said: BTreeMap<Segment, bool>,
    order: VecDeque<(Segment, Timestamp)>,
    /// Of each limit, until when what it let through takes up (GCRA).
    taken: BTreeMap<DecisionId, Timestamp>,
    words: VecDeque<MailWord>,
}

impl Post {
    pub fn set_topology(&mut self, topology: &Topology) {
        self.senders = Senders::of(topology);
    }

    /// What is to be done, oldest first.
    pub fn take(&mut self) -> Vec<MailWord> {
        self.words.drain(..).collect()
    }

    /// Looks at a frame, if it is one of the mail server's that names a sender.
    pub fn weigh(&mut self, frame: &Frame<'_>, topology: &Topology, desired: &DesiredState) {
        if frame.owner != Some(Owner::MAILER)
            || frame.passage != Passage::Out
            || desired.measures.is_empty()
            || self.senders.is_empty()
        {
            return;
        }
        let Ok(packet) = packet::parse(frame.link, frame.data, frame.wire_len) else { return };
        let Body::Ip(ip) = &packet.body else { return };
        let Transport::Tcp(tcp) = &ip.transport else { return };
        if tcp.destination_port != MAIL_PORT {
            return;
        }
        let Some(whose) = named_sender(tcp.payload, &self.senders) else { return };
        let (local, remote) = ((ip.source, tcp.source_port), (ip.destination, tcp.destination_port));
        let segment = (local, remote, tcp.sequence);
        let passes = match self.said.get(&segment) {
            Some(passes) => *passes,
            None => {
                let passes = whose.is_none_or(|ix| {
                    let tenant = &topology.tenant(ix).id;
                    self.may_go(tenant, ip.destination, desired, frame.at)
                });
                self.remember(segment, passes, frame.at);
                passes
            }
        };
        if self.words.len() < REMEMBERED {
            self.words.push_back(MailWord { local, remote, passes });
        }
    }

    fn remember(&mut self, segment: Segment, passes: bool, at: Timestamp) {
        self.said.insert(segment, passes);
        self.order.push_back((segment, at));
        let is_old =
            |(_, said): &(Segment, Timestamp), len: usize| len > REMEMBERED || at.since(*said) > FORGOTTEN;
        while self.order.front().is_some_and(|oldest| is_old(oldest, self.order.len())) {
            if let Some((segment, _)) = self.order.pop_front() {
                self.said.remove(&segment);
            }
        }
    }

    /// Whether a message of a tenant's to an exchanger may go; if so, limits take note of it.
    fn may_go(&mut self, tenant: &TenantId, to: IpAddr, desired: &DesiredState, at: Timestamp) -> bool {
        let target = Target { address: to, protocol: Protocol::Tcp, port: Some(MAIL_PORT) };
        let measures = desired.measures.values().filter(|one| one.decision.tenant == *tenant);
        let mut limits: Vec<(&DecisionId, Rate)> = Vec::new();
        for measure in measures {
            match of_one(measure).held(&target) {
                Held::Free => {}
                Held::Blocked => return false,
                Held::Limited => {
                    let rate = measure.decision.rate;
                    let counts = |rate: &Rate| matches!(rate.unit, Unit::Connections | Unit::Calls);
                    limits.extend(rate.filter(counts).map(|rate| (&measure.decision.id, rate)));
                }
            }
        }
        let taken = |id: &DecisionId| self.taken.get(id).copied().unwrap_or_default().max(at);
        let has_room = |(id, rate): &(&DecisionId, Rate)| {
            taken(id).since(at) <= rate.interval() * (rate.burst.max(1) - 1)
        };
        if !limits.iter().all(has_room) {
            return false;
        }
        let new: Vec<(DecisionId, Timestamp)> =
            limits.iter().map(|(id, rate)| ((*id).clone(), taken(id) + rate.interval())).collect();
        self.taken.retain(|id, _| desired.measures.contains_key(id));
        self.taken.extend(new);
        true
    }
}

fn of_one(measure: &Measure) -> Restrictions {
    Restrictions::of(std::iter::once(measure))
}
