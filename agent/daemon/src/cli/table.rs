//! `ruleset` and `clear`: the agent's table, to look at and to take away.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use reeve_core::ruleset::elements::{Manner, Spared};
use reeve_core::ruleset::rendering::{self, Setting};
use reeve_core::ruleset::{Elements, text};
use reeve_policy::{DesiredState, Timestamp};

use super::{ClearArgs, RulesetArgs};
use crate::capture::Clock;
use crate::config::{self, Loaded, Settings};
use crate::enforce::{Enforcer, Ownership};
use crate::node;
use crate::run::processes::Processes;
use crate::state::journal::Memory;
use crate::state::{Roster, StateFolder, peek};

/// The ruleset as nft text.
///
/// # Errors
/// When the settings or the state cannot be read.
pub fn ruleset(args: &RulesetArgs) -> anyhow::Result<String> {
    let Some(path) = &args.config else {
        return Ok(text::print_all(&Elements::new(), Timestamp::EPOCH));
    };
    let loaded = config::load(path)?;
    let now = Clock::start().now();
    let (memory, roster) = peek(&loaded.settings.state_dir)?;
    let elements = wanted(&loaded, roster, &memory.desired, now);
    let extras = loaded.settings.extras();
    Ok(text::print_all_with(extras, &elements, now))
}

/// The elements that carry `desired` out on this node, sparing what it lives by.
pub(super) fn wanted(loaded: &Loaded, roster: Roster, desired: &DesiredState, now: Timestamp) -> Elements {
    let tenants = if roster.version > 0 { roster.tenants } else { loaded.tenants.clone() };
    let tenants: Vec<_> = tenants.into_iter().map(Arc::new).collect();
    let peers = node::controllers(loaded.settings.controller.as_ref());
    let node::Lifelines { vital, own } = node::lifelines(&peers);
    let protected: Vec<IpNet> = loaded.policy.protected_destinations.iter().chain(&vital).copied().collect();
    let own: Vec<IpNet> = own.into_iter().collect();
    let manner = Manner {
        counts_connections: loaded.settings.conntrack,
        cuts_inbound: loaded.policy.suspension.cuts_inbound(),
    };
    let spared = Spared { protected: &protected, own: &own, lifeline: &loaded.policy.lifeline, manner };
    let node = &loaded.settings.node;
    let mut local = Processes::of(loaded);
    if let Some(local) = &mut local {
        local.look(node, &tenants);
    }
    let setting = Setting { node, tenants: &tenants, spared, here: local.as_ref().map(Processes::here) };
    rendering::all(desired, setting, now)
}

/// Takes the table away, and the measures out of the state.
///
/// # Errors
/// When an agent is running, or the kernel refuses.
pub fn clear(args: &ClearArgs) -> anyhow::Result<String> {
    let settings = match &args.config {
        Some(path) => Some(settings_of(path)?),
        None => settings_of(Path::new(config::DEFAULT_PATH)).ok(),
    };
    // Holding the folder's lock, no agent can come in between.
    let folder = match settings.filter(|settings| settings.state_dir.exists()) {
        Some(settings) => Some(StateFolder::open(&settings.state_dir)?),
        None => None,
    };
    let mut enforcer = Enforcer::open(Ownership::Auto)?;
    let was_there = enforcer.is_installed()?;
    enforcer.clear()?;
    let mut forgotten = 0;
    if let Some(folder) = folder {
        let mut left = folder.load()?;
        forgotten = left.memory.desired.measures.len();
        if forgotten > 0 {
            let version = left.memory.desired.version + 1;
            let desired = DesiredState { version, ..DesiredState::default() };
            left.journal.append(&[], &Memory { desired, ..left.memory })?;
        }
    }
    let table = if was_there { "table inet reeve is gone" } else { "there was no table inet reeve" };
    Ok(format!("{table}; {forgotten} measures forgotten"))
}

/// The settings alone: what they name need not be sound to clear up.
pub(super) fn settings_of(path: &Path) -> Result<Settings, config::ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| config::ConfigError::Read { path: path.to_owned(), source })?;
    Ok(config::parse(path, &text)?)
}
