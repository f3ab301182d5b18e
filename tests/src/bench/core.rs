//! The core alone on one core, and elements in one transaction.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::{Figure, LIMIT, median};
use crate::house::{binary, text};
use crate::lab::Lab;

/// Frames of the mixed capture.
const FRAMES: u32 = 2_000_000;

/// Flows that live at once in the mix.
const LIVE: usize = 20_000;

/// Mixed traffic of a hundred tenants, and the worst there is: a flow a packet.
pub(super) fn run() -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::up()?;
    let mut mix = Mix::new(LIVE);
    let mixed = rate(&lab, |_| mix.next())?;
    let opening = rate(&lab, opening)?;
    let seen = |rate: f64| format!("{:.2} Mpps (median of 5)", rate / 1e6);
    let what = "core, replay on one core, mixed traffic of 100 tenants";
    Ok(vec![
        Figure::new(what, seen(mixed), ">= 5 Mpps", mixed >= 5e6),
        Figure::new("  the worst: every packet opens a flow", seen(opening), "-", true),
    ])
}

/// What it costs to keep a history of the same.
pub(super) fn history() -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::up()?;
    let mut mix = Mix::new(LIVE);
    let mixed = kept(&lab, |_| mix.next())?;
    let opening = kept(&lab, opening)?;
    let mut all = Vec::new();
    for (what, answer) in [("mixed traffic of 100 tenants", mixed), ("every packet opens a flow", opening)] {
        let number = |name: &str| answer[name].as_f64().context("no figure");
        let (engine, with) = (number("engine_ns")?, number("with_history_ns")?);
        let seen = format!("{:.1} MB a million packets", number("bytes_per_frame")?);
        all.push(Figure::new(format!("history, {what}"), seen, "-", true));
        let seen = format!("{engine:.0} to {with:.0} ns a packet");
        all.push(Figure::new("  the sensor's time, without and with it", seen, "-", true));
        let seen = format!("{:.0} ns a packet", number("processor_ns")?);
        all.push(Figure::new("  processor time with it, of both threads", seen, "-", true));
    }
    Ok(all)
}

fn kept(lab: &Lab, packet: impl FnMut(u32) -> (Vec<u8>, u32)) -> anyhow::Result<Value> {
    let file = lab.dir().join("core.pcap");
    write_capture(&file, packet)?;
    let (program, folder) = (binary("reeve-agent")?, lab.dir().join("history"));
    let tenants: Vec<String> = (0..100).map(|number| format!("t{number}=10.1.{number}.0/24")).collect();
    let mut argv = vec![text(&program), "bench", "history", text(&file), "--folder", text(&folder)];
    for tenant in &tenants {
        argv.extend(["--tenant", tenant]);
    }
    Ok(serde_json::from_str(&lab.rt.run(&argv, LIMIT)?.success()?.stdout)?)
}

/// Frames a second through the core, of what `packet` makes.
fn rate(lab: &Lab, packet: impl FnMut(u32) -> (Vec<u8>, u32)) -> anyhow::Result<f64> {
    let file = lab.dir().join("core.pcap");
    write_capture(&file, packet)?;
    let program = binary("reeve-agent")?;
    let tenants: Vec<String> = (0..100).map(|number| format!("t{number}=10.1.{number}.0/24")).collect();
    let mut argv = vec![text(&program), "bench", "core", text(&file)];
    for tenant in &tenants {
        argv.extend(["--tenant", tenant]);
    }
    let finished = lab.rt.run(&argv, LIMIT)?.success()?;
    let answer: Value = serde_json::from_str(&finished.stdout)?;
    answer["frames_per_second"].as_f64().context("no rate")
}

