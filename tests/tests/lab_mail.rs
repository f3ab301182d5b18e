//! Mail by a real Postfix and by a bot: the relay and the spammer are named, held on port 25 and nowhere else; the mail server that
//! does as it should is left alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{ALICE, ALICE_PORT, ALICE_V4, INTERNET_INTERFACE, TENANT_INTERFACE};
use reeve_tests::lab::mail::{MailNet, Manner, OWN_DOMAIN, Postfix, Relaying, exchanger, exchanger_v6};
use reeve_tests::lab::{Header, Lab, Namespace, Program, Sniffer, Visitor};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);
/// Words of the mails, which nobody may write down.
const BODY: &str = "lowpricedwatches";

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const MAIL: u16 = 25;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Connections to port 25 that the internet saw opened by one of `sources` in a span of time.
fn openings(witness: &Sniffer, sources: &[IpAddr], from: Duration, to: Duration) -> usize {
    let is_opening = |header: &&Header| {
        header.port == MAIL
            && header.flags & (SYN | ACK) == SYN
            && sources.contains(&header.source)
            && (from..to).contains(&header.at)
    };
    witness.headers().unwrap().iter().filter(is_opening).count()
}

/// Domains `PREFIX0.example` and so on, each with an exchanger of its own.
fn domains(prefix: &str, number: u16, manner: Manner) -> Vec<(String, Ipv4Addr)> {
    (0..number).map(|place| (format!("{prefix}{place}.example"), exchanger(manner, place))).collect()
}

/// Sends through alice's mail server, from many addresses of the internet.
fn send_to_alice(house: &House, recipient: &str, messages: &str) -> String {
    let server = ALICE_V4.to_string();
    let sources: Vec<String> = (1..=20).map(|place| format!("198.51.100.{place}")).collect();
    let mut arguments = vec!["--server", &server, "--recipient", recipient, "--messages", messages];
    arguments.extend(["--body", BODY, "--threads", "8", "--source"]);
    arguments.extend(sources.iter().map(String::as_str));
    let sent = Program::MailSend.run(&house.lab, &house.lab.net, &arguments, TOOL).unwrap();
    sent.stdout.trim().to_owned()
}

/// Mails are longer than others by up to so many bytes.
const SPREAD: &str = "8000";
/// A policy that asks mail servers which are suspected.
const ASKING: &str = "[policy]\nname = \"asking\"\nversion = 1\nextends = \"baseline\"\n\
    [relay_check]\nenabled = true\nfrom = \"probe@asker.example\"\nto = \"probe@elsewhere.example\"\n";

/// The same as [`send_to_alice`], over TLS and with a text of a page, or more by up to `spread` bytes.
fn send_sealed_to_alice(house: &House, recipient: &str, messages: &str, spread: &str) -> String {
    let (server, page) = (ALICE_V4.to_string(), format!("{BODY} ").repeat(40));
    let arguments = [
        "--server",
        &server,
        "--recipient",
        recipient,
        "--messages",
        messages,
        "--body",
        &page,
        "--threads",
        "2",
        "--tls",
        "--spread",
        spread,
        "--source",
        "198.51.100.1",
        "198.51.100.2",
        "198.51.100.3",
    ];
    let sent = Program::MailSend.run(&house.lab, &house.lab.net, &arguments, TOOL).unwrap();
    sent.stdout.trim().to_owned()
}

/// Asks alice's server as an operator does; the exit code and what was printed.
fn check_relay(house: &House) -> (Option<i32>, String) {
    let address = ALICE_V4.to_string();
    let question = ["--from", "probe@asker.example", "--to", "probe@elsewhere.example"];
    let told = house.reevectl(&[&["check-relay", &address][..], &question].concat()).unwrap();
    (told.status.code(), told.stdout)
}

