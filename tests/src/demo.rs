//! The story, on real packets: a tenant's scan ends in a suspension that an operator sees and lifts.
//!
//! Each step says what is done, does it with real tools, looks at what came of it from outside, and fails with what was
//! seen if it did not hold.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::dashboard::{Prometheus, panels};
use crate::house::House;
use crate::lab::addresses::{ALICE, INTERNET_INTERFACE, SPEED_V4, VICTIM_V4, WEB_V4, WEB_V6};
use crate::lab::{Lab, Sniffer, Visitor};

/// How soon after it crossed the threshold a tenant must be named.
const NAMED_WITHIN: Duration = Duration::from_secs(2);
/// How soon a released tenant must be back.
const BACK_WITHIN: Duration = Duration::from_secs(1);
const TOOL: Duration = Duration::from_secs(60);
/// Where Prometheus is reached on this machine while the demonstration stays.
const STAY_PORT: u16 = 9090;
/// Where it listens inside, as socat writes it.
const LISTEN_INSIDE: &str = "127.0.0.1\\:9090";

/// Where the story is told.
struct Teller {
    colour: bool,
    step: u32,
}

impl Teller {
    fn step(&mut self, what: &str) -> anyhow::Result<()> {
        self.step += 1;
        let (on, off) = if self.colour { ("\x1b[1;36m", "\x1b[0m") } else { ("", "") };
        Ok(writeln!(std::io::stdout(), "\n{on}{}. {what}{off}", self.step)?)
    }

    fn command(&self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "   $ {line}")?)
    }

    fn seen(&self, what: &str) -> anyhow::Result<()> {
        let (on, off) = if self.colour { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
        for line in what.trim_end().lines() {
            writeln!(std::io::stdout(), "   {on}| {line}{off}")?;
        }
        Ok(())
    }
}

/// Plays the story.
///
/// # Errors
/// The first step that did not hold, with what was seen.
pub fn play(stay: bool) -> anyhow::Result<()> {
    let mut teller = Teller { colour: std::io::stdout().is_terminal(), step: 0 };
    teller.step("A lab: two tenants, a node between them and the internet, all in network namespaces")?;
    let lab = Lab::up()?;
    let before = lab.rt.ruleset()?;
    teller.seen("alice 203.0.113.10  2001:db8:10::10  on the node's port tap1")?;
    teller.seen("bob   203.0.113.138 2001:db8:20::10  on the node's port tap2")?;
    teller.seen("the internet behind up0: 20.0.0.0/8 answers, and so does 2001:db8:f000::/36")?;

    teller.step("Controller and agent start on the node, with certificates of their own authority")?;
    let mut house = House::open_watched(lab)?;
    let prometheus = Prometheus::start(&house)?;
    let shown = house.reevectl(&["nodes"])?.success()?;
    teller.command("reevectl nodes")?;
    teller.seen(&shown.stdout)?;
    clear(&house, &teller, "alice")?;

    teller.step(
        "Bob does honest work all the while: a download by iperf3, and a web page four times a second",
    )?;
    let server = house.lab.iperf3_server()?;
    let bob_web = Visitor::start(&house.lab.bob)?;
    let speed = SPEED_V4.to_string();
    let bob_bulk =
        house.lab.bob.spawn(&["iperf3", "--client", &speed, "--time", "15", "--bitrate", "50M"])?;

    scan(&house, &mut teller)?;
    cut_off(&house, &mut teller)?;
    release(&house, &mut teller)?;
    flood(&house, &mut teller)?;

    teller.step("Bob noticed nothing")?;
    let web = bob_web.report();
    ensure!(web.failures.is_empty(), "bob's pages failed: {:?}", web.failures);
    teller.seen(&format!(
        "{} pages, none failed, the slowest took {} ms",
        web.answered,
        web.slowest.as_millis()
    ))?;
    let bulk = bob_bulk.finish(TOOL)?.success().context("bob's download broke off")?;
    let summary = bulk.stdout.lines().find(|line| line.contains("receiver")).unwrap_or_default();
    teller.seen(summary)?;
    let of_bob = house.violations()?.into_iter().filter(|violation| violation.tenant == "bob").count();
    ensure!(of_bob == 0, "bob has {of_bob} violations");
    drop(server);

    dashboard(&house, &prometheus, &mut teller)?;
    if stay {
        stay_open(&house, &mut teller)?;
    }

    teller.step("The agent is taken off without a trace")?;
    house.stop_agent()?;
    let config = house.path("agent.toml").display().to_string();
    teller.command("reeve-agent clear")?;
    teller.seen(&house.reeve_agent(&["clear", "--config", &config])?.success()?.stdout)?;
    ensure!(house.lab.rt.ruleset()? == before, "the node's ruleset is not as it was");
    teller.seen("the node's ruleset is as it was before the agent came")?;
    writeln!(std::io::stdout(), "\nEvery step held.")?;
    Ok(())
}

