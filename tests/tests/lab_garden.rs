//! A walled garden: plain HTTP of the suspended is answered by the provider's page, and nothing else of theirs is, nor anybody else's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::{Duration, Instant};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{ALICE_V4, ALICE_V6, INTERNET_INTERFACE, OTHER_V4, WEB_V4, WEB_V6};
use reeve_tests::lab::{Lab, Namespace, Sniffer};
use reeve_tests::preset::extending;
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
const GARDEN_V6: &str = "2001:db8:f000::99";
const SETTINGS: &str =
    "\n[enforcement]\nconntrack = true\nwalled_garden = [\"20.99.1.2:8099\", \"[2001:db8:f000::99]:8099\"]\n";
/// What the page says, what alice's own says, and what the node's does.
const GARDEN: &str = "your server was suspended";
const ALICES: &str = "welcome to alice's";
const NODES: &str = "the node's own page";
/// What curl ends with: all is well, nobody can be reached, the time is over.
const SERVED: Option<i32> = Some(0);
const REFUSED: Option<i32> = Some(7);
const TIMED_OUT: Option<i32> = Some(28);

fn get(from: &Namespace, url: &str) -> (Option<i32>, String) {
    let argv = ["curl", "--silent", "--insecure", "--max-time", "3", url];
    let finished = from.run(&argv, TOOL).unwrap();
    (finished.code(), finished.text())
}

fn story(inbound: &str) {
    assert_eq!(OTHER_V4.to_string(), "20.99.1.2");
    let policy = extending("baseline", &format!("[suspension]\ninbound = \"{inbound}\""));
    let house = House::open_with(Lab::up().unwrap(), &policy, SETTINGS).unwrap();
    let lab = &house.lab;
    for (host, text) in [("garden", GARDEN), ("alice", ALICES), ("node", NODES)] {
        std::fs::create_dir(house.path(host)).unwrap();
        std::fs::write(house.path(host).join("index.html"), text).unwrap();
    }
    let serve = |host: &Namespace, name: &str, port: &str| {
        let folder = house.path(name);
        let folder = folder.to_str().unwrap();
        host.spawn(&["python3", "-m", "http.server", "--bind", "::", "--directory", folder, port]).unwrap()
    };
    lab.net
        .ip(&format!("addr add {GARDEN_V6}/128 dev lo nodad\naddr add {WEB_V6}/128 dev lo nodad\n"))
        .unwrap();
    let _servers =
        [serve(&lab.net, "garden", "8099"), serve(&lab.alice, "alice", "8080"), serve(&lab.rt, "node", "80")];
    let web = [format!("http://{WEB_V4}/"), format!("http://[{WEB_V6}]/")];
    let garden = ["http://20.99.1.2:8099/".to_owned(), format!("http://[{GARDEN_V6}]:8099/")];
    let others =
        [format!("http://{WEB_V4}:8080/"), format!("https://{WEB_V4}/"), format!("https://[{WEB_V6}]/")];
    let alices = [format!("http://{ALICE_V4}:8080/"), format!("http://[{ALICE_V6}]:8080/")];
    let node = "http://203.0.113.1/";
    let is_up = |from: &Namespace, url: &str| {
        wait_until(url, SOON, || Ok(get(from, url).0 == SERVED)).unwrap();
    };
    garden.iter().for_each(|url| is_up(&lab.bob, url));
    alices.iter().for_each(|url| is_up(&lab.net, url));
    is_up(&lab.alice, node);
    let is_led = |from: &Namespace, url: &str| {
        let (code, text) = get(from, url);
        code == SERVED && text.contains(GARDEN)
    };
    for url in &web {
        let told = get(&lab.alice, url);
        assert!(told.0 == SERVED && !told.1.contains(GARDEN), "{url}: {told:?}");
    }

    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    for url in &web {
        assert!(is_led(&lab.alice, url), "{inbound}, {url}: {:?}", get(&lab.alice, url));
        // Nobody else is.
        let told = get(&lab.bob, url);
        assert!(told.0 == SERVED && !told.1.contains(GARDEN), "{inbound}, bob, {url}: {told:?}");
    }
    for url in &others {
        assert_eq!(get(&lab.alice, url).0, REFUSED, "{inbound}, {url}");
    }
    // The page's own address may be asked for, its other ports may not.
    garden.iter().for_each(|url| assert!(is_led(&lab.alice, url), "{inbound}, {url}"));
    assert_eq!(get(&lab.alice, "http://20.99.1.2:8080/").0, REFUSED, "{inbound}");
    // Neither what the node serves nor her visitors are led anywhere.
    assert!(get(&lab.alice, node).1.contains(NODES), "{inbound}: {:?}", get(&lab.alice, node));
    for url in &alices {
        let told = get(&lab.net, url);
        let expect = if inbound == "cut" { REFUSED } else { TIMED_OUT };
        assert_eq!(told, (expect, String::new()), "{inbound}, {url}");
    }

    house.reevectl(&["release", "alice", "--reason", "test"]).unwrap().success().unwrap();
    for url in &web {
        let told = get(&lab.alice, url);
        assert!(told.0 == SERVED && !told.1.contains(GARDEN), "{inbound}, released, {url}: {told:?}");
    }
    alices.iter().for_each(|url| assert!(get(&lab.net, url).1.contains(ALICES), "{inbound}, {url}"));
}

#[test]
fn plain_http_of_the_suspended_is_answered_by_the_providers_page() {
    story("keep");
}

#[test]
fn it_is_so_too_where_what_others_send_to_them_is_refused() {
    story("cut");
}

#[test]
fn who_is_suspended_cannot_flood_the_page() {
    let house = House::open_with(Lab::up().unwrap(), &extending("baseline", ""), SETTINGS).unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    let (web, garden) = (WEB_V4.to_string(), OTHER_V4.to_string());
    // Where it is led, and where it is: so many packets a second may arrive at most, and so many at once.
    for (target, port, per_second, burst) in [(&web, "80", 100.0, 50.0), (&garden, "8099", 1_000.0, 500.0)] {
        let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &[ALICE_V4.into()]).unwrap();
        let began = Instant::now();
        let argv = ["hping3", "--quiet", "--syn", "-p", port, "-c", "20000", "-i", "u100", target];
        house.lab.alice.run(&argv, TOOL).unwrap();
        let (came, most) =
            (witness.count(&[ALICE_V4.into()]).unwrap(), per_second * began.elapsed().as_secs_f64() + burst);
        println!("to {target} port {port}: {came} of 20000 arrived, {most:.0} may");
        assert!(
            came > 0 && (came as f64) <= most * 1.1,
            "to {target} port {port}: {came} packets, {most:.0} may"
        );
    }
}
