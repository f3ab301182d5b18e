//! However a capture comes, in two files or one, in batches or frame by frame, to one shard or several, it gives the same verdicts.
//!
//! Labelled captures are read where they lie; none of them is copied into the repository. Where they are not there, only what the
//! core's own property tests make up is tried.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reeve_core::engine::{Engine, Output};
use reeve_core::packet::{self, Body};
use reeve_core::topology::VantageKind;
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::language::Policy;
use reeve_policy::{Mode, Tenant, Timestamp};
use reeve_replay::{FileSource, Progress};
use reeve_replay::{Scene, TAIL, replay};

/// Larger captures would only take longer.
const BYTES_MAX: u64 = 400_000;
/// How many captures of a class are tried.
const OF_EACH: usize = 4;

/// A labelled capture.
struct Labelled {
    path: PathBuf,
    addresses: Vec<IpNet>,
    kind: VantageKind,
}

/// A frame that outlives its file.
struct Kept {
    at: Timestamp,
    link: LinkType,
    passage: Passage,
    vlan: Option<u16>,
    wire_len: u32,
    data: Vec<u8>,
}

impl Kept {
    fn frame(&self) -> Frame<'_> {
        let Self { at, link, passage, vlan, wire_len, ref data } = *self;
        Frame { at, vantage: VantageId(0), passage, owner: None, link, vlan, data, wire_len }
    }
}

/// Marsaglia's xorshift64: the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Some captures of each class, and as many benign ones as of all of them together.
fn captures() -> Vec<Labelled> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus"));
    let corpus = std::env::var_os("REEVE_CORPUS").map_or(beside, PathBuf::from);
    let Ok(mut manifest) = csv::Reader::from_path(corpus.join("manifest.csv")) else {
        assert!(std::env::var_os("REEVE_REQUIRE_CORPUS").is_none(), "no corpus at {}", corpus.display());
        return Vec::new();
    };
    let mut classes: BTreeMap<String, Vec<Labelled>> = BTreeMap::new();
    for row in manifest.records().map(Result::unwrap) {
        let path = corpus.join(&row[0]);
        let is_small = path.metadata().is_ok_and(|metadata| metadata.len() <= BYTES_MAX);
        if row[2].is_empty() || !is_small {
            continue;
        }
        let net = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).unwrap();
        let kind = if &row[3] == "port" { VantageKind::Port } else { VantageKind::Mirror };
        let labelled = Labelled { path, addresses: row[2].split(';').map(net).collect(), kind };
        classes.entry(row[6].to_owned()).or_default().push(labelled);
    }
    let number = OF_EACH * classes.len();
    let some = |(class, all): (String, Vec<Labelled>)| {
        let wanted = if class == "none" { number } else { OF_EACH };
        let step = all.len().div_ceil(wanted);
        all.into_iter().step_by(step.max(1)).collect::<Vec<_>>()
    };
    classes.into_iter().flat_map(some).collect()
}

fn frames(path: &Path) -> Vec<Kept> {
    let mut source = FileSource::open(path).unwrap();
    let mut all = Vec::new();
    loop {
        let progress = source.poll(&mut |frame| {
            let Frame { at, link, passage, vlan, wire_len, data, .. } = frame;
            all.push(Kept { at, link, passage, vlan, wire_len, data: data.to_vec() });
        });
        if !matches!(progress, Ok(Progress::Frames(_))) {
            return all;
        }
    }
}

fn scene(tenants: Vec<Arc<Tenant>>, kind: VantageKind, shards: u32) -> Scene {
    let policy = Arc::new(Policy::preset("baseline").unwrap());
    Scene { tenants, kind, policy, mode: Mode::Enforce, shards }
}

fn tenant(id: &str, addresses: Vec<IpNet>) -> Arc<Tenant> {
    Arc::new(Tenant { addresses, ..Tenant::new(id.parse().unwrap()) })
}

fn drain(engine: &mut Engine, into: &mut Vec<Output>) {
    into.extend(std::iter::from_fn(|| engine.poll()));
}

/// Frame by frame.
fn whole(scene: &Scene, frames: &[Kept]) -> Vec<Output> {
    let (mut engine, mut outputs) = (scene.engine(), Vec::new());
    for frame in frames {
        engine.handle_frame(&frame.frame());
        drain(&mut engine, &mut outputs);
    }
    finish(engine, frames, outputs)
}

