//! `check`: whether the agent could run as it is set up.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::CheckArgs;
use crate::blocklists::{self, BlocklistError};
use crate::capture::Clock;
use crate::config::{self, Loaded};
use crate::control::Controller;
use crate::enforce::{Enforcer, Ownership};
use crate::links::Links;
use reeve_core::blocklist::Reading;
use reeve_policy::{Exemption, Mode, TenantId};

/// Something that is not as the settings say. Told as "what: detail".
#[derive(Debug, thiserror::Error)]
#[error("{}: no interface is called `{name}`; --files-only does not look for it", path.display())]
pub struct MissingInterface {
    /// The settings.
    path: std::path::PathBuf,
    /// The name.
    name: String,
}

/// Checks, and says what is good; with `--json` what is not good as well.
///
/// # Errors
/// The first thing that is not.
pub fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let checked = examine(args);
    let mut out = std::io::stdout();
    match (&checked, args.json) {
        (Ok(told), true) => writeln!(out, "{}", told.json)?,
        (Ok(told), false) => writeln!(out, "{}", told.text)?,
        (Err(error), true) => {
            let errors: Vec<String> = super::describe(error).lines().map(str::to_owned).collect();
            let config = args.config.display().to_string();
            writeln!(out, "{}", serde_json::json!({ "config": config, "good": false, "errors": errors }))?;
        }
        (Err(_), false) => {}
    }
    checked.map(|_| ())
}

/// What was found good, in words and as JSON.
struct Told {
    text: String,
    json: serde_json::Value,
}

fn examine(args: &CheckArgs) -> anyhow::Result<Told> {
    let loaded = config::load(&args.config)?;
    if let Some(controller) = &loaded.settings.controller {
        Controller::new(controller, loaded.settings.node.clone())?;
    }
    let watched = if args.files_only { None } else { Some(machine(args, &loaded)?) };
    let lists = blocklists(&loaded)?;
    let mut text = summary(args, &loaded, watched.as_deref());
    for (file, reading) in &lists {
        for (number, line) in blocklists::tell(file, reading).into_iter().enumerate() {
            let what = if number == 0 { "blocklist" } else { "warning" };
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{what:<12}{line}");
        }
    }
    Ok(Told { text, json: as_json(args, &loaded, watched.as_deref(), &lists) })
}

/// What the blocklists hold, and what of them is not obeyed.
fn blocklists(loaded: &Loaded) -> Result<Vec<(PathBuf, Reading)>, BlocklistError> {
    let spared = &loaded.policy.protected_destinations;
    let each = loaded.settings.blocklists.iter();
    each.map(|list| Ok((list.file.clone(), blocklists::examine(list, spared)?))).collect()
}

fn as_json(
    args: &CheckArgs,
    loaded: &Loaded,
    watched: Option<&[String]>,
    lists: &[(PathBuf, Reading)],
) -> serde_json::Value {
    let Loaded { settings, policy, tenants } = loaded;
    let list = |(file, reading): &(PathBuf, Reading)| {
        serde_json::json!({
            "name": reading.list.name().as_str(),
            "file": file.display().to_string(),
            "entries": reading.entries,
            "ranges": reading.list.len(),
            "unreadable": reading.unreadable,
            "refused": reading.refused,
            "warnings": blocklists::tell(file, reading).split_off(1),
        })
    };
    serde_json::json!({
        "config": args.config.display().to_string(),
        "good": true,
        "node": settings.node.as_str(),
        "mode": settings.mode.name(),
        "policy": { "name": policy.name, "version": policy.version, "rules": policy.rules.len() },
        "tenants": settings.tenants.is_some().then_some(tenants.len()),
        "exemptions": exemptions(loaded).map(|(tenant, exemption)| serde_json::json!({
            "tenant": tenant, "exemption": exemption,
        })).collect::<Vec<_>>(),
        "interfaces": watched,
        "controllers": settings.controller.as_ref().map_or(&[][..], |controller| &controller.addresses),
        "blocklists": lists.iter().map(list).collect::<Vec<_>>(),
        "warnings": loaded.warnings(),
    })
}

/// The interfaces that would be watched now.
fn machine(args: &CheckArgs, loaded: &Loaded) -> anyhow::Result<Vec<String>> {
    let links = Links::open()?.list();
    let is_watched = |link: &&crate::links::Link| loaded.settings.kind_of(&link.name).is_some();
    let watched: Vec<String> = links.iter().filter(is_watched).map(|link| link.name.clone()).collect();
    let patterns = loaded.settings.vantages.iter().flat_map(|rule| &rule.interfaces);
    for pattern in patterns.map(glob::Pattern::as_str).filter(|name| !name.contains(['*', '?', '['])) {
        if !links.iter().any(|link| link.name == pattern) {
            return Err(MissingInterface { path: args.config.clone(), name: pattern.to_owned() }.into());
        }
    }
    if loaded.settings.mode == Mode::Enforce {
        let mut enforcer = Enforcer::open(Ownership::Auto).context("mode is \"enforce\"")?;
        enforcer.is_installed().context("mode is \"enforce\"")?;
    }
    Ok(watched)
}

fn exemptions(loaded: &Loaded) -> impl Iterator<Item = (&TenantId, &Exemption)> {
    loaded.tenants.iter().flat_map(|tenant| tenant.exemptions.iter().map(|one| (&tenant.id, one)))
}

fn how_long(exemption: &Exemption) -> &'static str {
    let now = Clock::start().now();
    match (exemption.is_over(now), exemption.ends_soon(now)) {
        (true, _) => " (has ended)",
        (_, true) => " (ends soon)",
        _ => "",
    }
}

fn summary(args: &CheckArgs, loaded: &Loaded, watched: Option<&[String]>) -> String {
    let Loaded { settings, policy, tenants } = loaded;
    let mut text = format!("{}: good\n", args.config.display());
    let controller = settings
        .controller
        .as_ref()
        .map_or_else(|| "none; the node runs alone".to_owned(), |controller| controller.addresses.join(", "));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "node        {}", settings.node);
    let _ = writeln!(text, "mode        {}", settings.mode);
    let _ = writeln!(
        text,
        "policy      {} version {} ({} rules)",
        policy.name,
        policy.version,
        policy.rules.len()
    );
    let from = if settings.tenants.is_some() {
        format!("{} in the local file", tenants.len())
    } else {
        "from the controller".into()
    };
    let _ = writeln!(text, "tenants     {from}");
    for (tenant, exemption) in exemptions(loaded) {
        let _ = writeln!(text, "exemption   {tenant}: {exemption}{}", how_long(exemption));
    }
    let patterns = settings.vantages.iter().flat_map(|rule| &rule.interfaces).map(glob::Pattern::as_str);
    let interfaces = match watched {
        None => "not looked at".to_owned(),
        // A node without a guest yet is as it should be.
        Some([]) => format!("none yet; waiting for one like {}", patterns.collect::<Vec<_>>().join(", ")),
        Some(watched) => watched.join(" "),
    };
    let _ = writeln!(text, "interfaces  {interfaces}");
    let _ = write!(text, "controller  {controller} (not called)");
    for warning in loaded.warnings() {
        let _ = write!(text, "\nwarning     {warning}");
    }
    text
}
