//! What each finding means.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::SystemTime;

use super::*;
use crate::capture::CaptureError;
use crate::cli::doctor::State;
use crate::config;
use State::{Error, Ok as Good, Warning};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[track_caller]
fn check(finding: &Finding, state: State, code: u8, says: &str) {
    assert_eq!((finding.state, finding.code), (state, code), "{finding:?}");
    assert!(finding.found.contains(says), "{finding:?}");
    assert_eq!(finding.advice.is_none(), state == Good, "advice is for what is not well: {finding:?}");
}

fn denied() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

fn with_interfaces(names: &str) -> Settings {
    let text =
        format!("node = \"n1\"\ntenants = \"t\"\n[[vantage]]\nkind = \"port\"\ninterfaces = [{names}]\n");
    config::parse(Path::new("a.toml"), &text).unwrap()
}

#[test]
fn kernels_are_told_by_their_version_as_numbers() {
    let states = |release: &str| -> Vec<State> {
        kernel(&Ok(release.to_owned())).iter().map(|finding| finding.state).collect()
    };
    assert_eq!(states("5.14.21"), [Error, Warning, Warning]);
    assert_eq!(states("5.15.0-91-generic"), [Good, Warning, Warning]);
    assert_eq!(states("6.1.0-35-amd64"), [Good, Good, Warning]);
    assert_eq!(states("6.9-rc1"), [Good, Good, Good]);
    // 6.10 is newer than 6.9, and 10.1 than both.
    assert_eq!(states("6.10.3+"), [Good, Good, Good]);
    assert_eq!(states("10.1"), [Good, Good, Good]);
    assert_eq!(states("rubbish"), [Warning]);
    assert_eq!(kernel(&Err(denied()))[0].state, Warning);
    check(&kernel(&Ok("4.19.0".into()))[0], Error, exit::UNAVAILABLE, "Linux 4.19.0");
}

#[test]
fn capabilities_are_missed_as_the_mode_takes_them() {
    let (admin, raw) = (1 << 12, 1 << 13);
    for mode in [Mode::Observe, Mode::Enforce] {
        check(&capabilities(Some(u64::MAX), mode), Good, 0, "CAP_NET_ADMIN and CAP_NET_RAW");
        check(&capabilities(Some(admin | raw), mode), Good, 0, "");
        check(&capabilities(Some(admin), mode), Error, exit::PERMISSION, "without CAP_NET_RAW");
        check(&capabilities(Some(0), mode), Error, exit::PERMISSION, "without CAP_NET_ADMIN and CAP_NET_RAW");
        check(&capabilities(None, mode), Warning, 0, "");
    }
    check(&capabilities(Some(raw), Mode::Enforce), Error, exit::PERMISSION, "without CAP_NET_ADMIN");
    check(&capabilities(Some(raw), Mode::Observe), Warning, 0, "observing takes none");
}

#[test]
fn nftables_is_a_must_where_measures_are_to_stand() {
    let missing = || Err(EnforceError::NotAsTold { missing: 1, surplus: 0 });
    check(&nftables(&Ok(true), Mode::Enforce), Good, 0, "stands");
    check(&nftables(&Ok(false), Mode::Enforce), Good, 0, "not laid down");
    check(&nftables(&missing(), Mode::Enforce), Error, exit::FAILURE, "missing");
    check(&nftables(&missing(), Mode::Observe), Warning, 0, "missing");
}

#[test]
fn bridged_packets_pass_both_hooks_or_tenants_are_not_held() {
    check(&bridge(&None), Good, 0, "pass no hook");
    check(&bridge(&Some((true, true))), Good, 0, "hold bridged");
    check(&bridge(&Some((false, false))), Warning, 0, "do not pass");
    check(
        &bridge(&Some((true, false))),
        Warning,
        0,
        "those of IPv4 pass the hooks of inet, those of IPv6 do not",
    );
    check(&bridge(&Some((false, true))), Warning, 0, "those of IPv6 pass");
}

