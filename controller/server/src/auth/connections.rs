//! Connections: how many there are of whom, and how they are cut.
//!
//! Until a connection has shown who it is it is *pending*, for [`PATIENCE`] at most, however far it came: no handshake, half of
//! one, or requests that are refused. Pending ones are few, in all and of one address (of IPv6 a /64); where there are too many,
//! the oldest goes. Whoever has credentials shows them within milliseconds, so a flood of the half-open does not keep them out,
//! even from the address that the flood comes from.
//!
//! Whoever has shown who they are and may call has so many places for themselves; beyond that their own oldest goes. What is
//! refused stays pending: a credential that is not taken from there occupies nothing.
//!
//! A connection that showed something (a certificate, a token) is remembered by it, so that it can be cut when that is revoked:
//! below TLS and HTTP, whatever its streams are waiting for.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use reeve_policy::{Name, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::book::Subject;
use super::caller::{Caller, Role, Shown};
use super::secret::Hash;
use crate::clock;
use crate::identity::Holder;

/// A connection shows who it is within this time.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The most pending connections: a fleet that has lost its controller comes back all at once, and whoever is cut comes again.
pub const MAX_PENDING: usize = 8_192;
/// The most pending connections of one address.
pub const MAX_PENDING_OF_ADDRESS: usize = 512;
/// The most connections of one node, and of any other caller.
const MAX_OF_NODE: usize = 64;
const MAX_OF_CALLER: usize = 512;
/// The most connections, where the system lets us have as many files.
const MAX_CONNECTIONS: usize = 65_536;
/// Files that are for other things than connections.
const OTHER_FILES: usize = 256;
/// The most different credentials that are shown over one connection.
const MAX_SHOWN: usize = 16;
/// How long to wait where the system has no file for another connection.
const NO_FILES: Duration = Duration::from_millis(50);

/// What a connection has shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A certificate of somebody's.
    Certificate(Subject),
    /// A token.
    Token(Hash),
}

/// Who calls, as connections are counted.
type Who = (Shown, Role, Name);

/// All connections. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    last: u64,
    count: usize,
    /// By number, so that the oldest is the first.
    pending: BTreeMap<u64, (Arc<Conn>, Instant)>,
    pending_of: HashMap<IpAddr, usize>,
    by_credential: HashMap<Credential, HashMap<u64, Arc<Conn>>>,
    /// By who calls over them, so that the oldest of each is the first.
    settled: HashMap<Who, BTreeMap<u64, Arc<Conn>>>,
    /// By when a certificate, a token or a session ends that was shown.
    ending: BTreeMap<(Timestamp, u64), Arc<Conn>>,
}

/// A connection, as the gate knows it.
#[derive(Debug)]
struct Conn {
    number: u64,
    from: SocketAddr,
    is_cut: AtomicBool,
    wakers: Mutex<[Option<Waker>; 2]>,
    holder: OnceLock<Option<Holder>>,
    is_known: AtomicBool,
    settled_as: OnceLock<Who>,
    shown: Mutex<Vec<Credential>>,
    /// When what was shown ends.
    ends: Mutex<Vec<Timestamp>>,
}

/// A connection that requests come over.
#[derive(Clone, Debug)]
pub struct Peer {
    conn: Arc<Conn>,
    connections: Connections,
}

impl Connections {
    /// Enters a connection; another one may go for it. `None` if there is no room.
    fn enter(&self, from: SocketAddr, most: usize) -> Option<Peer> {
        let mut registry = self.lock();
        let home = home(from.ip());
        if registry.pending_of.get(&home).is_some_and(|count| *count >= MAX_PENDING_OF_ADDRESS) {
            let oldest = registry.pending.values().find(|(conn, _)| self::home(conn.from.ip()) == home);
            let oldest = oldest.map(|(conn, _)| conn.number);
            oldest.into_iter().for_each(|number| registry.cut_pending(number));
        }
        if registry.pending.len() >= MAX_PENDING || registry.count >= most {
            // What is cut is gone when its task has run; until then it counts, and one over is let in for it.
            let oldest = registry.pending.keys().next().copied()?;
            registry.cut_pending(oldest);
        }
        registry.last += 1;
        registry.count += 1;
        let conn = Arc::new(Conn {
            number: registry.last,
            from,
            is_cut: AtomicBool::new(false),
            wakers: Mutex::default(),
            holder: OnceLock::new(),
            is_known: AtomicBool::new(false),
            settled_as: OnceLock::new(),
            shown: Mutex::default(),
            ends: Mutex::default(),
        });
        registry.pending.insert(conn.number, (Arc::clone(&conn), Instant::now()));
        *registry.pending_of.entry(home).or_default() += 1;
        drop(registry);
        Some(Peer { conn, connections: self.clone() })
    }

