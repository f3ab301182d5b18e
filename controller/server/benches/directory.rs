//! What look-ups and changes of the directory cost with a large provider's inventory: fifty thousand tenants, a million addresses.
//!
//! `cargo bench -p reeve-controller --bench directory`

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on is to fail; criterion's macros document nothing"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use reeve_controller::directory::{Directory, Held, Snapshot, Standing, Tenants};
use reeve_policy::{
    Action, Decision, DecisionId, Measure, Mode, Origin, Scope, Tenant, TenantId, Timestamp, Until,
};

const TENANTS: u32 = 50_000;
/// Addresses of one tenant beside its IPv6 prefix, each a prefix of its own: the worst case for the tables.
const ADDRESSES: u32 = 19;

fn v4(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn v6(tenant: u32) -> IpAddr {
    Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (u128::from(tenant) << 64) | 1).into()
}

fn tenant(number: u32) -> Tenant {
    let own = (0..ADDRESSES).map(|place| v4(number * ADDRESSES + place).into());
    let prefix = ipnet::IpNet::new(v6(number), 64).unwrap().trunc();
    Tenant {
        addresses: own.chain([prefix]).collect(),
        interfaces: vec![format!("n{}/tap{}", number % 10_000, number / 10_000).parse().unwrap()],
        ..Tenant::new(id(number))
    }
}

fn id(number: u32) -> TenantId {
    format!("tenant-{number}").parse().unwrap()
}

fn standing(number: u32) -> Standing {
    let at = Timestamp::from_secs(1_700_000_000);
    let decision = Decision {
        id: DecisionId(format!("d{number}").parse().unwrap()),
        tenant: id(number),
        violation: None,
        clause: "baseline/portscan".into(),
        origin: Origin::Operator { name: "oncall".into() },
        action: Action::Suspend,
        scope: Scope::All,
        until: Until::Released,
        mode: Mode::Enforce,
        at,
        reason: "scanned".into(),
        rate: None,
        connections: None,
        softened: None,
        reckoning: None,
    };
    let measure = Measure { decision, expires: None };
    let held = Held { node: "n1".parse().unwrap(), measure, since: at };
    Standing { held: vec![held], ..Standing::default() }
}

/// Every tenth tenant is held.
fn snapshot() -> Snapshot {
    let mut snapshot =
        Snapshot { tenants: Arc::new(Tenants::new(1, (0..TENANTS).map(tenant))), ..Snapshot::default() };
    for number in (0..TENANTS).step_by(10) {
        snapshot.standings.insert(id(number), Arc::new(standing(number)));
    }
    snapshot
}

/// Numbers without an order that a cache could guess.
struct Scattered(u32);

impl Scattered {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(self.0) * u64::from(bound)) >> 32) as u32
    }
}

fn by_address(directory: &Directory, address: IpAddr, now: Timestamp) {
    let snapshot = directory.glance();
    let tenant = snapshot.tenants.by_address(address).unwrap();
    black_box(snapshot.status(&tenant.id, now));
}

fn directory(criterion: &mut Criterion) {
    let directory = Directory::default();
    directory.publish(snapshot(), None);
    let (now, mut any) = (Timestamp::from_secs(1_700_000_100), Scattered(1));
    let mut group = criterion.benchmark_group("directory");
    let small = BatchSize::SmallInput;
    group.bench_function("address, IPv4", |bencher| {
        bencher.iter_batched(
            || v4(any.below(TENANTS * ADDRESSES)),
            |address| by_address(&directory, address, now),
            small,
        );
    });
    group.bench_function("address, IPv6", |bencher| {
        bencher.iter_batched(
            || v6(any.below(TENANTS)),
            |address| by_address(&directory, address, now),
            small,
        );
    });
    let nobodys: IpAddr = "192.0.2.1".parse().unwrap();
    group.bench_function("address, nobody's", |bencher| {
        bencher.iter(|| directory.glance().tenants.by_address(black_box(nobodys)).is_none());
    });
    let ids: Vec<TenantId> = (0..TENANTS).map(id).collect();
    group.bench_function("tenant", |bencher| {
        bencher.iter_batched(
            || &ids[any.below(TENANTS) as usize],
            |id| {
                let snapshot = directory.glance();
                black_box(snapshot.tenants.by_id(id));
                black_box(snapshot.status(id, now))
            },
            small,
        );
    });
    group.bench_function("one standing changes", |bencher| {
        bencher.iter_batched(
            || {
                let number = any.below(TENANTS);
                (id(number), Arc::new(standing(number)))
            },
            |(id, standing)| {
                let mut next = Snapshot::clone(&directory.snapshot());
                next.standings.insert(id.clone(), standing);
                directory.publish(next, [id]);
            },
            small,
        );
    });
    let mut version = 1;
    group.bench_function("one tenant changes", |bencher| {
        bencher.iter_batched(
            || tenant(any.below(TENANTS)),
            |tenant| {
                version += 1;
                let mut next = Snapshot::clone(&directory.snapshot());
                next.tenants = Arc::new(next.tenants.with(version, vec![tenant], &[]));
                directory.publish(next, None);
            },
            small,
        );
    });
    group.finish();
}

criterion_group!(benches, directory);
criterion_main!(benches);
