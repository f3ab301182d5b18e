//! Frames: bytes as they come from a wire.
//!
//! The first byte of a case is the link type, by its place. For one frame the second says how much of it the capture cut off; for many,
//! each begins with its length, its way and how long after the one before it came.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reeve_core::engine::{Engine, EngineConfig, Output};
use reeve_core::packet::{self, Body};
use reeve_core::shard::Hearing;
use reeve_core::topology::{Vantage, VantageKind};
use reeve_core::{Frame, LinkType, Passage, VantageId};
use reeve_policy::language::{Policy, parse_tenants};
use reeve_policy::{Mode, Tenant, Timestamp};

/// The tenant whose port it is, and one whose packets come by an uplink.
const TENANTS: &str = "
[[tenant]]
id = \"alice\"
addresses = [\"203.0.113.10\", \"2001:db8:10::/64\"]
interfaces = [\"n1/tap0\"]
macs = [\"02:00:00:00:00:01\"]
mail_domains = [\"alice.example\"]

[[tenant]]
id = \"bob\"
addresses = [\"203.0.113.138\"]
";

/// The baseline, and a protected endpoint on all ports that one may be on.
const POLICY: &str = "
[policy]
name = \"exercise\"
version = 1
extends = \"baseline\"

[[endpoint]]
name = \"api\"
addresses = [\"34.0.0.7/32\"]
ports = [80, 443, 8080]
";

static EVERYBODY: LazyLock<Vec<Arc<Tenant>>> = LazyLock::new(|| {
    let tenants = parse_tenants("exercise", TENANTS).expect("fixed tenants are valid");
    tenants.into_iter().map(Arc::new).collect()
});
static RULES: LazyLock<Arc<Policy>> =
    LazyLock::new(|| Arc::new(Policy::parse("exercise", POLICY).expect("a fixed policy is valid")));

const LINKS: [LinkType; 5] =
    [LinkType::Ethernet, LinkType::RawIp, LinkType::Null, LinkType::LinuxSll, LinkType::LinuxSll2];
/// When a case begins.
const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// How long after its last frame deadlines still fire.
const TAIL: Duration = Duration::from_secs(5);

fn link_of(byte: u8) -> LinkType {
    LINKS[usize::from(byte) % LINKS.len()]
}

/// One frame before the parser.
pub(crate) fn parse(bytes: &[u8]) {
    let [link, cut, data @ ..] = bytes else { return };
    let (link, wire_len) = (link_of(*link), data.len() as u32 + u32::from(*cut) * 7);
    let len = packet::headers_len(link, data, wire_len);
    assert!(len <= data.len(), "headers reach beyond the frame");
    let (whole, headers) = (packet::parse(link, data, wire_len), packet::parse(link, &data[..len], wire_len));
    // A record keeps headers only: they must tell the same.
    match (whole, headers) {
        (Ok(whole), Ok(headers)) => {
            assert_eq!(whole.source_mac, headers.source_mac);
            match (whole.body, headers.body) {
                (Body::Ip(whole), Body::Ip(headers)) => {
                    assert_eq!(
                        (whole.source, whole.destination, whole.protocol, whole.length, whole.segments),
                        (
                            headers.source,
                            headers.destination,
                            headers.protocol,
                            headers.length,
                            headers.segments
                        )
                    );
                    assert_eq!((whole.fragment, whole.extensions), (headers.fragment, headers.extensions));
                    assert_eq!(spoken(&whole.transport), spoken(&headers.transport));
                    assert!(whole.segments >= 1, "a packet is at least one");
                }
                (whole, headers) => assert_eq!(whole, headers),
            }
        }
        (whole, headers) => assert_eq!(whole.err(), headers.err()),
    }
}

/// What a transport header says, without the payload behind it.
fn spoken(transport: &packet::Transport<'_>) -> String {
    match *transport {
        packet::Transport::Tcp(tcp) => format!("{:?}", packet::Tcp { payload: &[], ..tcp }),
        packet::Transport::Udp(udp) => format!("{:?}", packet::Udp { payload: &[], ..udp }),
        other => format!("{other:?}"),
    }
}

/// Frames of a port through an engine.
pub(crate) fn play(bytes: &[u8]) {
    let Some((link, mut rest)) = bytes.split_first() else { return };
    let link = link_of(*link);
    let mut pair = Pair::new();
    while let [len, way, after, more @ ..] = rest {
        let (data, next) = more.split_at(usize::from(*len).min(more.len()));
        let passage = [Passage::In, Passage::Out, Passage::Unknown][usize::from(*way) % 3];
        let vantage = VantageId(u16::from(*way >> 7));
        pair.pass(Duration::from_millis(1_u64 << (after % 16)));
        pair.frame(link, vantage, passage, data, data.len() as u32);
        rest = next;
    }
    pair.finish();
}

/// An engine that reads, and one that is told what the other read and sees headers alone, as a replay of a record does.
pub(crate) struct Pair {
    reads: Engine,
    told: Engine,
    now: Timestamp,
    outputs: Vec<Output>,
}

impl Pair {
    pub fn new() -> Self {
        let engine = |shards, hearing| {
            let node = "n1".parse().expect("a fixed name is valid");
            let policy = Arc::clone(&RULES);
            let config =
                EngineConfig { node, mode: Mode::Enforce, policy, flow_bytes: 1 << 16, seed: 1, shards };
            let mut engine = Engine::new(config);
            engine.set_hearing(hearing);
            let vantage = |id, interface: &str, kind| Vantage {
                id: VantageId(id),
                interface: interface.into(),
                kind,
                sampling: 1,
            };
            let vantages =
                vec![vantage(0, "tap0", VantageKind::Port), vantage(1, "up0", VantageKind::Mirror)];
            engine.handle_topology(EVERYBODY.clone(), vantages, START);
            engine
        };
        let (reads, told) = (engine(1, Hearing::Keeps), engine(2, Hearing::Told));
        Self { reads, told, now: START, outputs: Vec::new() }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub fn frame(
        &mut self,
        link: LinkType,
        vantage: VantageId,
        passage: Passage,
        data: &[u8],
        wire_len: u32,
    ) {
        let frame =
            |data| Frame { at: self.now, vantage, passage, owner: None, link, vlan: None, data, wire_len };
        self.reads.handle_frame(&frame(data));
        let headers = &data[..packet::headers_len(link, data, wire_len)];
        self.told.handle_frame(&frame(headers));
        let said = self.reads.take_said();
        if !said.is_empty() {
            self.told.handle_said(said, self.now);
        }
        self.compare();
    }

    /// Lets the last deadlines fire.
    pub fn finish(&mut self) {
        self.now += TAIL;
        self.reads.handle_tick(self.now);
        let said = self.reads.take_said();
        if !said.is_empty() {
            self.told.handle_said(said, self.now);
        }
        self.told.handle_tick(self.now);
        self.compare();
        let streams: usize = self.reads.shards().iter().map(|shard| shard.streams().len()).sum();
        assert!(streams <= reeve_core::stream::Streams::CAPACITY, "room is bounded");
    }

    fn compare(&mut self) {
        let poll = |engine: &mut Engine| std::iter::from_fn(|| engine.poll()).collect::<Vec<Output>>();
        let (live, replayed) = (poll(&mut self.reads), poll(&mut self.told));
        assert_eq!(live, replayed, "a replay of the record gives something else");
        self.outputs.extend(live);
    }
}
