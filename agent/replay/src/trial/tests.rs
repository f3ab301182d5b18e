//! Trials on captures made by hand.

use std::path::PathBuf;
use std::sync::Arc;

use reeve_policy::language::Policy;
use reeve_policy::{Action, Mode};

use super::*;
use crate::scene::Scene;

const BEGAN: u32 = 1_700_000_000;
/// Short of what is a slow scan.
const SECONDS: u16 = 50;

/// A capture of SYNs from 203.0.113.10 and .20, one of each a second, to as many ports of one host; the second one's to one port.
fn scan(seconds: u16) -> tempfile::NamedTempFile {
    scan_from(BEGAN, seconds)
}

/// The same from another time on.
fn scan_from(began: u32, seconds: u16) -> tempfile::NamedTempFile {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for number in 0..seconds {
        for (last, port) in [(10, 1_000 + number), (20, 443)] {
            for word in [began + u32::from(number), 0, 40, 40] {
                file.extend(word.to_le_bytes());
            }
            let mut packet = [0_u8; 40];
            packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
            packet[12..20].copy_from_slice(&[203, 0, 113, last, 20, 0, 0, 1]);
            packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
            packet[22..24].copy_from_slice(&port.to_be_bytes());
            packet[32..34].copy_from_slice(&[0x50, 0x02]);
            file.extend(packet);
        }
    }
    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), file).unwrap();
    place
}

/// `baseline` with other numbers and another ladder for scans of ports.
fn policy(name: &str, ports: u32, ladder: &str) -> Arc<Policy> {
    let text = format!(
        "[policy]\nname = \"{name}\"\nversion = 1\nextends = \"baseline\"\n\
         [thresholds.\"portscan.vertical\"]\nports = {ports}\nlow_ports = {ports}\n\
         [[rule]]\nid = \"portscan\"\non = [\"portscan.*\"]\nladder = [{ladder}]\n"
    );
    Arc::new(Policy::parse("p.toml", &text).unwrap_or_else(|errors| panic!("{errors}")))
}

const SUSPEND: &str = "{ action = \"suspend\", scope = \"all\", until = \"1h\" }";
const NOTIFY: &str = "{ action = \"notify\" }";

fn tried(candidate: &Arc<Policy>, against: &Arc<Policy>) -> Trial {
    let tenants = ["scanner=203.0.113.10", "friend=203.0.113.20"].map(|arg| arg.parse().unwrap());
    let scene = Scene { policy: Arc::clone(candidate), ..Scene::bench(&tenants) };
    let capture = scan(SECONDS);
    captures(&scene, against, &[capture.path().to_owned()]).unwrap()
}

fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{} {}", change.tenant, change.family)).collect()
}

#[test]
fn a_stricter_policy_hits_newly_and_the_same_backwards_no_longer() {
    let (strict, lax) = (policy("strict", 20, SUSPEND), policy("lax", 450, SUSPEND));
    let trial = tried(&strict, &lax);
    assert_eq!(names(&trial.comparison.newly), ["scanner portscan"]);
    assert!(trial.comparison.no_longer.is_empty() && trial.comparison.differently.is_empty());
    let hit = trial.comparison.newly[0].after.as_ref().unwrap();
    assert_eq!(hit.clauses.iter().collect::<Vec<_>>(), ["strict/portscan"]);
    assert_eq!((hit.violations, hit.steps.len(), hit.steps[0].action), (1, 1, Action::Suspend));
    // All that the scanner sent after it, a packet of 40 bytes each, to a port of its own.
    let since = u64::from(SECONDS) - (hit.first.as_nanos() / 1_000_000_000 - u64::from(BEGAN));
    assert!(hit.cut.packets.abs_diff(since) <= 1, "{since} s: {:?}", hit.cut);
    assert_eq!(hit.cut.bytes, hit.cut.packets * 40);
    assert_eq!(hit.cut.targets, hit.cut.packets);
    assert_eq!(names(&tried(&lax, &strict).comparison.no_longer), ["scanner portscan"]);
}

#[test]
fn the_same_policy_differs_by_nothing_and_hits_the_same() {
    let strict = policy("strict", 20, SUSPEND);
    let trial = tried(&strict, &strict);
    assert!(!trial.differs(), "{trial:?}");
    assert_eq!((trial.comparison.same, trial.frames), (1, 100));
    assert!(table(&trial).contains("nobody is hit otherwise; 1 hit in the same way"), "{}", table(&trial));
}