/// Lets a mail server try all that waits, and waits until it has.
fn try_again(postfix: &Postfix, host: &Namespace) {
    let (waiting, deferred) = (postfix.waiting(host).unwrap(), postfix.deliveries("deferred"));
    assert!(waiting > 20, "only {waiting} wait");
    postfix.flush(host).unwrap();
    let is_tried = || Ok(postfix.deliveries("deferred") >= deferred + waiting * 9 / 10);
    if let Err(error) = wait_until("what waits to be tried again", SOON, is_tried) {
        panic!("{error}\n{}", postfix.last_lines(10));
    }
}

#[test]
fn an_open_relay_is_cut_off_from_port_25_and_its_retries_are_no_abuse() {
    let mut house = House::open_recorded(Lab::up().unwrap(), None).unwrap();
    let net = MailNet::start(&house.lab, &domains("shop", 100, Manner::Takes)).unwrap();
    let alice = &house.lab.alice;
    let postfix = Postfix::start(&house.lab, alice, Relaying::Open).unwrap();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &ALICE).unwrap();
    let port = Sniffer::start(&house.lab.rt, ALICE_PORT, &ALICE).unwrap();
    let pages = Visitor::start(alice).unwrap();

    let sent = send_to_alice(&house, "customer{n}@shop{n}.example", "100");
    let (status, _) = house.wait_for_state("alice", "blocked", SOON).unwrap();
    let stands = now();
    assert_eq!(
        (status.clause.as_str(), status.scope.as_str(), status.until.as_str()),
        ("baseline/relay", "tcp/25", "released"),
        "{status:?}\n{sent}"
    );
    let violation = house.wait_for_violation("alice", "smtp_relay", SOON).unwrap();
    assert_eq!(status.violation, violation.id);

    // What it holds it tries again and again, against our own block.
    try_again(&postfix, alice);
    // Those of which all was on its way by then have arrived.
    let taken = net.taken().len();
    assert!((3..100).contains(&taken), "{taken} messages went through\n{}", postfix.last_lines(5));
    for _ in 0..3 {
        try_again(&postfix, alice);
    }
    let tried = openings(&port, &ALICE, stands, now());
    println!("{taken} messages went through, then {tried} connections to port 25 were tried; {sent}");
    assert!(tried > 100, "{tried} connections tried");
    assert_eq!(openings(&witness, &ALICE, stands, now()), 0, "nothing of hers reaches port 25");
    assert_eq!(net.taken().len(), taken);
    let pages = pages.report();
    assert!(pages.answered > 0 && pages.failures.is_empty(), "{pages:?}");
    // What went through before the block stood may be spam enough by itself; what it holds is none.
    let violations = house.violations().unwrap();
    let later = violations.iter().filter(|other| other.id != violation.id);
    assert!(later.clone().all(|other| other.class == "spam" && other.opened < stands), "{violations:#?}");
    assert_eq!(house.status("alice").unwrap().state, "blocked");
    assert_eq!(house.status("bob").unwrap().state, "clear");

    let played = house.close_and_replay(&["customer", BODY]).unwrap();
    let alerts = played.alerts();
    assert_eq!(alerts.first().map(String::as_str), Some("smtp_relay"));
    assert_eq!(alerts.len(), violations.len(), "{alerts:?}");

    // An agent that begins while it goes on takes it for what it is, too.
    postfix.flush(&house.lab.alice).unwrap();
    house.start_agent().unwrap();
    try_again(&postfix, &house.lab.alice);
    assert_eq!(house.violations().unwrap().len(), violations.len());
    assert_eq!(house.close_and_replay(&["customer", BODY]).unwrap().count("alert"), 0);
    assert_eq!(openings(&witness, &ALICE, stands, now()), 0, "nor while it is away");
    assert_eq!(net.taken().len(), taken);
}

/// Sends up to 1,200 messages to 60 exchangers, more than any limit that comes late lets through, and does not give up for 25 seconds.
const BOT: [&str; 8] = ["--messages", "1200", "--threads", "4", "--seconds", "25", "--patience", "2"];

