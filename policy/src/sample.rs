//! What the headers of a sample say: whose packet it was, and to what. As much as evidence needs; the parser of live traffic is
//! the core's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::alert::{Alert, HeaderSample};
use crate::class::Class;
use crate::net::{Protocol, Target};

/// IPv6 extension headers that are stepped over; what has more is no honest packet.
const MAX_EXTENSIONS: usize = 8;

impl HeaderSample {
    /// Its source address; `None` if the headers are cut before it.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        match self.headers.first()? >> 4 {
            4 => v4(self.headers.get(12..16)?),
            6 => v6(self.headers.get(8..24)?),
            _ => None,
        }
    }

    /// The port that it was sent from; `None` where there is none: of other protocols, and in later fragments.
    #[must_use]
    pub fn source_port(&self) -> Option<u16> {
        let (target, headers) = (self.target()?, &self.headers);
        // Who has a port to send to has one to send from, in the two bytes before it.
        target.port?;
        let rest = match headers.first()? >> 4 {
            4 => headers.get(usize::from(headers.first()? & 0x0f) * 4..),
            _ => after_extensions(*headers.get(6)?, headers.get(40..)?).1,
        }?;
        Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))
    }

    /// What it was sent to. The port is that of the destination, and `None` in later fragments.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        let headers = &self.headers;
        let (address, number, rest) = match headers.first()? >> 4 {
            4 => {
                let length = usize::from(headers.first()? & 0x0f) * 4;
                let is_later = u16::from_be_bytes([*headers.get(6)?, *headers.get(7)?]) & 0x1fff != 0;
                let rest = headers.get(length..).filter(|_| !is_later);
                (v4(headers.get(16..20)?)?, *headers.get(9)?, rest)
            }
            6 => {
                let (number, rest) = after_extensions(*headers.get(6)?, headers.get(40..)?);
                (v6(headers.get(24..40)?)?, number, rest)
            }
            _ => return None,
        };
        let protocol = Protocol::from_number(number);
        let port = rest
            .filter(|_| protocol.has_ports())
            .and_then(|rest| Some(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?])));
        Some(Target { address, protocol, port })
    }
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into())
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

/// The protocol behind the extension headers (RFC 8200, section 4), and its header unless it is in an earlier fragment.
fn after_extensions(mut number: u8, mut rest: &[u8]) -> (u8, Option<&[u8]>) {
    for _ in 0..MAX_EXTENSIONS {
        let length = match (number, rest) {
            // Hop-by-hop, routing, destination options, and authentication, which counts in words.
            (0 | 43 | 60, [_, words, ..]) => (usize::from(*words) + 1) * 8,
            (51, [_, words, ..]) => (usize::from(*words) + 2) * 4,
            (44, [next, _, high, low, ..]) => {
                if u16::from_be_bytes([*high, *low]) & 0xfff8 != 0 {
                    return (*next, None);
                }
                8
            }
            _ => return (number, Some(rest)),
        };
        let Some(behind) = rest.get(length..) else { return (number, None) };
        (number, rest) = (rest[0], behind);
    }
    (number, None)
}

impl Alert {
    /// The tenant's own source addresses in the samples, those with most samples first: on an uplink a tenant has a prefix, and this
    /// tells which of its addresses did it.
    #[must_use]
    pub fn sources(&self) -> Vec<IpAddr> {
        self.sources_of(false)
    }

    /// The source addresses in the samples that are not the tenant's, those with most samples first. Whose they are had no part in it.
    #[must_use]
    pub fn forged_sources(&self) -> Vec<IpAddr> {
        self.sources_of(true)
    }

    fn sources_of(&self, is_forged: bool) -> Vec<IpAddr> {
        // Samples of forged sources that were kept before it was noted of each.
        let is_forged_of =
            |sample: &&HeaderSample| (sample.is_forged || self.class == Class::SpoofSource) == is_forged;
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for source in self.samples.iter().filter(is_forged_of).filter_map(HeaderSample::source) {
            *counts.entry(source).or_default() += 1;
        }
        let mut sources: Vec<(IpAddr, usize)> = counts.into_iter().collect();
        sources.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
        sources.into_iter().map(|(address, _)| address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn check(headers: &[u8], expect: Option<(&str, &str)>) {
        let sample =
            HeaderSample { at: Timestamp::EPOCH, wire_len: 60, headers: headers.to_vec(), is_forged: false };
        let told = sample.source().zip(sample.target());
        let told = told.map(|(source, target)| (source.to_string(), target.to_string()));
        assert_eq!(
            told,
            expect.map(|(source, target)| (source.to_owned(), target.to_owned())),
            "{headers:x?}"
        );
        // Cut anywhere, it yields less and never panics.
        for cut in 0..headers.len() {
            let sample = HeaderSample { headers: headers[..cut].to_vec(), ..sample.clone() };
            let _ = (sample.source(), sample.target());
        }
    }

    fn v4_header(protocol: u8, fragment: u16) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0];
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0, 203, 0, 113, 10, 198, 51, 100, 7]);
        bytes
    }

    #[test]
    fn addresses_and_ports_are_read() {
        let tcp = [0x9c, 0x40, 0, 22, 0, 0, 0, 0];
        check(&[&v4_header(6, 0)[..], &tcp].concat(), Some(("203.0.113.10", "198.51.100.7 tcp/22")));
        check(&[&v4_header(17, 1)[..], &tcp].concat(), Some(("203.0.113.10", "198.51.100.7 udp")));
        check(&v4_header(1, 0), Some(("203.0.113.10", "198.51.100.7 icmp")));
        let mut v6 = vec![0x60, 0, 0, 0, 0, 20, 60, 64];
        v6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        let options = [6, 0, 1, 4, 0, 0, 0, 0];
        check(&[&v6[..], &options, &tcp].concat(), Some(("2001:db8::1", "2001:db8::2 tcp/22")));
        v6[6] = 44;
        check(
            &[&v6[..], &[17, 0, 0, 9, 0, 0, 0, 1], &tcp].concat(),
            Some(("2001:db8::1", "2001:db8::2 udp")),
        );
        check(&[], None);
        check(&[0x15; 40], None);
    }
}