fn finish(mut engine: Engine, frames: &[Kept], mut outputs: Vec<Output>) -> Vec<Output> {
    if let Some(end) = frames.iter().map(|frame| frame.at).max() {
        engine.handle_tick(end + TAIL);
    }
    drain(&mut engine, &mut outputs);
    outputs
}

/// In batches of any size, with the clock told in between at any time.
fn batched(scene: &Scene, frames: &[Kept], random: &mut Random) -> Vec<Output> {
    let (mut engine, mut outputs) = (scene.engine(), Vec::new());
    let (mut rest, mut now) = (frames, Timestamp::EPOCH);
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((random.next() as usize % 700 + 1).min(rest.len()));
        for frame in batch {
            engine.handle_frame(&frame.frame());
            now = now.max(frame.at);
        }
        // Some time before the next frame, or at once.
        if let Some(next) = after.first().filter(|next| next.at > now) {
            let gap = next.at.since(now).as_nanos() as u64;
            engine.handle_tick(now + Duration::from_nanos(random.next() % gap.max(1)));
        }
        drain(&mut engine, &mut outputs);
        rest = after;
    }
    finish(engine, frames, outputs)
}

/// Writes a capture file with times in nanoseconds.
fn write(path: &Path, frames: &[Kept]) {
    let link = frames.first().map_or(1, |frame| frame.link.number());
    let mut bytes = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 1 << 18, link] {
        bytes.extend(word.to_le_bytes());
    }
    for frame in frames {
        let nanos = frame.at.as_nanos();
        let (seconds, rest) = ((nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32);
        for word in [seconds, rest, frame.data.len() as u32, frame.wire_len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&frame.data);
    }
    std::fs::write(path, bytes).unwrap();
}

fn replayed(scene: &Scene, files: &[PathBuf]) -> Vec<Output> {
    let mut outputs = Vec::new();
    replay(scene, files, |output| outputs.push(output)).unwrap();
    outputs
}

/// The verdicts of two ways, told with the capture if they differ.
fn check(path: &Path, way: &str, one: &[Output], other: &[Output]) {
    for (number, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one, other, "{}: output {number} {way}", path.display());
    }
    assert_eq!(one.len(), other.len(), "{}: {way}", path.display());
}

#[test]
fn a_capture_in_two_files_gives_the_verdicts_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let [all, first, second] = ["all", "first", "second"].map(|name| folder.path().join(name));
    let mut told = 0;
    for Labelled { path, addresses, kind } in captures() {
        let frames = frames(&path);
        let scene = scene(vec![tenant("a", addresses)], kind, 1);
        write(&all, &frames);
        let one = replayed(&scene, std::slice::from_ref(&all));
        // In the middle, and where it has hardly begun.
        for cut in [frames.len() / 2, frames.len() / 7] {
            write(&first, &frames[..cut]);
            write(&second, &frames[cut..]);
            check(&path, "in two files", &one, &replayed(&scene, &[first.clone(), second.clone()]));
        }
        told += one.len();
    }
    assert!(captures().is_empty() || told > 0, "some of them are abuse");
}

#[test]
fn batches_and_shards_change_no_verdict() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for Labelled { path, addresses, .. } in captures() {
        let frames = frames(&path);
        // The busiest hosts of the capture are tenants as well, so that there are some to divide.
        let mut busy: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for frame in &frames {
            let packet = packet::parse(frame.link, &frame.data, frame.wire_len);
            if let Ok(Body::Ip(ip)) = packet.map(|packet| packet.body) {
                *busy.entry(ip.source).or_default() += 1;
            }
        }
        busy.retain(|address, _| !addresses.iter().any(|own| own.contains(address)));
        let mut busy: Vec<(usize, IpAddr)> = busy.into_iter().map(|(address, n)| (n, address)).collect();
        busy.sort_unstable();
        let others = busy.iter().rev().take(6).enumerate();
        let mut tenants: Vec<Arc<Tenant>> =
            others.map(|(n, (_, address))| tenant(&format!("b{n}"), vec![IpNet::from(*address)])).collect();
        tenants.push(tenant("a", addresses));
        let one = whole(&scene(tenants.clone(), VantageKind::Mirror, 1), &frames);
        for shards in [2, 3, 7] {
            let scene = scene(tenants.clone(), VantageKind::Mirror, shards);
            check(&path, &format!("in {shards} shards"), &one, &batched(&scene, &frames, &mut random));
        }
    }
}
