//! What the findings mean. Pure: no clock, no file, no socket is touched here.

use std::io;
use std::path::Path;
use std::time::Duration;

use reeve_manual::findings::Finding;
use reeve_policy::Timestamp;

use crate::auth::VaultError;
use crate::error::ControllerError;
use crate::settings::{Database, Settings};
use crate::store::{Content, Examined, NodeRow, StoreError};

const DAY: Duration = Duration::from_secs(86_400);
/// Certificates are to be renewed this long before their end.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// What was written a moment ago may carry a stamp a little ahead, of a coarser clock.
const AHEAD: Duration = Duration::from_secs(60);
/// Times of evidence, and the ends of tokens and certificates, are told to the second.
const SKEW: Duration = Duration::from_secs(2);
/// A node's stream is pinged every half minute.
const SILENT: Duration = Duration::from_secs(300);
/// A node that is there carries an order out within seconds.
const WAITING: Duration = Duration::from_secs(900);
/// The share of frames that a node may lose, in percent, before what it tells is in doubt.
const LOSS_PERCENT: u64 = 1;
/// A copy of the database, and its log while it is written, want room.
const ROOM_BYTES: u64 = 512 << 20;
/// With less than this nothing is acknowledged soon.
const LEAST_ROOM_BYTES: u64 = 32 << 20;
/// So many names are told.
const TOLD: usize = 5;

pub(super) fn no_folder(dir: &Path, why: &str) -> Finding {
    let advice = "name the controller's folder with --dir, or make one with `reeve-controller init`; run this as its user or root";
    Finding::error("folder", format!("{}: {why}", dir.display()), advice)
}

pub(super) fn folder(dir: &Path, mode: u32) -> Finding {
    const POINT: &str = "folder";
    let shown = dir.display();
    if mode & 0o022 != 0 {
        let found = format!("{shown} can be written by others (mode {:o})", mode & 0o777);
        return Finding::error(POINT, found, format!("chmod 700 {shown}"));
    }
    Finding::ok(POINT, format!("{shown} can be written by its owner alone"))
}

pub(super) fn settings(settings: &Result<Settings, ControllerError>) -> Finding {
    const POINT: &str = "settings";
    match settings {
        Ok(settings) => match &settings.database {
            Database::File => Finding::ok(POINT, "the database is a file in the folder"),
            Database::Server(server) => Finding::ok(POINT, format!("the database is {}", server.place)),
        },
        Err(error) => Finding::error(
            POINT,
            error.to_string(),
            "correct the file; what it names is not looked at before",
        ),
    }
}

pub(super) fn no_certificates() -> Finding {
    let found = "there are none: everybody on this machine may suspend and release tenants";
    Finding::warning("certificate", found, "make them with `reeve-controller init`")
}

pub(super) fn certificate(path: &Path, ends: &Result<Timestamp, ControllerError>, now: Timestamp) -> Finding {
    const POINT: &str = "certificate";
    let advice = format!(
        "put {} and its key aside, run `reeve-controller init` with every --host, and restart the controller; a new authority \
         takes new certificates for all",
        path.display()
    );
    match ends {
        Err(error) => Finding::error(POINT, error.to_string(), advice),
        Ok(ends) if ends.since(now) < RENEWAL => {
            let days = ends.since(now).as_secs() / DAY.as_secs();
            Finding::warning(
                POINT,
                format!("{} holds until {ends}, {days} days more", path.display()),
                advice,
            )
        }
        Ok(ends) => Finding::ok(POINT, format!("{} holds until {ends}", path.display())),
    }
}

pub(super) fn no_key(path: &Path) -> Finding {
    let found = format!("{} is missing beside its certificate", path.display());
    Finding::error("key", found, "bring it back, or run `reeve-controller init`, which completes them")
}

pub(super) fn key(path: &Path, mode: u32) -> Finding {
    const POINT: &str = "key";
    let shown = path.display();
    if mode & 0o077 != 0 {
        let found = format!("{shown} can be read by others (mode {:o})", mode & 0o777);
        let advice =
            format!("chmod 600 {shown}, and take it for known to whoever could read it: make another");
        return Finding::error(POINT, found, advice);
    }
    Finding::ok(POINT, format!("{shown} can be read by its owner alone"))
}

