//! Who is told of what happens on real packets: customer and reseller, in their languages, once; and suspensions for an unpaid invoice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::{VICTIM_V4, WEB_V4};
use reeve_tests::wait::wait_until;
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

const POLICY: &str = "[policy]\nname = \"resold\"\nversion = 2\nextends = \"baseline\"\nmode = \"enforce\"\n\
    [notices]\ntell = [\"parent\"]\nurgent = [\"portscan.*\"]\nprovider = \"Example Hosting\"\ncontact = \"abuse@example.net\"\n";

const TENANTS: &str = "[[tenant]]\nid = \"alice\"\nname = \"Alice's Shop\"\nparent = \"reseller\"\nlanguage = \"nl\"\n\
    addresses = [\"203.0.113.10\", \"2001:db8:10::/64\"]\ninterfaces = [\"rt/tap1\"]\n\
    [[tenant]]\nid = \"reseller\"\nlanguage = \"da\"\naddresses = []\n";

fn notices(house: &House) -> Vec<Value> {
    house.ask(&["notices", "--after", "0"]).unwrap()["notices"].as_array().unwrap().clone()
}

/// All of them, oldest first, as `RECIPIENT LANGUAGE KIND`.
fn told(house: &House) -> Vec<String> {
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let line = |one: &Value| ["recipient", "language", "kind"].map(|key| word(one, key)).join(" ");
    notices(house).iter().map(line).collect()
}

fn wait_for_told(house: &House, expect: &[&str]) {
    wait_until(&format!("{expect:?} to be told"), SOON, || Ok(told(house) == expect))
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", told(house), house.last_words()));
}

#[test]
fn a_scan_is_told_to_customer_and_reseller_once_in_their_languages_whatever_is_killed() {
    let mut house = House::open_recorded(Lab::up().unwrap(), Some(POLICY)).unwrap();
    let file = house.path("resold.toml").display().to_string();
    std::fs::write(&file, TENANTS).unwrap();
    house.reevectl(&["tenants", "import", &file]).unwrap().success().unwrap();
    let version = house.ask(&["tenants"]).unwrap()["version"].clone();
    wait_until("the node to know them", SOON, || {
        Ok(house.ask(&["nodes"])?["nodes"][0]["health"]["tenants"] == 3 && !version.is_null())
    })
    .unwrap();

    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", "1-300", "--max-retries", "0", &victim];
    house.lab.alice.run(&argv, TOOL).unwrap();
    house.wait_for_state("alice", "suspended", SOON).unwrap();
    let done = ["alice nl immediate", "reseller da immediate"];
    wait_for_told(&house, &done);
    let all = notices(&house);
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    assert_eq!(text(&all[0], "subject"), "Alice's Shop: afgesloten wegens een portscan");
    let (hers, resellers) = (text(&all[0], "text"), text(&all[1], "text"));
    assert!(
        hers.contains("203.0.113.10") && hers.contains(&victim) && hers.contains("baseline/portscan"),
        "{hers}"
    );
    assert!(!hers.contains("klant bij u") && resellers.contains("kunde hos dig"), "{resellers}");
    assert!(hers.ends_with("Example Hosting") && hers.contains("abuse@example.net"), "{hers}");
    let status = house.ask(&["status", "alice"]).unwrap();
    assert_eq!(status["customer_language"], "nl");
    assert!(status["customer_reason"].as_str().unwrap().contains("probeerde poorten"), "{status}");

    // Neither the controller's death nor the agent's has anybody told again.
    house.kill_controller().unwrap();
    house.kill_agent().unwrap();
    house.agent_arguments.clear();
    house.start_controller().unwrap();
    house.start_agent().unwrap();
    assert_eq!(house.status("alice").unwrap().state, "suspended");
    assert_eq!(told(&house), done);

    house.reevectl(&["release", "alice", "--reason", "reinstalled"]).unwrap().success().unwrap();
    wait_for_told(&house, &[done[0], done[1], "alice nl lifted", "reseller da lifted"]);
    let listed =
        house.reevectl(&["notices", "--tenant", "reseller", "--text"]).unwrap().success().unwrap().stdout;
    assert!(listed.contains("begrænsningen er ophævet"), "{listed}");
    house.check_parity().unwrap();
}

#[test]
fn who_does_not_pay_is_cut_off_until_paid_whatever_else_is_lifted() {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let url = format!("http://{WEB_V4}/");
    let fetches = |house: &House| {
        let curl = ["curl", "--silent", "--max-time", "1", url.as_str()];
        house.lab.bob.run(&curl, TOOL).unwrap().status.success()
    };
    let causes = |house: &House| -> Vec<String> {
        let status = house.ask(&["status", "bob"]).unwrap();
        let holds = status["holds"].as_array().unwrap().clone();
        let mut causes: Vec<String> =
            holds.iter().map(|hold| hold["cause"].as_str().unwrap().to_owned()).collect();
        causes.sort_unstable();
        causes
    };
    let run =
        |house: &House, arguments: &[&str]| house.reevectl(arguments).unwrap().success().unwrap().stdout;
    assert!(fetches(&house));
    run(&house, &["suspend", "bob", "--until", "paid", "--reason", "billing"]);
    assert!(!fetches(&house));
    assert_eq!(house.ask(&["status", "bob"]).unwrap()["until"], "paid");
    run(&house, &["suspend", "bob", "--reason", "scans, ticket 1"]);
    assert_eq!(causes(&house), ["abuse", "billing"]);
    let status = run(&house, &["status", "bob"]);
    assert!(
        status.contains(": suspend all until paid") && status.contains(": suspend all until released"),
        "{status}"
    );

    // What he did is forgiven; what he owes is not, also by an agent that was killed since.
    run(&house, &["release", "bob", "--reason", "reinstalled"]);
    assert_eq!(causes(&house), ["billing"]);
    assert!(!fetches(&house));
    house.kill_agent().unwrap();
    house.start_agent().unwrap();
    assert!(!fetches(&house));
    run(&house, &["paid", "bob", "--reason", "invoice 4711"]);
    assert!(fetches(&house) && causes(&house).is_empty());
    assert_eq!(house.status("bob").unwrap().state, "clear");

    // And the other way round.
    run(&house, &["suspend", "bob", "--reason", "scans, ticket 2"]);
    run(&house, &["suspend", "bob", "--until", "paid", "--reason", "billing"]);
    run(&house, &["paid", "bob"]);
    assert_eq!(causes(&house), ["abuse"]);
    assert!(!fetches(&house));
    run(&house, &["release", "bob"]);
    assert!(fetches(&house));
    house.check_parity().unwrap();
}
