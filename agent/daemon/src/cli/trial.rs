//! `try`: whom a policy would hit, before it is enforced.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use reeve_policy::Mode;
use reeve_policy::language::Policy;
use reeve_replay::Scene;
use reeve_replay::history::History;
use reeve_replay::trial::{self, Trial};

use super::TryArgs;
use super::play::{kind, tenants_of};
use crate::capture::Clock;
use crate::config;

/// The two policies do not hit the same tenants in the same way. It was told whom.
#[derive(Debug, thiserror::Error)]
#[error("{newly} newly hit, {no_longer} no longer, {differently} otherwise")]
pub struct Hits {
    newly: usize,
    no_longer: usize,
    differently: usize,
}

/// Tries a policy.
///
/// # Errors
/// When settings, policies, tenants or captures cannot be read; [`Hits`] where somebody is hit otherwise.
pub fn run(args: &TryArgs) -> anyhow::Result<()> {
    let candidate = config::named_policy(&args.candidate)?;
    let trial = match args.history {
        Some(span) => on_history(args, candidate, span)?,
        None => on_captures(args, candidate)?,
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&trial)?)?;
    } else {
        write!(out, "{}", trial::table(&trial))?;
    }
    out.flush()?;
    let all = &trial.comparison;
    let (newly, no_longer, differently) = (all.newly.len(), all.no_longer.len(), all.differently.len());
    if trial.differs() { Err(Hits { newly, no_longer, differently }.into()) } else { Ok(()) }
}

fn on_history(args: &TryArgs, mut policy: Policy, span: Duration) -> anyhow::Result<Trial> {
    let settings = config::load(&args.config)?.settings;
    settings.protect(&mut policy);
    let against = args.against.as_deref().map(config::named_policy).transpose()?;
    let against = against.map(|mut against| {
        settings.protect(&mut against);
        Arc::new(against)
    });
    let since = Clock::start().now().minus(span);
    let history = History::open(&settings.history_dir(), Some(since))?;
    Ok(trial::history(&history, &Arc::new(policy), against.as_ref(), Some(since))?)
}

fn on_captures(args: &TryArgs, mut policy: Policy) -> anyhow::Result<Trial> {
    let has_tenants = args.tenants.is_some() || !args.tenant.is_empty();
    let named = args.against.as_deref().map(config::named_policy).transpose()?.map(Arc::new);
    let (against, loaded) = match named {
        // Then nothing of the settings is asked for.
        Some(named) if has_tenants => (named, None),
        named => {
            let loaded = config::load(&args.config)?;
            (named.unwrap_or_else(|| Arc::clone(&loaded.policy)), Some(loaded))
        }
    };
    if let Some(loaded) = &loaded {
        loaded.settings.protect(&mut policy);
    }
    let tenants = match loaded {
        Some(loaded) if !has_tenants => loaded.tenants.into_iter().map(Arc::new).collect(),
        _ => tenants_of(args.tenants.as_deref(), &args.tenant)?,
    };
    let scene =
        Scene { tenants, kind: kind(args.vantage), policy: Arc::new(policy), mode: Mode::Enforce, shards: 1 };
    Ok(trial::captures(&scene, &against, &args.pcap)?)
}
