//! What is kept is played again to the same, whatever happens to the files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use reeve_core::engine::{Engine, Input};
use reeve_core::shard::Hearing;
use reeve_core::topology::{Vantage, VantageKind};
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::language::Policy;
use reeve_policy::{DesiredState, Mode, Tenant};

use super::block::{Block, Entry, HEAD, Head, unpack};
use super::*;
use crate::scene::json_line;
use crate::trial::{as_it_ran, history};

const BEGAN: u64 = 1_700_000_000;

/// An agent's engine and its history.
struct Live {
    engine: Engine,
    historian: Historian,
    told: Vec<String>,
}

impl Live {
    fn new(folder: &Path, limits: Limits, now: Timestamp, mode: Mode) -> Self {
        let policy = Arc::new(Policy::preset("extin").unwrap());
        let node = "n1".parse().unwrap();
        let config =
            EngineConfig { node, mode, policy, flow_bytes: 1 << 22, seed: now.as_nanos(), shards: 1 };
        let historian = Historian::open(folder, limits, config.clone(), now).unwrap();
        let mut engine = Engine::new(config);
        engine.set_hearing(Hearing::Keeps);
        Self { engine, historian, told: Vec::new() }
    }

    fn input(&mut self, input: Input) {
        self.historian.input(&self.engine, &input);
        let is_topology = matches!(input, Input::Topology { .. });
        self.engine.handle(input);
        if is_topology {
            self.historian.places(&self.engine);
        }
        self.drain();
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.historian.frame(&self.engine, frame);
        self.engine.handle_frame(frame);
        let said = self.engine.take_said();
        if !said.is_empty() {
            self.historian.input(&self.engine, &Input::Said { said, at: frame.at });
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            self.told.push(json_line(&output).unwrap());
        }
    }

    fn topology(&mut self, names: &[(&str, [u8; 4])], at: Timestamp) {
        let tenant = |(name, address): &(&str, [u8; 4])| {
            let addresses = vec![std::net::IpAddr::from(*address).into()];
            Arc::new(Tenant { addresses, ..Tenant::new(name.parse().unwrap()) })
        };
        let vantage =
            Vantage { id: VantageId(0), interface: "up".into(), kind: VantageKind::Mirror, sampling: 1 };
        let (tenants, vantages) = (names.iter().map(tenant).collect(), vec![vantage]);
        self.input(Input::Topology { tenants, vantages, at });
    }

    /// SYNs of a tenant's to as many ports, ten a second, with time told in between.
    fn scan(&mut self, source: [u8; 4], ports: u16, from: Timestamp) -> Timestamp {
        let mut at = from;
        for port in 0..ports {
            let data = syn(source, port + 1);
            at += Duration::from_millis(100);
            self.frame(&frame(at, &data));
            self.input(Input::Loss { vantage: VantageId(0), dropped: 0, at });
            self.input(Input::Tick { at });
        }
        at
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(BEGAN + seconds)
}

fn syn(source: [u8; 4], port: u16) -> [u8; 40] {
    let mut packet = [0_u8; 40];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&[20, 0, 0, 1]);
    packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet[32..34].copy_from_slice(&[0x50, 0x02]);
    packet
}

fn frame(at: Timestamp, data: &[u8]) -> Frame<'_> {
    let (vantage, passage, link) = (VantageId(0), Passage::Unknown, LinkType::RawIp);
    Frame { at, vantage, passage, owner: None, link, vlan: None, data, wire_len: data.len() as u32 }
}

fn played(folder: &Path) -> Vec<String> {
    let mut told = Vec::new();
    let history = History::open(folder, None).unwrap();
    as_it_ran(&history, |output| told.push(json_line(&output).unwrap())).unwrap();
    told
}

fn extin() -> Arc<Policy> {
    Arc::new(Policy::preset("extin").unwrap())
}

