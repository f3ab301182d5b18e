//! What the findings mean. Pure: no clock, no file, no socket is touched here.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reeve_core::blocklist::Reading;
use reeve_policy::{Mode, Name, Pause, Timestamp};

use super::Finding;
use super::probe::{ClockSeen, FolderSeen, InterfaceSeen, PATIENCE, Unreached};
use super::told::Told;
use crate::blocklists::BlocklistError;
use crate::cli::exit;
use crate::config::{ConfigError, Loaded, Settings};
use crate::enforce::EnforceError;
use crate::links::LinksError;

/// The oldest kernel that the agent is made for: Debian 11 with backports, Ubuntu 22.04.
const KERNEL: (u32, u32) = (5, 15);
/// nf_tables' egress hook of family netdev came with this one.
const EGRESS: (u32, u32) = (5, 16);
/// nf_tables' table flag `persist`, which makes `owner` of use to a daemon that restarts, came with this one.
const OWNED_TABLES: (u32, u32) = (6, 9);
/// Bits of the capability sets (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
/// The same.
const CAP_NET_RAW: u32 = 13;
/// Certificates are to be renewed this long before their end.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// A feed that has not changed for so long is fetched no longer, most likely.
const STALE: Duration = Duration::from_secs(30 * 86_400);
/// A journal is kept short, but a controller that is away for long makes it grow.
const ROOM_BYTES: u64 = 64 << 20;
/// The share of frames from which on what the agent tells is in doubt.
const LOSS: f64 = 0.01;
/// A set that is taken to this share is full soon.
const FULL: f64 = 0.9;
/// So many reports wait only where the controller has been away for long.
const WAITING: f64 = 1_000.0;
/// With less than this not even the journal can be written anew.
const LEAST_ROOM_BYTES: u64 = 4 << 20;

pub(super) fn settings(path: &Path, loaded: &Result<Loaded, ConfigError>) -> Finding {
    const POINT: &str = "settings";
    match loaded {
        Ok(loaded) => {
            let found =
                format!("{}: node {}, mode {}", path.display(), loaded.settings.node, loaded.settings.mode);
            Finding::ok(POINT, found)
        }
        Err(ConfigError::Read { path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            let found = format!("{}: {source}", path.display());
            Finding::error(POINT, exit::PERMISSION, found, "run this as root or as the agent's user")
        }
        Err(error) => {
            let advice = "correct the file; what the settings name is not looked at before";
            // Each thing that is wrong has a line of its own there; here all of them have one.
            Finding::error(POINT, exit::CONFIG, error.to_string().replace('\n', "; "), advice)
        }
    }
}

pub(super) fn kernel(release: &io::Result<String>) -> Vec<Finding> {
    let (Some(version), Ok(release)) = (release.as_deref().ok().and_then(version), release) else {
        let found = match release {
            Ok(release) => format!("`{release}` is no version that is known"),
            Err(error) => format!("its version cannot be read: {error}"),
        };
        let (major, minor) = KERNEL;
        return vec![Finding::warning(
            "kernel",
            found,
            format!("see that it is Linux {major}.{minor} or newer"),
        )];
    };
    let base = if version >= KERNEL {
        Finding::ok("kernel", format!("Linux {release}"))
    } else {
        let advice = format!("the agent is made for Linux {}.{} and newer", KERNEL.0, KERNEL.1);
        Finding::error("kernel", exit::UNAVAILABLE, format!("Linux {release}"), advice)
    };
    let since = |point, from: (u32, u32), advice: &str| {
        if version >= from {
            Finding::ok(point, format!("there since Linux {}.{}", from.0, from.1))
        } else {
            Finding::warning(point, format!("not before Linux {}.{}", from.0, from.1), advice)
        }
    };
    vec![
        base,
        since(
            "netdev egress hook",
            EGRESS,
            "measures stand on the forward hook alone: that holds routed tenants",
        ),
        since(
            "table owner flags",
            OWNED_TABLES,
            "others can delete the table; the agent mends it within a second",
        ),
    ]
}

/// `6.1.0-35-amd64` is (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn capabilities(effective: Option<u64>, mode: Mode) -> Finding {
    const POINT: &str = "capabilities";
    let Some(effective) = effective else {
        return Finding::warning(POINT, "they cannot be read", "mount /proc");
    };
    let has = |bit: u32| effective & (1 << bit) != 0;
    let advice = "run this as root, or as the unit does: with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW";
    match (has(CAP_NET_ADMIN), has(CAP_NET_RAW)) {
        (true, true) => Finding::ok(POINT, "CAP_NET_ADMIN and CAP_NET_RAW"),
        (false, true) if mode == Mode::Observe => {
            Finding::warning(POINT, "CAP_NET_ADMIN is missing; observing takes none", advice)
        }
        (admin, raw) => {
            let missing = [(admin, "CAP_NET_ADMIN"), (raw, "CAP_NET_RAW")];
            let missing: Vec<&str> =
                missing.into_iter().filter(|(has, _)| !has).map(|(_, name)| name).collect();
            let found = format!("without {}", missing.join(" and "));
            Finding::error(POINT, exit::PERMISSION, found, advice)
        }
    }
}

