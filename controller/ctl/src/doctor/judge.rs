//! What the findings mean. Pure: no clock, no file, no socket is touched here.

use std::io;
use std::path::Path;
use std::time::Duration;

use reeve_manual::findings::Finding;
use reeve_policy::Timestamp;
use reeve_proto::operator::v1::{ListNodesResponse, Node, Role, WhoAmIResponse};
use reeve_proto::time;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::client::CallError;

/// Certificates are to be renewed this long before their end.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// Tokens and certificates end by the clock, and what is shown of times is read by it.
const SKEW: Duration = Duration::from_secs(2);
/// From here on what has just begun may be taken for over.
const MUCH_SKEW: Duration = Duration::from_secs(60);
/// A node's stream is pinged every half minute.
const SILENT: Duration = Duration::from_secs(300);
/// The share of frames that a node may lose, in percent, before what it tells is in doubt.
const LOSS_PERCENT: u64 = 1;
/// So many names are told.
const TOLD: usize = 5;

pub(super) fn unreached(error: &CallError) -> Finding {
    let advice = match error {
        CallError::Refused(status) => match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                "show another certificate or token (--dir, --as, --token-file); an administrator makes them"
            }
            Code::Unknown => {
                "take ca.crt and the certificate from the folder of this controller, not another's"
            }
            _ => "see the controller's log, and `reeve-controller doctor` there",
        },
        CallError::Unreachable { .. } => {
            "see that --controller names it, that it runs (`reeve-controller doctor` there), and that no firewall is between"
        }
        _ => "correct what the command line, or the environment, says of it",
    };
    Finding::error("controller", error.to_string(), advice)
}

pub(super) fn reached(took: Duration) -> Finding {
    Finding::ok("controller", format!("it answers after {} ms", took.as_millis()))
}

pub(super) fn role(who: &WhoAmIResponse) -> Finding {
    const POINT: &str = "role";
    let role = match who.role() {
        Role::Unspecified => "an unknown role",
        Role::Status => "status",
        Role::Billing => "billing",
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    };
    let found = format!("{} ({role}), by {}", who.name, who.shown);
    if reads(who) {
        return Finding::ok(POINT, found);
    }
    Finding::warning(
        POINT,
        found,
        "nodes are told to viewers, operators and administrators: they are not looked at",
    )
}

/// Whether the role may read how nodes fare.
pub(super) fn reads(who: &WhoAmIResponse) -> bool {
    matches!(who.role(), Role::Viewer | Role::Operator | Role::Admin)
}

/// The controller's clock, which was read between two looks at ours.
pub(super) fn skew(before: Timestamp, theirs: Timestamp, after: Timestamp) -> Finding {
    const POINT: &str = "clock skew";
    let (ahead, behind) = (theirs.since(after), before.since(theirs));
    let apart = ahead.max(behind);
    let found = if apart.is_zero() {
        "the controller's clock and this one agree".to_owned()
    } else {
        let how = if ahead > behind { "ahead of" } else { "behind" };
        format!("the controller's clock is {} ms {how} this one", apart.as_millis())
    };
    let advice = "keep both with systemd-timesyncd, chrony or the like: certificates and tokens end by them";
    match apart {
        apart if apart > MUCH_SKEW => Finding::error(POINT, found, advice),
        apart if apart > SKEW => Finding::warning(POINT, found, advice),
        _ => Finding::ok(POINT, found),
    }
}

pub(super) fn serving(told: Result<ServingStatus, Status>) -> Finding {
    const POINT: &str = "health";
    match told {
        Ok(ServingStatus::Serving) => Finding::ok(POINT, "the controller says that it can do its work"),
        Ok(_) => Finding::error(
            POINT,
            "the controller says that it cannot do its work",
            "`reeve-controller doctor` there tells why; most likely its database is away",
        ),
        Err(status) if status.code() == Code::Unimplemented => {
            Finding::warning(POINT, "the controller does not tell: it is older than this", "upgrade it")
        }
        Err(status) => {
            let error = CallError::from(status);
            Finding::error(POINT, error.to_string(), "`reeve-controller doctor` there tells more")
        }
    }
}