    /// Cuts every connection over which something was shown; how many there were.
    pub(super) fn cut(&self, credential: &Credential) -> usize {
        let shown = self.lock().by_credential.remove(credential).unwrap_or_default();
        shown.values().for_each(|conn| conn.cut());
        shown.len()
    }

    /// Cuts those that have been pending for too long, and those over which something was shown that has ended, once a second.
    pub(crate) async fn sweep(self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let mut registry = self.lock();
            let is_late = |(_, since): &(Arc<Conn>, Instant)| since.elapsed() >= PATIENCE;
            let late: Vec<u64> = registry
                .pending
                .iter()
                .take_while(|(_, entry)| is_late(entry))
                .map(|(number, _)| *number)
                .collect();
            late.into_iter().for_each(|number| registry.cut_pending(number));
            // A stream may last for longer than the certificate or token that it was opened with; it does not outlive it.
            let now = clock::now();
            while registry.ending.first_key_value().is_some_and(|((ends, _), _)| *ends <= now) {
                if let Some((_, conn)) = registry.ending.pop_first() {
                    conn.cut();
                }
            }
        }
    }

    /// Over how many somebody has shown a certificate.
    #[must_use]
    pub fn shown_by(&self, subject: &Subject) -> usize {
        let credential = Credential::Certificate(subject.clone());
        self.lock().by_credential.get(&credential).map_or(0, HashMap::len)
    }

    /// How many there are, and how many of them are pending.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let registry = self.lock();
        (registry.count, registry.pending.len())
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn cut_pending(&mut self, number: u64) {
        if let Some(conn) = self.settle(number) {
            conn.cut();
        }
    }

    /// Takes a connection from the pending ones.
    fn settle(&mut self, number: u64) -> Option<Arc<Conn>> {
        let (conn, _) = self.pending.remove(&number)?;
        let home = home(conn.from.ip());
        if let Some(count) = self.pending_of.get_mut(&home) {
            *count -= 1;
            if *count == 0 {
                self.pending_of.remove(&home);
            }
        }
        Some(conn)
    }
}

impl Conn {
    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether it is cut; if not, whoever polls is woken when it is.
    fn check(&self, place: usize, context: &Context<'_>) -> io::Result<()> {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match &mut wakers[place] {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Ok(())
    }
}

impl Peer {
    /// The address at the other end.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.conn.from
    }

    /// Whose certificate was shown in the handshake; read once a connection.
    pub(super) fn holder(&self, read: impl FnOnce() -> Option<Holder>) -> Option<&Holder> {
        let read = || {
            let holder = read()?;
            self.ends_at(holder.ends);
            Some(holder)
        };
        self.conn.holder.get_or_init(read).as_ref()
    }

    /// Something that is good now was shown over it, and ends then: it is cut, with whatever is followed over it.
    pub(super) fn ends_at(&self, at: Timestamp) {
        let mut ends = self.conn.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if !ends.contains(&at) {
            ends.push(at);
            self.connections.lock().ending.insert((at, self.conn.number), Arc::clone(&self.conn));
        }
    }

    /// Remembers what was shown, so that it can be cut by it. Before it is looked whether that is good: so none slips through
    /// between the look and a revocation. False if too much was shown over it.
    pub(super) fn show(&self, credential: &Credential) -> bool {
        let mut shown = self.conn.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.contains(credential) {
            return true;
        }
        if shown.len() >= MAX_SHOWN {
            return false;
        }
        shown.push(credential.clone());
        let mut registry = self.connections.lock();
        let of = registry.by_credential.entry(credential.clone()).or_default();
        of.insert(self.conn.number, Arc::clone(&self.conn));
        true
    }

    /// It has shown who it is, and may call.
    pub(super) fn settle(&self, caller: &Caller) {
        if self.conn.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        let who = (caller.shown, caller.role, caller.name.clone());
        let most = match (caller.shown, caller.role) {
            // Whoever is on this machine is nobody in particular.
            (Shown::Local, _) => usize::MAX,
            (_, Role::Node) => MAX_OF_NODE,
            _ => MAX_OF_CALLER,
        };
        let mut registry = self.connections.lock();
        // One that is gone or cut already has no place.
        let Some(conn) = registry.settle(self.conn.number) else { return };
        let _ = conn.settled_as.set(who.clone());
        let theirs = registry.settled.entry(who).or_default();
        theirs.insert(conn.number, conn);
        if theirs.len() > most
            && let Some((_, oldest)) = theirs.pop_first()
        {
            oldest.cut();
        }
    }
}

