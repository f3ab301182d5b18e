//! One measure more and one less on a node with many: decided, rendered, told the kernel, read back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv6Net;
use reeve_core::ledger::Ledger;
use reeve_core::ruleset::elements::Spared;
use reeve_core::ruleset::{Elements, Rendering, Setting};
use reeve_policy::{
    Action, Decision, DecisionId, LiftReason, Mode, NodeId, Origin, Protocol, Scope, Tenant, Timestamp, Until,
};

use crate::enforce::{Enforcer, Ownership};

/// A node with its tables.
struct Bench {
    node: NodeId,
    tenants: Vec<Arc<Tenant>>,
    ledger: Ledger,
    rendering: Rendering,
    enforcer: Enforcer,
    now: Timestamp,
}

impl Bench {
    /// Brings the kernel to what the ledger holds.
    fn follow(&mut self) -> anyhow::Result<()> {
        let Self { node, tenants, ledger, rendering, enforcer, now } = self;
        let setting = Setting { node, tenants, spared: Spared::default(), here: None };
        let difference = rendering.update(ledger.desired(), setting, *now);
        Ok(enforcer.change(&difference, *now)?)
    }

    /// Imposes a measure of some kind on a tenant.
    fn impose(&mut self, tenant: usize, kind: usize) -> anyhow::Result<()> {
        let decision = decision(&self.tenants[tenant], kind, self.now)?;
        self.ledger.handle_decision(&decision);
        Ok(())
    }
}

/// Measures `rounds` measures, one at a time, among `measures` of `tenants` tenants.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn run(tenants: u32, measures: u32, rounds: u32) -> anyhow::Result<serde_json::Value> {
    anyhow::ensure!(measures < tenants, "some tenants must be left without a measure");
    let now = Timestamp::from_secs(1_700_000_000);
    let tenants: Vec<Arc<Tenant>> = (0..tenants).map(tenant).collect::<Result<_, _>>()?;
    let (free, held) = (tenants.len() - measures as usize, measures as usize);
    let enforcer = Enforcer::open(Ownership::Auto)?;
    let (ledger, rendering) = (Ledger::default(), Rendering::default());
    let mut bench = Bench { node: "bench".parse()?, tenants, ledger, rendering, enforcer, now };
    bench.enforcer.install(Elements::new(), now)?;
    for number in 0..held {
        bench.impose(number, number)?;
    }
    let all = timed(|| bench.follow())?;
    let elements = bench.rendering.elements().len();
    let (mut added, mut lifted) = (Vec::new(), Vec::new());
    for round in 0..rounds as usize {
        // Each tenant has one at most, so that each is another one's.
        let number = held + round % free;
        added.push(timed(|| {
            bench.impose(number, round)?;
            bench.follow()
        })?);
        let tenant = bench.tenants[number].id.clone();
        lifted.push(timed(|| {
            let id = decision(&bench.tenants[number], round, now)?.id;
            bench.enforcer.counters_of(&[&id])?;
            bench.ledger.lift(&tenant, LiftReason::Released);
            bench.follow()
        })?);
    }
    bench.enforcer.clear()?;
    let ([added, added_99], [lifted, lifted_99]) = (quantiles(added), quantiles(lifted));
    Ok(serde_json::json!({
        "tenants": bench.tenants.len(), "measures": measures, "elements": elements, "rounds": rounds,
        "all_ms": millis(all), "add_median_ms": added, "add_p99_ms": added_99,
        "lift_median_ms": lifted, "lift_p99_ms": lifted_99,
    }))
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// The median and the 99th percentile, in milliseconds.
fn quantiles(mut spans: Vec<Duration>) -> [f64; 2] {
    spans.sort_unstable();
    let at = |share: usize| spans.get(spans.len() * share / 100).copied().unwrap_or_default();
    [at(50), at(99)].map(millis)
}

/// A tenant with an address, a prefix and a port.
fn tenant(number: u32) -> anyhow::Result<Arc<Tenant>> {
    let v4 = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number * 2));
    let v6 = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number) << 64);
    Ok(Arc::new(Tenant {
        addresses: vec![v4.into(), Ipv6Net::new(v6, 64)?.into()],
        interfaces: vec![format!("bench/tap{number}").parse()?],
        ..Tenant::new(format!("t{number}").parse()?)
    }))
}

/// A decision of one of seven kinds.
fn decision(tenant: &Tenant, kind: usize, at: Timestamp) -> anyhow::Result<Decision> {
    let smtp = || Scope::Port { protocol: Protocol::Tcp, port: 25 };
    let to = || Scope::Destinations { addresses: vec![Ipv4Addr::new(192, 0, 2, 80).into()] };
    let (action, scope, rate) = match kind % 7 {
        0 => (Action::Suspend, Scope::All, None),
        1 => (Action::Block, smtp(), None),
        2 => (Action::Block, to(), None),
        3 => (Action::Limit, smtp(), Some("10/minute")),
        4 => (Action::Limit, Scope::All, Some("1 mbytes/second")),
        5 => (Action::Limit, to(), Some("5/second")),
        _ => {
            let addresses = vec!["198.51.100.0/24".parse()?, "2001:db8:ffff::/64".parse()?];
            let endpoint = Scope::Endpoint { name: "api".parse()?, addresses, ports: vec![443] };
            (Action::Limit, endpoint, Some("1 calls/second"))
        }
    };
    Ok(Decision {
        id: DecisionId(format!("{}.{kind}", tenant.id).parse()?),
        tenant: tenant.id.clone(),
        violation: None,
        clause: "baseline/portscan".to_owned(),
        origin: Origin::Operator { name: "bench".to_owned() },
        action,
        scope,
        rate: rate.map(str::parse).transpose()?,
        until: Until::Released,
        at,
        mode: Mode::Enforce,
        reason: "a benchmark".to_owned(),
        connections: None,
        softened: None,
        reckoning: None,
    })
}
