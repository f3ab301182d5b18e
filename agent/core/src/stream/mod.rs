//! Streams: what is said in the connections that speak mail, or go to a protected endpoint.
//!
//! Everything else in Reeve gets by with headers. Whether a tenant sends mail in bulk, passes on mail of others, or calls a service
//! too often cannot be told without reading a protocol's commands, so for these few connections, and no others, payload is
//! put in order ([`order`]) and read ([`smtp`], [`calls`]). What is read becomes numbers at once: recipients are kept as
//! hashes, and no text outlives the line that it stands in.
//!
//! **Bounds.** At most [`Streams::CAPACITY`] connections, and of each tenant its share of that, between [`LEAST_EACH`] and
//! [`MOST_EACH`]; a tenant that has more gives up its own oldest. Those in which the tenant has said nothing yet go first, so that strangers
//! who only knock do not push out what is being said. Each takes at most [`Streams::BYTES_EACH`] bytes, most of that only
//! while segments are out of order.
//!
//! Left out: reassembly that is proof against an adversary who overlaps segments with different bytes. Whoever confuses this
//! reader may hide commands, not connections: those are counted by the flow stage.

pub mod calls;
mod order;
mod sealed;
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
use reeve_policy::Timestamp;
use reeve_policy::language::thresholds::Endpoint;
use serde::{Deserialize, Serialize};

use crate::flow::table::FlowKey;
use crate::packet::{Ip, Tcp, TcpFlags, Transport};
use crate::topology::TenantIx;
use calls::{Call, CallStream};
use order::Order;
use smtp::{MailEvent, OwnDomains, Smtp};

/// The fewest connections that are followed of a tenant, and the most.
pub const LEAST_EACH: usize = 64;
/// See [`LEAST_EACH`].
pub const MOST_EACH: usize = 1_024;
/// A connection that says nothing for this long is given up (RFC 5321, section 4.5.3.2: ten minutes is the longest wait).
const IDLE: Duration = Duration::from_secs(600);

/// TCP ports on which servers take mail: from other servers, and from their users with TLS from the start or without (IANA;
/// RFC 8314), and the one that is used where 25 is closed.
pub const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];

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
        /// The endpoint's place among those that are protected.
        endpoint: usize,
        /// What.
        call: Call,
    },
}

