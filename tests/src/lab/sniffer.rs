//! A witness on a link: which packets of which sources really came by.
//!
//! Model: a thread inside a namespace reads every frame that *arrives* on one interface, with the kernel's stamp, and keeps a short
//! header of those from the watched sources. It parses on its own, so that it cannot share a mistake with the agent. What it
//! could not read in time is counted, and any such loss makes its testimony void ([`Sniffer::headers`] fails).

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};

use super::namespace::Namespace;
use super::sys::{self, PacketSocket};

/// The most headers that are kept; a lab run stays far below, but for one of half an hour.
const MAX_HEADERS: usize = 4_000_000;

/// What is kept of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it came, since the Unix epoch.
    pub at: Duration,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// The IP protocol; for IPv6 the first next header.
    pub protocol: u8,
    /// The destination port; 0 for anything but TCP and UDP.
    pub port: u16,
    /// The TCP flags; 0 for anything but TCP.
    pub flags: u8,
}

#[derive(Debug, Default)]
struct Record {
    headers: Vec<Header>,
    is_full: bool,
    failure: Option<String>,
}

/// A running witness.
#[derive(Debug)]
pub struct Sniffer {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sniffer {
    /// Starts to watch what arrives on `interface` from `sources`; when this returns, it is watching.
    ///
    /// # Errors
    /// When the interface does not exist.
    pub fn start(namespace: &Namespace, interface: &str, sources: &[IpAddr]) -> anyhow::Result<Self> {
        Self::start_for(namespace, interface, Some(sources.to_vec()))
    }

    /// The same for whatever arrives, requests of ARP among it.
    ///
    /// # Errors
    /// As [`Sniffer::start`].
    pub fn start_on_all(namespace: &Namespace, interface: &str) -> anyhow::Result<Self> {
        Self::start_for(namespace, interface, None)
    }

    fn start_for(
        namespace: &Namespace,
        interface: &str,
        sources: Option<Vec<IpAddr>>,
    ) -> anyhow::Result<Self> {
        let mut sniffer = Self { record: Arc::default(), stop: Arc::default(), thread: None };
        let (ready, is_ready) = channel();
        let witness = Witness {
            interface: interface.to_owned(),
            sources,
            record: Arc::clone(&sniffer.record),
            stop: Arc::clone(&sniffer.stop),
        };
        let door = namespace.open()?;
        let thread = std::thread::Builder::new().name("lab-sniffer".to_owned()).spawn(move || {
            let opened = sys::enter_network_namespace(door.as_fd())
                .and_then(|()| PacketSocket::open(&witness.interface, true));
            witness.watch(opened, &ready);
        })?;
        sniffer.thread = Some(thread);
        is_ready
            .recv()
            .context("the sniffer's thread is gone")?
            .context("cannot open the sniffer's socket")?;
        Ok(sniffer)
    }

    /// Every packet of the watched sources so far, in the order of arrival.
    ///
    /// # Errors
    /// When packets were lost or reading failed: then nothing can be concluded from what is missing.
    pub fn headers(&self) -> anyhow::Result<Vec<Header>> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        match &record.failure {
            Some(failure) => bail!("the sniffer's testimony is void: {failure}"),
            None => Ok(record.headers.clone()),
        }
    }