/// Two tenants of whom one scans and is released, one goes, and a third, who comes to its place, scans too.
fn a_day(live: &mut Live) {
    let (a, b, c) = ([203, 0, 113, 1], [203, 0, 113, 2], [203, 0, 113, 3]);
    live.topology(&[("a", a), ("b", b)], at(0));
    let end = live.scan(b, 120, at(1));
    live.input(Input::Release { tenant: "b".parse().unwrap(), forgive: false, at: end });
    live.topology(&[("c", c), ("b", b)], end);
    let end = live.scan(c, 120, end);
    live.input(Input::Tick { at: end + Duration::from_secs(10) });
    live.scan(b, 5, end + Duration::from_secs(20));
}

#[test]
fn what_ran_is_played_again_byte_for_byte_and_the_same_policy_differs_by_nothing() {
    for mode in [Mode::Enforce, Mode::Observe] {
        let folder = tempfile::tempdir().unwrap();
        let mut live = Live::new(folder.path(), Limits::default(), at(0), mode);
        live.input(Input::Restore { desired: DesiredState::default(), standing: Standing::default() });
        a_day(&mut live);
        let (told, status) = (std::mem::take(&mut live.told), live.historian.status());
        drop(live);
        assert_eq!((status.lost, status.failing.as_str()), (0, ""));
        assert!(told.iter().any(|line| line.contains("\"event\":\"decision\"")), "{told:?}");
        assert!(played(folder.path()) == told, "the same comes out");
        let history_of = History::open(folder.path(), None).unwrap();
        let trial = history(&history_of, &extin(), None, None).unwrap();
        assert!(!trial.differs(), "{}", crate::trial::table(&trial));
        assert_eq!((trial.comparison.same, trial.frames), (2, 245), "{}", crate::trial::table(&trial));
        assert_eq!(trial.against.as_ref().unwrap().name.as_str(), "extin");
    }
}

#[test]
fn another_policy_is_held_against_what_ran_whatever_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = Live::new(folder.path(), Limits::default(), at(0), Mode::Enforce);
    a_day(&mut live);
    drop(live);
    let lax = "[policy]\nname = \"lax\"\nversion = 1\nextends = \"extin\"\n\
               [thresholds.\"portscan.vertical\"]\nports = 400\nlow_ports = 400\n\
               [thresholds.\"portscan.slow\"]\ntargets_per_hour = 400\ntargets_per_day = 400\n";
    let lax = Arc::new(Policy::parse("lax.toml", lax).unwrap_or_else(|errors| panic!("{errors}")));
    let stored = History::open(folder.path(), None).unwrap();
    let no_longer = history(&stored, &lax, None, None).unwrap().comparison.no_longer;
    let names: Vec<&str> = no_longer.iter().map(|change| change.tenant.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let newly = history(&stored, &extin(), Some(&lax), None).unwrap().comparison.newly;
    assert_eq!(newly.len(), 2);
    // Who was suspended then goes on in vain, and that is told of whoever would have suspended it.
    assert!(newly[0].after.as_ref().unwrap().cut.packets > 50, "{newly:?}");
    // Nothing that was decided before is told.
    let late = history(&stored, &extin(), Some(&lax), Some(at(100))).unwrap();
    assert!(!late.differs(), "{}", crate::trial::table(&late));
}