pub(super) fn certificate(path: &Path, pem: &io::Result<Vec<u8>>, now: Timestamp) -> Finding {
    const POINT: &str = "certificate";
    let shown = path.display();
    let advice = "an administrator makes another: reeve-controller init; copy it here";
    let wrong = |found: String| Finding::error(POINT, found, advice);
    let pem = match pem {
        Ok(pem) => pem,
        Err(error) => return wrong(format!("{shown}: {error}")),
    };
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

/// A key or a token.
pub(super) fn secret(path: &Path, mode: &io::Result<u32>) -> Finding {
    const POINT: &str = "secret";
    let shown = path.display();
    match mode {
        Err(error) => {
            Finding::error(POINT, format!("{shown}: {error}"), "an administrator makes another; copy it here")
        }
        Ok(mode) if mode & 0o077 != 0 => {
            let found = format!("{shown} can be read by others (mode {:o})", mode & 0o777);
            Finding::warning(
                POINT,
                found,
                format!("chmod 600 {shown}; if somebody may have read it, have it revoked"),
            )
        }
        Ok(_) => Finding::ok(POINT, format!("{shown} can be read by its owner alone")),
    }
}

pub(super) fn no_nodes(error: &CallError) -> Finding {
    let advice = "`reeve-controller doctor` on the controller's machine tells more";
    Finding::error("nodes", format!("they cannot be listed: {error}"), advice)
}

/// What the controller tells of itself and its nodes.
pub(super) fn fleet(told: &ListNodesResponse, now: Timestamp) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let mut findings = Vec::new();
    findings.push(if told.controller_version == own {
        Finding::ok("version", format!("{own}, here and there"))
    } else {
        let found = format!("{own} here, {} there", told.controller_version);
        Finding::warning("version", found, "upgrade the older: what the newer tells it may not know")
    });
    if !told.protected {
        let found = "the controller has none: everybody on its machine may suspend and release tenants";
        findings.push(Finding::warning(
            "certificates",
            found,
            "make them there with `reeve-controller init`",
        ));
    }
    if let Some(pause) = &told.fleet_pause {
        let found = format!("{} has paused the whole fleet: {}", pause.by, pause.reason);
        findings.push(Finding::warning(
            "pause",
            found,
            "policy takes no new measure until `reevectl resume --fleet`",
        ));
    }
    findings.push(connected(&told.nodes));
    let mut point = |point, what: &str, advice: &str, is_it: &dyn Fn(&Node) -> bool| {
        let names: Vec<&str> =
            told.nodes.iter().filter(|node| is_it(node)).map(|node| node.name.as_str()).collect();
        if !names.is_empty() {
            findings.push(Finding::warning(point, format!("{what}: {}", some(&names)), advice));
        }
    };
    point(
        "silent",
        "connected, and not heard of for five minutes",
        "see the node's log: is its machine overloaded?",
        &|node| {
            let seen = time("last_seen_time", node.last_seen_time);
            node.connected && seen.is_ok_and(|seen| now.since(seen) > SILENT)
        },
    );
    point(
        "paused",
        "somebody has ended what policy does by itself",
        "`reevectl nodes` tells who and why; `reevectl resume --node NODE`",
        &|node| node.pause.is_some() || node.health.as_ref().is_some_and(|health| health.paused.is_some()),
    );
    point(
        "brakes",
        "policy holds nobody else there, since it has held too many",
        "look at what it held, then `reevectl brakes release --node NODE`",
        &|node| node.health.as_ref().is_some_and(|health| health.brakes_set_time.is_some()),
    );
    point(
        "loss",
        "one frame in a hundred or more is lost, so what they tell is in doubt",
        "raise ring_mib in [limits] there, or give it more of a processor",
        &|node| {
            node.health.as_ref().is_some_and(|health| loses(health.frames_received, health.frames_dropped))
        },
    );
    point(
        "versions",
        "their agents are of another version than the controller",
        "upgrade the older; what an older agent does not know waits for it",
        &|node| node.agent_version != told.controller_version,
    );
    point(
        "orders",
        "orders wait for them",
        "they are carried out when the node is connected; an agent may be too old to know one",
        &|node| node.orders_pending > 0,
    );
    point(
        "unreadable",
        "they sent reports that the controller cannot read",
        "its log names them: is the agent newer?",
        &|node| node.reports_refused > 0,
    );
    findings
}

fn connected(nodes: &[Node]) -> Finding {
    const POINT: &str = "nodes";
    let away: Vec<&str> =
        nodes.iter().filter(|node| !node.connected).map(|node| node.name.as_str()).collect();
    let advice = "see that they are up and can reach the controller: reeve-agent doctor there; they decide alone meanwhile";
    if away.is_empty() {
        return Finding::ok(POINT, format!("all {} are connected", nodes.len()));
    }
    let found = format!("{} of {} are not connected: {}", away.len(), nodes.len(), some(&away));
    if away.len() == nodes.len() {
        return Finding::error(POINT, found, advice);
    }
    Finding::warning(POINT, found, advice)
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
