//! The dashboard and the alerts that are handed out, over a real Prometheus that asks real daemons while something happens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::process::Command;
use std::time::Duration;

use reeve_tests::dashboard::{Prometheus, folder, panels};
use reeve_tests::house::House;
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::VICTIM_V4;
use reeve_tests::wait::wait_until;

#[test]
fn prometheus_takes_the_rules() {
    let out =
        Command::new("promtool").args(["check", "rules"]).arg(folder().join("alerts.yaml")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn every_panel_shows_what_happens() {
    let house = House::open_watched(Lab::up().unwrap()).unwrap();
    let prometheus = Prometheus::start(&house).unwrap();
    let alone = prometheus.alerts(&house).unwrap();
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", "1-200", "--max-retries", "0", victim.as_str()];
    let nmap = house.lab.alice.spawn(&argv).unwrap();
    house.wait_for_state("alice", "suspended", Duration::from_secs(20)).unwrap();
    nmap.finish(Duration::from_secs(60)).unwrap();

    let most = |title: &str, label: Option<(&str, &str)>| -> f64 {
        let panel = panels().unwrap().into_iter().find(|panel| panel.title == title).unwrap();
        let all = panel.expressions.iter().flat_map(|one| prometheus.most(&house, one).unwrap());
        let is_it = |series: &reeve_tests::dashboard::Series| {
            label.is_none_or(|(name, value)| series.labels.get(name).is_some_and(|own| own == value))
        };
        all.filter(is_it).map(|series| series.value).fold(0.0, f64::max)
    };
    let wanted = [
        ("Nodes connected", None),
        ("Suspended", None),
        ("Measures in force", Some(("action", "suspend"))),
        ("Alerts of the detectors", Some(("class", "portscan.vertical"))),
        ("Decisions", Some(("action", "suspend"))),
        ("What happened", Some(("kind", "measure_stands"))),
        ("Frames", None),
    ];
    let missing = || wanted.iter().filter(|(title, label)| most(title, *label) <= 0.0).collect::<Vec<_>>();
    let shown = wait_until("the dashboard to show it", Duration::from_secs(30), || Ok(missing().is_empty()));
    assert!(shown.is_ok(), "{:?} show nothing of a suspension", missing());
    for panel in panels().unwrap() {
        for expression in &panel.expressions {
            let found = prometheus.most(&house, expression).unwrap();
            assert!(!found.is_empty(), "{}: {expression} shows nothing", panel.title);
        }
    }
    // Nobody is woken by what is as it should be.
    assert_eq!(alone, [""; 0]);
}