#[test]
fn a_torn_end_is_cut_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = Live::new(folder.path(), Limits::default(), at(0), Mode::Enforce);
    a_day(&mut live);
    drop(live);
    let whole = played(folder.path());
    let path = writer::segments(folder.path()).unwrap().remove(0).0;
    let bytes = fs::read(&path).unwrap();
    // However much of it reached the disk: what is whole is played, and it is the beginning of it all.
    for len in (0..bytes.len()).step_by(97) {
        fs::write(&path, &bytes[..len]).unwrap();
        match History::open(folder.path(), None) {
            Err(HistoryError::Nothing { .. }) => assert!(len < MAGIC.len() + HEAD),
            Err(error) => panic!("{error}"),
            Ok(_) => {
                let told = played(folder.path());
                let other = told.iter().zip(&whole).position(|(told, whole)| told != whole);
                assert!(told.len() <= whole.len() && other.is_none(), "{len}: {other:?} of {}", told.len());
            }
        }
    }
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let mut live = Live::new(folder.path(), Limits::default(), at(1), Mode::Enforce);
    assert!(fs::metadata(&path).unwrap().len() < bytes.len() as u64 - 3, "the torn block is gone");
    a_day(&mut live);
    drop(live);
    assert_eq!(History::open(folder.path(), None).unwrap().segments().len(), 2);
    let again = played(folder.path());
    assert!(again.ends_with(&whole), "the second run is played from its beginning");
    let stored = History::open(folder.path(), None).unwrap();
    let trial = history(&stored, &extin(), None, None).unwrap();
    assert!(
        !trial.differs() && trial.notes == ["the agent was started anew in between"],
        "{:?}",
        trial.notes
    );
}

#[test]
fn the_oldest_goes_when_there_is_too_much_or_it_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { keep: Duration::from_secs(7_200), max_bytes: 96 << 10 };
    let mut live = Live::new(folder.path(), limits, at(0), Mode::Enforce);
    let source = [203, 0, 113, 1];
    live.topology(&[("a", source)], at(0));
    let mut now = at(1);
    // What does not compress: random sources are nobody's, and kept all the same.
    for number in 0..40_000_u64 {
        now += Duration::from_millis(3 + number % 7);
        let mut data = syn(source, 443);
        let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 7;
        data[12..20].copy_from_slice(&noise.to_be_bytes());
        live.frame(&frame(now, &data));
    }
    drop(live);
    let sum = |folder: &Path| writer::segments(folder).unwrap().iter().map(|(_, len)| len).sum::<u64>();
    let kept = History::open(folder.path(), None).unwrap();
    assert!(kept.segments().len() > 3 && kept.segments()[0].first > at(10), "{kept:?}");
    // By one block at most it is more, until the next one is written.
    assert!(sum(folder.path()) <= limits.max_bytes + (64 << 10), "{}", sum(folder.path()));
    // It begins in the midst, and goes on from what stood then.
    let trial = history(&kept, &extin(), None, None).unwrap();
    assert!(trial.notes[0].starts_with("it begins in the midst of a run"), "{:?}", trial.notes);
    // Three hours later all of it is too old, but for what is being written.
    let mut live = Live::new(folder.path(), limits, now + Duration::from_secs(3 * 3_600), Mode::Enforce);
    live.topology(&[("a", source)], now + Duration::from_secs(3 * 3_600));
    live.frame(&frame(now + Duration::from_secs(3 * 3_600), &syn(source, 443)));
    drop(live);
    assert_eq!(
        History::open(folder.path(), None).unwrap().segments().len(),
        2,
        "the last one ended when this began"
    );
}

#[test]
fn a_disk_that_takes_nothing_is_counted_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("history");
    let mut live = Live::new(&place, Limits::default(), at(0), Mode::Enforce);
    let source = [203, 0, 113, 1];
    live.topology(&[("a", source)], at(0));
    fs::remove_dir_all(&place).unwrap();
    let wait = |live: &Live, until: &dyn Fn(&Status) -> bool| {
        let began = std::time::Instant::now();
        while !until(&live.historian.status()) {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", live.historian.status());
            std::thread::yield_now();
        }
    };
    let now = live.scan(source, 100, at(1));
    wait(&live, &|status| !status.failing.is_empty());
    let now = live.scan(source, 100, now);
    assert!(live.historian.status().lost > 0);
    fs::create_dir_all(&place).unwrap();
    let now = live.scan(source, 300, now + Duration::from_secs(30));
    wait(&live, &|status| status.failing.is_empty() && status.frames > 0);
    live.scan(source, 10, now);
    drop(live);
    let stored = History::open(&place, None).unwrap();
    let mut lost = Vec::new();
    stored
        .play(&mut |event| {
            if let Event::Start { start, .. } = event {
                lost.push(start.lost > 0);
            }
        })
        .unwrap();
    assert_eq!(lost.last(), Some(&true), "what is missing is told");
}