/// Of IPv4 an address, of IPv6 the prefix that one customer has.
pub(super) fn home(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// A connection's stream of bytes, which ends when it is cut.
#[derive(Debug)]
pub(crate) struct Guarded {
    stream: TcpStream,
    peer: Peer,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let conn = &self.peer.conn;
        let shown = std::mem::take(&mut *conn.shown.lock().unwrap_or_else(PoisonError::into_inner));
        let ends = std::mem::take(&mut *conn.ends.lock().unwrap_or_else(PoisonError::into_inner));
        let mut registry = self.peer.connections.lock();
        registry.settle(conn.number);
        for at in ends {
            registry.ending.remove(&(at, conn.number));
        }
        if let Some(who) = conn.settled_as.get()
            && let Some(theirs) = registry.settled.get_mut(who)
        {
            theirs.remove(&conn.number);
            if theirs.is_empty() {
                registry.settled.remove(who);
            }
        }
        registry.count = registry.count.saturating_sub(1);
        for credential in shown {
            if let Some(of) = registry.by_credential.get_mut(&credential) {
                of.remove(&conn.number);
                if of.is_empty() {
                    registry.by_credential.remove(&credential);
                }
            }
        }
    }
}

impl Connected for Guarded {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.peer.conn.check(0, context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.peer.conn.check(1, context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.peer.conn.check(1, context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connections that come in at a port.
pub(crate) fn incoming(
    listener: TcpListener,
    connections: Connections,
) -> impl Stream<Item = io::Result<Guarded>> {
    let most =
        open_files().map_or(MAX_CONNECTIONS, |files| files.saturating_sub(OTHER_FILES)).min(MAX_CONNECTIONS);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // Nobody takes them any more.
                () = sender.closed() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    // What cannot be set is done without.
                    let _ = stream.set_nodelay(true);
                    let Some(peer) = connections.enter(from, most) else {
                        tracing::debug!(%from, "there are too many connections");
                        continue;
                    };
                    if sender.send(Ok(Guarded { stream, peer })).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // The peer is gone already, or the system has no room: neither ends the service.
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(NO_FILES).await;
                }
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// How many files this process may have open (`proc(5)`), if the system tells.
fn open_files() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn is_cut(peer: &Peer) -> bool {
        peer.conn.is_cut.load(Ordering::Acquire)
    }

    fn caller(shown: Shown, role: Role) -> Caller {
        Caller { shown, role, name: "ann".parse().unwrap(), owner: None, from: None, began: None }
    }

    #[test]
    fn of_those_of_one_caller_the_oldest_goes() {
        for (role, most) in [(Role::Node, MAX_OF_NODE), (Role::Operator, MAX_OF_CALLER)] {
            let connections = Connections::default();
            let enter = |who: &Caller| {
                let peer = connections.enter(from("192.0.2.1:1"), 100_000).unwrap();
                peer.settle(who);
                peer
            };
            let other = enter(&caller(Shown::Token, Role::Viewer));
            let theirs: Vec<Peer> = (0..=most).map(|_| enter(&caller(Shown::Certificate, role))).collect();
            assert!(is_cut(&theirs[0]) && !theirs[1..].iter().any(is_cut) && !is_cut(&other));
            let local: Vec<Peer> = (0..=most).map(|_| enter(&caller(Shown::Local, Role::Admin))).collect();
            assert!(!local.iter().any(is_cut));
        }
    }

    #[test]
    fn who_may_not_call_stays_pending() {
        use super::super::book::{Book, Records, Token};
        use super::super::gate::{AllowLists, Gate, Presented};
        let now = clock::now();
        let token = Token {
            hash: Hash::of("reeve_x"),
            name: "screen".parse().unwrap(),
            role: Role::Viewer,
            beginning: String::new(),
            created: now,
            created_by: "ann".into(),
            owner: None,
            expires: now + Duration::from_secs(600),
            revoked: None,
            addresses: Vec::new(),
        };
        let mut records = Records::default();
        records.tokens.insert(token.hash, Arc::new(token));
        let book = Book::new(records);
        let connections = book.connections().clone();
        let allowed = AllowLists::from([(Role::Viewer, vec!["192.0.2.0/24".parse().unwrap()])]);
        let gate = Gate::new(crate::identity::Protection::Certificates, book, allowed);
        let (list, suspend) =
            ("/reeve.operator.v1.OperatorService/ListTenants", "/reeve.operator.v1.OperatorService/Suspend");
        for (address, method, pending) in [
            ("198.51.100.1:1", list, 1),
            ("192.0.2.1:1", suspend, 2),
            ("192.0.2.1:1", "/nothing", 3),
            ("192.0.2.1:1", list, 3),
        ] {
            let peer = connections.enter(from(address), 100).unwrap();
            let presented = Presented {
                peer: Some(&peer),
                from: Some(peer.address().ip()),
                certificate: None,
                authorization: Some(b"Bearer reeve_x"),
            };
            let is_admitted = gate.admit(method, &presented).is_ok();
            assert_eq!((is_admitted, connections.count().1), (pending == 3 && method == list, pending));
        }
    }

    #[test]
    fn where_there_are_too_many_the_oldest_that_showed_nothing_goes() {
        let connections = Connections::default();
        let enter = |text: &str| connections.enter(from(text), 100_000).unwrap();
        let other = enter("192.0.2.2:1");
        let known = enter("192.0.2.1:1");
        known.settle(&caller(Shown::Certificate, Role::Viewer));
        let flood: Vec<Peer> = (0..=MAX_PENDING_OF_ADDRESS).map(|_| enter("192.0.2.1:2")).collect();
        assert!(is_cut(&flood[0]) && !is_cut(&flood[1]), "one too many of one address: its oldest");
        assert!(!is_cut(&known) && !is_cut(&other), "who is known, and other addresses, stay");
        assert_eq!(connections.count().1, MAX_PENDING_OF_ADDRESS + 1);
        for home in 0..MAX_PENDING {
            enter(&format!("[2001:db8:0:{home:x}::1]:1"));
        }
        assert!(is_cut(&other) && !is_cut(&known), "too many in all: the oldest of all");
        assert_eq!(connections.count().1, MAX_PENDING);
    }

    #[test]
    fn what_was_shown_is_cut_by_it_and_by_nothing_else() {
        let connections = Connections::default();
        let [one, other] =
            [1, 2].map(|port| connections.enter(SocketAddr::from(([192, 0, 2, 1], port)), 9).unwrap());
        let token = |text: &str| Credential::Token(Hash::of(text));
        assert!(one.show(&token("a")) && one.show(&token("a")) && other.show(&token("b")));
        assert_eq!((connections.cut(&token("b")), is_cut(&one), is_cut(&other)), (1, false, true));
        assert!((1..MAX_SHOWN).all(|number| one.show(&token(&number.to_string()))));
        assert!(!one.show(&token("one more")));
        assert_eq!((connections.cut(&token("a")), is_cut(&one)), (1, true));
    }

    #[test]
    fn where_there_is_no_room_nobody_who_is_known_goes() {
        let connections = Connections::default();
        let known = connections.enter(from("192.0.2.1:1"), 1).unwrap();
        known.settle(&caller(Shown::Certificate, Role::Viewer));
        assert!(connections.enter(from("192.0.2.1:2"), 1).is_none());
        assert!(!is_cut(&known));
    }

    #[test]
    fn of_ipv6_a_network_counts_as_one() {
        let home = |text: &str| super::home(text.parse().unwrap()).to_string();
        assert_eq!(home("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(home("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
