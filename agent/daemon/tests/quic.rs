//! QUIC as real applications open it: whom a connection is for comes out of its first packets.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

use std::path::{Path, PathBuf};

use reeve_core::packet::{self, Body};
use reeve_core::stream::calls::Call;
use reeve_core::stream::{StreamEvent, Streams};
use reeve_core::topology::TenantIx;
use reeve_policy::language::thresholds::{ApiBurst, Endpoint, EndpointKind};
use reeve_replay::{FileSource, Progress};

/// How many connections of a capture are for `host`.
fn connections(capture: &Path, client: &str, host: &str) -> usize {
    let endpoint = Endpoint {
        name: "site".parse().unwrap(),
        kind: EndpointKind::Api,
        addresses: Vec::new(),
        hosts: vec![host.parse().unwrap()],
        ports: vec![443],
        paths: Vec::new(),
        numbers: ApiBurst::default(),
    };
    let (mut streams, mut events) = (Streams::new(1), Vec::new());
    streams.set_endpoints(&[endpoint]);
    let mut source = FileSource::open(capture).unwrap();
    let client: std::net::IpAddr = client.parse().unwrap();
    loop {
        let progress = source
            .poll(&mut |frame| {
                let Ok(packet) = packet::parse(frame.link, frame.data, frame.wire_len) else { return };
                let Body::Ip(ip) = packet.body else { return };
                if ip.source == client || ip.destination == client {
                    streams.handle(TenantIx(0), ip.source == client, &ip, frame.at, &mut events);
                }
            })
            .unwrap();
        if progress == Progress::Ended {
            break;
        }
    }
    let is_one =
        |event: &&StreamEvent| matches!(event, StreamEvent::Call { is_quic: true, call: Call::Opened, .. });
    events.iter().filter(is_one).count()
}

#[test]
fn names_come_out_of_real_connections() {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus"));
    let corpus = std::env::var_os("REEVE_CORPUS").map_or(beside, PathBuf::from);
    if !corpus.join("manifest.csv").exists() {
        assert!(std::env::var_os("REEVE_REQUIRE_CORPUS").is_none(), "no corpus at {}", corpus.display());
        eprintln!("SKIPPED: {} is not there; set REEVE_CORPUS", corpus.display());
        return;
    }
    for (capture, client, host) in [
        ("firefox-102.13.0esr-blog-cloudflare-com", "82.239.54.117", "blog.cloudflare.com"),
        ("quic_win11_firefox_google", "1.2.3.4", "*.google.com"),
    ] {
        let capture = corpus.join(format!("benign/zeek-quic-{capture}.pcap"));
        assert_eq!(connections(&capture, client, host), 1, "{host}");
        assert_eq!(connections(&capture, client, "other.example"), 0, "{host}");
    }
}