pub(super) fn clock(ahead: Duration) -> Finding {
    const POINT: &str = "clock";
    if ahead > AHEAD {
        let found =
            format!("what was written last lies {} s ahead of the clock: it was set back", ahead.as_secs());
        let advice =
            "keep it with systemd-timesyncd, chrony or the like: evidence, tokens and certificates go by it";
        return Finding::error(POINT, found, advice);
    }
    Finding::ok(POINT, "it has not gone back since something was written")
}

pub(super) fn room(dir: &Path, free: io::Result<u64>) -> Finding {
    const POINT: &str = "disk";
    let free = match free {
        Ok(free) => free,
        Err(error) => {
            let found = format!("{}: what is free cannot be told: {error}", dir.display());
            return Finding::warning(POINT, found, "see what the system says");
        }
    };
    let found = format!("{} MiB are free at {}", free >> 20, dir.display());
    if free < LEAST_ROOM_BYTES {
        return Finding::error(POINT, found, "make room: nothing is acknowledged that cannot be written");
    }
    if free < ROOM_BYTES {
        return Finding::warning(
            POINT,
            found,
            "make room: the database grows, and a copy takes as much again",
        );
    }
    Finding::ok(POINT, found)
}

pub(super) fn running(claimed: &Result<bool, ControllerError>) -> Finding {
    const POINT: &str = "controller";
    match claimed {
        Ok(true) => Finding::ok(POINT, "one runs on this folder; a second one would not start"),
        Ok(false) => Finding::warning(
            POINT,
            "none runs on this folder",
            "systemctl start reeve-controller; agents decide alone meanwhile",
        ),
        Err(error) => {
            let found = format!("whether one runs cannot be told: {error}");
            Finding::warning(POINT, found, "run this as the controller's user or root")
        }
    }
}

/// The key for secrets, beside what the database says that they were encrypted with.
pub(super) fn secrets(path: &Path, own: &Result<Option<Vec<u8>>, VaultError>, known: &[u8]) -> Finding {
    const POINT: &str = "secrets";
    let advice = "copy it from another controller's folder, or from where copies are kept, and restart: without it second factors are not \
                  known, and what waits for a second person is not taken";
    match own {
        Ok(Some(own)) if own == known => Finding::ok(POINT, format!("{} is the database's", path.display())),
        Ok(Some(_)) => Finding::error(
            POINT,
            format!("{} is not the one that encrypted what is secret", path.display()),
            advice,
        ),
        Ok(None) => Finding::error(POINT, format!("{} is missing", path.display()), advice),
        Err(error) => Finding::error(POINT, error.to_string(), advice),
    }
}

pub(super) fn no_database() -> Finding {
    Finding::warning("database", "there is none yet", "the controller makes it when it starts first")
}

/// What the database itself shows, and what is in it.
pub(super) fn database(looked: &Result<Examined, StoreError>, now: Timestamp) -> Vec<Finding> {
    const POINT: &str = "database";
    let seen = match looked {
        Ok(seen) => seen,
        Err(error) => {
            let advice = match error {
                StoreError::Corrupt { .. } => {
                    "stop the controller, and put a copy in its place: reeve-controller restore"
                }
                StoreError::Permission { .. } => "run this as the controller's user or root",
                _ => "see that the database's server runs and can be reached, or that the disk is well",
            };
            return vec![Finding::error(POINT, with_causes(error), advice)];
        }
    };
    let mut findings = vec![layout(seen)];
    if !seen.damage.is_empty() {
        let advice =
            "stop the controller, keep the file, and put a copy in its place: reeve-controller restore";
        findings.push(Finding::error("integrity", seen.damage.join("; "), advice));
    } else if seen.server_time.is_none() {
        findings.push(Finding::ok("integrity", "what is in the file fits together"));
    }
    if let Some(server) = seen.server_time {
        findings.push(skew(server, now));
    }
    if let Some(content) = &seen.content {
        findings.extend(of_content(content, now));
    }
    findings
}