#[test]
fn a_bot_is_slowed_down_to_the_limit_over_both_versions() {
    let mut house = House::open_recorded(Lab::up().unwrap(), None).unwrap();
    let net = MailNet::start(&house.lab, &[]).unwrap();
    // Bob's bot changes its address within his prefix.
    let rotating: Vec<IpAddr> =
        (0..8).map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 1, host).into()).collect();
    for address in &rotating {
        house.lab.bob.ip(&format!("addr add {address}/64 dev {TENANT_INTERFACE} nodad")).unwrap();
    }
    let rotating_text: Vec<String> = rotating.iter().map(IpAddr::to_string).collect();
    let sources = [&ALICE[..], &rotating].concat();
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &sources).unwrap();
    let servers: [Vec<String>; 2] = [
        (0..60).map(|place| exchanger(Manner::Takes, place).to_string()).collect(),
        (0..40).map(|place| exchanger_v6(place).to_string()).collect(),
    ];
    let bot = |namespace, servers: &Vec<String>, from: &[String]| {
        let mut arguments = vec!["--recipient", "victim{n}@d{n}.example", "--body", BODY, "--server"];
        arguments.extend(servers.iter().map(String::as_str));
        arguments.extend(BOT);
        arguments.push("--source");
        arguments.extend(from.iter().map(String::as_str));
        Program::MailSend.spawn(&house.lab, namespace, &arguments).unwrap()
    };
    let bots = [bot(&house.lab.alice, &servers[0], &[]), bot(&house.lab.bob, &servers[1], &rotating_text)];
    let pages = Visitor::start(&house.lab.alice).unwrap();
    let mut stands = Vec::new();
    for tenant in ["alice", "bob"] {
        let (status, _) = house.wait_for_state(tenant, "limited", SOON).unwrap();
        stands.push(now());
        assert_eq!(
            (status.clause.as_str(), status.scope.as_str()),
            ("baseline/spam", "tcp/25"),
            "{status:?}"
        );
        house.wait_for_violation(tenant, "spam", SOON).unwrap();
    }
    for bot in bots {
        let told = bot.finish(TOOL).unwrap().success().unwrap().stdout;
        let left: usize = told.trim().rsplit(' ').next().unwrap().parse().unwrap();
        println!("{told}");
        assert!(left > 0, "the limit held nothing back: {told}");
    }
    // Ten a minute, so three or four in twenty seconds, and five at once at first.
    for (sources, stands) in [(&ALICE[..], stands[0]), (&rotating, stands[1])] {
        let span = Duration::from_secs(20);
        let opened = openings(&witness, sources, stands, stands + span);
        println!("{opened} connections in {span:?}");
        assert!((1..=9).contains(&opened), "{opened} connections of {sources:?} in {span:?}");
    }
    assert!(!net.taken().is_empty());
    let pages = pages.report();
    assert!(pages.answered > 0 && pages.failures.is_empty(), "{pages:?}");
    let named: BTreeSet<String> =
        house.violations().unwrap().into_iter().map(|violation| violation.class).collect();
    assert_eq!(named, BTreeSet::from(["spam".to_owned()]));
    let played = house.close_and_replay(&["victim", BODY]).unwrap();
    assert_eq!(played.alerts(), ["spam"]);
}