pub(super) fn nftables(table: &Result<bool, EnforceError>, mode: Mode) -> Finding {
    const POINT: &str = "nftables";
    let (code, advice) = match table {
        Ok(true) => return Finding::ok(POINT, "there; table inet reeve stands"),
        Ok(false) => return Finding::ok(POINT, "there; table inet reeve is not laid down"),
        Err(EnforceError::NotPermitted(_)) => (exit::PERMISSION, "give the agent CAP_NET_ADMIN"),
        Err(EnforceError::NoNftables(_)) => (exit::UNAVAILABLE, "load the module nf_tables"),
        Err(_) => (exit::FAILURE, "see what the kernel says"),
    };
    let found = table.as_ref().err().map(ToString::to_string).unwrap_or_default();
    match mode {
        Mode::Enforce => Finding::error(POINT, code, found, advice),
        Mode::Observe => Finding::warning(POINT, found, format!("{advice}, before mode is \"enforce\"")),
    }
}

pub(super) fn bridge(calls: &Option<(bool, bool)>) -> Finding {
    const POINT: &str = "bridged packets";
    let advice = "bridged tenants are observed only; set net.bridge.bridge-nf-call-iptables and -ip6tables to 1 to hold them";
    match calls {
        None => Finding::ok(
            POINT,
            "the kernel's bridge filter is not loaded: bridged packets pass no hook of inet",
        ),
        Some((true, true)) => {
            Finding::ok(POINT, "they pass the hooks of inet, so measures hold bridged tenants")
        }
        Some((false, false)) => Finding::warning(
            POINT,
            "they do not pass the hooks of inet (bridge-nf-call-iptables is 0)",
            advice,
        ),
        Some((v4, _)) => {
            let (on, off) = if *v4 { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
            Finding::warning(
                POINT,
                format!("those of {on} pass the hooks of inet, those of {off} do not"),
                advice,
            )
        }
    }
}

pub(super) fn another_agent(running: io::Result<bool>) -> Finding {
    const POINT: &str = "agent";
    match running {
        Ok(true) => Finding::ok(POINT, "one is running in this network; a second one would not start"),
        Ok(false) => Finding::ok(POINT, "none is running in this network"),
        Err(error) => {
            Finding::warning(POINT, format!("whether one is running cannot be told: {error}"), "look for it")
        }
    }
}

pub(super) fn clock(seen: &ClockSeen) -> Finding {
    const POINT: &str = "clock";
    let advice = "keep it with systemd-timesyncd, chrony or the like: evidence and certificates go by it";
    // A file that was made on another machine may be a little ahead.
    let ahead = seen.program.and_then(|program| program.duration_since(seen.now).ok()).unwrap_or_default();
    if ahead > Duration::from_secs(86_400) {
        let found = format!("it is {} days before this program was made", ahead.as_secs() / 86_400);
        return Finding::error(POINT, exit::UNAVAILABLE, found, advice);
    }
    match seen.keeper {
        Some(keeper) => Finding::ok(POINT, format!("kept by {keeper}")),
        None => Finding::warning(POINT, "nothing that is known keeps it", advice),
    }
}

/// What the running agent tells of itself.
pub(super) fn running(listen: SocketAddr, told: &io::Result<Told>) -> Vec<Finding> {
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            let found = format!("the running agent does not tell at {listen} how it fares: {error}");
            let advice = "restart it if [metrics] was changed, which takes that; else its log tells more";
            return vec![Finding::warning("at work", found, advice)];
        }
    };
    let mut findings = Vec::new();
    findings.push(if told.troubles.is_empty() {
        Finding::ok("at work", "the kernel holds what is desired, and the journal can be written")
    } else {
        let advice = "the agent's log tells what the kernel or the disk says";
        Finding::error("at work", exit::UNAVAILABLE, told.troubles.join("; "), advice)
    });
    let found = format!("{} of {} frames were lost", told.lost, told.frames + told.lost);
    findings.push(if told.lost > 0.0 && told.lost >= LOSS * (told.frames + told.lost) {
        let advice =
            "raise ring_mib in [limits], or give the agent more of a processor: what it tells is in doubt";
        Finding::warning("capture", found, advice)
    } else {
        Finding::ok("capture", found)
    });
    let share = format!("the fullest set of the ruleset is taken to {:.0} %", told.set_fill * 100.0);
    findings.push(if told.set_fill > FULL {
        Finding::warning("sets", share, "what does not fit is not held back: are so many measures meant?")
    } else {
        Finding::ok("sets", share)
    });
    let found = format!("{} reports wait, {} were given up", told.waiting, told.given_up);
    findings.push(if told.given_up > 0.0 || told.waiting > WAITING {
        Finding::warning(
            "spool",
            found,
            "bring the controller back: evidence goes first where there is no room",
        )
    } else {
        Finding::ok("spool", found)
    });
    findings
}