#[test]
fn a_clock_is_wrong_before_the_program_was_made() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let seen = |program: SystemTime, keeper| ClockSeen { now, program: Some(program), keeper };
    let day = Duration::from_secs(86_400);
    check(&clock(&seen(now - day, Some("chrony"))), Good, 0, "kept by chrony");
    check(&clock(&seen(now + day, Some("chrony"))), Good, 0, "");
    check(&clock(&seen(now - day, None)), Warning, 0, "nothing");
    check(&clock(&seen(now + day * 3, Some("chrony"))), Error, exit::UNAVAILABLE, "3 days before");
}

#[test]
fn interfaces_may_come_later_if_any_may() {
    let seen = |name: &str, is_up, ring| InterfaceSeen { name: name.into(), is_up, ring };
    let (one, wild) = (with_interfaces("\"tap1\", \"tap2\""), with_interfaces("\"tap*\""));

    let found = interfaces(&one, &[]);
    assert_eq!(found.len(), 2);
    check(&found[0], Error, exit::UNAVAILABLE, "no interface is called `tap1`");
    let found = interfaces(&one, &[seen("tap1", true, Ok(()))]);
    assert_eq!(found.len(), 2);
    check(&found[0], Warning, 0, "no interface is called `tap2`");
    check(&found[1], Good, 0, "tap1");
    check(&interfaces(&wild, &[])[0], Warning, 0, "none is called tap* yet");

    let ring = Err(CaptureError::NotPermitted { interface: "tap7".into(), source: denied() });
    let found = interfaces(&wild, &[seen("tap7", true, ring), seen("tap8", false, Ok(()))]);
    check(&found[0], Error, exit::PERMISSION, "CAP_NET_RAW");
    check(&found[1], Warning, 0, "is down");
    let ring = Err(CaptureError::UnsupportedHardware { interface: "tap9".into(), hardware: 801 });
    check(&interfaces(&wild, &[seen("tap9", true, ring)])[0], Error, exit::CONFIG, "801");
}

#[test]
fn a_state_folder_must_be_there_writable_and_roomy() {
    let path = Path::new("/state");
    let good = FolderSeen { owner: 7, foreign: None, written: Ok(()), free_bytes: 1 << 40 };
    check(&state_folder(path, &Ok(good.clone())), Good, 0, "1048576 MiB");
    let seen = FolderSeen { free_bytes: 63 << 20, ..good.clone() };
    check(&state_folder(path, &Ok(seen)), Warning, 0, "63 MiB");
    let seen = FolderSeen { free_bytes: 0, ..good.clone() };
    check(&state_folder(path, &Ok(seen)), Error, exit::IO, "0 MiB");
    let seen = FolderSeen { foreign: Some("/state/journal".into()), ..good.clone() };
    check(&state_folder(path, &Ok(seen)), Warning, 0, "/state/journal does not belong to user 7");
    let seen = FolderSeen { written: Err("read-only".into()), ..good };
    check(&state_folder(path, &Ok(seen)), Error, exit::IO, "read-only");
    check(&state_folder(path, &Err(io::ErrorKind::NotFound.into())), Warning, 0, "not there yet");
    check(&state_folder(path, &Err(denied())), Error, exit::PERMISSION, "/state");
}