/// What of the dashboard is told: titles of panels, as far as they show more than zero.
const SHOWN: [&str; 5] =
    ["Suspended", "Alerts of the detectors", "Measures in force", "Decisions", "What happened"];

fn dashboard(house: &House, prometheus: &Prometheus, teller: &mut Teller) -> anyhow::Result<()> {
    teller.step("What the dashboard shows of it (docs/monitoring/grafana.json), by a real Prometheus; the most in each panel")?;
    for panel in panels()?.into_iter().filter(|panel| SHOWN.contains(&panel.title.as_str())) {
        for expression in &panel.expressions {
            for series in prometheus.most(house, expression)?.iter().filter(|series| series.value > 0.0) {
                let labels: Vec<&str> = series.labels.values().map(String::as_str).collect();
                teller.seen(&format!("{:<24} {:<28} {:.0}", panel.title, labels.join(" "), series.value))?;
            }
        }
    }
    let told = prometheus.alerts(house)?;
    teller.seen(&format!("alerts: {}", if told.is_empty() { "none".to_owned() } else { told.join(", ") }))
}

/// Leaves all of it running until somebody presses Enter, and Prometheus within reach of this machine.
fn stay_open(house: &House, teller: &mut Teller) -> anyhow::Result<()> {
    let inside = format!("EXEC:ip netns exec {} socat STDIO TCP\\:{LISTEN_INSIDE}", house.lab.rt.name());
    let mut bridge = Command::new("socat")
        .args([&format!("TCP-LISTEN:{STAY_PORT},bind=127.0.0.1,reuseaddr,fork"), &inside])
        .stdin(Stdio::null())
        .spawn()
        .context("socat is installed by ./dev setup")?;
    teller.step("Everything stays until you press Enter")?;
    teller.seen(&format!("Prometheus: http://127.0.0.1:{STAY_PORT}"))?;
    teller.seen(
        "Grafana, where it is installed: import docs/monitoring/grafana.json, or let it find all by itself:",
    )?;
    teller.command("REEVE_MONITORING=$PWD/docs/monitoring GF_PATHS_PROVISIONING=$PWD/docs/monitoring/provisioning grafana-server --homepath /usr/share/grafana")?;
    let waited = std::io::stdin().read_line(&mut String::new());
    bridge.kill()?;
    bridge.wait()?;
    waited.map(drop).context("nobody can press Enter")
}

fn clear(house: &House, teller: &Teller, tenant: &str) -> anyhow::Result<()> {
    let shown = house.reevectl(&["status", tenant])?.success()?;
    teller.command(&format!("reevectl status {tenant}"))?;
    teller.seen(&shown.stdout)?;
    ensure!(house.status(tenant)?.state == "clear", "{tenant} is not clear");
    Ok(())
}