/// Ten thousand suspensions in one transaction, and one more.
pub(super) fn elements() -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::up()?;
    let program = binary("reeve-agent")?;
    let (mut all, mut with_read_back, mut one) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let finished = lab.rt.run(&[text(&program), "bench", "elements", "10000"], LIMIT)?.success()?;
        let answer: Value = serde_json::from_str(&finished.stdout)?;
        let number = |name: &str| answer[name].as_f64().context("no figure");
        all.push(number("apply_ms")?);
        with_read_back.push(number("apply_and_read_back_ms")?);
        one.push(number("one_more_ms")?);
    }
    let (all, with_read_back, one) = (median(all), median(with_read_back), median(one));
    Ok(vec![
        Figure::new("10,000 elements, one transaction", format!("{all:.1} ms"), "<= 100 ms", all <= 100.0),
        Figure::new("  built, applied, read back and compared", format!("{with_read_back:.1} ms"), "-", true),
        Figure::new("  one more among 10,000, read back", format!("{one:.1} ms"), "-", true),
    ])
}

/// One measure more and one less on a node with ten thousand tenants, a thousand of which are under one.
pub(super) fn measures() -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::up()?;
    let program = binary("reeve-agent")?;
    let names = ["add_median_ms", "add_p99_ms", "lift_median_ms", "lift_p99_ms"];
    let mut runs: [Vec<f64>; 4] = Default::default();
    for _ in 0..3 {
        let finished = lab.rt.run(&[text(&program), "bench", "measures"], LIMIT)?.success()?;
        let answer: Value = serde_json::from_str(&finished.stdout)?;
        for (run, name) in runs.iter_mut().zip(names) {
            run.push(answer[name].as_f64().context("no figure")?);
        }
    }
    let [added, added_99, lifted, lifted_99] = runs.map(median);
    let seen = |middle: f64, late: f64| format!("{middle:.2} ms median, {late:.2} ms p99");
    let what = "one measure more among 1,000 of 10,000 tenants, read back";
    Ok(vec![
        Figure::new(what, seen(added, added_99), "<= 5 ms median", added <= 5.0),
        Figure::new("  one less, its counters read before", seen(lifted, lifted_99), "-", true),
    ])
}

/// Writes a capture of raw IPv4 packets, half a million a second of capture time.
fn write_capture(path: &Path, mut packet: impl FnMut(u32) -> (Vec<u8>, u32)) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 192, 101] {
        out.write_all(&word.to_le_bytes())?;
    }
    for number in 0..FRAMES {
        let (packet, wire_len) = packet(number);
        let nanos = u64::from(number) * 2_000;
        let (seconds, rest) =
            (1_700_000_000 + (nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32);
        for word in [seconds, rest, packet.len() as u32, wire_len] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(&packet)?;
    }
    Ok(out.flush()?)
}

/// Traffic of a hundred tenants as servers have it: a pool of flows that live at once, of which one at a time has its turn. Long
/// flows send in trains of ten, as TCP's window lets them (RFC 6928); all others a packet a turn, for a round trip lies between.
struct Mix {
    random: u32,
    flows: Vec<Conversation>,
    /// Whose turn it is, and for how many packets more.
    turn: (usize, u32),
}

const TRAIN: u32 = 10;

/// One flow of the mix.
#[derive(Clone, Copy)]
struct Conversation {
    kind: Kind,
    tenant: [u8; 4],
    peer: [u8; 4],
    port: u16,
    sent: u32,
    len: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// TCP that the tenant opens or serves, with its handshake and its close.
    Tcp {
        serves: bool,
    },
    Dns,
    Quic,
    Ping,
}

impl Mix {
    /// A mix of `live` flows at once.
    fn new(live: usize) -> Self {
        let mut mix = Self { random: 1, flows: Vec::new(), turn: (0, 0) };
        mix.flows = (0..live).map(|_| mix.open()).collect();
        mix
    }