pub(super) fn no_interfaces(error: &LinksError) -> Finding {
    let found = format!("they cannot be listed: {error}");
    Finding::error("interfaces", exit::UNAVAILABLE, found, "see what the kernel says")
}

/// A finding for each name that nobody has and each interface that is watched.
pub(super) fn interfaces(settings: &Settings, seen: &[InterfaceSeen]) -> Vec<Finding> {
    const POINT: &str = "interface";
    let mut findings = Vec::new();
    let advice = "correct [[vantage]] interfaces, or make it; it is watched when it comes";
    let patterns = settings.vantages.iter().flat_map(|rule| &rule.interfaces).map(glob::Pattern::as_str);
    let (wild, literal): (Vec<&str>, Vec<&str>) = patterns.partition(|name| name.contains(['*', '?', '[']));
    for name in literal.iter().filter(|name| !seen.iter().any(|interface| interface.name == **name)) {
        let found = format!("no interface is called `{name}`");
        // The agent does not begin when there is nothing that it could watch, now or later.
        if seen.is_empty() && wild.is_empty() {
            findings.push(Finding::error(POINT, exit::UNAVAILABLE, found, advice));
        } else {
            findings.push(Finding::warning(POINT, found, advice));
        }
    }
    if seen.is_empty() && !wild.is_empty() {
        let found = format!("none is called {} yet", wild.join(" or "));
        findings.push(Finding::warning(POINT, found, advice));
    }
    for InterfaceSeen { name, is_up, ring } in seen {
        findings.push(match ring {
            Ok(()) if *is_up => Finding::ok(POINT, format!("{name} can be captured on")),
            Ok(()) => {
                let found = format!("{name} can be captured on, but is down");
                Finding::warning(POINT, found, format!("ip link set {name} up"))
            }
            Err(error) => {
                let code = exit::of_capture(error);
                let advice = match code {
                    exit::PERMISSION => "give the agent CAP_NET_RAW",
                    exit::CONFIG => {
                        "leave it out of [[vantage]]: its frames are neither Ethernet's nor bare IP"
                    }
                    _ => "see what the kernel says",
                };
                Finding::error(POINT, code, error.to_string(), advice)
            }
        });
    }
    findings
}