fn with_causes(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn layout(seen: &Examined) -> Finding {
    const POINT: &str = "database";
    let Examined { place, layout, own_layout, bytes, .. } = seen;
    let size = bytes.map(|bytes| format!(", {} MiB", bytes.div_ceil(1 << 20))).unwrap_or_default();
    let found = format!("{place} is of layout {layout}{size}");
    match layout.cmp(own_layout) {
        std::cmp::Ordering::Equal => Finding::ok(POINT, found),
        std::cmp::Ordering::Less => Finding::warning(
            POINT,
            format!("{found}; this program's is {own_layout}"),
            "the controller upgrades it when it starts: make a copy first",
        ),
        std::cmp::Ordering::Greater => Finding::error(
            POINT,
            format!("{found}; this program's is {own_layout}"),
            "install the controller that wrote it, or a newer one: this one does not start",
        ),
    }
}

fn skew(server: Timestamp, now: Timestamp) -> Finding {
    const POINT: &str = "clock skew";
    let apart = server.since(now).max(now.since(server));
    let found = format!("{} ms between this clock and the database server's", apart.as_millis());
    if apart > SKEW {
        return Finding::warning(POINT, found, "keep both clocks with chrony or the like");
    }
    Finding::ok(POINT, found)
}

fn of_content(content: &Content, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    match content.controllers {
        Some(0) => {
            findings.push(Finding::warning("controllers", "none is at work on this database", "start one"));
        }
        Some(count) => findings.push(Finding::ok("controllers", format!("{count} at work on this database"))),
        None => {}
    }
    let (waiting, first) = content.orders;
    findings.push(match first {
        Some(first) if now.since(first) > WAITING => {
            let found = format!("{waiting} wait, the first since {first}");
            Finding::warning(
                "orders",
                found,
                "`reevectl nodes` tells where: such a node is away, or too old to know the order",
            )
        }
        _ => Finding::ok("orders", format!("{waiting} wait")),
    });
    findings.extend(of_nodes(&content.nodes, now));
    findings
}

/// Points that are about nodes.
fn of_nodes(nodes: &[NodeRow], now: Timestamp) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let mut findings = vec![Finding::ok("nodes", format!("{} have connected so far", nodes.len()))];
    let mut point = |point, what: &str, advice: &str, is_it: &dyn Fn(&NodeRow) -> bool| {
        let names: Vec<&str> =
            nodes.iter().filter(|node| is_it(node)).map(|node| node.name.as_str()).collect();
        if !names.is_empty() {
            findings.push(Finding::warning(point, format!("{what}: {}", some(&names)), advice));
        }
    };
    point(
        "silent",
        "not heard of for five minutes",
        "see that the node is up, its agent runs, and can reach the controller: reeve-agent doctor there",
        &|node| now.since(node.last_seen) > SILENT,
    );
    point(
        "versions",
        "their agents are of another version than this controller",
        "upgrade the older; what an older agent does not know waits for it",
        &|node| node.agent_version != own,
    );
    point(
        "loss",
        "they lose one frame in a hundred or more, so what they tell is in doubt",
        "raise ring_mib in [limits], or give the node more of a processor",
        &|node| {
            node.health.as_ref().is_some_and(|health| loses(health.frames_received, health.frames_dropped))
        },
    );
    point(
        "unreadable",
        "they sent reports that cannot be read",
        "the log names them: is the agent newer?",
        &|node| node.reports_refused > 0,
    );
    findings
}

fn loses(received: u64, dropped: u64) -> bool {
    dropped > 0
        && dropped.saturating_mul(100) >= received.saturating_add(dropped).saturating_mul(LOSS_PERCENT)
}

/// The first of some names, and how many more there are.
fn some(names: &[&str]) -> String {
    let told = names[..names.len().min(TOLD)].join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_counts_from_one_in_a_hundred() {
        assert!(!loses(0, 0) && !loses(1_000, 0) && !loses(9_901, 99));
        assert!(loses(9_900, 100) && loses(0, 1) && loses(u64::MAX, u64::MAX));
    }

    #[test]
    fn a_few_names_stand_for_many() {
        let names: Vec<String> = (0..7).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(some(&names[..2]), "n0, n1");
        assert_eq!(some(&names), "n0, n1, n2, n3, n4 and 2 more");
    }
}
