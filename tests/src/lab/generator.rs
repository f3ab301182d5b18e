//! A packet generator: small TCP SYN frames at a steady rate, for the benchmarks.
//!
//! Model: one thread, frames of 60 bytes in batches of 64 handed to the driver by `sendmmsg`, paced against the clock. What it may send is
//! bounded by rate times duration, both of which are capped. Left out: correct checksums; whoever receives them here drops them after they
//! were seen.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::namespace::Namespace;
use super::sys::PacketSocket;

/// 14 bytes of Ethernet, 20 of IPv4, 20 of TCP, padded to the least an Ethernet frame may have without its checksum.
const FRAME_LEN: usize = 60;
const BATCH: usize = 64;
/// The fastest and longest that may be asked for.
const MAX_RATE_PPS: u32 = 2_000_000;
const MAX_DURATION: Duration = Duration::from_secs(10);

/// What changes from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The source port: one host that opens many connections.
    SourcePorts,
    /// The source address, over all of IPv4: a spoofed flood.
    SourceAddresses,
    /// The source address, over the last octets of these many hosts after 10.0.0.1.
    Hosts(u32),
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// Packets per second, at most 2,000,000.
    pub rate_pps: u32,
    /// For how long, at most 10 s.
    pub duration: Duration,
    /// What changes.
    pub spread: Spread,
    /// The source, where it does not change.
    pub source: Ipv4Addr,
    /// The destination.
    pub destination: Ipv4Addr,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames that the driver took.
    pub packets: u64,
    /// How long that took.
    pub took: Duration,
}

impl Sent {
    /// The rate that was reached, in packets per second.
    #[must_use]
    pub fn rate_pps(&self) -> f64 {
        self.packets as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

impl Generator {
    /// Sends from `interface` in `namespace` to the router whose MAC address is `gateway`.
    ///
    /// # Errors
    /// When more is asked for than is allowed, or the socket fails.
    pub fn run(&self, namespace: &Namespace, interface: &str, gateway: [u8; 6]) -> anyhow::Result<Sent> {
        ensure!(self.rate_pps <= MAX_RATE_PPS, "at most {MAX_RATE_PPS} packets per second");
        ensure!(self.duration <= MAX_DURATION, "at most {} s", MAX_DURATION.as_secs());
        namespace.enter(|| {
            let socket = PacketSocket::open(interface, false).context("cannot open a packet socket")?;
            socket.bypass_queue().context("cannot bypass the queue")?;
            self.send(&socket, gateway)
        })
    }

    fn send(&self, socket: &PacketSocket, gateway: [u8; 6]) -> anyhow::Result<Sent> {
        let mut frames = [self.template(gateway); BATCH];
        let mut random = 0x2545_f491_u32;
        let start = Instant::now();
        let mut packets = 0_u64;
        while start.elapsed() < self.duration {
            // Behind the schedule, a batch goes out at once; ahead of it, the thread waits.
            let due = Duration::from_secs_f64(packets as f64 / f64::from(self.rate_pps.max(1)));
            if let Some(ahead) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(ahead);
            }
            for frame in &mut frames {
                random = next_random(random);
                self.vary(frame, random);
            }
            match socket.send_batch(&mut frames) {
                Ok(sent) => packets += sent as u64,
                // The driver's queue is full: the packets were never sent, and the pace is lost for a moment.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error).context("cannot send"),
            }
        }
        Ok(Sent { packets, took: start.elapsed() })
    }

    fn template(&self, gateway: [u8; 6]) -> [u8; FRAME_LEN] {
        let mut frame = [0; FRAME_LEN];
        frame[..6].copy_from_slice(&gateway);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
        frame[26..30].copy_from_slice(&self.source.octets());
        frame[30..34].copy_from_slice(&self.destination.octets());
        frame[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        frame[46..50].copy_from_slice(&[0x50, 0x02, 0x04, 0]);
        set_checksum(&mut frame);
        frame
    }

    fn vary(&self, frame: &mut [u8; FRAME_LEN], random: u32) {
        match self.spread {
            Spread::SourcePorts => frame[34..36].copy_from_slice(&(random as u16 | 1024).to_be_bytes()),
            Spread::SourceAddresses => frame[26..30].copy_from_slice(&random.to_be_bytes()),
            Spread::Hosts(hosts) => {
                let host = 0x0a00_0001 + random % hosts.max(1);
                frame[26..30].copy_from_slice(&host.to_be_bytes());
            }
        }
        set_checksum(frame);
    }
}

/// Fills in the IPv4 header's checksum (RFC 1071); routers drop a packet whose header does not add up.
fn set_checksum(frame: &mut [u8; FRAME_LEN]) {
    frame[24..26].fill(0);
    let words = frame[14..34].chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
}

/// Marsaglia's xorshift32: good enough to spread packets, and the same every time.
fn next_random(mut state: u32) -> u32 {
    state ^= state << 13;
    state ^= state >> 17;
    state ^ (state << 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_adds_up_to_all_ones() {
        let generator = Generator {
            rate_pps: 1,
            duration: Duration::from_secs(1),
            spread: Spread::SourceAddresses,
            source: Ipv4Addr::new(203, 0, 113, 10),
            destination: Ipv4Addr::new(20, 1, 2, 3),
        };
        let mut frame = generator.template([2, 0, 0, 0, 0, 9]);
        for random in [0, 1, 0xffff_ffff, 0x1234_5678] {
            generator.vary(&mut frame, random);
            let sum: u32 = frame[14..34]
                .chunks_exact(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "source {random:#x}");
        }
    }
}
