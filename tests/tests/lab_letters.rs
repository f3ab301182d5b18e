//! A notice as a letter: through a real Postfix into its recipient's mailbox, and its link followed by curl, which lifts what a check from
//! outside finds mended and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::addresses::ALICE_V4;
use reeve_tests::lab::mail::{MailNet, Mailboxes, Manner, Postfix, Relaying, exchanger};
use reeve_tests::lab::{Lab, Program};
use reeve_tests::preset::{asking, events, extending, lift_reasons};
use reeve_tests::wait::wait_until;
use serde_json::Value;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(40);

const TENANTS: &str = "[[tenant]]\nid = \"alice\"\nname = \"Alice's <Shop>\"\nlanguage = \"nl\"\n\
    contacts = [\"abuse@alice.example\"]\naddresses = [\"203.0.113.10\", \"2001:db8:10::/64\"]\n\
    interfaces = [\"rt/tap1\"]\nmail_domains = [\"alice.example\"]\n";

/// A relay is blocked at once, until a check finds it closed; the node asks by itself no more than every half hour.
fn policy() -> String {
    let rule = "[notices]\nprovider = \"Example Hosting\"\ncontact = \"abuse@desk.example\"\n\
        [[rule]]\nid = \"relay\"\nclause = \"baseline/relay\"\non = [\"smtp_relay\"]\n\
        ladder = [{ action = \"block\", scope = \"tcp/25\", until = \"verified\" }]\n";
    extending("baseline", &format!("{}{rule}", asking("30m")))
}

/// What curl is answered at a link: its status, and the text.
fn follow(house: &House, url: &str, argv: &[&str]) -> (u16, String) {
    let whole: Vec<&str> =
        [&["curl", "--silent", "--max-time", "50", "--write-out", "\n%{http_code}"], argv, &[url]].concat();
    let told = house.lab.rt.run(&whole, TOOL).unwrap().success().unwrap().stdout;
    let (text, status) = told.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), text.to_owned())
}

#[test]
fn a_letter_reaches_its_recipient_and_its_link_lifts_what_was_mended_and_nothing_else() {
    let lab = Lab::up().unwrap();
    // An address that is no neighbour of alice's, to ask from.
    lab.rt.ip("addr add 192.0.2.1/32 dev up0").unwrap();
    let mut house = House::open_recorded(lab, Some(&policy())).unwrap();
    let mailboxes = Mailboxes::start(&house.lab, &house.lab.rt).unwrap();
    let settings = format!(
        "[mail]\nhost = \"127.0.0.1\"\nport = {}\nca_file = \"{}\"\nfrom = \"abuse@desk.example\"\nfrom_name = \"Example Hosting\"\n\
         hello = \"controller.desk.example\"\n\
         [links]\nlisten = \"127.0.0.1:8090\"\nurl = \"http://127.0.0.1:8090\"\n",
        mailboxes.port(),
        mailboxes.certificate()
    );
    std::fs::write(house.path("controller").join("controller.toml"), settings).unwrap();
    house.stop_controller().unwrap();
    house.start_controller().unwrap();
    let file = house.path("told.toml").display().to_string();
    std::fs::write(&file, TENANTS).unwrap();
    house.reevectl(&["tenants", "import", &file]).unwrap().success().unwrap();

    let domains: Vec<_> =
        (0..20).map(|place| (format!("shop{place}.example"), exchanger(Manner::Takes, place))).collect();
    let _net = MailNet::start(&house.lab, &domains).unwrap();
    let postfix = Postfix::start(&house.lab, &house.lab.alice, Relaying::Open).unwrap();
    let server = ALICE_V4.to_string();
    let sources: Vec<String> = (1..=5).map(|place| format!("198.51.100.{place}")).collect();
    let mut arguments = vec!["--server", &server, "--recipient", "somebody{n}@shop{n}.example"];
    arguments.extend(["--messages", "20", "--threads", "4", "--seconds", "20", "--source"]);
    arguments.extend(sources.iter().map(String::as_str));
    Program::MailSend.run(&house.lab, &house.lab.net, &arguments, TOOL).unwrap();
    if let Err(error) = house.wait_for_state("alice", "blocked", SOON) {
        panic!("{error:#}\n{}\n{}", house.last_words(), postfix.last_lines(10));
    }

    // The letter is there, in her language, in text and HTML, of her case.
    let first = mailboxes
        .wait_for(1, SOON)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", house.last_words()))
        .remove(0);
    let case = house.ask(&["cases"]).unwrap()["cases"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(first.to, "abuse@alice.example");
    assert_eq!(first.from, "Example Hosting <abuse@desk.example>");
    assert!(first.subject.ends_with(&format!("[{case}]")), "{first:#?}");
    assert!(
        first.text.contains("Alice's <Shop>") && first.text.contains("Ik heb het verholpen"),
        "{first:#?}"
    );
    assert!(
        first.html.contains("Alice&#39;s &#60;Shop&#62;") && !first.html.contains("<Shop>"),
        "{first:#?}"
    );
    assert_eq!(first.headers["Auto-Submitted"], "auto-generated");
    assert_eq!(first.headers["Content-Language"], "nl");
    let link = first.text.lines().find(|line| line.ends_with("/fixed")).unwrap().to_owned();
    assert!(first.html.contains(&link), "{link}\n{}", first.html);

    // To look at it asks nobody.
    let before = events(&house, "relay-checked").unwrap().len();
    let (status, text) = follow(&house, &link, &["--header", "Accept: text/html"]);
    assert!(status == 200 && text.contains("De maatregel is nog van kracht"), "{text}");
    assert_eq!(events(&house, "relay-checked").unwrap().len(), before);

    // One that is still open stays blocked. A server is asked no more than every 20 seconds, which is waited for.
    let (status, text) = follow(&house, &link, &["--data", ""]);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("stuurt nog steeds post van vreemden door"), "{text}\n{}", house.last_words());
    assert_eq!(house.status("alice").unwrap().state, "blocked");

    postfix.close(&house.lab.alice).unwrap();
    let (status, text) = follow(&house, &link, &["--data", ""]);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("het is verholpen"), "{text}\n{}", house.last_words());
    house.wait_for_state("alice", "clear", SOON).unwrap();
    let violation = house.violations().unwrap()[0].id.clone();
    wait_until("the reason to be told", SOON, || Ok(lift_reasons(&house, &violation)? == ["verified"]))
        .unwrap();

    // She is told of that, too, and of each once.
    let letters = mailboxes.wait_for(2, SOON).unwrap();
    assert!(
        letters[1].references.contains(&case) && letters[0].references == letters[1].references,
        "{letters:#?}"
    );
    assert_ne!(letters[0].headers["Message-ID"], letters[1].headers["Message-ID"]);
    assert!(!letters[1].text.contains("/fixed"), "{letters:#?}");
    let outbox = house.ask(&["outbox"]).unwrap();
    let states: Vec<&Value> =
        outbox["deliveries"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["sent", "sent"], "{outbox:#}");
    assert_eq!(mailboxes.letters().unwrap().len(), 2);
    // What she said stands on the case.
    let told = house.ask(&["cases", "show", &case]).unwrap();
    let claims: Vec<&Value> =
        told["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "claim").collect();
    assert_eq!(claims.len(), 2, "{told:#}");
    assert!(claims.iter().all(|claim| claim["author"] == "alice"), "{told:#}");
    // One that was made up opens nothing.
    let forged = link.replace("/n/", "/n/AAAA");
    assert_eq!(follow(&house, &forged, &["--data", ""]).0, 404);
    house.close_and_replay(&["somebody"]).unwrap();
}