    /// Marsaglia's xorshift32, the same every time.
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    fn open(&mut self) -> Conversation {
        let (who, which) = (self.random(), self.random());
        // Of a hundred flows: sixty short TCP, five long, twenty look-ups, ten QUIC, five pings.
        let (kind, len) = match which % 100 {
            0..=29 => (Kind::Tcp { serves: true }, 12),
            30..=59 => (Kind::Tcp { serves: false }, 12),
            60..=64 => (Kind::Tcp { serves: true }, 400),
            65..=84 => (Kind::Dns, 2),
            85..=94 => (Kind::Quic, 60),
            _ => (Kind::Ping, 20),
        };
        Conversation {
            kind,
            tenant: [10, 1, (who % 100) as u8, (who >> 8 & 7) as u8],
            peer: [20, (who >> 11) as u8, (who >> 19 & 0x3f) as u8, 1],
            port: 20_000 + (which >> 8 & 0x3fff) as u16,
            sent: 0,
            len,
        }
    }

    /// The next packet, cut off at 96 bytes, and its length on the wire.
    fn next(&mut self) -> (Vec<u8>, u32) {
        if self.turn.1 == 0 {
            let place = self.random() as usize % self.flows.len();
            self.turn = (place, if self.flows[place].len > TRAIN * 2 { TRAIN } else { 1 });
        }
        let place = self.turn.0;
        self.turn.1 -= 1;
        let packet = self.flows[place].packet();
        self.flows[place].sent += 1;
        if self.flows[place].sent == self.flows[place].len {
            self.flows[place] = self.open();
            self.turn.1 = 0;
        }
        packet
    }
}

impl Conversation {
    fn packet(&self) -> (Vec<u8>, u32) {
        const FIN: u8 = 0x01;
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        let opener_sends = self.sent.is_multiple_of(2);
        let serves = matches!(self.kind, Kind::Tcp { serves: true });
        let outward = opener_sends != serves;
        let last = self.len - self.sent;
        let flags = match (self.sent, last) {
            (0, _) => SYN,
            (1, _) => SYN | ACK,
            (_, 1 | 2) => FIN | ACK,
            _ => ACK,
        };
        let bulk = self.sent > 3 && last > 2 && !opener_sends;
        let (protocol, service, len): (u8, u16, u16) = match self.kind {
            Kind::Tcp { .. } if bulk => (6, 443, 1_500),
            Kind::Tcp { .. } => (6, 443, 52),
            Kind::Dns => (17, 53, 80),
            Kind::Quic => (17, 443, 1_250),
            Kind::Ping => (1, 0, 84),
        };
        let mut bytes = vec![0x45, 0];
        bytes.extend(len.to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        let (source, destination) = if outward { (self.tenant, self.peer) } else { (self.peer, self.tenant) };
        bytes.extend(source);
        bytes.extend(destination);
        let (from, to) = if opener_sends { (self.port, service) } else { (service, self.port) };
        match protocol {
            6 => {
                bytes.extend(from.to_be_bytes());
                bytes.extend(to.to_be_bytes());
                bytes.extend((self.sent * 1_448).to_be_bytes());
                bytes.extend(1_u32.to_be_bytes());
                bytes.extend([0x80, flags, 1, 0, 0, 0, 0, 0]);
                bytes.extend([1; 12]);
            }
            17 => {
                bytes.extend(from.to_be_bytes());
                bytes.extend(to.to_be_bytes());
                bytes.extend((len - 20).to_be_bytes());
                bytes.extend([0, 0]);
            }
            _ => bytes.extend([if opener_sends { 8 } else { 0 }, 0, 0, 0, 0, 7, 0, 1]),
        }
        bytes.resize(usize::from(len).min(96), 0);
        (bytes, u32::from(len))
    }
}

/// A SYN from one of a hundred tenants to a host that nobody tried before: every packet opens a flow.
fn opening(number: u32) -> (Vec<u8>, u32) {
    let spread = number.wrapping_mul(0x9e37_79b9);
    let mut conversation = Mix::new(0).open();
    conversation.kind = Kind::Tcp { serves: false };
    conversation.tenant = [10, 1, (spread % 100) as u8, 1];
    conversation.peer = [20, (spread >> 24) as u8, (spread >> 16) as u8, (spread >> 8) as u8];
    conversation.packet()
}
