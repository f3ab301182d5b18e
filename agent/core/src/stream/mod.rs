//! Streams: what is said in the connections that speak mail, or go to a protected endpoint.
//!
//! Everything else in Reeve gets by with headers. Whether a tenant sends mail in bulk, passes on mail of others, or calls a service
//! too often cannot be told without reading a protocol's commands, so for these few connections, and no others, payload is
//! put in order ([`order`]) and read ([`smtp`], [`calls`]). What is read becomes numbers at once: recipients are kept as
//! hashes, and no text outlives the line that it stands in; of calls the names and paths are compared and let go. QUIC to such
//! endpoints is read as far as anybody can ([`quic`]).
//!
//! **Bounds.** At most [`Streams::CAPACITY`] connections, and of each tenant its share of that, between [`LEAST_EACH`] and
//! [`MOST_EACH`]; a tenant that has more gives up its own oldest. Those in which the tenant has said nothing yet go first, so that strangers
//! who only knock do not push out what is being said. Each takes at most [`Streams::BYTES_EACH`] bytes, most of that only
//! while segments are out of order.
//!
//! **What reaches nobody.** The other end drops segments whose numbers do not fit, and so does this reader ([`order`]): neither a reset nor
//! an opening with a number of its own ends what is read, unless the other end takes it for one.
//!
//! Left out: reassembly that is proof against an adversary who overlaps segments with different bytes. Whoever confuses this
//! reader may hide commands, not connections: those are counted by the flow stage. That somebody tried is noticed where it could accuse a tenant
//! ([`MailEvent::Message`]).

pub mod calls;
mod hello;
mod line;
pub mod login;
mod order;
pub(crate) mod pages;
mod quic;
mod sealed;
mod sites;
pub mod smtp;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use reeve_policy::language::thresholds::Endpoint;
use reeve_policy::{Name, Protocol, Target, Timestamp};
use serde::{Deserialize, Serialize};

use crate::flow::table::FlowKey;
use crate::packet::{Ip, Tcp, TcpFlags, Transport, Udp};
use crate::topology::TenantIx;
use calls::{Call, CallStream, Site};
use login::{Login, Logins, Service};
use order::Order;
use quic::Quic;
use sites::{Look, Sites};
use smtp::{MailEvent, OwnDomains, Senders, Smtp};

/// The fewest connections that are followed of a tenant, and the most.
pub const LEAST_EACH: usize = 64;
/// See [`LEAST_EACH`].
pub const MOST_EACH: usize = 1_024;
/// A connection that says nothing for this long is given up (RFC 5321, section 4.5.3.2: ten minutes is the longest wait).
const IDLE: Duration = Duration::from_secs(600);
/// One that was reset, and in which nothing was said any more, for this long.
const IDLE_AFTER_RESET: Duration = Duration::from_secs(5);

/// TCP ports on which servers take mail: from other servers, and from their users with TLS from the start or without (IANA;
/// RFC 8314), and the one that is used where 25 is closed.
pub const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];

/// Whether a port is one of these. Every packet asks.
#[inline]
#[must_use]
pub const fn is_mail_port(port: u16) -> bool {
    let [smtp, submissions, submission, other] = MAIL_PORTS;
    port == smtp || port == submissions || port == submission || port == other
}

/// What a stream tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamEvent {
    /// Something about mail.
    Mail {
        /// Whose connection.
        tenant: TenantIx,
        /// The tenant's own address.
        local: IpAddr,
        /// The other end.
        peer: IpAddr,
        /// The server's port.
        port: u16,
        /// Whether the tenant is the client: it sends.
        is_client: bool,
        /// What.
        event: MailEvent,
    },
    /// Something about a protected endpoint.
    Call {
        /// Whose connection.
        tenant: TenantIx,
        /// The endpoint's address that was called.
        peer: IpAddr,
        /// Its port.
        port: u16,
        /// Whether it was called over QUIC, rather than TCP.
        #[serde(default)]
        is_quic: bool,
        /// The endpoint's place among those that are protected.
        endpoint: usize,
        /// What.
        call: Call,
    },
    /// A page of a web site was asked for.
    Page {
        /// Who asked.
        tenant: TenantIx,
        /// The site's address.
        peer: IpAddr,
        /// Its port.
        port: u16,
        /// A hash of the path.
        path: u32,
        /// How many requests this one stands for.
        weight: u32,
    },
    /// An attempt began at something that stands on a blocklist. It is no word that was said, but it is known live only, too.
    Listed {
        /// Whose attempt.
        tenant: TenantIx,
        /// At what.
        target: Target,
        /// The list.
        list: Name,
    },
    /// Something about a login.
    Login {
        /// Whose attempt.
        tenant: TenantIx,
        /// The server.
        target: Target,
        /// What it speaks.
        service: Service,
        /// What became of it.
        login: Login,
    },
}