#[test]
fn a_controller_is_found_by_host_and_port() {
    for (url, expected) in [
        ("https://c.example:7443", "c.example:7443"),
        ("https://c.example:7443/", "c.example:7443"),
        ("https://c.example", "c.example:443"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("https://[2001:db8::1]:7443", "[2001:db8::1]:7443"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443"),
    ] {
        assert_eq!(authority(url), expected, "{url}");
    }
    let answered = Ok(("192.0.2.1:7443".parse().unwrap(), Duration::from_millis(12)));
    check(&controller("https://c", &answered), Good, 0, "after 12 ms");
    check(&controller("https://c", &Err(Unreached::Unknown("no".into()))), Warning, 0, "is not found: no");
    check(&controller("https://c", &Err(Unreached::Silent("no".into()))), Warning, 0, "within 3 s: no");
}

/// A certificate that holds from then until then.
fn certificate_of(from: u64, to: u64) -> io::Result<Vec<u8>> {
    let at = |secs: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["n1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (at(from).into(), at(to).into());
    Ok(params.self_signed(&key).unwrap().pem().into_bytes())
}

#[test]
fn certificates_hold_now_and_a_month_from_now() {
    let (path, now, day) = (Path::new("/n1.crt"), 1_800_000_000, 86_400);
    let judged = |from, to| certificate(path, &certificate_of(from, to), NOW);
    check(&judged(now - day, now + 31 * day), Good, 0, "/n1.crt holds until 2027-02-1");
    check(&judged(now - day, now + 29 * day), Warning, 0, "holds until");
    check(&judged(now - 2 * day, now - day), Error, exit::CONFIG, "held until");
    check(&judged(now + day, now + 90 * day), Error, exit::CONFIG, "on, and it is");
    check(&certificate(path, &Ok(b"rubbish".to_vec()), NOW), Error, exit::CONFIG, "no certificate");
    let hollow = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    check(&certificate(path, &Ok(hollow), NOW), Error, exit::CONFIG, "no certificate");
    check(&certificate(path, &Err(denied()), NOW), Error, exit::PERMISSION, "/n1.crt");
    check(&certificate(path, &Err(io::ErrorKind::NotFound.into()), NOW), Error, exit::CONFIG, "/n1.crt");
}

#[test]
fn keys_are_not_for_everybody() {
    let path = Path::new("/n1.key");
    check(&key(path, &Ok((0o100_640, true))), Good, 0, "");
    check(&key(path, &Ok((0o100_644, true))), Warning, 0, "mode 644");
    check(&key(path, &Ok((0o100_600, false))), Error, exit::CONFIG, "no private key");
    check(&key(path, &Err(denied())), Error, exit::PERMISSION, "/n1.key");
}

#[test]
fn settings_that_cannot_be_read_are_told_from_wrong_ones() {
    let (path, source) = (Path::new("a.toml"), denied());
    check(
        &settings(path, &Err(ConfigError::Read { path: path.into(), source })),
        Error,
        exit::PERMISSION,
        "a.toml",
    );
    let wrong = config::parse(path, "node = 1").unwrap_err();
    check(&settings(path, &Err(wrong.into())), Error, exit::CONFIG, "`vantage`");
}

#[test]
fn a_running_agent_is_told() {
    check(&another_agent(Ok(true)), Good, 0, "one is running");
    check(&another_agent(Ok(false)), Good, 0, "none is running");
    check(&another_agent(Err(denied())), Warning, 0, "cannot be told");
}

#[test]
fn a_pause_is_told() {
    check(&pauses(&Ok(Vec::new())), Good, 0, "nobody");
    let pause = Pause::new("oncall", "look", Timestamp::from_secs(0));
    check(&pauses(&Ok(vec![pause])), Warning, 0, "paused by oncall since 1970-01-01T00:00:00Z: look");
    check(&pauses(&Err(denied())), Warning, 0, "cannot be seen");
}

#[test]
fn what_the_running_agent_tells_is_taken_at_its_word() {
    let listen = "127.0.0.1:9464".parse().unwrap();
    let well = Told { frames: 10_000.0, ..Told::default() };
    let points = |told: Told| running(listen, &Ok(told));
    points(well.clone()).iter().for_each(|finding| check(finding, Good, 0, ""));
    let behind = Told { troubles: vec!["the journal cannot be written".into()], ..well.clone() };
    check(&points(behind)[0], Error, exit::UNAVAILABLE, "journal");
    check(&points(Told { lost: 99.0, ..well.clone() })[1], Good, 0, "99 of 10099");
    check(&points(Told { lost: 102.0, ..well.clone() })[1], Warning, 0, "102 of 10102");
    check(&points(Told { set_fill: 0.95, ..well.clone() })[2], Warning, 0, "95 %");
    check(&points(Told { waiting: 5_000.0, ..well.clone() })[3], Warning, 0, "5000 reports wait");
    check(&points(Told { given_up: 1.0, ..well })[3], Warning, 0, "1 were given up");
    check(&running(listen, &Err(denied()))[0], Warning, 0, "does not tell at 127.0.0.1:9464");
}
