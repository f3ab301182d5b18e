//! Logins: what a server made of a tenant's attempts to say who it is.
//!
//! Which connections are read is decided by what is said in them, and the port is a hint only where nothing else tells: a
//! server's greeting ([`recognise::greeting`]), a client's first words ([`recognise::request`]), or an answer that tells all by itself
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
//! Left out: what is encrypted, but for SSH, whose messages' lengths tell ([`ssh`]), and short sessions in TLS ([`sealed`]).

mod credential;
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

use super::StreamEvent;
use super::order::Order;
use crate::flow::table::FlowKey;
use crate::packet::{Ip, Tcp, TcpFlags, Transport, Udp};
use crate::topology::TenantIx;
use speech::{End, Next, Speech};

/// The fewest connections that are followed of a tenant, and the most.
pub const LEAST_EACH: usize = 32;
/// See [`LEAST_EACH`]. Guessing tools open up to 64 at a time.
pub const MOST_EACH: usize = 512;
/// A connection that says nothing for this long is given up: servers give a client two minutes to log in (OpenSSH).
const IDLE: Duration = Duration::from_secs(180);

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
    /// The last answer that told all by itself, so that it counts once when it is sent again.
    told: Option<(FlowKey, u32)>,
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
            told: None,
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

    /// Reads a packet of `tenant`'s: one that it sent, or one that reached it.
    pub fn handle(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        ip: &Ip<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        match &ip.transport {
            Transport::Tcp(tcp) => self.segment(tenant, is_sent, ip, tcp, at, events),
            Transport::Udp(udp) if !udp.payload.is_empty() => {
                self.datagram(tenant, is_sent, ip, udp, at, events);
            }
            _ => {}
        }
    }

    /// Gives up what has been idle too long at `now`.
    pub fn sweep(&mut self, now: Timestamp, events: &mut Vec<StreamEvent>) {
        let is_idle =
            |key: &&FlowKey| self.sessions.get(*key).is_none_or(|session| now.since(session.last) >= IDLE);
        let idle: Vec<FlowKey> = self.order.values().filter(is_idle).copied().collect();
        for key in idle {
            self.end(&key, events);
        }
    }

    fn segment(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        ip: &Ip<'_>,
        tcp: &Tcp<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let (local_port, port) = if is_sent {
            (tcp.source_port, tcp.destination_port)
        } else {
            (tcp.destination_port, tcp.source_port)
        };
        let key = || {
            let (local, remote) =
                if is_sent { (ip.source, ip.destination) } else { (ip.destination, ip.source) };
            FlowKey::new(tenant, Protocol::Tcp, (local, local_port), (remote, port))
        };
        if self.followed.get(usize::from(port)).is_some_and(|followed| *followed > 0) {
            let key = key();
            if tcp.flags.any(TcpFlags::SYN) {
                // Sent again it would begin with the same number; nobody has said anything by then.
                self.end(&key, events);
                return;
            }
            if let Some(session) = self.sessions.get_mut(&key) {
                let next = session.read(is_sent, tcp, at, |service, login| {
                    events.push(event(&key, service, login));
                });
                if next == Next::Done {
                    self.remove(&key);
                } else if tcp.flags.any(TcpFlags::RST) || session.is_over() {
                    self.end(&key, events);
                }
                return;
            }
        }
        if tcp.payload.len() < recognise::SHORTEST || tcp.flags.any(TcpFlags::SYN | TcpFlags::RST) {
            return;
        }
        let speech = if is_sent {
            recognise::request(port, tcp.payload, tcp.payload_len)
        } else if let Some((service, login)) = verdict::of(port, tcp.payload) {
            let this = (key(), tcp.sequence);
            if self.told.replace(this) != Some(this) {
                events.push(event(&this.0, service, login));
            }
            return;
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

    fn datagram(
        &mut self,
        tenant: TenantIx,
        is_sent: bool,
        ip: &Ip<'_>,
        udp: &Udp<'_>,
        at: Timestamp,
        events: &mut Vec<StreamEvent>,
    ) {
        let (is_register, is_answer) = (sip::is_register(udp.payload), sip::is_answer(udp.payload));
        let ((local, remote), is_of_use) = if is_sent {
            (((ip.source, udp.source_port), (ip.destination, udp.destination_port)), is_register)
        } else {
            let ends = ((ip.destination, udp.destination_port), (ip.source, udp.source_port));
            let verdict = verdict::of_datagram(udp.source_port, udp.payload);
            if let Some((service, login)) = verdict {
                events.push(event(&FlowKey::new(tenant, Protocol::Udp, ends.0, ends.1), service, login));
            }
            (ends, is_answer)
        };
        if !is_of_use {
            return;
        }
        let key = FlowKey::new(tenant, Protocol::Udp, local, remote);
        if is_sent && !self.sessions.contains_key(&key) {
            self.begin(key, remote.1, Speech::sip(), at, events);
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.last = at;
        if let Speech::Sip(sip) = &mut session.speech
            && let Some(login) = sip.read(is_sent, udp.payload)
        {
            events.push(event(&key, Service::Sip, login));
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
        let end = End {
            lasted: session.last.since(session.opened),
            is_server_first: session.is_server_first == Some(true),
        };
        session.speech.ended(&end, |service, login| events.push(event(key, service, login)));
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

impl Session {
    /// Reads a segment; whether it is worth while to go on.
    fn read(
        &mut self,
        from_client: bool,
        tcp: &Tcp<'_>,
        at: Timestamp,
        mut say: impl FnMut(Service, Login),
    ) -> Next {
        self.last = at;
        if tcp.flags.any(TcpFlags::FIN | TcpFlags::RST) {
            self.is_server_first.get_or_insert(!from_client);
        }
        let Self { client, server, speech, .. } = self;
        let side = if from_client { client } else { server };
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
