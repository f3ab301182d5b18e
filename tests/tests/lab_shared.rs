//! Shared web hosting: many customers on one address of one machine, told apart by user, control group, and the domain that their mail is
//! from. Who abuses it is cut off, the others and the machine itself are not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use reeve_tests::house::House;
use reeve_tests::lab::addresses::{OTHER_V4, VICTIM_V4, WEB_V4};
use reeve_tests::lab::mail::{MailNet, Manner, Postfix, Relaying, exchanger};
use reeve_tests::lab::{Finished, Lab, Program};
use reeve_tests::wait::wait_until;

const TOOL: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);

/// Two users of the machine, and one of nobody's.
const MALLORY: &str = "2001";
const CAROL: &str = "2002";
const NOBODYS: &str = "2003";

const USERS: &str = "\
[[tenant]]
id = \"mallory\"
uids = [2001]

[[tenant]]
id = \"carol\"
uids = [\"rt:2002\"]
";

/// A house on whose node the tenants are these, and whose agent watches the node's own processes.
fn open(tenants: &str, local: &str) -> House {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.stop_agent().unwrap();
    let settings = house.path("agent.toml");
    let text = fs::read_to_string(&settings).unwrap() + "\n[local]\n" + local;
    fs::write(settings, text).unwrap();
    let path = house.path("shared.toml");
    fs::write(&path, tenants).unwrap();
    let path = path.display().to_string();
    house.reevectl(&["tenants", "import", "--replace", &path]).unwrap().success().unwrap();
    house.start_agent().unwrap();
    house
}

/// Runs a program on the node as a user.
fn run_as(house: &House, user: &str, argv: &[&str]) -> Finished {
    let as_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"];
    house.lab.rt.run(&[&as_user[..], argv].concat(), TOOL).unwrap()
}

/// Whether a user gets a page, and how long it took to know.
fn gets(house: &House, user: &str, host: &str) -> (bool, Duration) {
    let began = Instant::now();
    let url = format!("http://{host}/");
    let finished =
        run_as(house, user, &["curl", "--silent", "--output", "/dev/null", "--max-time", "5", &url]);
    (finished.code() == Some(0), began.elapsed())
}

fn is_cut(house: &House, user: &str, host: &str) {
    let (got, took) = gets(house, user, host);
    assert!(!got, "{user} still gets pages");
    assert!(took < Duration::from_secs(2), "a program hears of it at once, not after {took:?}");
}

fn is_free(house: &House, user: &str, host: &str) {
    assert!(gets(house, user, host).0, "{user} gets no page\n{}", house.last_words());
}

const SCAN: [&str; 9] = ["nmap", "-n", "-Pn", "-sT", "-p", "1-400", "--max-retries", "0", "--host-timeout"];

#[test]
fn one_of_two_users_scans_and_only_that_one_is_cut() {
    let mut house = open(USERS, "");
    let (web, other, victim) = (WEB_V4.to_string(), OTHER_V4.to_string(), VICTIM_V4.to_string());
    for user in [MALLORY, CAROL, NOBODYS] {
        is_free(&house, user, &web);
    }
    // What somebody does who is no tenant is nobody's: not mallory's, not carol's.
    run_as(&house, NOBODYS, &[&SCAN[..], &["5s", &victim]].concat());
    let began = Instant::now();
    run_as(&house, MALLORY, &[&SCAN[..], &["5s", &victim]].concat());
    let (status, _) = house.wait_for_state("mallory", "suspended", SOON).unwrap();
    let took = began.elapsed();
    assert!(!status.violation.is_empty());
    is_cut(&house, MALLORY, &web);
    is_cut(&house, MALLORY, &other);
    for user in [CAROL, NOBODYS, "0"] {
        is_free(&house, user, &web);
    }
    assert_eq!(house.status("carol").unwrap().state, "clear");
    assert_eq!(house.violations().unwrap().len(), 1);
    // It is held by the kernel, whoever restarts the agent, and let go by a word.
    house.kill_agent().unwrap();
    is_cut(&house, MALLORY, &web);
    house.start_agent().unwrap();
    is_cut(&house, MALLORY, &web);
    house.reevectl(&["release", "mallory", "--reason", "test"]).unwrap().success().unwrap();
    is_free(&house, MALLORY, &web);
    let outputs = house.check_parity().unwrap();
    let _ =
        writeln!(std::io::stderr(), "suspended {took:?} after the scan began; {outputs} outputs replayed");
}

#[test]
fn every_measure_holds_a_user_and_nobody_else() {
    let house = open(USERS, "");
    let (web, other) = (WEB_V4.to_string(), OTHER_V4.to_string());
    let with_port = |port: u16| format!("{web}:{port}");
    let order = |words: &[&str]| {
        let all = [words, &["mallory", "--reason", "test"]].concat();
        house.reevectl(&all).unwrap().success().unwrap();
    };
    let release =
        || house.reevectl(&["release", "mallory", "--reason", "test"]).unwrap().success().map(drop).unwrap();
    order(&["suspend"]);
    is_cut(&house, MALLORY, &web);
    is_cut(&house, MALLORY, &with_port(8080));
    release();
    order(&["block", "--port", "tcp/80"]);
    is_cut(&house, MALLORY, &web);
    is_free(&house, MALLORY, &with_port(8080));
    release();
    order(&["block", "--to", &web]);
    is_cut(&house, MALLORY, &web);
    is_cut(&house, MALLORY, &with_port(8080));
    is_free(&house, MALLORY, &other);
    release();
    order(&["limit", "--port", "tcp/80", "--rate", "3/day burst 3"]);
    let got = (0..8).filter(|_| gets(&house, MALLORY, &web).0).count();
    assert_eq!(got, 3);
    is_free(&house, MALLORY, &with_port(8080));
    for user in [CAROL, NOBODYS] {
        for host in [&web, &other] {
            is_free(&house, user, host);
        }
    }
    release();
    is_free(&house, MALLORY, &web);
    assert_eq!(house.status("carol").unwrap().state, "clear");
}

/// Control groups of this test's own, gone with it.
struct Groups {
    /// Below the root.
    slice: String,
    root: PathBuf,
}

impl Groups {
    /// Where the machine has the hierarchy.
    fn make(names: &[&str]) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let place = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(place))
        });
        let groups = Self {
            slice: format!("reeve-{}.slice", std::process::id()),
            root: root.expect("cgroup2 is mounted"),
        };
        names.iter().for_each(|name| groups.add(name));
        groups
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(&self.slice).join(name)
    }

    fn add(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// Removes a group when nothing runs in it any more.
    fn remove(&self, name: &str) {
        let path = self.path(name);
        wait_until("the group to be empty", SOON, || Ok(fs::remove_dir(&path).is_ok())).unwrap();
    }

    /// Runs a program on the node in a group.
    fn run(&self, house: &House, name: &str, argv: &[&str]) -> Finished {
        // The shell moves in and becomes the program. In there the hierarchy is where the house has mounted it.
        let procs = house.path("cgroup").join(&self.slice).join(name).join("cgroup.procs");
        let (procs, script) = (procs.display().to_string(), "echo $$ > \"$1\" && shift && exec \"$@\"");
        house.lab.rt.run(&[&["sh", "-c", script, "sh", &procs][..], argv].concat(), TOOL).unwrap()
    }

    fn gets(&self, house: &House, name: &str, host: &str) -> bool {
        let url = format!("http://{host}/");
        let argv = ["curl", "--silent", "--output", "/dev/null", "--max-time", "5", &url];
        self.run(house, name, &argv).code() == Some(0)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.root.join(&self.slice)).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(self.root.join(&self.slice));
    }
}

