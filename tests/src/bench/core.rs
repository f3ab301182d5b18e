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

/// Mixed traffic of a hundred tenants: mostly bulk TCP in established connections, handshakes, DNS, other UDP and pings.
pub(super) fn run() -> anyhow::Result<Vec<Figure>> {
    let lab = Lab::up()?;
    let file = lab.dir().join("mixed.pcap");
    write_mixed(&file)?;
    let program = binary("reeve-agent")?;
    let tenants: Vec<String> = (0..100).map(|number| format!("t{number}=10.1.{number}.0/24")).collect();
    let mut argv = vec![text(&program), "bench", "core", text(&file)];
    for tenant in &tenants {
        argv.extend(["--tenant", tenant]);
    }
    let finished = lab.rt.run(&argv, LIMIT)?.success()?;
    let answer: Value = serde_json::from_str(&finished.stdout)?;
    let rate = answer["frames_per_second"].as_f64().context("no rate")?;
    let seen = format!("{:.2} Mpps (median of 5)", rate / 1e6);
    Ok(vec![Figure::new(
        "core, replay on one core, mixed traffic of 100 tenants",
        seen,
        ">= 5 Mpps",
        rate >= 5e6,
    )])
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

fn write_mixed(path: &Path) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 192, 101] {
        out.write_all(&word.to_le_bytes())?;
    }
    let mut state = 1_u32;
    for number in 0..FRAMES {
        // Marsaglia's xorshift32, the same every time.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let (packet, wire_len) = packet(number, state);
        // Half a million packets a second of capture time.
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

fn packet(number: u32, random: u32) -> (Vec<u8>, u32) {
    let tenant = [10, 1, (random % 100) as u8, (random >> 8 & 0x3f) as u8];
    let peer = [20, (random >> 14 & 0x0f) as u8, 0, (random >> 18 & 0x1f) as u8];
    let port = 20_000 + (random >> 23 & 0xff) as u16;
    let kind = number % 20;
    let outward = number.is_multiple_of(2);
    let (protocol, len): (u8, u16) = match kind {
        0..=11 => (6, if outward { 52 } else { 1_500 }),
        12..=14 => (6, 60),
        15 | 16 => (17, 80),
        17 | 18 => (17, 1_250),
        _ => (1, 84),
    };
    let mut bytes = vec![0x45, 0];
    bytes.extend(len.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    let (source, destination) = if outward { (tenant, peer) } else { (peer, tenant) };
    bytes.extend(source);
    bytes.extend(destination);
    let service = match kind {
        15 | 16 => 53,
        17 | 18 => 443,
        _ => 80,
    };
    let (from, to) = if outward { (port, service) } else { (service, port) };
    match protocol {
        6 => {
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
            bytes.extend((number * 1_448).to_be_bytes());
            bytes.extend(1_u32.to_be_bytes());
            let flags = match (kind, outward) {
                (12..=14, true) => 0x02,
                (12..=14, false) => 0x12,
                _ => 0x10,
            };
            bytes.extend([0x80, flags, 1, 0, 0, 0, 0, 0]);
            bytes.extend([1; 12]);
        }
        17 => {
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
            bytes.extend((len - 20).to_be_bytes());
            bytes.extend([0, 0]);
        }
        _ => bytes.extend([if outward { 8 } else { 0 }, 0, 0, 0, 0, 7, 0, 1]),
    }
    let captured = usize::from(len).min(96);
    bytes.resize(captured, 0);
    (bytes, u32::from(len))
}