#[test]
fn a_mail_server_that_does_as_it_should_stays_unnoticed() {
    let mut house = House::open_recorded(Lab::up().unwrap(), None).unwrap();
    let mut all = domains("plain", 4, Manner::Takes);
    all.extend(domains("sealed", 4, Manner::OffersTls));
    all.extend(domains("grey", 3, Manner::Greylists));
    all.extend(domains("gone", 1, Manner::KnowsNobody));
    let net = MailNet::start(&house.lab, &all).unwrap();
    let alice = &house.lab.alice;
    let postfix = Postfix::start(&house.lab, alice, Relaying::Closed).unwrap();

    // Mail for its own users is taken, mail for others is not.
    let own = send_to_alice(&house, &format!("staff{{n}}@{OWN_DOMAIN}"), "20");
    assert_eq!(own, "taken 20 refused 0 left 0");
    let others = send_to_alice(&house, "customer@plain{n}.example", "20");
    assert_eq!(others, "taken 0 refused 20 left 0");
    // Its own users write to a dozen domains.
    for (domain, messages) in [("plain", "4"), ("sealed", "4"), ("grey", "3"), ("gone", "1")] {
        let recipient = format!("friend@{domain}{{n}}.example");
        let sender = format!("staff@{OWN_DOMAIN}");
        let arguments =
            ["--server", "127.0.0.1", "--sender", &sender, "--recipient", &recipient, "--body", BODY];
        let arguments = [&arguments[..], &["--messages", messages]].concat();
        let sent = Program::MailSend.run(&house.lab, alice, &arguments, TOOL).unwrap();
        assert_eq!(sent.stdout.trim(), format!("taken {messages} refused 0 left 0"));
    }
    wait_until("the mail to be tried", SOON, || Ok(postfix.deliveries("deferred") == 3)).unwrap();
    wait_until("the rest to be delivered", SOON, || {
        Ok((postfix.deliveries("sent"), postfix.deliveries("bounced")) == (8, 1))
    })
    .unwrap();
    postfix.flush(alice).unwrap();
    wait_until("what was put off to be delivered", SOON, || Ok(postfix.deliveries("sent") == 11)).unwrap();
    let taken = net.taken();
    assert_eq!(
        (taken.len(), taken.iter().filter(|message| message.is_encrypted).count()),
        (11, 4),
        "{taken:?}"
    );
    assert_eq!(house.status("alice").unwrap().state, "clear");
    assert!(house.violations().unwrap().is_empty());
    let played = house.close_and_replay(&["staff", "friend", "customer", BODY]).unwrap();
    assert_eq!(played.count("alert"), 0, "{:?}", played.alerts());
}

#[test]
fn an_open_relay_behind_tls_is_suspected_asked_and_cut_off() {
    let lab = Lab::up().unwrap();
    // An address that is no neighbour of alice's, to ask from.
    lab.rt.ip("addr add 192.0.2.1/32 dev up0").unwrap();
    let mut house = House::open_recorded(lab, Some(ASKING)).unwrap();
    let net = MailNet::start(&house.lab, &domains("shop", 20, Manner::OffersTls)).unwrap();
    let postfix = Postfix::start(&house.lab, &house.lab.alice, Relaying::OpenSealed).unwrap();

    let sent = send_sealed_to_alice(&house, "customer{n}@shop{n}.example", "20", SPREAD);
    assert_eq!(sent, "taken 20 refused 0 left 0", "{}", postfix.last_lines(20));
    let (status, _) = house.wait_for_state("alice", "blocked", SOON).unwrap();
    assert_eq!(
        (status.clause.as_str(), status.scope.as_str(), status.until.as_str()),
        ("baseline/relay", "tcp/25", "released"),
        "{status:?}\n{}",
        postfix.last_lines(10)
    );
    house.wait_for_violation("alice", "smtp_relay", SOON).unwrap();
    let taken = net.taken();
    assert!(taken.len() >= 8 && taken.iter().all(|message| message.is_encrypted), "{taken:?}");
    assert_eq!(house.violations().unwrap().len(), 1);
    let (code, told) = check_relay(&house);
    assert_eq!(code, Some(1), "{told}");
    // The replay comes to the same, and asks nobody.
    let played = house.close_and_replay(&["customer", BODY]).unwrap();
    assert_eq!(played.alerts(), ["smtp_relay"]);
    assert_eq!(played.count("check-relay"), 1);
}