pub(super) fn pauses(seen: &io::Result<Vec<Pause>>) -> Finding {
    const POINT: &str = "pause";
    match seen.as_deref() {
        Ok([]) => Finding::ok(POINT, "nobody has ended what policy does by itself"),
        Ok(pauses) => {
            let found: Vec<String> = pauses.iter().map(Pause::to_string).collect();
            let advice = "`reeve-agent resume` ends the node's own, `reevectl resume` the controller's";
            Finding::warning(POINT, found.join("; "), advice)
        }
        Err(error) => Finding::warning(
            POINT,
            format!("it cannot be seen whether the node is paused: {error}"),
            "run this as root or as the agent's user",
        ),
    }
}

pub(super) fn blocklist(
    name: &Name,
    read: &Result<Reading, BlocklistError>,
    age: Option<Duration>,
) -> Finding {
    const POINT: &str = "blocklist";
    let reading = match read {
        Ok(reading) => reading,
        Err(error) => {
            let advice = match error {
                BlocklistError::Read { .. } => {
                    "see that whatever fetches the list runs, and that the agent's user may read it"
                }
                _ => "see what is fetched: an error page, another format, or a file cut short",
            };
            return Finding::error(POINT, exit::of_blocklist(error), format!("{name}: {error}"), advice);
        }
    };
    let age = age.unwrap_or_default();
    let span = match age.as_secs() {
        secs if secs >= 2 * 86_400 => format!("{} days", secs / 86_400),
        secs if secs >= 2 * 3_600 => format!("{} h", secs / 3_600),
        secs => format!("{} min", secs / 60),
    };
    let mut found = format!("{name}: {} entries, the file changed {span} ago", reading.entries);
    if reading.unreadable + reading.refused > 0 {
        let (unreadable, refused) = (reading.unreadable, reading.refused);
        found.push_str(&format!("; {unreadable} lines cannot be read and {refused} are not obeyed"));
    }
    if reading.entries == 0 {
        return Finding::warning(POINT, found, "nothing is on it: see that this is meant");
    }
    if age > STALE {
        return Finding::warning(POINT, found, "see that whatever fetches the list runs");
    }
    if reading.unreadable > 0 {
        return Finding::warning(POINT, found, "`reeve-agent check` names the lines");
    }
    Finding::ok(POINT, found)
}

pub(super) fn state_folder(path: &Path, seen: &io::Result<FolderSeen>) -> Finding {
    const POINT: &str = "state folder";
    let path_shown = path.display();
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let advice = "the service manager makes it (StateDirectory=), or the agent if it may";
            return Finding::warning(POINT, format!("{path_shown} is not there yet"), advice);
        }
        Err(error) => {
            let code =
                if error.kind() == io::ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::IO };
            let advice = "run this as root or as the agent's user";
            return Finding::error(POINT, code, format!("{path_shown}: {error}"), advice);
        }
    };
    let free_mib = seen.free_bytes >> 20;
    if let Err(error) = &seen.written {
        let advice = "give the folder to the agent's user, on a disk that can be written";
        return Finding::error(POINT, exit::IO, format!("{path_shown} cannot be written: {error}"), advice);
    }
    if let Some(file) = &seen.foreign {
        let found = format!("{} does not belong to user {}, as the folder does", file.display(), seen.owner);
        return Finding::warning(POINT, found, format!("chown {} {}", seen.owner, file.display()));
    }
    let found = format!("{path_shown} can be written; {free_mib} MiB are free");
    if seen.free_bytes < LEAST_ROOM_BYTES {
        return Finding::error(
            POINT,
            exit::IO,
            found,
            "make room: measures are not remembered over a restart",
        );
    }
    if seen.free_bytes < ROOM_BYTES {
        return Finding::warning(POINT, found, "make room: reports wait here while the controller is away");
    }
    Finding::ok(POINT, found)
}

