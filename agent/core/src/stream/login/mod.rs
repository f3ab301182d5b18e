//! Logins: what a server made of a tenant's attempts to say who it is.
//!
//! Which connections are read is decided by what is said in them, and the port is a hint only where nothing else tells: a
//! server's greeting ([`recognise::greeting`]) or a client's first words ([`recognise::request`]); some answers tell all by themselves
//! ([`verdict`]). Only connections in which the tenant is the client are followed; who tries to log in *at* a tenant is not its
//! doing. Each protocol is a small machine in a file of its own; it tells [`Login`]s, and is over when somebody logged in.
//!
//! **Privacy.** What a client shows becomes 16 bits of a hash when its line is read: enough to tell the same from another,
//! and too little to tell what it was. No text outlives the line that it stands in.
//!
//! **Bounds.** At most [`Logins::CAPACITY`] connections, of each tenant its share of that, at least [`LEAST_EACH`]; who has more gives
//! up the one that began first. Each takes at most [`Logins::BYTES_EACH`]. A packet of a connection that is not followed costs a look at its port
//! and at its first four bytes.
//!
//! **Whom it believes.** What a server says counts only in a connection in which the tenant has asked it, and there only where its numbers
//! fit ([`super::order`]); for datagrams, one answer for each request. Anybody can send a tenant the words of a server, and a tenant that
//! guesses can send packets that reach nobody.
//!
//! Left out: what is encrypted, but for SSH, whose messages' lengths tell ([`ssh`]), and short sessions in TLS ([`sealed`]).

mod credential;
mod form;
mod ftp;
mod greeted;
mod http;
mod imap;
mod lines;
mod mysql;
mod pop3;
mod postgres;
mod recognise;
mod redis;
mod sealed;
mod sip;
mod smtp;
mod socks;
mod speech;
mod ssh;
mod telnet;
#[cfg(test)]
mod tests;
mod verdict;
mod vnc;

use std::collections::BTreeMap;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use reeve_policy::{Protocol, Timestamp};
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::{Socket, StreamEvent};
use crate::flow::table::FlowKey;
use crate::packet::{Tcp, TcpFlags, Transport, Udp};
use crate::topology::TenantIx;
use speech::{End, Next, Speech};

/// The fewest connections that are followed of a tenant, and the most.
pub const LEAST_EACH: usize = 32;
/// See [`LEAST_EACH`]. Guessing tools open up to 64 at a time.
pub const MOST_EACH: usize = 512;
/// A connection that says nothing for this long is given up: servers give a client two minutes to log in (OpenSSH).
const IDLE: Duration = Duration::from_secs(180);
/// One that was reset, and in which nothing was said any more, for this long.
const IDLE_AFTER_RESET: Duration = Duration::from_secs(5);

/// What a client showed to be let in, as far as it must be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// Some bits of its hash.
    Known(u16),
    /// It was hidden: encrypted, or the answer to a challenge.
    Hidden,
    /// It was hidden, and it is probably the same each time: a key, or the login of a program that has a database of its own.
    Kept,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// It was refused.
    Refused(Credential),
    /// It was accepted.
    Accepted,
    /// It was refused in one of several parts of a server.
    RefusedIn(Credential, u16),
    /// It was accepted in one of several parts of a server.
    AcceptedIn(u16),
    /// Something was refused that may have been a login, and has not the form of one.
    TurnedAway(Credential),
    /// A short session went by in TLS, of this shape.
    Sealed(u16),
}

/// What is logged in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// File transfer.
    Ftp,
    /// Submission of mail.
    Smtp,
    /// A mailbox.
    Pop3,
    /// A mailbox.
    Imap,
    /// A web server, or what is reached by way of one.
    Http,
    /// A terminal.
    Telnet,
    /// A terminal and more.
    Ssh,
    /// A database.
    Mysql,
    /// A database.
    Postgres,
    /// A database.
    Mssql,
    /// A database.
    Mongodb,
    /// A database.
    Redis,
    /// A directory.
    Ldap,
    /// A directory.
    Kerberos,
    /// Shared files.
    Smb,
    /// A screen.
    Vnc,
    /// A screen.
    Rdp,
    /// A proxy.
    Socks,
    /// Telephony.
    Sip,
    /// Something in TLS.
    Tls,
}