impl StreamEvent {
    /// Whose connection it is about.
    #[must_use]
    pub const fn tenant(&self) -> TenantIx {
        match self {
            Self::Mail { tenant, .. }
            | Self::Call { tenant, .. }
            | Self::Page { tenant, .. }
            | Self::Listed { tenant, .. }
            | Self::Login { tenant, .. } => *tenant,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        match self {
            Self::Mail { peer, .. } | Self::Call { peer, .. } | Self::Page { peer, .. } => *peer,
            Self::Login { target, .. } | Self::Listed { target, .. } => target.address,
        }
    }
}

/// What is spoken in a connection.
#[derive(Debug)]
enum Speech {
    Mail(Box<Smtp>),
    Calls(CallStream),
    Quic(Box<Quic>),
}

/// One connection that is followed.
#[derive(Debug)]
struct Stream {
    /// Its place in the order of beginning.
    number: u64,
    /// Whether the tenant has said something.
    is_proven: bool,
    last: Timestamp,
    /// Whether the tenant is the client.
    is_client: bool,
    client: Order,
    server: Order,
    /// The client's number in an opening that the server has not answered.
    reopening: Option<u32>,
    /// Whether one of them has reset it. It may be that the other has not heard of that.
    is_reset: bool,
    speech: Speech,
}

/// The connections that are followed.
#[derive(Debug)]
pub struct Streams {
    streams: HashMap<FlowKey, Box<Stream>, FixedState>,
    /// Tenant by tenant, in the order in which they would be given up: the unproven first, and the older first.
    order: BTreeMap<(TenantIx, bool, u64), FlowKey>,
    /// The unproven, in the order of beginning.
    unproven: BTreeMap<u64, FlowKey>,
    counts: Vec<usize>,
    begun: u64,
    evictions: u64,
    /// Connections that found no room.
    passed_over: u64,
    own: Vec<Arc<OwnDomains>>,
    sites: Sites,
    /// By tenant: the second at hand, and how many first packets of QUIC were opened in it.
    work: Vec<(u64, u16)>,
    logins: Logins,
    /// Whose senders are: these are the connections of a mail server that is shared, and nothing else is read of them.
    senders: Option<Arc<Senders>>,
}

impl Streams {
    /// The most connections that are followed.
    pub const CAPACITY: usize = 16_384;
    /// The most bytes that one of them takes.
    pub const BYTES_EACH: usize =
        size_of::<Stream>() + 2 * Order::HELD_BYTES + size_of::<Smtp>() + Smtp::HELD_BYTES;

