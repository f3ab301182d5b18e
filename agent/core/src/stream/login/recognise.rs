//! What is spoken, by the first words.

use super::speech::Speech;
use super::{Service, http, mysql, postgres, redis, socks, verdict, vnc};

/// Fewer bytes tell nothing.
pub(super) const SHORTEST: usize = 3;

/// Telnet, where a server may begin with a prompt.
const TELNET_PORTS: [u16; 2] = [23, 2323];
/// Interpret as command, and the commands by which options are negotiated (RFC 854).
const IAC: u8 = 255;
const NEGOTIATION: std::ops::RangeInclusive<u8> = 251..=254;

/// Ports of mailboxes, submission and file transfer with TLS from the start (IANA), which are told by the port alone.
const SEALED_PORTS: [u16; 4] = [465, 990, 993, 995];
/// A handshake's record, with which TLS begins.
const HANDSHAKE: [u8; 2] = [22, 3];
/// RDP: a packet of TPKT, with the request for a connection in it (RFC 1006; X.224).
const TPKT: [u8; 2] = [3, 0];
const CONNECTION_REQUEST: u8 = 0xe0;

/// By a server's greeting. `local_port` and `port` are the tenant's and the other end's.
pub(super) fn greeting((local_port, port): (u16, u16), data: &[u8], len: u32) -> Option<Speech> {
    match data {
        [b'S', b'S', b'H', b'-', ..] => Some(Speech::ssh()),
        [b'2', b'2', b'0', b' ' | b'-', ..] => Some(Speech::Greeted(Box::default())),
        [b'+', b'O', b'K', ..] => Some(Speech::Pop3(Box::default())),
        [b'*', b' ', b'O', b'K', ..] => Some(Speech::Imap(Box::default())),
        // Both ends say the same; the client's port is the higher one.
        [b'R', b'F', b'B', ..] if port < local_port && vnc::is_greeting(data, len) => {
            Some(Speech::Vnc(vnc::Vnc::default()))
        }
        [IAC, command, ..] if NEGOTIATION.contains(command) => Some(Speech::Telnet(Box::default())),
        _ if mysql::is_greeting(data, len) => Some(Speech::Mysql(mysql::Mysql::default())),
        _ if TELNET_PORTS.contains(&port) => Some(Speech::Telnet(Box::default())),
        _ => None,
    }
}

/// By a client's first words.
pub(super) fn request(port: u16, data: &[u8], len: u32) -> Option<Speech> {
    match data {
        [b'G' | b'P' | b'H' | b'D' | b'O', b'A'..=b'Z', b'A'..=b'Z', ..] if http::shows(data) => {
            Some(Speech::Http(Box::default()))
        }
        [b'*' | b'A' | b'a', ..] if redis::is_auth(port, data) => Some(Speech::Redis(redis::Redis::at(port))),
        [0, 0, ..] if postgres::is_startup(data, len) => {
            Some(Speech::Postgres(postgres::Postgres::default()))
        }
        [5, ..] if socks::is_offer(data, len) => Some(Speech::Socks(socks::Socks::default())),
        [a, b, _, _, _, CONNECTION_REQUEST, ..] if [*a, *b] == TPKT => Some(Speech::sealed(Service::Rdp)),
        [a, b, ..] if [*a, *b] == HANDSHAKE && SEALED_PORTS.contains(&port) => {
            Some(Speech::sealed(Service::Tls))
        }
        _ if verdict::asks(port, data) => Some(Speech::asked(port)),
        _ => None,
    }
}
