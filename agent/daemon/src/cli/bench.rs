//! Measurements for people who tune: each prints one JSON object. Whole runs, no assertions.

mod measures;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Subcommand;
use reeve_core::engine::{DEFAULT_FLOW_BYTES, EngineConfig};
use reeve_core::ruleset::{Element, Elements, Hold, Lasting};
use reeve_policy::{DecisionId, Timestamp};
use reeve_replay::history::{Historian, Limits};
use reeve_replay::{FileSource, Progress, Scene, TenantArg};

use crate::enforce::{Enforcer, Ownership};

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Elements in one transaction. Lays table inet reeve down and takes it away: not for a node at work.
    Elements {
        /// How many.
        #[arg(default_value_t = 10_000)]
        count: u32,
    },
    /// One measure more and one less among many: decided, rendered, told the kernel, read back. Lays tables inet reeve and bridge reeve
    /// down and takes them away: not for a node at work.
    Measures {
        /// How many tenants.
        #[arg(long, default_value_t = 10_000)]
        tenants: u32,
        /// How many of them are under some measure.
        #[arg(long, default_value_t = 1_000)]
        measures: u32,
        /// How many are added and lifted, one at a time.
        #[arg(long, default_value_t = 700)]
        rounds: u32,
    },
    /// Frames of a capture through the core, which is read into memory before.
    Core {
        /// The capture.
        file: PathBuf,
        /// The tenant's addresses.
        #[arg(long)]
        tenant: Vec<TenantArg>,
        /// How often it is played.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// What it costs to keep a history of a capture's frames, which is read into memory before.
    History {
        /// The capture.
        file: PathBuf,
        /// The tenant's addresses.
        #[arg(long)]
        tenant: Vec<TenantArg>,
        /// Where the history is written, and taken away after.
        #[arg(long)]
        folder: PathBuf,
    },
}

/// What a history costs: the sensor's time with and without it, the writer's time, and bytes.
fn history(
    file: &std::path::Path,
    tenants: &[TenantArg],
    folder: &std::path::Path,
) -> anyhow::Result<serde_json::Value> {
    let (bytes, kept) = read(file)?;
    let scene = Scene::bench(tenants);
    let config = EngineConfig {
        node: reeve_replay::NODE.parse()?,
        mode: scene.mode,
        policy: std::sync::Arc::clone(&scene.policy),
        flow_bytes: DEFAULT_FLOW_BYTES,
        seed: 0,
        shards: 1,
    };
    let (mut alone, mut with, mut written, mut writing) = (Vec::new(), Vec::new(), 0, Vec::new());
    for round in 0..5 {
        let mut engine = scene.engine();
        let began = Instant::now();
        for one in &kept {
            engine.handle_frame(&one.frame(&bytes));
        }
        alone.push(began.elapsed().as_secs_f64());
        let place = folder.join(format!("round-{round}"));
        let (mut engine, began_all) = (scene.engine(), process_seconds());
        let began = Instant::now();
        let mut historian =
            Historian::open(&place, Limits::default(), config.clone(), Timestamp::from_secs(round))?;
        for one in &kept {
            let frame = one.frame(&bytes);
            historian.frame(&engine, &frame);
            engine.handle_frame(&frame);
        }
        with.push(began.elapsed().as_secs_f64());
        drop(historian);
        writing.push(process_seconds() - began_all);
        written = 0;
        for entry in std::fs::read_dir(&place)? {
            written += entry?.metadata()?.len();
        }
        std::fs::remove_dir_all(&place)?;
    }
    let frames = kept.len() as f64;
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2] / frames * 1e9
    };
    let (alone, with, both) = (median(alone), median(with), median(writing));
    Ok(serde_json::json!({
        "frames": kept.len(), "bytes_per_frame": written as f64 / frames, "engine_ns": alone, "with_history_ns": with,
        "processor_ns": both,
    }))
}

/// Processor time of this process so far, over all threads.
fn process_seconds() -> f64 {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9
}