    /// None yet. `seed` spreads the hash; it never shows.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            streams: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: BTreeMap::new(),
            unproven: BTreeMap::new(),
            counts: Vec::new(),
            begun: 0,
            evictions: 0,
            passed_over: 0,
            own: Vec::new(),
            sites: Sites::default(),
            work: Vec::new(),
            logins: Logins::new(seed),
            senders: None,
        }
    }

    /// Says whose senders are: the connections are those of a shared mail server's, and what is said in them is told of the tenant on whose
    /// behalf it is.
    pub fn set_senders(&mut self, senders: Arc<Senders>) {
        self.senders = Some(senders);
    }

    /// Says which mail domains are each tenant's own, by its place.
    pub fn set_tenants(&mut self, own: Vec<Arc<OwnDomains>>) {
        self.counts.resize(own.len().max(self.counts.len()), 0);
        self.logins.set_tenants(own.len());
        self.own = own;
    }

    /// Says which endpoints are protected. Connections to those before are given up; what was in flight there is forgotten by
    /// whoever counts it.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        if self.sites.endpoints() == endpoints {
            return;
        }
        self.sites = Sites::new(endpoints);
        let calls = |stream: &Stream| !matches!(stream.speech, Speech::Mail(_));
        let gone: Vec<FlowKey> = self
            .order
            .values()
            .filter(|key| self.streams.get(*key).is_some_and(|stream| calls(stream)))
            .copied()
            .collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Forgets every connection of a tenant.
    pub fn forget(&mut self, tenant: TenantIx) {
        self.logins.forget(tenant);
        let keys: Vec<FlowKey> =
            self.order.range((tenant, false, 0)..=(tenant, true, u64::MAX)).map(|(_, key)| *key).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// How many are followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len() + self.logins.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were given up, or never begun, for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions + self.passed_over + self.logins.evictions()
    }

    /// Reads a packet of `tenant`'s: one that it sent, or one that reached it. Most are none to be read, and leave at once.
    #[inline]
    pub fn handle(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        ip: &Ip<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let Some((local, remote)) = ends(is_sent, ip) else { return };
        if self.senders.is_none() {
            self.logins.handle(tenant, is_sent, (local, remote), &ip.transport, at, events);
        }
        let is_mail = is_mail_port(remote.1) || is_mail_port(local.1);
        let may_be_at = self.sites.may_be_at(remote.1);
        match &ip.transport {
            Transport::Tcp(tcp) if is_mail || may_be_at => {
                self.segment(tenant, (local, remote), is_mail, (is_sent, tcp, at), events);
            }
            Transport::Udp(udp) if may_be_at => {
                self.datagram(tenant, (local, remote), (is_sent, udp, at), events);
            }
            _ => {}
        }
    }

    /// Reads a segment of TCP.
    #[inline(never)]
    fn segment(
        &mut self,
        tenant: TenantIx,
        (local, remote): (Socket, Socket),
        is_mail: bool,
        (is_sent, tcp, at): (bool, &Tcp<'_>, Timestamp),
        events: &mut Vec<StreamEvent>,
    ) {
        let look = self.sites.look(remote);
        if !is_mail && look == Look::Away {
            return;
        }
        let key = FlowKey::new(tenant, Protocol::Tcp, local, remote);
        let opens = tcp.flags.any(TcpFlags::SYN) && !tcp.flags.any(TcpFlags::ACK);
        let held = self.streams.get_mut(&key);
        match held.map_or(Part::Opening, |stream| stream.part(is_sent, tcp)) {
            Part::Strange => return,
            Part::Own => {}
            Part::Opening if opens || tcp.flags.any(TcpFlags::SYN) => {
                let before = self.end(&key, events);
                let number = match &before {
                    Some(stream) if opens => stream.client.next(),
                    Some(stream) => stream.reopening,
                    None => None,
                };
                if opens || number.is_some() {
                    let (is_client, speech) = self.speech(&key, (local.1, remote.1), look);
                    self.begin(key, is_client, speech, at, events);
                }
                match (number, self.streams.get_mut(&key)) {
                    // Of two openings the server takes one; which, it will say.
                    (Some(_), Some(stream)) if opens => stream.reopening = number,
                    (Some(number), Some(stream)) => stream.client.begin(number),
                    _ => {}
                }
            }
            Part::Opening => {}
        }
        if !self.streams.contains_key(&key) {
            // Met in the middle: a segment with something in it begins it. To whom the connection is cannot be known by name then.
            let is_nameless = matches!(look, Look::Open { is_at: false });
            if tcp.payload_len == 0 || tcp.flags.any(TcpFlags::SYN | TcpFlags::RST) || is_nameless {
                return;
            }
            let (is_client, speech) = self.speech(&key, (local.1, remote.1), look);
            self.begin(key, is_client, speech, at, events);
        }
        if is_sent && tcp.payload_len > 0 {
            self.prove(&key);
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let is_client = stream.is_client;
        let server_port = if is_client { remote.1 } else { local.1 };
        let from_client = is_client == is_sent;
        stream.last = at;
        let site = Site { sites: &self.sites, remote };
        let peer = remote.0;
        let from = events.len();
        stream.read(from_client, tcp, site, |said| {
            events.push(match said {
                Said::Mail(event) => {
                    StreamEvent::Mail { tenant, local: local.0, peer, port: server_port, is_client, event }
                }
                Said::Call(endpoint, call) => {
                    StreamEvent::Call { tenant, peer, port: server_port, is_quic: false, endpoint, call }
                }
            });
        });
        if self.senders.is_some() {
            stream.tell_behalf(events, from);
        }
        let is_reset = tcp.flags.any(TcpFlags::RST);
        stream.is_reset |= is_reset;
        // Of mail, what is said on after a reset shows that nobody heeded it.
        let ends = is_reset && !matches!(stream.speech, Speech::Mail(_));
        if ends || stream.is_over() {
            self.end(&key, events);
        }
    }

    /// Reads a datagram that is QUIC, if anything.
    #[inline(never)]
    fn datagram(
        &mut self,
        tenant: TenantIx,
        (local, remote): (Socket, Socket),
        (is_sent, udp, at): (bool, &Udp<'_>, Timestamp),
        events: &mut Vec<StreamEvent>,
    ) {
        let look = self.sites.look(remote);
        if look == Look::Away {
            return;
        }
        let key = FlowKey::new(tenant, Protocol::Udp, local, remote);
        let said = (udp.payload, udp.payload_len);
        let is_fresh = match self.streams.get(&key).map(|stream| &stream.speech) {
            Some(Speech::Quic(quic)) => is_sent && quic.is_another(said.0, said.1),
            Some(_) => return,
            None => is_sent && quic::opens(said.0, said.1),
        };
        if is_fresh {
            self.end(&key, events);
            self.begin(key, true, Speech::Quic(Box::new(Quic::new(look, said.0))), at, events);
        }
        if !is_sent {
            self.prove(&key);
        }
        let place = key.tenant.0 as usize;
        if self.work.len() <= place {
            self.work.resize(place + 1, (0, 0));
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let Speech::Quic(quic) = &mut stream.speech else { return };
        stream.last = at;
        let work = &mut self.work[place];
        let may_open = || {
            let second = at.as_nanos() / 1_000_000_000;
            *work = if work.0 == second { (second, work.1.saturating_add(1)) } else { (second, 1) };
            work.1 <= quic::WORK_MAX
        };
        let (peer, port) = remote;
        quic.read(is_sent, said, Site { sites: &self.sites, remote }, may_open, &mut |endpoint, call| {
            events.push(StreamEvent::Call { tenant, peer, port, is_quic: true, endpoint, call });
        });
        if quic.is_nobodys() {
            self.remove(&key);
        }
    }

    /// Takes note that both ends of a connection are there.
    fn prove(&mut self, key: &FlowKey) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.is_proven) else { return };
        stream.is_proven = true;
        self.unproven.remove(&stream.number);
        self.order.remove(&(key.tenant, false, stream.number));
        self.order.insert((key.tenant, true, stream.number), *key);
    }

    /// Whether all of a connection is read that a packet of its client's belongs to.
    #[must_use]
    pub fn is_read(&self, ip: &Ip<'_>) -> bool {
        let Transport::Tcp(tcp) = &ip.transport else { return false };
        self.sites.look((ip.destination, tcp.destination_port)) != Look::Away
    }

    /// Gives up what has been idle too long at `now`.
    #[inline(never)]
    pub fn sweep(&mut self, now: Timestamp, events: &mut Vec<StreamEvent>) {
        self.logins.sweep(now, events);
        let is_idle = |key: &&FlowKey| {
            let limit = |stream: &Stream| if stream.is_reset { IDLE_AFTER_RESET } else { IDLE };
            self.streams.get(*key).is_none_or(|stream| now.since(stream.last) >= limit(stream))
        };
        let idle: Vec<FlowKey> = self.order.values().filter(is_idle).copied().collect();
        for key in idle {
            self.end(&key, events);
        }
    }

    /// What is to be read in a connection over TCP, and whether the tenant is its client.
    fn speech(&self, key: &FlowKey, (local_port, remote_port): (u16, u16), look: Look) -> (bool, Speech) {
        if look != Look::Away {
            return (true, Speech::Calls(CallStream::new(look)));
        }
        let is_client = is_mail_port(remote_port);
        let port = if is_client { remote_port } else { local_port };
        let own = self.own.get(key.tenant.0 as usize).cloned().unwrap_or_default();
        let mut smtp = Smtp::new(own, port);
        if let Some(senders) = &self.senders {
            smtp.set_senders(Arc::clone(senders));
        }
        (is_client, Speech::Mail(Box::new(smtp)))
    }

    fn begin(
        &mut self,
        key: FlowKey,
        is_client: bool,
        speech: Speech,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let place = key.tenant.0 as usize;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        let share = (Self::CAPACITY / self.counts.len().max(1)).clamp(LEAST_EACH, MOST_EACH);
        let is_share_full = self.counts[place] >= share;
        if is_share_full || self.streams.len() >= Self::CAPACITY {
            let of_tenant = self.order.range((key.tenant, false, 0)..).next();
            let of_all = self.unproven.first_key_value().map(|(_, key)| *key);
            let Some(gone) = (if is_share_full { of_tenant.map(|(_, key)| *key) } else { of_all }) else {
                self.passed_over += 1;
                return;
            };
            self.end(&gone, events);
            self.evictions += 1;
        }
        let number = self.begun;
        self.begun += 1;
        let (client, server) = match speech {
            Speech::Mail(_) => (Order::default().compare(), Order::default()),
            Speech::Calls(_) | Speech::Quic(_) => Default::default(),
        };
        let stream = Stream {
            number,
            is_proven: false,
            last: at,
            is_client,
            client,
            server,
            reopening: None,
            is_reset: false,
            speech,
        };
        self.streams.insert(key, Box::new(stream));
        self.order.insert((key.tenant, false, number), key);
        self.unproven.insert(number, key);
        self.counts[place] += 1;
    }

    /// Ends a connection; what was in flight in it is in flight no more.
    fn end(&mut self, key: &FlowKey, events: &mut Vec<StreamEvent>) -> Option<Box<Stream>> {
        let mut stream = self.remove(key)?;
        let target = key.target();
        let port = target.port.unwrap_or_default();
        let (tenant, peer) = (key.tenant, target.address);
        let tell =
            |is_quic| move |endpoint, call| StreamEvent::Call { tenant, peer, port, is_quic, endpoint, call };
        match &mut stream.speech {
            Speech::Calls(calls) => calls.ended(|endpoint, call| events.push(tell(false)(endpoint, call))),
            Speech::Quic(quic) => quic.ended(|endpoint, call| events.push(tell(true)(endpoint, call))),
            Speech::Mail(smtp) => {
                // What is sealed in a shared server's connections is nobody's to be told of.
                if let Some(event) = smtp.ended().filter(|_| self.senders.is_none()) {
                    let (is_client, (local, local_port)) = (stream.is_client, key.local());
                    events.push(StreamEvent::Mail {
                        tenant: key.tenant,
                        local,
                        peer: target.address,
                        port: if is_client { port } else { local_port },
                        is_client,
                        event,
                    });
                }
            }
        }
        Some(stream)
    }

    fn remove(&mut self, key: &FlowKey) -> Option<Box<Stream>> {
        let stream = self.streams.remove(key)?;
        self.order.remove(&(key.tenant, stream.is_proven, stream.number));
        self.unproven.remove(&stream.number);
        self.counts[key.tenant.0 as usize] -= 1;
        Some(stream)
    }
}

/// An address and a port.
type Socket = (IpAddr, u16);

/// The tenant's end of a packet and the other, of those protocols that are read.
#[inline]
fn ends(is_sent: bool, ip: &Ip<'_>) -> Option<(Socket, Socket)> {
    let (source, destination) = match &ip.transport {
        Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
        Transport::Udp(udp) => (udp.source_port, udp.destination_port),
        _ => return None,
    };
    let (from, to) = ((ip.source, source), (ip.destination, destination));
    Some(if is_sent { (from, to) } else { (to, from) })
}

/// What the reader of a connection says.
enum Said {
    Mail(MailEvent),
    Call(usize, Call),
}

/// What a segment is to a connection that is followed.
enum Part {
    /// A part of it.
    Own,
    /// Nothing that either end would take.
    Strange,
    /// The beginning of another, or there is none.
    Opening,
}

impl Stream {
    /// What a segment is to this connection.
    fn part(&mut self, is_sent: bool, tcp: &Tcp<'_>) -> Part {
        let from_client = self.is_client == is_sent;
        let is_open = self.is_proven || self.server.is_begun();
        if tcp.flags.any(TcpFlags::SYN) {
            if self.is_first(is_sent, tcp) {
                return Part::Own;
            }
            if from_client && !tcp.flags.any(TcpFlags::ACK) {
                if !is_open {
                    return Part::Opening;
                }
                // A server takes it for another connection only if it thinks that this one is over (RFC 5961, section 4).
                self.reopening = Some(tcp.sequence.wrapping_add(1));
                return Part::Strange;
            }
            return match self.reopening {
                _ if from_client => Part::Strange,
                Some(number) if tcp.acknowledgment == number && is_open => Part::Opening,
                Some(number) if tcp.acknowledgment == number => {
                    self.client.begin(number);
                    Part::Own
                }
                _ if is_open => Part::Strange,
                _ => Part::Own,
            };
        }
        let side = if from_client { &self.client } else { &self.server };
        let fits = if tcp.flags.any(TcpFlags::RST) && matches!(self.speech, Speech::Mail(_)) {
            side.ends_at(tcp.sequence)
        } else {
            side.fits(tcp)
        };
        let answers = from_client || self.client.may_be_acknowledged(tcp);
        if fits && answers { Part::Own } else { Part::Strange }
    }

    /// Whether a SYN is the one that began this connection, sent again.
    fn is_first(&self, is_sent: bool, tcp: &Tcp<'_>) -> bool {
        let from_client = self.is_client == is_sent;
        let side = if from_client { &self.client } else { &self.server };
        side.is_at(tcp.sequence.wrapping_add(1))
    }

    /// Makes what was told from a place on that of the tenant on whose behalf it was said; what is nobody's is let go.
    fn tell_behalf(&self, events: &mut Vec<StreamEvent>, from: usize) {
        let behalf = match &self.speech {
            Speech::Mail(smtp) => smtp.behalf(),
            Speech::Calls(_) | Speech::Quic(_) => None,
        };
        let told = events.split_off(from);
        let Some(whose) = behalf else { return };
        events.extend(told.into_iter().map(|mut event| {
            if let StreamEvent::Mail { tenant, .. } = &mut event {
                *tenant = whose;
            }
            event
        }));
    }

    fn is_over(&self) -> bool {
        let is_nobodys = matches!(&self.speech, Speech::Calls(calls) if calls.is_nobodys());
        is_nobodys || (self.client.is_closed() && self.server.is_closed())
    }

    fn read(&mut self, from_client: bool, tcp: &Tcp<'_>, site: Site<'_>, mut say: impl FnMut(Said)) {
        let Self { client, server, speech, .. } = self;
        let other_is_over = if from_client { server.is_ending() } else { client.is_ending() };
        let (side, other) = if from_client { (client, server) } else { (server, client) };
        other.acknowledge(tcp);
        match speech {
            Speech::Mail(smtp) => {
                let is_open = side.is_begun() && !from_client && !other_is_over;
                side.set_at_ease(smtp.is_in_content());
                side.take(tcp, |piece| smtp.read(from_client, piece, &mut |event| say(Said::Mail(event))));
                if side.differs() {
                    smtp.doubt();
                }
                if is_open && tcp.flags.any(TcpFlags::FIN | TcpFlags::RST) {
                    smtp.cut_off(&mut |event| say(Said::Mail(event)));
                }
            }
            Speech::Calls(calls) => {
                let mut say = |endpoint, call| say(Said::Call(endpoint, call));
                if tcp.flags.all(TcpFlags::SYN | TcpFlags::ACK) && !from_client {
                    calls.opened(&mut say);
                }
                side.take(tcp, |piece| calls.read(from_client, piece, site, &mut say));
            }
            Speech::Quic(_) => {}
        }
    }
}
