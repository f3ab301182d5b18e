//! Requests for pages in the clear, one by one: of a segment that begins with one, a hash of the path of that and of those behind it.
//!
//! Nothing is put in order here, since the connections of a tenant to web sites are sampled: most requests fit a segment, and
//! a path stands at its beginning. What stands behind a question mark is left out, as are methods that fetch no pages.

use crate::packet::{Ip, Tcp, TcpFlags, Transport};

/// Ports of web sites.
const fn is_site(port: u16) -> bool {
    matches!(port, 80 | 8080)
}
/// As much of a path as is told apart: what a sampled packet holds behind its headers.
const PATH_MAX: usize = 96;
/// So many requests are counted in one segment: a full one holds no more of the shortest that name a host.
const REQUESTS_MAX: usize = 64;

/// Whether a packet may ask for a page.
#[inline]
pub(crate) fn may_ask(ip: &Ip<'_>) -> bool {
    matches!(&ip.transport, Transport::Tcp(tcp) if is_site(tcp.destination_port) && tcp.payload_len > 0)
}

/// The port of a web site, and the hashes of the paths there, that a packet asks for.
pub(crate) fn asked<'a>(ip: &Ip<'a>) -> impl Iterator<Item = (u16, u32)> + use<'a> {
    let tcp = match &ip.transport {
        Transport::Tcp(tcp) => Some(*tcp),
        _ => None,
    };
    tcp.into_iter().flat_map(|tcp| of_segment(&tcp).map(move |path| (tcp.destination_port, path)))
}

fn of_segment<'a>(tcp: &Tcp<'a>) -> impl Iterator<Item = u32> + use<'a> {
    let is_page = is_site(tcp.destination_port) && !tcp.flags.any(TcpFlags::SYN | TcpFlags::RST);
    let mut rest: &'a [u8] = if is_page { tcp.payload } else { &[] };
    // Empty lines before a request are passed over (RFC 9112, section 2.2).
    while let [b'\r' | b'\n', behind @ ..] = rest {
        rest = behind;
    }
    let mut is_first = true;
    std::iter::from_fn(move || {
        loop {
            if !std::mem::take(&mut is_first) {
                // The next stands behind an empty line.
                let end = rest.windows(3).position(|three| matches!(three, b"\n\r\n" | [b'\n', b'\n', _]))?;
                rest = &rest[end + 1..];
                while let [b'\r' | b'\n', behind @ ..] = rest {
                    rest = behind;
                }
            } else if !is_request(rest) {
                return None;
            }
            if let Some(path) = of_request(rest) {
                return Some(path);
            }
        }
    })
    .take(REQUESTS_MAX)
}

fn is_request(text: &[u8]) -> bool {
    text.starts_with(b"GET ") || text.starts_with(b"HEAD ")
}

fn of_request(text: &[u8]) -> Option<u32> {
    let target = text.strip_prefix(b"GET ").or_else(|| text.strip_prefix(b"HEAD "))?;
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
        all(port, payload).first().copied()
    }

    fn all(port: u16, payload: &[u8]) -> Vec<u32> {
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
        .collect()
    }

    #[test]
    fn requests_behind_each_other_and_behind_empty_lines_count() {
        let [a, b] =
            [&b"GET /a HTTP/1.1\r\n"[..], b"HEAD /b HTTP/1.1\r\n"].map(|text| check(80, text).unwrap());
        assert_eq!(all(80, b"\r\n\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n"), [a]);
        let text =
            b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\nHEAD /b HTTP/1.1\n\nPOST /c HTTP/1.1\r\n\r\nGET /a ";
        assert_eq!(all(80, text), [a, b, a]);
        // What is said in a header or behind something else is no request.
        assert_eq!(all(80, b"GET /a HTTP/1.1\r\nX: y\r\nGET /b HTTP/1.1\r\n\r\n"), [a]);
        assert!(all(80, b"xx\r\n\r\nGET /a HTTP/1.1\r\n\r\n").is_empty());
        assert_eq!(all(80, &b"GET / HTTP/1.1\r\n\r\n".repeat(900)).len(), REQUESTS_MAX);
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