/// Measures.
///
/// # Errors
/// When the kernel refuses, or the capture cannot be read.
pub fn bench(what: &What) -> anyhow::Result<serde_json::Value> {
    match what {
        What::Elements { count } => elements(*count),
        What::Measures { tenants, measures, rounds } => measures::run(*tenants, *measures, *rounds),
        What::Core { file, tenant, rounds } => core(file, tenant, *rounds),
        What::History { file, tenant, folder } => history(file, tenant, folder),
    }
}

fn elements(count: u32) -> anyhow::Result<serde_json::Value> {
    let now = Timestamp::from_secs(1_700_000_000);
    let decisions = vec![DecisionId("bench.1".parse()?)];
    let hold = Hold { decisions, ..Hold::new(Lasting::Until(now + Duration::from_secs(3_600))) };
    let wanted: Elements = (0..count)
        .map(|number| IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number)))
        .map(|host| (Element::Suspended(host.into()), hold.clone()))
        .collect();
    let mut enforcer = Enforcer::open(Ownership::Auto)?;
    enforcer.install(Elements::new(), now)?;
    let began = Instant::now();
    enforcer.apply(&wanted, now)?;
    let (sent, took) = enforcer.last_transaction();
    let with_read_back = began.elapsed();
    let began = Instant::now();
    enforcer.apply(&Elements::new(), now)?;
    let removed = began.elapsed();
    // One alone, among many.
    enforcer.apply(&wanted, now)?;
    let mut one_more = wanted;
    one_more.insert(Element::Suspended("192.0.2.1/32".parse()?), hold);
    let began = Instant::now();
    enforcer.apply(&one_more, now)?;
    let one = began.elapsed();
    enforcer.clear()?;
    let millis = |span: Duration| span.as_secs_f64() * 1_000.0;
    Ok(serde_json::json!({
        "elements": count, "bytes": sent, "apply_ms": millis(took), "apply_and_read_back_ms": millis(with_read_back),
        "remove_ms": millis(removed), "one_more_ms": millis(one),
    }))
}

struct Kept {
    at: Timestamp,
    link: reeve_core::LinkType,
    range: std::ops::Range<usize>,
    wire_len: u32,
}

impl Kept {
    fn frame<'a>(&self, bytes: &'a [u8]) -> reeve_core::Frame<'a> {
        reeve_core::Frame {
            at: self.at,
            vantage: reeve_core::VantageId(0),
            passage: reeve_core::Passage::Unknown,
            owner: None,
            link: self.link,
            vlan: None,
            data: &bytes[self.range.clone()],
            wire_len: self.wire_len,
        }
    }
}

/// A capture in memory.
fn read(file: &std::path::Path) -> anyhow::Result<(Vec<u8>, Vec<Kept>)> {
    let (mut bytes, mut kept) = (Vec::new(), Vec::new());
    let mut source = FileSource::open(file)?;
    while !matches!(
        source.poll(&mut |frame| {
            let start = bytes.len();
            bytes.extend_from_slice(frame.data);
            let range = start..bytes.len();
            kept.push(Kept { at: frame.at, link: frame.link, range, wire_len: frame.wire_len });
        })?,
        Progress::Ended
    ) {}
    Ok((bytes, kept))
}

fn core(file: &std::path::Path, tenants: &[TenantArg], rounds: u32) -> anyhow::Result<serde_json::Value> {
    let (bytes, kept) = read(file)?;
    let mut rates = Vec::new();
    let mut outputs = 0;
    for _ in 0..rounds {
        let mut engine = Scene::bench(tenants).engine();
        let began = Instant::now();
        for one in &kept {
            engine.handle_frame(&one.frame(&bytes));
            while engine.poll().is_some() {
                outputs += 1;
            }
        }
        rates.push(kept.len() as f64 / began.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
    Ok(
        serde_json::json!({ "frames": kept.len(), "rounds": rounds, "outputs": outputs, "frames_per_second": median }),
    )
}