    /// Whether more came than are kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).is_full
    }

    /// How many packets of these sources came so far.
    ///
    /// # Errors
    /// As [`Sniffer::headers`].
    pub fn count(&self, sources: &[IpAddr]) -> anyhow::Result<usize> {
        Ok(self.headers()?.iter().filter(|header| sources.contains(&header.source)).count())
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Witness {
    interface: String,
    /// `None` is all.
    sources: Option<Vec<IpAddr>>,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
}

impl Witness {
    fn watch(&self, opened: std::io::Result<PacketSocket>, ready: &Sender<std::io::Result<()>>) {
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => return drop(ready.send(Err(error))),
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        if let Err(failure) = self.read_until_stopped(&socket) {
            self.record.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(failure);
        }
    }

    fn read_until_stopped(&self, socket: &PacketSocket) -> Result<(), String> {
        let mut buffer = [0; 128];
        while !self.stop.load(Ordering::Relaxed) {
            let received = socket.receive(&mut buffer).map_err(|error| error.to_string())?;
            let Some(received) = received else {
                let drops = socket.take_drops().map_err(|error| error.to_string())?;
                if drops > 0 {
                    return Err(format!("{drops} packets came too fast"));
                }
                continue;
            };
            let frame = buffer.get(..received.len).unwrap_or_default();
            let header = match &self.sources {
                Some(sources) => parse(frame, received.at).filter(|header| sources.contains(&header.source)),
                None => parse(frame, received.at).or_else(|| parse_request(frame, received.at)),
            };
            if let Some(header) = header {
                let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
                if record.headers.len() == MAX_HEADERS {
                    record.is_full = true;
                    return Err(format!("more than {MAX_HEADERS} packets"));
                }
                record.headers.push(header);
            }
        }
        Ok(())
    }
}

/// Reads an Ethernet frame with an IP packet in it; anything else is `None`.
fn parse(frame: &[u8], at: Duration) -> Option<Header> {
    let (ether_type, packet) = (frame.get(12..14)?, frame.get(14..)?);
    let (source, destination, protocol, rest) = match ether_type {
        [0x08, 0x00] => {
            let header_len = usize::from(packet.first()? & 0x0f) * 4;
            let (source, destination) = (address::<4>(packet, 12)?, address::<4>(packet, 16)?);
            // Only a first fragment has ports (RFC 791: the offset is the low 13 bits).
            let later = packet.get(6)? & 0x1f != 0 || *packet.get(7)? != 0;
            let rest = if later { &[] } else { packet.get(header_len..)? };
            (IpAddr::from(source), IpAddr::from(destination), *packet.get(9)?, rest)
        }
        [0x86, 0xdd] => {
            let (source, destination) = (address::<16>(packet, 8)?, address::<16>(packet, 24)?);
            (IpAddr::from(source), IpAddr::from(destination), *packet.get(6)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let has_ports = protocol == 6 || protocol == 17;
    let port = address::<2>(rest, 2).filter(|_| has_ports).map_or(0, u16::from_be_bytes);
    let flags = rest.get(13).copied().filter(|_| protocol == 6).unwrap_or(0);
    Some(Header { at, source, destination, protocol, port, flags })
}

/// Reads a request of ARP (RFC 826) as a packet of no protocol to whom it asks for.
fn parse_request(frame: &[u8], at: Duration) -> Option<Header> {
    if frame.get(12..22)? != [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1] {
        return None;
    }
    let (source, destination) = (address::<4>(frame, 28)?, address::<4>(frame, 38)?);
    Some(Header {
        at,
        source: source.into(),
        destination: destination.into(),
        protocol: 0,
        port: 0,
        flags: 0,
    })
}

fn address<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &[u8], expected: Option<(&str, &str, u8, u16, u8)>) {
        let found = parse(frame, Duration::ZERO);
        let expected = expected.map(|(source, destination, protocol, port, flags)| Header {
            at: Duration::ZERO,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol,
            port,
            flags,
        });
        assert_eq!(found, expected);
    }

    fn ethernet(ether_type: u16, parts: &[&[u8]]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&ether_type.to_be_bytes());
        frame.extend_from_slice(&parts.concat());
        frame
    }

    const TCP_SYN: [u8; 20] = [0xab, 0xcd, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 4, 0, 0, 0, 0, 0];
    const IPV4: [u8; 20] = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 203, 0, 113, 10, 20, 66, 6, 6];

    #[test]
    fn ipv4_tcp() {
        check(&ethernet(0x0800, &[&IPV4, &TCP_SYN]), Some(("203.0.113.10", "20.66.6.6", 6, 22, 2)));
    }

    #[test]
    fn ipv4_later_fragment_has_no_ports() {
        let mut packet = IPV4;
        packet[7] = 5;
        check(&ethernet(0x0800, &[&packet, &TCP_SYN]), Some(("203.0.113.10", "20.66.6.6", 6, 0, 0)));
    }

    #[test]
    fn ipv6_udp() {
        let mut packet = [0; 40];
        packet[0] = 0x60;
        packet[6] = 17;
        packet[8..12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        packet[23] = 0x10;
        packet[39] = 1;
        let frame = ethernet(0x86dd, &[&packet, &[0, 7, 0, 53, 0, 8, 0, 0]]);
        check(&frame, Some(("2001:db8::10", "::1", 17, 53, 0)));
    }

    #[test]
    fn anything_else_and_anything_cut_off() {
        check(&ethernet(0x0806, &[&[0; 28]]), None);
        check(&[], None);
        check(&ethernet(0x0800, &[&IPV4[..10]]), None);
    }
}