/// What is spoken in a connection.
#[derive(Debug)]
enum Speech {
    Mail(Box<Smtp>),
    Calls { endpoint: usize, calls: CallStream },
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
    endpoints: Vec<Endpoint>,
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
            endpoints: Vec::new(),
        }
    }

    /// Says which mail domains are each tenant's own, by its place.
    pub fn set_tenants(&mut self, own: Vec<Arc<OwnDomains>>) {
        self.counts.resize(own.len().max(self.counts.len()), 0);
        self.own = own;
    }

    /// Says which endpoints are protected. Connections to those before are given up; what was in flight there is forgotten by
    /// whoever counts it.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        if self.endpoints == endpoints {
            return;
        }
        self.endpoints = endpoints.to_vec();
        let calls = |stream: &Stream| matches!(stream.speech, Speech::Calls { .. });
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
        let keys: Vec<FlowKey> =
            self.order.range((tenant, false, 0)..=(tenant, true, u64::MAX)).map(|(_, key)| *key).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// How many are followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many were given up, or never begun, for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions + self.passed_over
    }

    /// Reads a packet of `tenant`'s: one that it sent, or one that reached it.
    pub fn handle(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        ip: &Ip<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let Transport::Tcp(tcp) = &ip.transport else { return };
        let (local, remote) = if is_sent {
            ((ip.source, tcp.source_port), (ip.destination, tcp.destination_port))
        } else {
            ((ip.destination, tcp.destination_port), (ip.source, tcp.source_port))
        };
        let is_mail = MAIL_PORTS.contains(&remote.1) || MAIL_PORTS.contains(&local.1);
        let endpoint = self.endpoints.iter().position(|endpoint| endpoint.is_at(remote.0, remote.1));
        if !is_mail && endpoint.is_none() {
            return;
        }
        let key = FlowKey::new(tenant, ip.protocol, local, remote);
        let opens = tcp.flags.any(TcpFlags::SYN) && !tcp.flags.any(TcpFlags::ACK);
        if opens {
            let is_known = self.streams.get(&key).is_some_and(|stream| stream.is_first(is_sent, tcp));
            if !is_known {
                self.end(&key, events);
                self.begin(key, (local.1, remote.1), endpoint, at, events);
            }
        }
        if !self.streams.contains_key(&key) {
            // Met in the middle: a segment with something in it begins it.
            if tcp.payload_len == 0 || tcp.flags.any(TcpFlags::SYN | TcpFlags::RST) {
                return;
            }
            self.begin(key, (local.1, remote.1), endpoint, at, events);
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if !stream.is_proven && is_sent && tcp.payload_len > 0 {
            stream.is_proven = true;
            self.unproven.remove(&stream.number);
            self.order.remove(&(tenant, false, stream.number));
            self.order.insert((tenant, true, stream.number), key);
        }
        let is_client = stream.is_client;
        let server_port = if is_client { remote.1 } else { local.1 };
        let from_client = is_client == is_sent;
        stream.last = at;
        stream.read(from_client, tcp, |said| {
            events.push(match said {
                Said::Mail(event) => StreamEvent::Mail {
                    tenant,
                    local: local.0,
                    peer: remote.0,
                    port: server_port,
                    is_client,
                    event,
                },
                Said::Call(endpoint, call) => {
                    StreamEvent::Call { tenant, peer: remote.0, port: server_port, endpoint, call }
                }
            });
        });
        if tcp.flags.any(TcpFlags::RST) || stream.is_over() {
            self.end(&key, events);
        }
    }

    /// Gives up what has been idle too long at `now`.
    pub fn sweep(&mut self, now: Timestamp, events: &mut Vec<StreamEvent>) {
        let is_idle =
            |key: &&FlowKey| self.streams.get(*key).is_none_or(|stream| now.since(stream.last) >= IDLE);
        let idle: Vec<FlowKey> = self.order.values().filter(is_idle).copied().collect();
        for key in idle {
            self.end(&key, events);
        }
    }

    fn begin(
        &mut self,
        key: FlowKey,
        ports: (u16, u16),
        endpoint: Option<usize>,
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
        let (local_port, remote_port) = ports;
        let (is_client, speech) = match endpoint {
            Some(endpoint) => (true, Speech::Calls { endpoint, calls: CallStream::default() }),
            None => {
                let is_client = MAIL_PORTS.contains(&remote_port);
                let port = if is_client { remote_port } else { local_port };
                let own = self.own.get(place).cloned().unwrap_or_default();
                (is_client, Speech::Mail(Box::new(Smtp::new(own, port))))
            }
        };
        let number = self.begun;
        self.begun += 1;
        let (client, server) = (Order::default(), Order::default());
        self.streams.insert(
            key,
            Box::new(Stream { number, is_proven: false, last: at, is_client, client, server, speech }),
        );
        self.order.insert((key.tenant, false, number), key);
        self.unproven.insert(number, key);
        self.counts[place] += 1;
    }

    /// Ends a connection; what was in flight in it is in flight no more.
    fn end(&mut self, key: &FlowKey, events: &mut Vec<StreamEvent>) {
        let Some(mut stream) = self.remove(key) else { return };
        let target = key.target();
        let port = target.port.unwrap_or_default();
        match &mut stream.speech {
            Speech::Calls { endpoint, calls } => {
                if let Some(call) = calls.ended() {
                    let (tenant, endpoint) = (key.tenant, *endpoint);
                    events.push(StreamEvent::Call { tenant, peer: target.address, port, endpoint, call });
                }
            }
            Speech::Mail(smtp) => {
                if let Some(event) = smtp.ended() {
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
    }

    fn remove(&mut self, key: &FlowKey) -> Option<Box<Stream>> {
        let stream = self.streams.remove(key)?;
        self.order.remove(&(key.tenant, stream.is_proven, stream.number));
        self.unproven.remove(&stream.number);
        self.counts[key.tenant.0 as usize] -= 1;
        Some(stream)
    }
}

/// What the reader of a connection says.
enum Said {
    Mail(MailEvent),
    Call(usize, Call),
}

impl Stream {
    /// Whether a SYN is the one that began this connection, sent again.
    fn is_first(&self, is_sent: bool, tcp: &Tcp<'_>) -> bool {
        let from_client = self.is_client == is_sent;
        let side = if from_client { &self.client } else { &self.server };
        side.is_at(tcp.sequence.wrapping_add(1))
    }

    fn is_over(&self) -> bool {
        self.client.is_closed() && self.server.is_closed()
    }

    fn read(&mut self, from_client: bool, tcp: &Tcp<'_>, mut say: impl FnMut(Said)) {
        let Self { client, server, speech, .. } = self;
        let other_is_over = if from_client { server.is_ending() } else { client.is_ending() };
        let side = if from_client { client } else { server };
        match speech {
            Speech::Mail(smtp) => {
                let is_open = side.is_begun() && !from_client && !other_is_over;
                side.take(tcp, |piece| smtp.read(from_client, piece, &mut |event| say(Said::Mail(event))));
                if is_open && tcp.flags.any(TcpFlags::FIN | TcpFlags::RST) {
                    smtp.cut_off(&mut |event| say(Said::Mail(event)));
                }
            }
            Speech::Calls { endpoint, calls } => {
                let endpoint = *endpoint;
                if tcp.flags.all(TcpFlags::SYN | TcpFlags::ACK) && !from_client {
                    calls.opened(&mut |call| say(Said::Call(endpoint, call)));
                }
                side.take(tcp, |piece| {
                    calls.read(from_client, piece, &mut |call| say(Said::Call(endpoint, call)));
                });
            }
        }
    }
}