/// Alice's server, which relays for its own users only, is sent mail for them; they are sent for to others, and write some themselves.
fn run_closed_server(house: &House, spread: &str) -> Postfix {
    let alice = &house.lab.alice;
    let postfix = Postfix::start(&house.lab, alice, Relaying::ClosedSealed).unwrap();
    let own = send_sealed_to_alice(house, &format!("staff{{n}}@{OWN_DOMAIN}"), "20", spread);
    assert_eq!(own, "taken 20 refused 0 left 0", "{}", postfix.last_lines(20));
    let others = send_sealed_to_alice(house, "customer@sealed{n}.example", "12", spread);
    assert_eq!(others, "taken 0 refused 12 left 0");
    let (sender, page) = (format!("staff@{OWN_DOMAIN}"), format!("{BODY} ").repeat(25));
    let arguments = ["--server", "127.0.0.1", "--sender", &sender, "--recipient", "friend@sealed{n}.example"];
    let rest = ["--body", &page, "--messages", "12", "--spread", spread];
    let sent = Program::MailSend.run(&house.lab, alice, &[&arguments[..], &rest].concat(), TOOL).unwrap();
    assert_eq!(sent.stdout.trim(), "taken 12 refused 0 left 0");
    wait_until("the mail to be delivered", SOON, || Ok(postfix.deliveries("sent") == 12)).unwrap();
    postfix
}

#[test]
fn a_mail_server_behind_tls_that_does_as_it_should_is_not_suspected() {
    let lab = Lab::up().unwrap();
    lab.rt.ip("addr add 192.0.2.1/32 dev up0").unwrap();
    let mut house = House::open_recorded(lab, Some(ASKING)).unwrap();
    let _net = MailNet::start(&house.lab, &domains("sealed", 12, Manner::OffersTls)).unwrap();
    let _postfix = run_closed_server(&house, SPREAD);
    let (code, told) = check_relay(&house);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("554") && told.contains("it refuses"), "{told}");
    assert_eq!(house.status("alice").unwrap().state, "clear");
    let violations = house.violations().unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    let played = house.close_and_replay(&["staff", "friend", "customer", BODY]).unwrap();
    assert_eq!(played.count("alert"), 0, "{:?}", played.alerts());
    assert_eq!(played.count("check-relay"), 0);
}

/// All that comes in is of one length, and all that its users write of one as well, as if one followed from the other.
#[test]
fn a_mail_server_that_only_looks_like_an_open_relay_is_cleared_by_its_answer() {
    let lab = Lab::up().unwrap();
    lab.rt.ip("addr add 192.0.2.1/32 dev up0").unwrap();
    let mut house = House::open_recorded(lab, Some(ASKING)).unwrap();
    let _net = MailNet::start(&house.lab, &domains("sealed", 12, Manner::OffersTls)).unwrap();
    let _postfix = run_closed_server(&house, "0");
    wait_until("the suspicion to be refuted", SOON, || {
        Ok(house.violations()?.iter().any(|violation| violation.state == "quiet"))
    })
    .unwrap();
    let violations = house.violations().unwrap();
    assert!(violations.len() == 1 && violations[0].class == "smtp_relay", "{violations:?}");
    assert_eq!(house.status("alice").unwrap().state, "clear");
    let played = house.close_and_replay(&["staff", "friend", "customer", BODY]).unwrap();
    assert_eq!((played.count("check-relay"), played.count("decision"), played.count("imposed")), (1, 0, 0));
}

#[test]
fn a_mail_server_that_demands_encryption_is_asked_in_it() {
    for (relaying, code, last) in [(Relaying::ClosedStrict, 0, "554"), (Relaying::OpenStrict, 1, "250")] {
        let house = House::open(Lab::up().unwrap()).unwrap();
        let postfix = Postfix::start(&house.lab, &house.lab.alice, relaying).unwrap();
        let (told_code, told) = check_relay(&house);
        assert_eq!(told_code, Some(code), "{told}\n{}", postfix.last_lines(10));
        let mut words = told.split_whitespace().skip_while(|word| *word != "STARTTLS");
        assert_eq!((words.next(), words.next()), (Some("STARTTLS"), Some("220")), "{told}");
        assert!(told.contains(&format!("RCPT TO    {last}")), "{told}");
    }
}
