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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reeve_policy::{Action, Decision, Mode, Origin, Scope, Tenant, Until};

    use super::*;
    use crate::frame::{LinkType, VantageId};
    use crate::topology::{Vantage, VantageKind};

    const MX: [u8; 4] = [20, 25, 0, 1];

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    /// Alice and bob send through the node's own mail server; carol's mail is not from here.
    fn topology() -> Topology {
        let tenant = |id: &str, uids: &[&str]| {
            Arc::new(Tenant {
                uids: uids.iter().map(|uid| uid.parse().unwrap()).collect(),
                addresses: if uids.is_empty() { vec!["203.0.113.9/32".parse().unwrap()] } else { Vec::new() },
                mail_domains: vec![format!("{id}.example").parse().unwrap()],
                ..Tenant::new(id.parse().unwrap())
            })
        };
        let tenants = vec![tenant("alice", &["n1:1001"]), tenant("bob", &["n1:1002"]), tenant("carol", &[])];
        let server =
            Vantage { id: VantageId(0), interface: "local".into(), kind: VantageKind::Local, sampling: 1 };
        Topology::new(1, &"n1".parse().unwrap(), tenants, vec![server])
    }

    fn held(measures: &[(&str, Action, Scope, Option<&str>)]) -> DesiredState {
        let mut state = DesiredState::default();
        for (number, (tenant, action, scope, rate)) in measures.iter().enumerate() {
            let decision = Decision {
                id: DecisionId(format!("d.{number}").parse().unwrap()),
                tenant: tenant.parse().unwrap(),
                violation: None,
                clause: String::new(),
                origin: Origin::Operator { name: "oncall".into() },
                action: *action,
                scope: scope.clone(),
                rate: rate.map(|rate| rate.parse().unwrap()),
                connections: None,
                until: Until::Released,
                at: at(0),
                mode: Mode::Enforce,
                reason: String::new(),
                softened: None,
                reckoning: None,
            };
            state.measures.insert(decision.id.clone(), Measure { decision, expires: None });
        }
        state
    }

    /// A segment of the server's from a port, with a number, to a port of the exchanger.
    fn segment(from: u16, number: u32, to: u16, said: &str) -> Vec<u8> {
        let length = u16::try_from(40 + said.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 6, 0, 0, 203, 0, 113, 1];
        bytes.extend(MX);
        bytes.extend(from.to_be_bytes());
        bytes.extend(to.to_be_bytes());
        bytes.extend(number.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, 0x18, 4, 0, 0, 0, 0, 0]);
        bytes.extend(said.as_bytes());
        bytes
    }

    struct Server {
        post: Post,
        topology: Topology,
        desired: DesiredState,
    }

    impl Server {
        fn new(measures: &[(&str, Action, Scope, Option<&str>)]) -> Self {
            let (mut post, topology) = (Post::default(), topology());
            post.set_topology(&topology);
            Self { post, topology, desired: held(measures) }
        }

        /// What is said to a segment; `None` where nobody is asked.
        fn weigh(&mut self, secs: u64, owner: Option<Owner>, passage: Passage, data: &[u8]) -> Option<bool> {
            let frame = Frame {
                at: at(secs),
                vantage: VantageId(0),
                passage,
                owner,
                link: LinkType::RawIp,
                vlan: None,
                data,
                wire_len: u32::try_from(data.len()).unwrap(),
            };
            self.post.weigh(&frame, &self.topology, &self.desired);
            let words = self.post.take();
            assert!(words.len() <= 1);
            words.first().map(|word| {
                assert_eq!(word.remote, (MX.into(), MAIL_PORT));
                word.passes
            })
        }

        fn mail(&mut self, secs: u64, from: u16, number: u32, sender: &str) -> Option<bool> {
            let data = segment(from, number, MAIL_PORT, &format!("MAIL FROM:<{sender}>\r\n"));
            self.weigh(secs, Some(Owner::MAILER), Passage::Out, &data)
        }
    }

    fn mail_port() -> Scope {
        Scope::Port { protocol: Protocol::Tcp, port: MAIL_PORT }
    }

    #[test]
    fn mail_of_whoever_is_held_back_is_cut_and_others_goes_on() {
        let mut server = Server::new(&[("alice", Action::Block, mail_port(), None)]);
        assert_eq!(server.mail(0, 1, 1, "x@alice.example"), Some(false));
        assert_eq!(server.mail(0, 2, 1, "x@bob.example"), Some(true));
        // Of no tenant on this node, and a bounce.
        assert_eq!(server.mail(0, 3, 1, "x@carol.example"), Some(true));
        assert_eq!(server.mail(0, 4, 1, "x@elsewhere.example"), Some(true));
        assert_eq!(server.mail(0, 5, 1, ""), Some(true));
        // Elsewhere than where it is blocked.
        let other = Scope::Destinations { addresses: vec![[20, 25, 0, 2].into()] };
        assert_eq!(
            Server::new(&[("alice", Action::Block, other, None)]).mail(0, 1, 1, "x@alice.example"),
            Some(true)
        );
        let mut suspended = Server::new(&[("bob", Action::Suspend, Scope::All, None)]);
        assert_eq!(suspended.mail(0, 1, 1, "x@bob.example"), Some(false));
    }

    #[test]
    fn nothing_else_is_asked_about() {
        let mut server = Server::new(&[("alice", Action::Block, mail_port(), None)]);
        let said = "MAIL FROM:<x@alice.example>\r\n";
        let mail = segment(1, 1, MAIL_PORT, said);
        assert_eq!(server.weigh(0, None, Passage::Out, &mail), None, "not the mail server's");
        assert_eq!(server.weigh(0, Some(Owner::MAILER), Passage::In, &mail), None, "comes in");
        for data in [
            segment(1, 1, 587, said),
            segment(1, 1, MAIL_PORT, "RCPT TO:<x@alice.example>\r\n"),
            segment(1, 1, MAIL_PORT, ""),
            vec![0x45, 0],
        ] {
            assert_eq!(server.weigh(0, Some(Owner::MAILER), Passage::Out, &data), None);
        }
        assert_eq!(Server::new(&[]).mail(0, 1, 1, "x@alice.example"), None, "nobody is held");
    }

    #[test]
    fn a_segment_that_comes_again_is_told_the_same_and_counts_once() {
        let mut server = Server::new(&[("alice", Action::Limit, mail_port(), Some("1/minute burst 2"))]);
        let sender = "x@alice.example";
        assert_eq!(server.mail(0, 1, 1, sender), Some(true));
        for _ in 0..5 {
            assert_eq!(server.mail(0, 1, 1, sender), Some(true), "the same segment again");
        }
        assert_eq!(server.mail(1, 1, 2, sender), Some(true), "the second of the burst");
        assert_eq!(server.mail(2, 1, 3, sender), Some(false));
        assert_eq!(server.mail(90, 1, 3, sender), Some(false), "what was said of it stays said");
        assert_eq!(server.mail(90, 1, 4, sender), Some(true), "another has room again");
        assert_eq!(server.mail(90, 2, 1, "x@bob.example"), Some(true), "nobody else is limited");
        // When it is of use to nobody any more it is forgotten.
        assert_eq!(server.mail(91, 1, 5, sender), Some(false));
        assert_eq!(server.mail(2_000, 1, 6, sender), Some(true));
        assert_eq!(server.post.said.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut server = Server::new(&[("alice", Action::Block, mail_port(), None)]);
        for number in 0..u32::try_from(REMEMBERED).unwrap() + 100 {
            assert_eq!(server.mail(0, 1, number, "x@alice.example"), Some(false));
        }
        assert_eq!((server.post.said.len(), server.post.order.len()), (REMEMBERED, REMEMBERED));
    }
}