#[test]
fn nobody_else_may_read_it_and_no_payload_is_in_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("history");
    let mut live = Live::new(&place, Limits::default(), at(0), Mode::Enforce);
    let source = [203, 0, 113, 1];
    live.topology(&[("a", source)], at(0));
    let mut data = syn(source, 80).to_vec();
    data[33] = 0x18;
    data[3] = 60;
    data.extend(b"GET /secret-of-mine  ");
    data.truncate(60);
    live.frame(&frame(at(1), &data));
    drop(live);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let segment = writer::segments(&place).unwrap().remove(0).0;
    assert_eq!((mode(&place), mode(&segment)), (0o700, 0o600));
    let mut frames = Vec::new();
    let stored = History::open(&place, None).unwrap();
    stored
        .play(&mut |event| {
            if let Event::Frame(frame) = event {
                frames.push((frame.data.to_vec(), frame.wire_len));
            }
        })
        .unwrap();
    assert_eq!(frames, [(data[..40].to_vec(), 60)]);
}

#[test]
fn a_folder_without_a_history_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let told = History::open(&folder.path().join("none"), Some(at(0))).unwrap_err().to_string();
    assert!(told.ends_with("no history since 2023-11-14T22:13:20Z: is [history] in the settings?"), "{told}");
}

proptest! {
    #[test]
    fn frames_come_out_of_a_block_as_they_went_in(
        frames in proptest::collection::vec(
            (0..u64::MAX >> 3, 0..9_u16, 0..3_u8, proptest::option::of(0..4_096_u16), proptest::option::of(1..9_u32),
             proptest::collection::vec(any::<u8>(), 0..90), 0..2_000_u32), 1..60),
    ) {
        let mut block = Block::default();
        for (at, vantage, passage, vlan, owner, data, more) in &frames {
            let passage = [Passage::In, Passage::Out, Passage::Unknown][usize::from(*passage)];
            let frame = Frame {
                at: Timestamp::from_nanos(*at), vantage: VantageId(*vantage), passage, owner: owner.map(reeve_core::Owner),
                link: LinkType::Ethernet, vlan: *vlan, data, wire_len: data.len() as u32 + more,
            };
            block.frame(&frame, data);
            block.tick(frame.at);
        }
        let packed = block.pack().unwrap();
        let (head, rest) = packed.split_first_chunk::<HEAD>().unwrap();
        let read = Head::read(head).unwrap();
        prop_assert!(read.fits(head, rest));
        let mut out = Vec::new();
        let is_good = unpack(&read, rest, &mut |entry| {
            if let Entry::Frame(frame) = entry {
                let owner = frame.owner.map(|one| one.0);
                out.push((frame.at.as_nanos(), frame.vantage.0, frame.vlan, owner, frame.data.to_vec(), frame.wire_len));
            }
            true
        });
        prop_assert!(is_good);
        let expect: Vec<_> = frames.into_iter()
            .map(|(at, vantage, _, vlan, owner, data, more)| (at, vantage, vlan, owner, data.clone(), data.len() as u32 + more))
            .collect();
        prop_assert_eq!(out, expect);
    }

    /// A file is bytes from outside, too: whatever stands in a block whose checksum was made to fit.
    #[test]
    fn rubbish_is_refused_and_nothing_worse(raw in proptest::collection::vec(any::<u8>(), 0..300), len in 0..64_u64) {
        let mut all = len.to_le_bytes().to_vec();
        all.extend(raw);
        let packed = zstd::bulk::compress(&all, 1).unwrap();
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&(all.len() as u32).to_le_bytes());
        if let Some(read) = Head::read(&head) {
            let _ = unpack(&read, &packed, &mut |_| true);
        }
        let _ = Head::read(&head).map(|read| unpack(&read, &all, &mut |_| true));
    }
}
