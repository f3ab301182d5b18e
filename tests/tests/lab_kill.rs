//! Killed at any moment: measures stand, nobody stays cut off, and the controller has every violation exactly once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use reeve_tests::house::House;
use reeve_tests::lab::Lab;
use reeve_tests::lab::addresses::VICTIM_V4;
use reeve_tests::wait::wait_until;

/// What is killed in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Agent,
    Controller,
    Both,
}

/// How many rounds: few in every run, `./dev soak` plays more.
fn rounds() -> u32 {
    std::env::var("REEVE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Marsaglia's xorshift32, the same every time.
fn next_random(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// Whether the kernel cuts alice off.
fn is_cut(house: &House) -> bool {
    house.lab.rt.ruleset().unwrap().contains("203.0.113.10")
}

/// The keys of the violations that an agent had in its journal, by its log.
fn kept(log: &str) -> BTreeSet<String> {
    let key = |line: &str| Some(line.split_once(" violation=")?.1.split_whitespace().next()?.to_owned());
    log.lines().filter(|line| line.contains("kept in the journal")).filter_map(key).collect()
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_left_with_plain_tables() {
    kill("plain");
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_left_with_owned_tables() {
    kill("auto");
}

fn kill(ownership: &str) {
    let mut house = House::open(Lab::up().unwrap()).unwrap();
    house.kill_agent().unwrap();
    house.agent_log = "info,reeve_agent=debug";
    house.agent_arguments = vec!["--ownership".into(), ownership.into()];
    house.start_agent().unwrap();
    let target = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-400", "--max-retries", "0", target.as_str()];
    let (mut random, mut kept_ids, mut cut_rounds) = (0x2545_f491, BTreeSet::new(), 0);
    for round in 0..rounds() {
        let tool = house.lab.alice.spawn(&scan).unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(next_random(&mut random) % 900)));
        let victim = match next_random(&mut random) % 3 {
            0 => Victim::Agent,
            1 => Victim::Controller,
            _ => Victim::Both,
        };
        if victim != Victim::Agent {
            house.kill_controller().unwrap();
        }
        if victim != Victim::Controller {
            kept_ids.extend(kept(&house.kill_agent().unwrap()));
            // Nobody is there to do anything: what stands goes on standing.
            let was_cut = is_cut(&house);
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(is_cut(&house), was_cut, "round {round}: {victim:?}");
            cut_rounds += u32::from(was_cut);
        }
        drop(tool);
        if victim != Victim::Agent {
            house.start_controller().unwrap();
        }
        if victim != Victim::Controller {
            house.start_agent().unwrap();
        }
        // One that was away comes back by itself; an order that it has not carried out yet waits for it.
        wait_until("alice to be released", Duration::from_secs(60), || {
            Ok(house.reevectl(&["release", "alice"])?.code() == Some(0))
        })
        .unwrap();
        house.wait_for_state("alice", "clear", Duration::from_secs(10)).unwrap();
        assert!(!is_cut(&house), "round {round}: {victim:?}: alice stays cut off");
    }
    kept_ids.extend(kept(&house.kill_agent().unwrap()));
    house.start_agent().unwrap();
    let known = || -> anyhow::Result<Vec<String>> {
        Ok(house.violations()?.into_iter().map(|violation| violation.id).collect())
    };
    wait_until("the controller to have what was kept", Duration::from_secs(20), || {
        let known: BTreeSet<String> = known()?.into_iter().collect();
        Ok(kept_ids.is_subset(&known))
    })
    .unwrap();
    let all = known().unwrap();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "no violation is there twice");
    let open: Vec<_> = house.violations().unwrap().into_iter().filter(|one| one.state == "open").collect();
    assert!(open.is_empty(), "{open:#?}");
    assert!(!kept_ids.is_empty());
    // What the killed had written down is played as far as it goes.
    house.check_parity().unwrap();
    let _ = writeln!(
        std::io::stderr(),
        "ownership {ownership}: {} rounds, {} violations kept by agents, {} at the controller, none lost, none double; {cut_rounds} kills while alice was cut off",
        rounds(),
        kept_ids.len(),
        all.len()
    );
}

/// A small file system of its own for the agent's state, taken away with the test.
struct Disk {
    path: std::path::PathBuf,
}

impl Disk {
    fn mount(path: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=256k,mode=700", "reeve-test"];
        let done = std::process::Command::new("mount").args(mount).arg(&path).status().unwrap();
        assert!(done.success());
        Self { path }
    }

    /// Leaves no room for another byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path.join("fill")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path.join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_holds_no_measure_up_and_is_written_again_when_there_is_room() {
    let lab = Lab::up().unwrap();
    let disk = Disk::mount(lab.dir().join("agent-state"));
    let mut house = House::open(lab).unwrap();
    disk.fill();
    let target = VICTIM_V4.to_string();
    let scan = ["nmap", "-n", "-Pn", "-sS", "-p", "1-400", "--max-retries", "0", target.as_str()];
    house.lab.alice.run(&scan, Duration::from_secs(30)).unwrap();
    house.wait_for_state("alice", "suspended", Duration::from_secs(10)).unwrap();
    assert!(is_cut(&house));
    let says = |house: &House, what: &str| house.agent().unwrap().stderr().contains(what);
    assert!(says(&house, "the journal cannot be written"), "{}", house.last_words());
    disk.make_room();
    wait_until("the journal to be written", Duration::from_secs(10), || {
        Ok(says(&house, "the journal is written again"))
    })
    .unwrap();
    // Operators hear of both.
    wait_until("the events", Duration::from_secs(10), || {
        let events = house.ask(&["events"])?.to_string();
        Ok(events.contains("journal-behind") && events.contains("journal-back"))
    })
    .unwrap();
    // What was written late is what the next run goes on from.
    house.kill_agent().unwrap();
    house.start_agent().unwrap();
    assert!(is_cut(&house));
    assert_eq!(house.status("alice").unwrap().state, "suspended");
}