/// The hierarchy of control groups at a place of the house's own: `ip netns exec` hides the machine's.
struct Mounted(PathBuf);

impl Mounted {
    fn at(place: PathBuf) -> Self {
        fs::create_dir_all(&place).unwrap();
        let mount = std::process::Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&place).status();
        assert!(mount.unwrap().success(), "cgroup2 cannot be mounted");
        Self(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn one_of_two_control_groups_scans_and_only_that_one_is_cut() {
    let groups = Groups::make(&["a", "b"]);
    let slice = &groups.slice;
    let tenants = format!(
        "[[tenant]]\nid = \"a\"\ncgroups = [\"{slice}/a\"]\n[[tenant]]\nid = \"b\"\ncgroups = [\"rt:{slice}/b\"]\n"
    );
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    let _mounted = Mounted::at(house.path("cgroup"));
    house.stop_agent().unwrap();
    let settings = house.path("agent.toml");
    let text = fs::read_to_string(&settings).unwrap() + "\n[local]\ngroup = 77\n";
    let root = house.path("cgroup").display().to_string();
    fs::write(settings, format!("{text}cgroup_root = \"{root}\"\n")).unwrap();
    let path = house.path("shared.toml");
    fs::write(&path, tenants).unwrap();
    let path = path.display().to_string();
    house.reevectl(&["tenants", "import", "--replace", &path]).unwrap().success().unwrap();
    house.start_agent().unwrap();

    let (web, victim) = (WEB_V4.to_string(), VICTIM_V4.to_string());
    assert!(groups.gets(&house, "a", &web) && groups.gets(&house, "b", &web));
    groups.run(&house, "a", &[&SCAN[..], &["5s", &victim]].concat());
    house.wait_for_state("a", "suspended", SOON).unwrap();
    assert!(!groups.gets(&house, "a", &web));
    assert!(groups.gets(&house, "b", &web), "{}", house.last_words());
    is_free(&house, "0", &web);
    assert_eq!(house.status("b").unwrap().state, "clear");
    // Made anew it is another one to the kernel, and the same to us.
    groups.remove("a");
    groups.add("a");
    wait_until("the new group to be held", SOON, || Ok(!groups.gets(&house, "a", &web))).unwrap();
    assert!(groups.gets(&house, "b", &web));
    house.reevectl(&["release", "a", "--reason", "test"]).unwrap().success().unwrap();
    assert!(groups.gets(&house, "a", &web));
    house.check_parity().unwrap();
}

/// The machine's user that Postfix delivers as.
fn postfix_user() -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postfix:")).expect("Postfix is installed");
    line.split(':').nth(2).unwrap().to_owned()
}

/// Hands the shared mail server messages of a site's, to one recipient in each of so many domains.
fn mail(house: &House, site: &str, domains: &str, messages: &str) {
    let recipient = format!("customer{{n}}@{domains}");
    let sender = format!("news@{site}");
    let arguments = [
        "--server",
        "127.0.0.1",
        "--recipient",
        &recipient,
        "--sender",
        &sender,
        "--messages",
        messages,
        "--threads",
        "8",
    ];
    let sent = Program::MailSend.run(&house.lab, &house.lab.rt, &arguments, TOOL).unwrap();
    assert!(sent.stdout.contains(&format!("taken {messages} ")), "{}", sent.text());
}

#[test]
fn of_two_sites_behind_one_mail_server_only_the_one_that_sends_spam_is_stopped() {
    let tenants = "[[tenant]]\nid = \"pills\"\nuids = [2001]\nmail_domains = [\"pills.example\"]\n\
         [[tenant]]\nid = \"bakery\"\nuids = [2002]\nmail_domains = [\"bakery.example\"]\n";
    let mut house = open(tenants, &format!("mailers = [{}]\n", postfix_user()));
    // Each site writes to people of its own, so that the exchangers tell whose a message is.
    let bought = |number: u16| (format!("bought{number}.example"), exchanger(Manner::Takes, number));
    let eaters = |number: u16| (format!("eats{number}.example"), exchanger(Manner::Takes, 1_000 + number));
    let domains: Vec<(String, Ipv4Addr)> = (0..100).map(bought).chain((0..100).map(eaters)).collect();
    let net = MailNet::start(&house.lab, &domains).unwrap();
    let postfix = Postfix::start(&house.lab, &house.lab.rt, Relaying::Closed).unwrap();
    let pills: Vec<String> = (0..100).map(|number| bought(number).1.to_string()).collect();
    let arrived = |of_pills: bool| {
        net.taken().iter().filter(|taken| pills.contains(&taken.exchanger) == of_pills).count()
    };
    mail(&house, "bakery.example", "eats{n}.example", "5");
    wait_until("the bakery's first mail", SOON, || Ok(arrived(false) == 5)).unwrap();
    mail(&house, "pills.example", "bought{n}.example", "100");
    let (status, _) = house.wait_for_state("pills", "limited", SOON).unwrap();
    assert_eq!(status.scope, "tcp/25");
    // People stop it for good.
    house.reevectl(&["block", "--port", "tcp/25", "pills", "--reason", "spam"]).unwrap().success().unwrap();
    house.wait_for_state("pills", "blocked", SOON).unwrap();
    let (sent, tried) = (arrived(true), postfix.deliveries("deferred"));
    mail(&house, "bakery.example", "eats{n}.example", "20");
    mail(&house, "pills.example", "bought{n}.example", "20");
    postfix.flush(&house.lab.rt).unwrap();
    if let Err(error) = wait_until("the bakery's mail", SOON, || Ok(arrived(false) == 25)) {
        panic!("{error}: {}\n{}\n{}", arrived(false), postfix.last_lines(20), house.last_words());
    }
    wait_until("the pills' mail to be put off", SOON, || Ok(postfix.deliveries("deferred") >= tried + 20))
        .unwrap();
    assert_eq!(arrived(true), sent, "none of its messages got through\n{}", house.last_words());
    assert_eq!(house.status("bakery").unwrap().state, "clear");
    // The machine's own mail is nobody's.
    mail(&house, "provider.example", "eats{n}.example", "10");
    wait_until("the machine's own mail", SOON, || Ok(arrived(false) == 35)).unwrap();
    house.reevectl(&["release", "pills", "--reason", "test"]).unwrap().success().unwrap();
    postfix.flush(&house.lab.rt).unwrap();
    wait_until("what was put off to be sent", SOON, || Ok(arrived(true) > sent)).unwrap();
    house.check_parity().unwrap();
    let _ = writeln!(std::io::stderr(), "{sent} messages of 100 before it was held, none after");
}