impl Service {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Imap => "imap",
            Self::Http => "http",
            Self::Telnet => "telnet",
            Self::Ssh => "ssh",
            Self::Mysql => "mysql",
            Self::Postgres => "postgres",
            Self::Mssql => "mssql",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
            Self::Ldap => "ldap",
            Self::Kerberos => "kerberos",
            Self::Smb => "smb",
            Self::Vnc => "vnc",
            Self::Rdp => "rdp",
            Self::Socks => "socks",
            Self::Sip => "sip",
            Self::Tls => "tls",
        }
    }
}

/// One connection that is followed.
#[derive(Debug)]
struct Session {
    /// Its place in the order of beginning.
    number: u64,
    opened: Timestamp,
    last: Timestamp,
    client: Order,
    server: Order,
    /// Whether the server said first that it is over.
    is_server_first: Option<bool>,
    /// The client's number in an opening that the server has not answered.
    reopening: Option<u32>,
    /// Whether one of them has reset it. It may be that the other has not heard of that.
    is_reset: bool,
    speech: Speech,
}

/// The connections that are followed.
#[derive(Debug)]
pub(super) struct Logins {
    sessions: HashMap<FlowKey, Box<Session>, FixedState>,
    /// Tenant by tenant, the older first.
    order: BTreeMap<(TenantIx, u64), FlowKey>,
    counts: Vec<usize>,
    /// How many go to each port, so that most packets need no look at `sessions`. Empty before the first.
    followed: Vec<u16>,
    begun: u64,
    evictions: u64,
}

impl Logins {
    /// The most connections that are followed.
    pub const CAPACITY: usize = 8_192;
    /// The most bytes that one of them takes.
    pub const BYTES_EACH: usize = size_of::<Session>() + 2 * Order::HELD_BYTES + Speech::HELD_BYTES;

    /// None yet. `seed` spreads the hash; it never shows.
    pub fn new(seed: u64) -> Self {
        Self {
            sessions: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: BTreeMap::new(),
            counts: Vec::new(),
            followed: Vec::new(),
            begun: 0,
            evictions: 0,
        }
    }

    /// Makes room for so many tenants.
    pub fn set_tenants(&mut self, tenants: usize) {
        self.counts.resize(tenants.max(self.counts.len()), 0);
    }

    /// Forgets every connection of a tenant.
    pub fn forget(&mut self, tenant: TenantIx) {
        let keys: Vec<FlowKey> =
            self.order.range((tenant, 0)..=(tenant, u64::MAX)).map(|(_, key)| *key).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// How many are followed.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// How many were given up, or never begun, for want of room.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Reads a packet of `tenant`'s: one that it sent, or one that reached it. Most are not worth it: they neither begin
    /// something nor go on with it.
    #[inline]
    pub fn handle(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        (local, remote): (Socket, Socket),
        transport: &Transport<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let port = remote.1;
        match transport {
            Transport::Tcp(tcp) if may_begin(tcp) || self.follows(port) => {
                self.segment(tenant, is_sent, (local, remote), tcp, at, events);
            }
            Transport::Udp(udp) if may_be_read(port, udp) => {
                self.datagram(tenant, is_sent, (local, remote), udp, at, events);
            }
            _ => {}
        }
    }

    /// Whether anything is followed that goes to a port.
    #[inline]
    fn follows(&self, port: u16) -> bool {
        self.followed.get(usize::from(port)).is_some_and(|followed| *followed > 0)
    }

    /// Gives up what has been idle too long at `now`.
    pub fn sweep(&mut self, now: Timestamp, events: &mut Vec<StreamEvent>) {
        let is_idle = |key: &&FlowKey| {
            let limit = |session: &Session| if session.is_reset { IDLE_AFTER_RESET } else { IDLE };
            self.sessions.get(*key).is_none_or(|session| now.since(session.last) >= limit(session))
        };
        let idle: Vec<FlowKey> = self.order.values().filter(is_idle).copied().collect();
        for key in idle {
            self.end(&key, events);
        }
    }

    #[inline(never)]
    fn segment(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        (local, remote): (Socket, Socket),
        tcp: &Tcp<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let (local_port, port) = (local.1, remote.1);
        let key = || FlowKey::new(tenant, Protocol::Tcp, local, remote);
        if self.follows(port) {
            let key = key();
            if self.sessions.contains_key(&key) {
                return self.go_on(&key, is_sent, tcp, at, events);
            }
        }
        if !may_begin(tcp) {
            return;
        }
        let speech = if is_sent {
            recognise::request(port, tcp.payload, tcp.payload_len)
        } else {
            recognise::greeting((local_port, port), tcp.payload, tcp.payload_len)
        };
        let Some(speech) = speech else { return };
        let key = key();
        if !self.begin(key, port, speech, at, events) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            let next = session.read(is_sent, tcp, at, |service, login| {
                events.push(event(&key, service, login));
            });
            if next == Next::Done {
                self.remove(&key);
            }
        }
    }

