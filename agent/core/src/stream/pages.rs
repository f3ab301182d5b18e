//! Requests for pages in the clear, one by one: of a segment that begins with one, a hash of the path.
//!
//! Nothing is put in order here, since the connections of a tenant to web sites are sampled: most requests fit a segment, and
//! a path stands at its beginning. What stands behind a question mark is left out, as are methods that fetch no pages.

use crate::packet::{Ip, Tcp, TcpFlags, Transport};

/// Ports of web sites.
const PORTS: [u16; 2] = [80, 8080];
/// As much of a path as is told apart: what a sampled packet holds behind its headers.
const PATH_MAX: usize = 96;

/// The port of a web site, and the hash of the path there, that a packet asks for.
pub(crate) fn page(ip: &Ip<'_>) -> Option<(u16, u32)> {
    match &ip.transport {
        Transport::Tcp(tcp) => of_segment(tcp).map(|path| (tcp.destination_port, path)),
        _ => None,
    }
}

fn of_segment(tcp: &Tcp<'_>) -> Option<u32> {
    if !PORTS.contains(&tcp.destination_port) || tcp.flags.any(TcpFlags::SYN | TcpFlags::RST) {
        return None;
    }
    let target = tcp.payload.strip_prefix(b"GET ").or_else(|| tcp.payload.strip_prefix(b"HEAD "))?;
    let target = &target[..target.len().min(PATH_MAX)];
    let path = target.split(|byte| matches!(byte, b' ' | b'?' | b'#')).next().unwrap_or(target);
    // FNV-1a, which is the same on every machine, and then mixed: its low bits are poor.
    let hash =
        path.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    Some((hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d) >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(port: u16, payload: &[u8]) -> Option<u32> {
        of_segment(&Tcp {
            source_port: 40_000,
            destination_port: port,
            sequence: 1,
            acknowledgment: 1,
            flags: TcpFlags(TcpFlags::ACK),
            window: 0,
            has_options: false,
            payload_len: payload.len() as u32,
            payload,
        })
    }

    #[test]
    fn a_path_is_told_from_others() {
        let one = check(80, b"GET /a HTTP/1.1\r\n");
        assert!(one.is_some());
        assert_eq!(one, check(8080, b"GET /a?page=2 HTTP/1.1\r\n"));
        assert_ne!(one, check(80, b"GET /b HTTP/1.1\r\n"));
        for (port, payload) in
            [(443, &b"GET /a HTTP/1.1"[..]), (80, b"POST /a HTTP/1.1"), (80, b"GET"), (80, b"")]
        {
            assert_eq!(check(port, payload), None);
        }
        let all: std::collections::BTreeSet<_> = (0..1_000)
            .filter_map(|n| check(80, format!("GET /item/{n} HTTP/1.1\r\n").as_bytes()))
            .map(|hash| hash % 2_048)
            .collect();
        // As many as chance leaves: 2,048 * (1 - e^(-1000/2048)).
        assert!((740..=840).contains(&all.len()), "{}", all.len());
    }
}