/// HOST:PORT of a URL; without a port, that of its scheme.
pub(super) fn authority(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    // What follows the last colon of a bare IPv6 address stands inside brackets.
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if scheme == "http" { 80 } else { 443 })
    }
}

pub(super) fn controller(address: &str, reached: &Result<(SocketAddr, Duration), Unreached>) -> Finding {
    const POINT: &str = "controller";
    match reached {
        Ok((at, took)) => {
            Finding::ok(POINT, format!("{address} answers at {at} after {} ms", took.as_millis()))
        }
        // Without it the agent goes on by itself: nothing is an error here.
        Err(Unreached::Unknown(why)) => {
            let advice =
                "correct [controller] address, or the name server; meanwhile the agent decides alone";
            Finding::warning(POINT, format!("{address} is not found: {why}"), advice)
        }
        Err(Unreached::Silent(why)) => {
            let found = format!("{address} does not answer within {} s: {why}", PATIENCE.as_secs());
            let advice =
                "see that the controller runs and no firewall is between; meanwhile the agent decides alone";
            Finding::warning(POINT, found, advice)
        }
    }
}

pub(super) fn certificate(path: &Path, pem: &io::Result<Vec<u8>>, now: Timestamp) -> Finding {
    const POINT: &str = "certificate";
    let shown = path.display();
    let pem = match pem {
        Ok(pem) => pem,
        Err(error) => return unreadable(POINT, path, error),
    };
    let advice = "`reeve-controller init --node` on the controller makes a new one; copy it here";
    let wrong = |found: String| Finding::error(POINT, exit::CONFIG, found, advice);
    let Ok((_, block)) = x509_parser::pem::parse_x509_pem(pem) else {
        return wrong(format!("{shown} holds no certificate in PEM"));
    };
    let Ok(parsed) = block.parse_x509() else {
        return wrong(format!("{shown} holds no certificate"));
    };
    let at = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
    };
    let (from, to) = (at(parsed.validity().not_before), at(parsed.validity().not_after));
    if now < from {
        return wrong(format!("{shown} holds from {from} on, and it is {now}"));
    }
    if now >= to {
        return wrong(format!("{shown} held until {to}"));
    }
    let found = format!("{shown} holds until {to}");
    if to.since(now) < RENEWAL { Finding::warning(POINT, found, advice) } else { Finding::ok(POINT, found) }
}

pub(super) fn key(path: &Path, seen: &io::Result<(u32, bool)>) -> Finding {
    const POINT: &str = "key";
    let shown = path.display();
    match seen {
        Err(error) => unreadable(POINT, path, error),
        Ok((_, false)) => {
            let advice = "copy the node's .key from the controller's folder";
            Finding::error(POINT, exit::CONFIG, format!("{shown} holds no private key in PEM"), advice)
        }
        Ok((mode, true)) if mode & 0o007 != 0 => {
            let found = format!("{shown} can be read by everybody (mode {:o})", mode & 0o777);
            Finding::warning(POINT, found, format!("chgrp reeve-agent {shown}; chmod 640 {shown}"))
        }
        Ok(_) => Finding::ok(POINT, format!("{shown} can be read, and not by everybody")),
    }
}

fn unreadable(point: &'static str, path: &Path, error: &io::Error) -> Finding {
    let code = if error.kind() == io::ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::CONFIG };
    let advice =
        "`reeve-controller init --node` on the controller makes it; the agent's user must be able to read it";
    Finding::error(point, code, format!("{}: {error}", path.display()), advice)
}

#[cfg(test)]
mod tests;
