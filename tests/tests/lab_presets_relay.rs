//! Open relays under the providers' policies: a real Postfix that relays for everybody, found by what it does, asked again until its owner has
//! closed it.
//!
//! **Intermax** gives two working days. The stories replace that rule by one that differs in its `grace` alone: how long a working day is, is
//! shown with time as an argument (`policy/tests/ladders/intermax.txt`), and what happens before, at and after the deadline does not depend on
//! when that is. **Extin**'s rule is the preset's own. All are asked every two seconds (`recheck`) instead of every half hour.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{ALICE_V4, WEB_V4};
use reeve_tests::lab::mail::{MailNet, Manner, Postfix, Relaying, exchanger};
use reeve_tests::lab::{Lab, Program, Shape};
use reeve_tests::preset::{asking, connects, decisions, events, extending, lift_reasons};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);

/// A policy that differs from Intermax's in how long there is to close a relay.
fn intermax(grace: &str) -> String {
    let rule = format!(
        "[[rule]]\nid = \"relay\"\nclause = \"intermax/relay\"\nalso = [\"intermax/enforce\"]\non = [\"smtp_relay\"]\n\
         ladder = [\n  {{ action = \"notify\", scope = \"all\", grace = \"{grace}\" }},\n\
         \x20 {{ action = \"block\", scope = \"tcp/25\", until = \"verified\" }},\n]\n"
    );
    extending("intermax", &format!("{}{rule}", asking("2s")))
}

/// Alice's open relay under a policy, and mail of strangers for strangers on its way through it.
struct Story {
    postfix: Postfix,
    _net: MailNet,
    house: House,
}

impl Story {
    fn begin(shape: Shape, policy: &str) -> Self {
        let lab = Lab::up_shaped(shape).unwrap();
        // An address that is no neighbour of alice's, to ask from.
        lab.rt.ip("addr add 192.0.2.1/32 dev up0").unwrap();
        let house = House::open_recorded(lab, Some(policy)).unwrap();
        let domains: Vec<_> =
            (0..20).map(|place| (format!("shop{place}.example"), exchanger(Manner::Takes, place))).collect();
        let net = MailNet::start(&house.lab, &domains).unwrap();
        let postfix = Postfix::start(&house.lab, &house.lab.alice, Relaying::Open).unwrap();
        let story = Self { postfix, _net: net, house };
        story.send();
        story
    }

    fn send(&self) {
        let server = ALICE_V4.to_string();
        let sources: Vec<String> = (1..=5).map(|place| format!("198.51.100.{place}")).collect();
        let mut arguments = vec!["--server", &server, "--recipient", "customer{n}@shop{n}.example"];
        arguments.extend(["--messages", "20", "--threads", "4", "--seconds", "20", "--source"]);
        arguments.extend(sources.iter().map(String::as_str));
        Program::MailSend.run(&self.house.lab, &self.house.lab.net, &arguments, TOOL).unwrap();
    }

    /// Waits until the node was told so often that the relay is open, or closed.
    fn wait_for_answers(&self, sentence: &str, more: usize) {
        let told = || {
            Ok(events(&self.house, "relay-checked")?.iter().filter(|line| line.contains(sentence)).count())
        };
        let before: usize = told().unwrap_or_else(|error: anyhow::Error| panic!("{error:#}"));
        let what = format!("alice's server to be asked and {sentence}");
        if let Err(error) = wait_until(&what, SOON, || Ok(told()? >= before + more)) {
            panic!("{error:#}\n{}\n{}", self.house.last_words(), self.postfix.last_lines(10));
        }
    }

    /// The violation behind what is done, whatever its state.
    fn violation(&self) -> String {
        let all = self.house.violations().unwrap();
        let [one] = &all[..] else { panic!("{all:#?}") };
        assert_eq!((one.tenant.as_str(), one.class.as_str()), ("alice", "smtp_relay"));
        one.id.clone()
    }

    fn reaches_the_web(&self) -> bool {
        let url = format!("http://{WEB_V4}/");
        let argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "4", &url];
        self.house.lab.alice.run(&argv, TOOL).unwrap().status.success()
    }

    fn end(mut self) {
        let played = self.house.close_and_replay(&["customer"]).unwrap();
        assert!(played.count("check-relay") > 0 && played.count("relay-checked") > 0);
    }
}

#[test]
fn intermax_warns_of_a_relay_and_lets_be_who_closes_it_in_time() {
    let story = Story::begin(Shape::Routed, &intermax("1h"));
    let (status, _) = story.house.wait_for_state("alice", "warned", SOON).unwrap();
    assert_eq!(status.clause, "intermax/relay", "{status:?}");
    let violation = story.violation();
    // It is asked while the warning runs, and nothing more is done for that.
    story.wait_for_answers("still an open relay", 2);
    assert_eq!(decisions(&story.house, &violation).unwrap(), ["notify all"]);
    assert_eq!(story.house.status("alice").unwrap().state, "warned");
    story.postfix.close(&story.house.lab.alice).unwrap();
    story.wait_for_answers("closed", 1);
    story.house.wait_for_state("alice", "clear", SOON).unwrap();
    let told = story.house.ask(&["violations", "show", &violation]).unwrap();
    assert_eq!(told["violation"]["state"], "quiet", "{told:#}");
    assert!(told["violation"]["evidence"]["metrics"].to_string().contains("refused_by_check"), "{told:#}");
    assert_eq!(told["relay_checked"]["is_mended"], true, "{told:#}");
    assert_eq!(decisions(&story.house, &violation).unwrap(), ["notify all"]);
    story.end();
}

