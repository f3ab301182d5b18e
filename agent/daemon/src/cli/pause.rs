//! `pause` and `resume`: the node's own stop button, pressed and let go by a file in the state folder.
//!
//! Neither needs a controller or a running agent. One that runs notices within a second; one that starts later finds the
//! pause before its first packet. Where none runs, `--lift` is carried out here, in the kernel and in the journal.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use reeve_core::engine::{DEFAULT_FLOW_BYTES, Engine, EngineConfig, Output};
use reeve_policy::pause::{MAX_REASON, is_plain};
use reeve_policy::{Lift, MeasureCounters, Mode, Name, Pause, Report};

use super::table::{settings_of, wanted};
use super::{PauseArgs, ReleaseBrakesArgs, ResumeArgs};
use crate::capture::Clock;
use crate::config;
use crate::enforce::{Enforcer, Ownership};
use crate::state::journal::Memory;
use crate::state::pause::{self, LocalPause};
use crate::state::{JOURNAL, StateError, StateFolder};

/// A reason that is too long, or more than one line.
#[derive(Debug, thiserror::Error)]
#[error("--reason: at most {MAX_REASON} bytes on one line")]
pub struct BadReason;

/// Ends what policy does by itself on this node.
///
/// # Errors
/// When the settings cannot be read or the state folder not written.
pub fn pause(args: &PauseArgs) -> anyhow::Result<String> {
    let reason = args.reason.trim();
    if reason.len() > MAX_REASON || !reason.chars().all(is_plain) {
        return Err(BadReason.into());
    }
    let folder = settings_of(&args.config)?.state_dir;
    let now = Clock::start().now();
    let pause = LocalPause { pause: Pause::new(&who(), reason, now), lift: args.lift };
    pause::write(&folder, &pause)?;
    let paused = "paused: policy takes no new measure on this node until `reeve-agent resume`";
    if pause::is_in_use(&folder) {
        return Ok(format!("{paused}; the running agent notices within a second"));
    }
    if !args.lift {
        return Ok(format!("{paused}; no agent is running"));
    }
    let lifted = lift_alone(&args.config, &folder)
        .context("it is paused, but the measures are not lifted: start the agent, which will")?;
    Ok(match lifted {
        Some(1) => format!("{paused}; no agent is running; 1 measure lifted"),
        Some(lifted) => format!("{paused}; no agent is running; {lifted} measures lifted"),
        None => format!("{paused}; an agent has just started and lifts what policy did"),
    })
}

/// Releases the brakes of this node.
///
/// # Errors
/// When the settings cannot be read or the state folder not written.
pub fn release_brakes(args: &ReleaseBrakesArgs) -> anyhow::Result<String> {
    let reason = args.reason.trim();
    if reason.len() > MAX_REASON || !reason.chars().all(is_plain) {
        return Err(BadReason.into());
    }
    let folder = settings_of(&args.config)?.state_dir;
    pause::write_release(&folder, &Pause::new(&who(), reason, Clock::start().now()))?;
    Ok(if pause::is_in_use(&folder) {
        "the brakes are released: the running agent notices within a second".to_owned()
    } else {
        "no agent is running; the next one releases the brakes when it starts".to_owned()
    })
}

/// Lets policy act by itself again.
///
/// # Errors
/// When the settings cannot be read or the state folder not written.
pub fn resume(args: &ResumeArgs) -> anyhow::Result<String> {
    let folder = settings_of(&args.config)?.state_dir;
    let was_paused = pause::remove(&folder)?;
    let held = StateFolder::peek_pauses(&folder)?;
    let controllers = [held.fleet, held.node].into_iter().flatten().map(|held| held.pause.to_string());
    let own = if was_paused { "resumed" } else { "this node had no pause of its own" };
    let others: Vec<String> = controllers.collect();
    Ok(if others.is_empty() {
        own.to_owned()
    } else {
        format!("{own}; the controller has it paused all the same: {}", others.join("; "))
    })
}

/// Who asks, as far as the machine knows: for the record, not for rights.
fn who() -> String {
    let name = |variable: &str| std::env::var(variable).ok().filter(|name| name.parse::<Name>().is_ok());
    let named = name("SUDO_USER").or_else(|| name("USER")).or_else(|| name("LOGNAME"));
    let who = named.unwrap_or_else(|| match std::fs::metadata("/proc/self").map(|own| own.uid()) {
        Ok(0) => "root".to_owned(),
        Ok(uid) => format!("uid {uid}"),
        Err(_) => "somebody".to_owned(),
    });
    format!("{who} on the node")
}

/// Lifts what policy did where no agent runs that would; `None` where one has started meanwhile, which finds the pause: the kernel first, then the journal, which tells the controller when an
/// agent runs again.
fn lift_alone(config_path: &Path, path: &Path) -> anyhow::Result<Option<usize>> {
    if !path.join(JOURNAL).exists() {
        return Ok(Some(0));
    }
    let loaded = config::load(config_path)?;
    // Holding the folder's lock, no agent can come in between.
    let folder = match StateFolder::open(path) {
        Err(StateError::InUse { .. }) => return Ok(None),
        folder => folder?,
    };
    let left = folder.load()?;
    let (mut journal, roster) = (left.journal, left.roster);
    let now = Clock::start().now();
    let mut engine = Engine::new(EngineConfig {
        node: loaded.settings.node.clone(),
        mode: loaded.settings.mode,
        policy: Arc::clone(&loaded.policy),
        flow_bytes: DEFAULT_FLOW_BYTES,
        seed: 0,
        shards: 1,
    });
    engine.restore(left.memory.desired, left.memory.standing);
    engine.handle_lift(&Lift::ALL, now);
    let (mut reports, mut lifted) = (Vec::new(), 0);
    while let Some(output) = engine.poll() {
        match output {
            Output::Violation(violation) => reports.push(Report::Violation(violation)),
            Output::Lifted { measure, reason, at } => {
                lifted += 1;
                let counters = MeasureCounters::default();
                let (decision, tenant) = (measure.decision.id, measure.decision.tenant);
                reports.push(Report::Lifted { decision, tenant, reason, at, counters });
            }
            Output::Alert(_)
            | Output::Decision(_)
            | Output::Excused(_)
            | Output::BrakesSet(_)
            | Output::Imposed(_)
            | Output::CheckRelay { .. }
            | Output::RelayChecked(_)
            | Output::Degraded { .. } => {}
        }
    }
    if lifted == 0 {
        return Ok(Some(0));
    }
    if loaded.settings.mode == Mode::Enforce {
        let wanted = wanted(&loaded, roster, engine.desired(), now);
        let extras = loaded.settings.extras();
        let mut enforcer = Enforcer::open_with(Ownership::Auto, extras)?;
        if enforcer.is_installed()? {
            enforcer.install(wanted, now)?;
        }
    }
    // Without a controller nobody would ever say that a report has arrived.
    if loaded.settings.controller.is_none() {
        reports.clear();
    }
    let reports: Vec<(u64, Report)> = reports.into_iter().map(|report| (journal.next_id(), report)).collect();
    let (desired, standing) = (engine.desired().clone(), engine.standing().clone());
    journal.append(&reports, &Memory { desired, standing })?;
    pause::give_to_owner(path, JOURNAL)?;
    Ok(Some(lifted))
}