    /// Reads a segment of a connection that is followed.
    fn go_on(
        &mut self,
        key: &FlowKey,
        is_sent: bool,
        tcp: &Tcp<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match session.part(is_sent, tcp) {
            Part::Own => {}
            Part::Strange => return,
            Part::Opening => return self.end(key, events),
        }
        let next = session.read(is_sent, tcp, at, |service, login| {
            events.push(event(key, service, login));
        });
        if next == Next::Done {
            self.remove(key);
        } else if session.is_over() {
            self.end(key, events);
        } else if tcp.flags.any(TcpFlags::RST) {
            // Where its end tells something, that is told; else it may be that nobody heeded the reset, and more will be said.
            let told = events.len();
            session.speech.ended(&session.ended(), |service, login| events.push(event(key, service, login)));
            if events.len() > told {
                self.remove(key);
            }
        }
    }

    #[inline(never)]
    fn datagram(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        (local, remote): (Socket, Socket),
        udp: &Udp<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let peer_port = remote.1;
        let speech = if is_sent && sip::is_register(udp.payload) {
            Some(Speech::sip())
        } else if is_sent && verdict::asks_by_datagram(peer_port, udp.payload) {
            Some(Speech::asked(peer_port))
        } else if !is_sent && (sip::is_answer(udp.payload) || verdict::answers_by_datagram(peer_port)) {
            None
        } else {
            return;
        };
        let key = FlowKey::new(tenant, Protocol::Udp, local, remote);
        if let Some(speech) = speech
            && !self.sessions.contains_key(&key)
        {
            self.begin(key, peer_port, speech, at, events);
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.last = at;
        match &mut session.speech {
            Speech::Sip(sip) => {
                if let Some(login) = sip.read(is_sent, udp.payload) {
                    events.push(event(&key, Service::Sip, login));
                }
            }
            Speech::Asked(asked) => {
                if let Some((service, login)) = asked.datagram(is_sent, udp.payload) {
                    events.push(event(&key, service, login));
                }
                if asked.is_answered() {
                    self.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// Begins to follow; whether there was room.
    fn begin(
        &mut self,
        key: FlowKey,
        port: u16,
        speech: Speech,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) -> bool {
        let place = key.tenant.0 as usize;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        let share = (Self::CAPACITY / self.counts.len().max(1)).clamp(LEAST_EACH, MOST_EACH);
        if self.counts[place] >= share || self.sessions.len() >= Self::CAPACITY {
            self.evictions += 1;
            let oldest = self.order.range((key.tenant, 0)..=(key.tenant, u64::MAX)).next();
            let Some(oldest) = oldest.map(|(_, key)| *key) else { return false };
            self.end(&oldest, events);
        }
        if self.followed.is_empty() {
            self.followed = vec![0; 1 << 16];
        }
        let number = self.begun;
        self.begun += 1;
        let session = Session {
            number,
            opened: at,
            last: at,
            client: Order::default(),
            server: Order::default(),
            is_server_first: None,
            reopening: None,
            is_reset: false,
            speech,
        };
        self.sessions.insert(key, Box::new(session));
        self.order.insert((key.tenant, number), key);
        self.counts[place] += 1;
        self.followed[usize::from(port)] += 1;
        true
    }

    /// Ends a connection, and tells what its end tells.
    fn end(&mut self, key: &FlowKey, events: &mut Vec<StreamEvent>) {
        let Some(session) = self.remove(key) else { return };
        session.speech.ended(&session.ended(), |service, login| events.push(event(key, service, login)));
    }

    fn remove(&mut self, key: &FlowKey) -> Option<Box<Session>> {
        let session = self.sessions.remove(key)?;
        self.order.remove(&(key.tenant, session.number));
        self.counts[key.tenant.0 as usize] -= 1;
        let port = key.target().port.unwrap_or_default();
        self.followed[usize::from(port)] -= 1;
        Some(session)
    }
}

/// Whether something may begin with a segment.
#[inline]
fn may_begin(tcp: &Tcp<'_>) -> bool {
    tcp.payload.len() >= recognise::SHORTEST && !tcp.flags.any(TcpFlags::SYN | TcpFlags::RST)
}

/// Whether a datagram may be worth reading: by its first letter, or its port. `port` is the other end's.
#[inline]
fn may_be_read(port: u16, udp: &Udp<'_>) -> bool {
    matches!(udp.payload.first(), Some(b'R' | b'S'))
        || (verdict::answers_by_datagram(port) && !udp.payload.is_empty())
}

/// What a segment is to a connection that is followed.
enum Part {
    /// A part of it.
    Own,
    /// Nothing that either end would take.
    Strange,
    /// The server's yes to another.
    Opening,
}

impl Session {
    /// How it has ended, if it has.
    fn ended(&self) -> End {
        End { lasted: self.last.since(self.opened), is_server_first: self.is_server_first == Some(true) }
    }

    /// What a segment is to this connection.
    fn part(&mut self, from_client: bool, tcp: &Tcp<'_>) -> Part {
        if tcp.flags.any(TcpFlags::SYN) {
            let is_answer = tcp.flags.any(TcpFlags::ACK);
            if from_client && !is_answer {
                // A server takes it for another connection only if it thinks that this one is over (RFC 5961, section 4).
                self.reopening = Some(tcp.sequence.wrapping_add(1));
            } else if !from_client && self.reopening == Some(tcp.acknowledgment) {
                return Part::Opening;
            }
            return Part::Strange;
        }
        let side = if from_client { &self.client } else { &self.server };
        let fits = if tcp.flags.any(TcpFlags::RST) { side.ends_at(tcp.sequence) } else { side.fits(tcp) };
        let answers = from_client || self.client.may_be_acknowledged(tcp);
        if fits && answers { Part::Own } else { Part::Strange }
    }

    /// Reads a segment; whether it is worth while to go on.
    fn read(
        &mut self,
        from_client: bool,
        tcp: &Tcp<'_>,
        at: Timestamp,
        mut say: impl FnMut(Service, Login),
    ) -> Next {
        self.last = at;
        if tcp.payload_len > 0 && std::mem::take(&mut self.is_reset) {
            self.is_server_first = None;
        }
        if tcp.flags.any(TcpFlags::FIN | TcpFlags::RST) {
            self.is_server_first.get_or_insert(!from_client);
        }
        self.is_reset |= tcp.flags.any(TcpFlags::RST);
        let Self { client, server, speech, .. } = self;
        let (side, other) = if from_client { (client, server) } else { (server, client) };
        other.acknowledge(tcp);
        let mut next = Next::GoOn;
        side.take(tcp, |piece| {
            if next == Next::GoOn {
                next = speech.read(from_client, piece, &mut say);
            }
        });
        next
    }

    fn is_over(&self) -> bool {
        self.client.is_closed() && self.server.is_closed()
    }
}

fn event(key: &FlowKey, service: Service, login: Login) -> StreamEvent {
    let target = key.target();
    StreamEvent::Login { tenant: key.tenant, target, service, login }
}

// Whoever begins many connections finds them bounded by this many bytes.
const _: () = assert!(Logins::BYTES_EACH <= 32 * 1024);