#[test]
fn intermax_blocks_a_relay_that_is_not_closed_until_it_is_found_closed() {
    let story = Story::begin(Shape::Routed, &intermax("6s"));
    // Nothing goes through it any more: what the check finds at the deadline leads to the block.
    let (status, _) = story.house.wait_for_state("alice", "blocked", SOON).unwrap();
    assert_eq!((status.clause.as_str(), status.scope.as_str()), ("intermax/relay", "tcp/25"), "{status:?}");
    let violation = story.violation();
    assert_eq!(decisions(&story.house, &violation).unwrap(), ["notify all", "block tcp/25 until verified"]);
    // One that is still open stays blocked, however often it is asked, and nothing harsher is done.
    story.wait_for_answers("still an open relay", 2);
    assert_eq!(story.house.status("alice").unwrap().state, "blocked");
    assert_eq!(decisions(&story.house, &violation).unwrap(), ["notify all", "block tcp/25 until verified"]);
    story.postfix.close(&story.house.lab.alice).unwrap();
    story.house.wait_for_state("alice", "clear", SOON).unwrap();
    let told = wait_until("the reason to be told", SOON, || {
        Ok(lift_reasons(&story.house, &violation)? == ["verified"])
    });
    if let Err(error) = told {
        let found = story.house.ask(&["violations", "show", &violation]).unwrap();
        panic!("{error:#}: {:#}\n{}", found["measures"], story.house.last_words());
    }
    story.end();
}

/// Routed, and behind a bridge with the node as its router: what the suspended server answers to the node itself arrives.
#[test]
fn extin_suspends_a_relay_at_once_until_it_was_checked_and_released() {
    for shape in [Shape::Routed, Shape::Gateway] {
        let story = Story::begin(shape, &extending("extin", &asking("2s")));
        let (status, _) = story.house.wait_for_state("alice", "suspended", SOON).unwrap();
        assert_eq!(
            (status.clause.as_str(), status.until.as_str()),
            ("extin/relay", "released"),
            "{shape:?} {status:?}"
        );
        let violation = story.violation();
        assert_eq!(
            decisions(&story.house, &violation).unwrap(),
            ["suspend all until released"],
            "no warning"
        );
        assert!(!story.reaches_the_web());
        // A suspended server is asked, too.
        story.wait_for_answers("still an open relay", 1);
        let verify = |expect| {
            let told = story.house.reevectl(&["verify", &violation]).unwrap();
            assert_eq!(told.status.code(), Some(expect), "{}{}", told.stdout, told.stderr);
            told.stdout
        };
        assert!(verify(1).contains("still an open relay"));
        story.postfix.close(&story.house.lab.alice).unwrap();
        story.wait_for_answers("closed", 1);
        // That alone does not let her go.
        assert_eq!(story.house.status("alice").unwrap().state, "suspended");
        assert!(!story.reaches_the_web());
        let told = story.house.reevectl(&["release", "alice"]).unwrap().success().unwrap().stdout;
        assert!(told.contains("closed: refuses strangers' mail"), "{told}");
        story.house.wait_for_state("alice", "clear", SOON).unwrap();
        assert!(story.reaches_the_web());
        story.end();
    }
}

/// An operator asks from outside, and the node takes the answer as its own; asked from next to the server, it lifts nothing.
#[test]
fn what_an_operator_finds_closed_is_lifted() {
    let policy = extending("anycloud", &asking("1d"));
    let story = Story::begin(Shape::Routed, &policy);
    let (status, _) = story.house.wait_for_state("alice", "blocked", SOON).unwrap();
    assert_eq!(status.clause, "anycloud/22.1.xv", "{status:?}");
    let violation = story.violation();
    assert_eq!(decisions(&story.house, &violation).unwrap(), ["block tcp/25 until verified"]);
    // Nothing leaves it for port 25; the way in to its own is open.
    let (lab, theirs) = (&story.house.lab, exchanger(Manner::Takes, 0));
    let is_open = |from, host| connects(from, host, 25).unwrap();
    assert!(!is_open(&lab.alice, theirs) && is_open(&lab.bob, theirs) && is_open(&lab.net, ALICE_V4));
    story.postfix.close(&story.house.lab.alice).unwrap();
    let server = ALICE_V4.to_string();
    let question = ["--from", "probe@asker.example", "--to", "probe@elsewhere.example"];
    let check = || {
        let told = story.house.reevectl(&[&["check-relay", &server][..], &question].concat()).unwrap();
        assert_eq!(told.status.code(), Some(0), "{}{}", told.stdout, told.stderr);
        told.stdout
    };
    // From the node's address on alice's link.
    assert!(check().contains("nothing is lifted"));
    assert_eq!(story.house.status("alice").unwrap().state, "blocked");
    // From one that is no neighbour's.
    story.house.lab.rt.ip("route replace 203.0.113.10/32 dev tap1 src 192.0.2.1").unwrap();
    assert!(check().contains("the node was told"));
    story.house.wait_for_state("alice", "clear", SOON).unwrap();
    wait_until("the reason to be told", SOON, || Ok(lift_reasons(&story.house, &violation)? == ["verified"]))
        .unwrap();
    let checked = events(&story.house, "relay-checked").unwrap();
    assert!(checked.iter().any(|line| line.contains("asked by oncall")), "{checked:?}");
    let mut story = story;
    assert!(story.house.close_and_replay(&["customer"]).unwrap().count("relay-checked") > 0);
}