fn scan(house: &House, teller: &mut Teller) -> anyhow::Result<()> {
    teller.step("Alice's server is broken into, and scans a host: a real nmap")?;
    let victim = VICTIM_V4.to_string();
    let argv = ["nmap", "-n", "-Pn", "-sS", "-p", "1-400", "--max-retries", "0", victim.as_str()];
    teller.command(&argv.join(" "))?;
    let began = Instant::now();
    let nmap = house.lab.alice.spawn(&argv)?;
    let (status, _) = house.wait_for_state("alice", "suspended", NAMED_WITHIN + Duration::from_secs(1))?;
    let took = began.elapsed();
    teller.command("reevectl status alice")?;
    teller.seen(&house.reevectl(&["status", "alice"])?.success()?.stdout)?;
    teller.seen(&format!("suspended {:.1} s after nmap was started", took.as_secs_f64()))?;
    ensure!(status.clause == "baseline/portscan", "the clause is {:?}", status.clause);
    let by_address = house.status("203.0.113.10")?;
    ensure!(by_address.tenant == "alice" && by_address.state == "suspended", "by address: {by_address:?}");
    nmap.finish(TOOL)?;
    teller.command(&format!("reevectl violations show {}", status.violation))?;
    teller.seen(&house.reevectl(&["violations", "show", &status.violation])?.success()?.stdout)
}

fn cut_off(house: &House, teller: &mut Teller) -> anyhow::Result<()> {
    teller.step("Suspended: nothing of Alice's reaches the internet, neither by IPv4 nor by IPv6")?;
    let witness = Sniffer::start(&house.lab.net, INTERNET_INTERFACE, &ALICE)?;
    for target in [WEB_V4.to_string(), WEB_V6.to_string()] {
        let url =
            if target.contains(':') { format!("http://[{target}]/") } else { format!("http://{target}/") };
        let argv = ["curl", "--silent", "--show-error", "--max-time", "2", url.as_str()];
        teller.command(&argv.join(" "))?;
        let curl = house.lab.alice.run(&argv, TOOL)?;
        ensure!(!curl.status.success(), "alice reached {url}");
        teller.seen(&curl.stderr)?;
    }
    house.lab.alice.run(&["ping", "-c", "3", "-i", "0.2", "-W", "1", &WEB_V4.to_string()], TOOL)?;
    let leaked = witness.count(&ALICE)?;
    ensure!(leaked == 0, "{leaked} packets of alice's reached the internet");
    teller.seen("captured in the internet: not one packet of Alice's")
}

fn release(house: &House, teller: &mut Teller) -> anyhow::Result<()> {
    teller.step("An operator lifts it")?;
    teller.command("reevectl release alice --reason \"server reinstalled\"")?;
    let began = Instant::now();
    teller
        .seen(&house.reevectl(&["release", "alice", "--reason", "server reinstalled"])?.success()?.stdout)?;
    let url = format!("http://{WEB_V4}/");
    let curl = house
        .lab
        .alice
        .run(&["curl", "--silent", "--show-error", "--max-time", "2", &url], TOOL)?
        .success()?;
    let took = began.elapsed();
    ensure!(took < BACK_WITHIN, "it took {:.2} s", took.as_secs_f64());
    teller.command(&format!("curl {url}"))?;
    teller.seen(&curl.stdout)?;
    teller.seen(&format!("back {:.2} s after the order", took.as_secs_f64()))?;
    clear(house, teller, "alice")
}

fn flood(house: &House, teller: &mut Teller) -> anyhow::Result<()> {
    teller.step("Alice floods a host: hping3, a thousand SYN a second; its own destination is blocked, the rest is not")?;
    let victim = VICTIM_V4.to_string();
    // Bounded by itself: six thousand packets, a millisecond apart.
    let argv = ["hping3", "-q", "-S", "-p", "80", "-i", "u1000", "-c", "6000", victim.as_str()];
    teller.command(&argv.join(" "))?;
    let hping = house.lab.alice.spawn(&argv)?;
    house.wait_for_state("alice", "blocked", Duration::from_secs(5))?;
    teller.command("reevectl status alice")?;
    teller.seen(&house.reevectl(&["status", "alice"])?.success()?.stdout)?;
    let url = format!("http://{WEB_V4}/");
    house.lab.alice.run(&["curl", "--silent", "--show-error", "--max-time", "2", &url], TOOL)?.success()?;
    teller.seen(&format!("Alice still reaches {url}"))?;
    hping.finish(TOOL)?;
    house.reevectl(&["release", "alice"])?.success()?;
    Ok(())
}