#[test]
fn who_is_hit_otherwise_is_told_by_what_differs() {
    let (before, after) = (policy("a", 20, NOTIFY), policy("b", 20, SUSPEND));
    let trial = tried(&after, &before);
    assert_eq!(names(&trial.comparison.differently), ["scanner portscan"]);
    assert_eq!(trial.comparison.differently[0].differs, [Differs::Steps, Differs::Clauses]);
    let told = table(&trial);
    for part in [
        "b@1 against a@1: 100 frames from 2023-",
        "HIT OTHERWISE",
        "now: a/portscan",
        "then: b/portscan",
        "step 1, notify",
        "step 1, suspend all for 1h",
        "cuts ",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    // Later, but the same: only the number is higher.
    let trial = tried(&policy("b", 40, NOTIFY), &before);
    assert_eq!(trial.comparison.differently[0].differs, [Differs::Times, Differs::Clauses]);
}

#[test]
fn another_clause_and_another_next_step_are_told_though_the_same_is_done() {
    let before = policy("a", 20, NOTIFY);
    // Another policy's words for the same; the tenant reads them.
    let trial = tried(&policy("b", 20, NOTIFY), &before);
    assert_eq!(trial.comparison.differently[0].differs, [Differs::Clauses]);
    assert!(table(&trial).contains("HIT OTHERWISE\n  scanner  portscan  (clauses)"), "{}", table(&trial));
    let next = format!("{{ action = \"notify\" }}, {SUSPEND}");
    let trial =
        tried(&policy("a", 20, &format!("{{ action = \"notify\" }}, {NOTIFY}")), &policy("a", 20, &next));
    assert_eq!(trial.comparison.differently[0].differs, [Differs::Next]);
    let told = table(&trial);
    assert!(told.contains("(next step)") && told.contains("next, if it goes on: suspend all"), "{told}");
}

#[test]
fn captures_are_played_by_their_times_and_not_as_they_are_named() {
    let strict = policy("strict", 20, SUSPEND);
    let tenants = ["scanner=203.0.113.10", "friend=203.0.113.20"].map(|arg| arg.parse().unwrap());
    let scene = Scene { policy: Arc::clone(&strict), ..Scene::bench(&tenants) };
    let lax = policy("lax", 450, SUSPEND);
    let (early, late) = (scan(SECONDS), scan_from(BEGAN + 600, SECONDS));
    let paths = [early.path().to_owned(), late.path().to_owned()];
    let played = |paths: &[PathBuf]| {
        let trial = captures(&scene, &lax, paths).unwrap();
        assert!(trial.notes.is_empty(), "{:?}", trial.notes);
        trial.comparison
    };
    let forward = played(&paths);
    assert!(forward.newly[0].after.as_ref().unwrap().cut.packets > u64::from(SECONDS));
    assert_eq!(forward, played(&[paths[1].clone(), paths[0].clone()]));
    // What overlaps cannot be put in order file by file, and is told.
    let between = scan_from(BEGAN + 20, SECONDS);
    let trial = captures(&scene, &lax, &[between.path().to_owned(), paths[0].clone()]).unwrap();
    assert!(trial.notes[0].contains("before the capture ahead of it ends"), "{:?}", trial.notes);
}

#[test]
fn what_is_only_observed_cuts_nothing_and_says_so() {
    let strict = policy("strict", 20, SUSPEND);
    let observed = Policy { mode: Mode::Observe, ..Policy::clone(&strict) };
    let trial = tried(&strict, &Arc::new(observed));
    let change = &trial.comparison.differently[0];
    let (before, after) = (change.before.as_ref().unwrap(), change.after.as_ref().unwrap());
    assert_eq!((before.steps[0].mode, before.cut), (Mode::Observe, Cut::default()));
    assert!(after.cut.packets > 0);
    assert!(table(&trial).contains("suspend all for 1h, observed only"));
}

#[test]
fn a_capture_that_is_cut_off_is_played_as_far_as_it_goes() {
    let whole = std::fs::read(scan(SECONDS).path()).unwrap();
    let cut = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(cut.path(), &whole[..whole.len() - 5]).unwrap();
    let scene = Scene::bench(&["a=198.51.100.1".parse().unwrap()]);
    let policy = Arc::clone(&scene.policy);
    let trial = captures(&scene, &policy, &[cut.path().to_owned()]).unwrap();
    assert_eq!(trial.frames, 99);
    assert!(trial.notes[0].contains("it is truncated"), "{:?}", trial.notes);
    assert_eq!(trial.notes[1], "no packet is of any of the tenants");
    assert!(captures(&scene, &policy, &[PathBuf::from("/nowhere.pcap")]).is_err());
}
