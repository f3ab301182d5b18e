//! `crawl`: one web site walked through, page after page, faster than a person or a polite robot would.
//!
//! **Measure.** Requests in the clear to one address and port, in each tenth of a window; how many of them are for a path that was not
//! asked for before (a sketch of their hashes; what stands behind a question mark is left out); bytes that came back for each. It takes all of
//! them at once: the rate over the whole window and in nine of its tenths, breadth, and answers of the size of pages.
//!
//! **Numbers.** 10 requests a second for 60 s, that is 600 within 60 s in at least nine of its tenths, so that it is told when there are 600, be it some
//! seconds sooner; 60 % of them for new paths, at most 200 kB each; ten times the second between two
//! requests that robots keep by custom. Where bulk is sampled, a request stands for those that were not kept.
//!
//! **Look-alikes that stay silent.** Browsing: bursts, and pauses. Package managers and mirrors: files are larger than pages. Pollers,
//! health checks and monitoring: the same paths. A program and its own service: mostly inside TLS, or at private
//! addresses. **A reverse proxy** that fetches from its origin: it is visited itself, so a tenant to whom one connection comes
//! for every twenty requests is left alone; and so is one of whose web service somebody asks in step with that over one connection
//! (HTTP/2, HTTP/3, keep-alive): a packet with something in it for every eight requests, and thirty bytes for each. A tenant whose profile
//! is `crawler` has numbers of its own.
//!
//! **Evasion.** TLS: paths cannot be seen, and many requests to one site may be anything, so nothing is raised; most crawling today is
//! beyond this measure, and `api_burst` protects the sites that matter. A site behind many addresses is several. Slower than the rate, or with
//! answers made large. A crawler that is visited, or fed, as often as a proxy.

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Crawl as Numbers;
use reeve_policy::{Class, Metric, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::horizontal::is_bogon;
use super::{Finding, share};
use crate::packet::{Ip, TcpFlags, Transport};

/// The most sites that are followed at a time; the one that is asked least gives way.
const SITES_MAX: usize = 8;
/// Into so many parts the window is divided, and in so many of them it has to go on.
const PARTS: u32 = 10;
/// See [`PARTS`].
const PARTS_LEAST: u32 = 9;
/// The sketch of paths: so many bits, for so many requests that were seen. Some paths share a bit: 7 % when it is full.
const SKETCH_BITS: usize = 2_048;
/// See [`SKETCH_BITS`].
const SKETCHED_MAX: u32 = 300;
/// With fewer, breadth means nothing.
const SKETCHED_LEAST: u32 = 25;
/// A tenant to whom a connection comes for so many requests passes them on.
const REQUESTS_A_VISIT: u64 = 20;

/// The same, where few connections are used: packets with something in them, and their bytes. HTTP/2 packs several requests into one, and
/// TLS alone adds 22 bytes to each.
const REQUESTS_A_PACKET: u64 = 8;
/// See [`REQUESTS_A_PACKET`].
const BYTES_A_REQUEST: u64 = 30;

/// What reached the tenant's own services.
#[derive(Clone, Copy, Debug, Default)]
struct Visits {
    connections: u64,
    packets: u64,
    bytes: u64,
}

impl Visits {
    /// Whether what came since `before` is what `requests` would be passed on for.
    fn account_for(&self, before: &Self, requests: u64) -> bool {
        (self.connections - before.connections).saturating_mul(REQUESTS_A_VISIT) >= requests
            || ((self.packets - before.packets).saturating_mul(REQUESTS_A_PACKET) >= requests
                && self.bytes - before.bytes >= requests.saturating_mul(BYTES_A_REQUEST))
    }

    /// Takes a packet from `peer_port` to `local_port` with `payload` bytes, which stands for `weight`.
    fn note(&mut self, (peer_port, local_port): (u16, u16), payload: u64, weight: u64) {
        if payload > 0 && is_web(local_port) && peer_port >= 1024 {
            self.packets += weight;
            self.bytes = self.bytes.saturating_add(payload * weight);
        }
    }
}

/// Where visitors are let in: the ports of the web, and those that its servers commonly have beside them.
const fn is_web(local_port: u16) -> bool {
    matches!(local_port, 80 | 443 | 3_000 | 5_000 | 8_000..=8_999 | 9_000 | 9_443)
}

/// One site, in one window.
#[derive(Debug)]
struct Site {
    target: Target,
    since: Timestamp,
    last: Timestamp,
    requests: u64,
    bytes: u64,
    /// One bit for each part of the window in which there was one.
    parts: u32,
    sketch: [u64; SKETCH_BITS / 64],
    sketched: u32,
    fresh: u32,
    /// How many had visited the tenant when the window began.
    visits_before: Visits,
}

/// One tenant's requests.
#[derive(Debug, Default)]
pub struct Crawl {
    sites: Vec<Site>,
    visits: Visits,
    last: Timestamp,
}

impl Crawl {
    /// The most bytes that it takes.
    pub const BYTES: usize = size_of::<Self>() + SITES_MAX * size_of::<Site>();

    /// Takes a request for a page at `address`, which stands for `weight` of them.
    pub fn handle(
        &mut self,
        numbers: &Numbers,
        (address, port): (IpAddr, u16),
        (path, weight): (u32, u32),
        at: Timestamp,
    ) -> Option<Finding> {
        if is_bogon(address) {
            return None;
        }
        self.last = at;
        let target = Target { address, protocol: Protocol::Tcp, port: Some(port) };
        let (window, visits) = (Duration::from_secs(numbers.seconds.into()), self.visits);
        let site = self.site(target, at);
        if at.is_past(site.since, window) {
            *site = Site::new(target, at, visits);
        }
        site.count(path, weight, window, at);
        site.judge(numbers, &visits, at)
    }

    /// Takes a packet that reached the tenant, where bulk is sampled one in `sampling`.
    pub fn handle_received(&mut self, ip: &Ip<'_>, sampling: u32) {
        let tcp = match &ip.transport {
            Transport::Tcp(tcp) => tcp,
            Transport::Udp(udp) => {
                let ports = (udp.source_port, udp.destination_port);
                self.visits.note(ports, u64::from(udp.payload_len), 1);
                return;
            }
            _ => return,
        };
        // What opens or closes a connection, or says nothing, is kept whole.
        let is_bulk = tcp.payload_len > 0 && !tcp.flags.any(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
        let weight = if is_bulk { sampling } else { 1 };
        if tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN {
            self.visits.connections += 1;
            return;
        }
        let is_from =
            |site: &&mut Site| site.target.address == ip.source && site.target.port == Some(tcp.source_port);
        if let Some(site) = self.sites.iter_mut().find(is_from) {
            site.bytes = site.bytes.saturating_add(u64::from(ip.length) * u64::from(weight));
            return;
        }
        let ports = (tcp.source_port, tcp.destination_port);
        self.visits.note(ports, u64::from(tcp.payload_len), weight.into());
    }

    /// Whether nothing here matters any more at `now`.
    #[must_use]
    pub fn is_idle(&self, numbers: &Numbers, now: Timestamp) -> bool {
        now.since(self.last) > Duration::from_secs(u64::from(numbers.seconds) + 10)
    }

    fn site(&mut self, target: Target, at: Timestamp) -> &mut Site {
        let known = self.sites.iter().position(|site| site.target == target);
        let place = known.unwrap_or_else(|| {
            let fresh = Site::new(target, at, self.visits);
            if self.sites.len() < SITES_MAX {
                self.sites.push(fresh);
                return self.sites.len() - 1;
            }
            let least = self.sites.iter().enumerate().min_by_key(|(_, site)| (site.requests, site.last));
            let place = least.map_or(0, |(place, _)| place);
            self.sites[place] = fresh;
            place
        });
        &mut self.sites[place]
    }
}

impl Site {
    fn new(target: Target, at: Timestamp, visits_before: Visits) -> Self {
        Self {
            target,
            since: at,
            last: at,
            requests: 0,
            bytes: 0,
            parts: 0,
            sketch: [0; SKETCH_BITS / 64],
            sketched: 0,
            fresh: 0,
            visits_before,
        }
    }

    fn count(&mut self, path: u32, weight: u32, window: Duration, at: Timestamp) {
        self.last = at;
        self.requests = self.requests.saturating_add(weight.into());
        let part = at.since(self.since).as_nanos() * u128::from(PARTS) / window.as_nanos().max(1);
        self.parts |= 1 << part.min(u128::from(PARTS) - 1);
        if self.sketched < SKETCHED_MAX {
            let bit = path as usize % SKETCH_BITS;
            let (place, mask) = (bit / 64, 1 << (bit % 64));
            self.fresh += u32::from(self.sketch[place] & mask == 0);
            self.sketch[place] |= mask;
            self.sketched += 1;
        }
    }

    fn judge(&self, numbers: &Numbers, visits: &Visits, at: Timestamp) -> Option<Finding> {
        let all = u64::from(numbers.requests_per_second) * u64::from(numbers.seconds);
        let distinct = f64::from(self.fresh) / f64::from(self.sketched.max(1));
        let bytes = self.bytes / self.requests.max(1);
        let is_steady = self.parts.count_ones() >= PARTS_LEAST;
        let is_broad = self.sketched >= SKETCHED_LEAST && distinct >= numbers.distinct;
        let is_visited = visits.account_for(&self.visits_before, self.requests);
        if self.requests < all || !is_steady || !is_broad || bytes > numbers.bytes_per_request || is_visited {
            return None;
        }
        let seconds = at.since(self.since).as_secs_f64();
        let rate = self.requests as f64 / seconds.max(1.0);
        let metric = |name: &'static str, value: f64, threshold: Option<f64>| Metric {
            name: name.into(),
            value,
            threshold,
        };
        Some(Finding {
            class: Class::Crawl,
            start: self.since,
            at,
            metrics: vec![
                metric("requests_per_second", rate, Some(numbers.requests_per_second.into())),
                metric("requests", self.requests as f64, Some(all as f64)),
                metric("seconds", seconds, None),
                share("distinct", distinct, Some(numbers.distinct)),
                metric("bytes_per_request", bytes as f64, None),
            ],
            confidence_percent: 70,
            is_suspicion: false,
            targets: vec![TargetSeen {
                target: self.target,
                first: self.since,
                last: self.last,
                outcome: Outcome::Productive,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::LinkType;
    use crate::packet::{self, Body};

    const SITE: [u8; 4] = [20, 80, 7, 7];

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    /// A packet of TCP that reaches the tenant.
    fn received(crawl: &mut Crawl, source_port: u16, flags: u8, payload: u16, weight: u32) {
        arrived(crawl, (SITE, source_port, 40_000), flags, payload, weight);
    }

    fn arrived(
        crawl: &mut Crawl,
        (peer, source_port, port): ([u8; 4], u16, u16),
        flags: u8,
        payload: u16,
        weight: u32,
    ) {
        let mut bytes = vec![0x45, 0];
        bytes.extend((40 + payload).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        bytes.extend(peer.iter().chain(&[203, 0, 113, 10]));
        bytes.extend(source_port.to_be_bytes());
        bytes.extend(port.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        let packet = packet::parse(LinkType::RawIp, &bytes, u32::from(40 + payload)).unwrap();
        let Body::Ip(ip) = packet.body else { panic!("it is IP") };
        crawl.handle_received(&ip, weight);
    }

    struct Walk {
        requests: u64,
        step_ms: u64,
        paths: u32,
        weight: u32,
        segments: u32,
        /// So many requests for a visitor.
        visitor_each: u64,
        /// So many requests for a packet of one visitor's, with so many bytes, at this port.
        asked_each: u64,
        asked: (u16, u16),
        sites: u8,
        address: [u8; 4],
    }

    const WALK: Walk = Walk {
        requests: 1_300,
        step_ms: 50,
        paths: u32::MAX,
        weight: 1,
        segments: 8,
        visitor_each: u64::MAX,
        asked_each: u64::MAX,
        asked: (60, 443),
        sites: 1,
        address: SITE,
    };

    /// How many times something is found.
    fn check(walk: &Walk, is_found: bool) {
        let (mut crawl, mut found) = (Crawl::default(), 0);
        for number in 0..walk.requests {
            let [a, b, c, d] = walk.address;
            let address = IpAddr::from([a, b, c, d + (number % u64::from(walk.sites)) as u8]);
            let path = (number as u32 % walk.paths).wrapping_mul(0x9e37_79b1) >> 3;
            if number % walk.visitor_each == walk.visitor_each - 1 {
                received(&mut crawl, 50_000, TcpFlags::SYN, 0, 1);
            }
            if number % walk.asked_each == walk.asked_each - 1 {
                let (payload, port) = walk.asked;
                let visitor = ([20, 9, 9, 9], 50_000, port);
                arrived(&mut crawl, visitor, TcpFlags::ACK | TcpFlags::PSH, payload, 1);
            }
            let told = crawl.handle(
                &Numbers::default(),
                (address, 80),
                (path, walk.weight),
                at(number * walk.step_ms),
            );
            found += u32::from(told.is_some());
            (0..walk.segments).for_each(|_| received(&mut crawl, 80, TcpFlags::ACK, 1_400, walk.weight));
            assert!(crawl.sites.len() <= SITES_MAX);
        }
        assert_eq!(found > 0, is_found);
    }

    #[test]
    fn it_fires_at_the_rate_for_the_time_and_not_below() {
        check(&WALK, true);
        check(&Walk { requests: 600, step_ms: 99, ..WALK }, true);
        check(&Walk { requests: 3_000, step_ms: 105, ..WALK }, false);
        // Half a minute, however fast.
        check(&Walk { requests: 3_000, step_ms: 10, ..WALK }, false);
        // Sampled: one stands for sixteen.
        check(&Walk { requests: 100, step_ms: 1_000, weight: 16, ..WALK }, true);
        check(&Walk { requests: 200, step_ms: 2_000, weight: 16, ..WALK }, false);
    }

    #[test]
    fn what_only_looks_like_it_stays_silent() {
        // A poller of a few paths, files of a mirror, a proxy with its visitors, a service of one's own.
        check(&Walk { paths: 40, ..WALK }, false);
        check(&Walk { segments: 200, ..WALK }, false);
        check(&Walk { visitor_each: 10, ..WALK }, false);
        check(&Walk { visitor_each: 100, ..WALK }, true);
        check(&Walk { address: [10, 0, 0, 5], ..WALK }, false);
        // One visitor over one connection, whose requests come one by one or packed; keystrokes are no requests.
        check(&Walk { asked_each: 1, ..WALK }, false);
        check(&Walk { asked_each: 6, asked: (300, 8_080), ..WALK }, false);
        check(&Walk { asked_each: 20, asked: (1_400, 443), ..WALK }, true);
        check(&Walk { asked_each: 4, ..WALK }, true);
        check(&Walk { asked_each: 1, asked: (60, 22), ..WALK }, true);
    }

    #[test]
    fn many_sites_at_once_take_no_more_room() {
        check(&Walk { requests: 20_000, step_ms: 5, sites: 100, ..WALK }, false);
    }

    #[test]
    fn pauses_make_it_browsing() {
        let (mut crawl, mut found) = (Crawl::default(), 0);
        for page in 0..20_u64 {
            for part in 0..80_u64 {
                let path = (page * 80 + part) as u32 * 7;
                let time = at(page * 8_000 + part * 10);
                found += u32::from(
                    crawl.handle(&Numbers::default(), (SITE.into(), 80), (path, 1), time).is_some(),
                );
            }
        }
        assert_eq!(found, 0);
    }
}
