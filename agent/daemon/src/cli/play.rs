//! `replay` and `score`: captures instead of interfaces.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use reeve_core::engine::Output;
use reeve_core::topology::VantageKind;
use reeve_policy::language::{check_tenants, parse_tenants};
use reeve_policy::{Mode, Tenant};
use reeve_replay::{MAX_SENDERS, Replayed, Scene, Teller, TenantArg, from_args, replay, text_line};

use super::{ReplayArgs, ScoreArgs};
use crate::config::{ConfigError, named_policy};
use crate::record;
use crate::score::{self, Marks};

/// Where a capture was taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum VantageArg {
    /// At the tenant's port.
    Port,
    /// Anywhere else.
    Mirror,
}

/// Tenants of the command line that share an address.
#[derive(Debug, thiserror::Error)]
#[error("the tenants of the command line: {0}")]
pub struct Clashing(String);

/// Plays captures.
///
/// # Errors
/// When a file cannot be read or is cut short (what stood before the cut has been played then).
pub fn play(args: &ReplayArgs) -> anyhow::Result<()> {
    if args.recorded {
        let mut teller = Teller::default();
        let mut each = args.files.iter();
        each.try_for_each(|file| play_record(file, args.shards, args.json, &mut teller))?;
        return write_captures(&teller, args.pcapng.as_deref());
    }
    let scene = Scene {
        tenants: tenants_of(args.tenants.as_deref(), &args.tenant)?,
        kind: kind(args.vantage),
        policy: Arc::new(named_policy(&args.policy)?),
        mode: Mode::Enforce,
        shards: args.shards.unwrap_or(1),
    };
    let mut teller = Teller::new(&scene.tenants);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let replayed = replay(&scene, &args.files, |output| {
        teller.take(&output);
        if written.is_ok() {
            written = write_output(&mut out, &teller, &output, args.json);
        }
    })?;
    written?;
    if args.json {
        let line = serde_json::json!({ "event": "end", "replayed": replayed });
        writeln!(out, "{line}")?;
    } else {
        let malformed: u64 = replayed.malformed.values().sum();
        let (frames, unassigned) = (replayed.frames, replayed.unassigned);
        writeln!(out, "{frames} frames, {malformed} malformed, {unassigned} of none of the tenants")?;
    }
    out.flush()?;
    warn_of_absent(args, &scene, &replayed);
    write_captures(&teller, args.pcapng.as_deref())?;
    match replayed.truncated {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Says on standard error whose traffic was asked for and is not there: silence about it means nothing.
fn warn_of_absent(args: &ReplayArgs, scene: &Scene, replayed: &Replayed) {
    let warn = |what: String| {
        // With stderr gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "reeve-agent: warning: {what}");
    };
    if let (Some(path), true) = (&args.tenants, scene.tenants.is_empty()) {
        warn(format!("{} names no tenant, so nothing is anybody's", path.display()));
    } else if replayed.first_sent.is_none() {
        let each = scene.tenants.iter().take(8).map(|tenant| tenant.id.to_string());
        let more = if scene.tenants.len() > 8 { ", ..." } else { "" };
        let names = each.collect::<Vec<_>>().join(", ");
        warn(format!("no packet of {names}{more}: is --tenant right?"));
    } else if scene.tenants.len() <= MAX_SENDERS {
        // Of a file of tenants only some are expected in a capture; those of the command line all are.
        let asked = from_args(&args.tenant);
        let absent = asked.into_iter().filter(|tenant| !replayed.senders.contains(&tenant.id));
        absent.for_each(|tenant| warn(format!("no packet of {}: is --tenant right?", tenant.id)));
    }
}

/// Plays a record, and holds it against what ran live.
fn play_record(file: &Path, shards: Option<u32>, json: bool, teller: &mut Teller) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let played = record::play(file, shards, |output| {
        teller.take(&output);
        if written.is_ok() {
            written = write_output(&mut out, teller, &output, json);
        }
    });
    written?;
    // What stands before a difference is worth seeing too.
    out.flush()?;
    let played = played?;
    if json {
        writeln!(out, "{}", serde_json::json!({ "event": "end", "played": played }))?;
    } else {
        let cut = if played.is_cut { "; the record is cut short" } else { "" };
        let (frames, equal, beyond) = (played.frames, played.equal, played.beyond);
        writeln!(
            out,
            "{frames} frames; {equal} outputs equal to what ran live, {beyond} beyond its end{cut}"
        )?;
    }
    Ok(out.flush()?)
}

/// Writes the packet headers behind each violation: of what opened it, of what decisions rest on, and of the latest alert.
fn write_captures(teller: &Teller, folder: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (dossier, name) in teller.dossiers() {
        let path = folder.join(format!("{}.pcapng", dossier.violation.id));
        std::fs::write(&path, dossier.capture(&dossier.all(), name))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn write_output(out: &mut impl io::Write, teller: &Teller, output: &Output, json: bool) -> io::Result<()> {
    if json {
        teller.line(output).map_err(io::Error::from).and_then(|line| writeln!(out, "{line}"))
    } else {
        text_line(output).map_or(Ok(()), |line| writeln!(out, "{line}"))
    }
}

/// Plays labelled captures.
///
/// # Errors
/// When the manifest or a capture cannot be read, or the marks are not reached.
pub fn score(args: &ScoreArgs) -> anyhow::Result<()> {
    let marks = args.fail_below.as_deref().map(Marks::load).transpose()?;
    let score = score::score(&args.manifest, &Arc::new(named_policy(&args.policy)?))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &score)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", score::table(&score))?;
    }
    Ok(marks.map_or(Ok(()), |marks| marks.check(&score))?)
}

/// What the place where a capture was taken is to its tenants.
pub(super) const fn kind(vantage: VantageArg) -> VantageKind {
    match vantage {
        VantageArg::Port => VantageKind::Port,
        VantageArg::Mirror => VantageKind::Mirror,
    }
}

/// The tenants of a file and of the command line.
pub(super) fn tenants_of(file: Option<&Path>, args: &[TenantArg]) -> anyhow::Result<Vec<Arc<Tenant>>> {
    let mut tenants = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let parsed = parse_tenants(&path.display().to_string(), &text).map_err(ConfigError::Content)?;
        tenants.extend(parsed);
    }
    tenants.extend(from_args(args));
    check_tenants(&tenants).map_err(|clash| Clashing(clash.to_string()))?;
    Ok(tenants.into_iter().map(Arc::new).collect())
}
