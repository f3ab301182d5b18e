//! How fast the console's pages are with a million violations in the store.
//!
//! What is in the store is written there directly, as a controller writes it, for it would take a fleet half an hour to report it; the pages are asked of the
//! real program over HTTP, by somebody with a session. Each page is asked for different things, so that no answer is one that was just given.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use data_encoding::BASE32_NOPAD;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use reeve_controller::auth::password::{code_at, step_at};
use reeve_controller::clock;
use reeve_policy::{Measure, Timestamp, ViolationState};
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use reeve_proto::operator::v1::{
    AddPersonRequest, BeginSetUpRequest, FinishSetUpRequest, LoginRequest, Role as WireRole,
};
use reeve_proto::types;
use serde::Serialize;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection as _};
use tokio::net::TcpStream;

use crate::agent::incident;
use crate::house::House;
use crate::inventory::Inventory;

/// So many rows are written with one statement.
const TOGETHER: usize = 400;
/// Violations reach so far back.
const SPAN: Duration = Duration::from_secs(25 * 24 * 3_600);
const PASSWORD: &str = "a horse, a battery";
/// One tenant of so many has an open violation: its newest.
const OPEN: u32 = 200;
/// Each page is asked for so often.
const TIMES: usize = 60;
/// Between two pages.
const PACE: Duration = Duration::from_millis(40);
/// What a page may take at the median.
const TARGET: Duration = Duration::from_millis(200);

/// How long a page takes.
#[derive(Debug, Serialize)]
pub struct PageSpeed {
    pub page: String,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub kib: u64,
}

/// Fills the store, asks for each page, and tells how long each takes.
///
/// # Errors
/// Where something fails, a page is none, or one is too slow at the median.
pub async fn measure(house: &House, inventory: Inventory, violations: u32) -> anyhow::Result<Vec<PageSpeed>> {
    inventory.import(&house.operator(0).await?).await?;
    house.stop().await?;
    let known = fill(&mut house.database().await?, inventory, violations).await?;
    house.run(0).await?;
    let session = sign_in(house).await?;
    let mut browser = Browser::open(house, session).await?;
    let mut speeds = Vec::new();
    for (page, addresses) in pages(inventory, &known) {
        let (mut times, mut bytes) = (Vec::new(), 0);
        for number in 0..TIMES {
            let address = &addresses[number % addresses.len()];
            let began = Instant::now();
            let (status, body) = browser.get(address).await?;
            times.push(began.elapsed());
            ensure!(status == 200, "{address}: {status}");
            bytes = bytes.max(body.len());
            // A page is several calls, and nobody has more than 200 a second.
            tokio::time::sleep(PACE).await;
        }
        times.sort_unstable();
        let millis = |place: usize| times[place].as_secs_f64() * 1_000.0;
        speeds.push(PageSpeed {
            page: page.to_owned(),
            p50_ms: millis(TIMES / 2),
            p99_ms: millis(TIMES * 99 / 100),
            kib: bytes as u64 / 1_024,
        });
    }
    Ok(speeds)
}

/// Prints how long each takes.
///
/// # Errors
/// Where one is too slow, after all are printed.
pub fn print(speeds: &[PageSpeed]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<34}  {:>9}  {:>9}  {:>7}", "page", "p50 ms", "p99 ms", "KiB")?;
    for one in speeds {
        writeln!(out, "{:<34}  {:>9.1}  {:>9.1}  {:>7}", one.page, one.p50_ms, one.p99_ms, one.kib)?;
    }
    let slow = speeds.iter().find(|one| one.p50_ms > TARGET.as_secs_f64() * 1_000.0);
    ensure!(
        slow.is_none(),
        "{} takes longer than {TARGET:?} at the median",
        slow.map_or("", |one| &one.page)
    );
    Ok(())
}

/// Some of what is in the store.
#[derive(Default)]
struct Known {
    violations: Vec<String>,
    cases: Vec<String>,
    tenants: Vec<String>,
}

/// The pages, and addresses of each.
fn pages(inventory: Inventory, known: &Known) -> BTreeMap<&'static str, Vec<String>> {
    let each = |begin: &str, keys: &[String]| keys.iter().map(|key| format!("{begin}{key}")).collect();
    let some = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    BTreeMap::from([
        ("now", some(&["/"])),
        ("tenants", some(&["/tenants", "/tenants?state=blocked", "/tenants?order=state"])),
        ("tenants, by a name's begin", some(&["/tenants?q=Customer+1", "/tenants?q=Customer+2"])),
        ("tenant", each("/tenants/customer-", &known.tenants)),
        ("violations", some(&["/violations", "/violations?state=open"])),
        ("violations of a tenant", each("/violations?state=all&tenant=customer-", &known.tenants)),
        (
            "violations of a node",
            vec![format!("/violations?state=all&node={}", Inventory::node(inventory.nodes / 2))],
        ),
        ("violations of a week, all", some(&["/violations?state=all&days=7"])),
        ("violations, few of many", some(&["/violations?state=all&strike=3"])),
        ("violation", each("/violations/", &known.violations)),
        ("cases", some(&["/cases", "/cases?state=late", "/cases?state=all"])),
        ("case", each("/cases/", &known.cases)),
        ("complaints", some(&["/complaints"])),
        ("nodes", some(&["/nodes"])),
        ("node", vec![format!("/nodes/{}", Inventory::node(3))]),
        ("policies", some(&["/policies"])),
        ("policy", some(&["/policies/baseline/1"])),
        ("letters", some(&["/policies/baseline/1/letters"])),
        ("outbox", some(&["/outbox", "/outbox?state=dead"])),
        ("approvals", some(&["/approvals?all=1"])),
        ("audit", some(&["/audit", "/audit?act=Login"])),
    ])
}

/// Rows of one table, written many at a time.
struct Rows {
    head: &'static str,
    columns: usize,
    rows: Vec<Vec<Value>>,
}

enum Value {
    Null,
    Text(String),
    Number(Option<i64>),
    Bytes(Vec<u8>),
}

impl Rows {
    fn new(head: &'static str) -> Self {
        Self { head, columns: head.matches(',').count() + 1, rows: Vec::new() }
    }

    async fn put(&mut self, conn: &mut AnyConnection, row: Vec<Value>) -> anyhow::Result<()> {
        self.rows.push(row);
        if self.rows.len() >= TOGETHER { self.write(conn).await } else { Ok(()) }
    }

    async fn write(&mut self, conn: &mut AnyConnection) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let row = |number: usize| {
            let places: Vec<_> =
                (1..=self.columns).map(|place| format!("${}", number * self.columns + place)).collect();
            format!("({})", places.join(","))
        };
        let places: Vec<String> = (0..self.rows.len()).map(row).collect();
        let text = format!("INSERT INTO {} VALUES {}", self.head, places.join(","));
        let mut query: Query<'_, Any, AnyArguments> = sqlx::query(AssertSqlSafe(text));
        for value in self.rows.drain(..).flatten() {
            query = match value {
                Value::Null => query.bind(None::<String>),
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query.execute(conn).await?;
        Ok(())
    }
}

/// Writes the nodes, and violations of all tenants in turn, each with its decision and measure and in its tenant's case.
async fn fill(conn: &mut AnyConnection, inventory: Inventory, violations: u32) -> anyhow::Result<Known> {
    let mut known = Known::default();
    let now = clock::now();
    let nanos = |at: Timestamp| Value::Number(i64::try_from(at.as_nanos()).ok());
    let mut transaction = conn.begin().await?;
    let mut nodes = Rows::new("nodes (name, agent_version, first_seen, last_seen, tenants_version)");
    for number in 0..inventory.nodes {
        let name = Inventory::node(number).to_string();
        let row = vec![
            Value::Text(name),
            Value::Text("swarm".into()),
            nanos(now),
            nanos(now),
            Value::Number(Some(0)),
        ];
        nodes.put(&mut transaction, row).await?;
    }
    nodes.write(&mut transaction).await?;
    let mut kept = Rows::new(
        "violations (id, node, tenant, state, opened, last_seen, closed, rule, strike, body, case_id)",
    );
    let mut decided = Rows::new("decisions (id, tenant, violation, made, released, class, body, case_id)");
    let mut stood = Rows::new(
        "measures (node, decision, tenant, since, lifted, lift_reason, packets, bytes, suspends, body)",
    );
    let mut cases = Rows::new("cases (id, tenant, clause, state, opened, updated, closed)");
    let mut case_of: Vec<String> = Vec::new();
    let every = (violations / TIMES as u32).max(1);
    for number in 0..violations {
        let number_of_tenant = number % inventory.tenants;
        let tenant = inventory.id(number_of_tenant);
        let at = now.minus(SPAN / violations * (violations - number)).minus(Duration::from_secs(60));
        let end = at + Duration::from_secs(30);
        let is_open = number + inventory.tenants >= violations && number_of_tenant.is_multiple_of(OPEN);
        let node = Inventory::node(number_of_tenant % inventory.nodes);
        let (mut violation, decision) = incident(&node, tenant.clone(), at);
        violation.strike = number / inventory.tenants + 1;
        violation.last_seen = end;
        if !is_open {
            (violation.state, violation.closed) = (ViolationState::Quiet, Some(end));
        }
        let id = violation.id.to_string();
        if number < inventory.tenants {
            // The first of each tenant opens its case.
            let is_open = number_of_tenant.is_multiple_of(OPEN);
            let (state, closed) =
                if is_open { ("open", Value::Number(None)) } else { ("closed", nanos(now)) };
            let text = |text: &str| Value::Text(text.to_owned());
            let row = vec![
                text(&id),
                text(tenant.as_str()),
                text(&violation.clause),
                text(state),
                nanos(at),
                nanos(now),
                closed,
            ];
            cases.put(&mut transaction, row).await?;
            case_of.push(id.clone());
        }
        let case = &case_of[number_of_tenant as usize];
        if number % every == 0 {
            known.violations.push(id.clone());
            known.tenants.push(number_of_tenant.to_string());
            known.cases.push(case.clone());
        }
        let lifted = if is_open { Value::Number(None) } else { nanos(end) };
        let text = |text: &str| Value::Text(text.to_owned());
        let measure = Measure { decision: decision.clone(), expires: None };
        let row = vec![
            text(&id),
            text(node.as_str()),
            text(tenant.as_str()),
            text(if is_open { "open" } else { "quiet" }),
            nanos(at),
            nanos(end),
            if is_open { Value::Number(None) } else { nanos(end) },
            text(violation.rule.as_str()),
            Value::Number(Some(i64::from(violation.strike))),
            Value::Bytes(types::v1::Violation::from(&violation).encode_to_vec()),
            text(case),
        ];
        kept.put(&mut transaction, row).await?;
        let released = if is_open { Value::Number(None) } else { nanos(end) };
        let row = vec![
            text(decision.id.0.as_str()),
            text(tenant.as_str()),
            text(&id),
            nanos(at),
            released,
            text(violation.evidence.class.name()),
            Value::Bytes(types::v1::Decision::from(&decision).encode_to_vec()),
            text(case),
        ];
        decided.put(&mut transaction, row).await?;
        let why = if is_open { Value::Null } else { text("released") };
        let row = vec![
            text(node.as_str()),
            text(decision.id.0.as_str()),
            text(tenant.as_str()),
            nanos(at),
            lifted,
            why,
            Value::Number(Some(10)),
            Value::Number(Some(600)),
            Value::Number(Some(0)),
            Value::Bytes(types::v1::Measure::from(&measure).encode_to_vec()),
        ];
        stood.put(&mut transaction, row).await?;
    }
    for rows in [&mut cases, &mut kept, &mut decided, &mut stood] {
        rows.write(&mut transaction).await?;
    }
    transaction.commit().await?;
    sqlx::query("ANALYZE").execute(conn).await?;
    Ok(known)
}

/// Somebody's session, with a second factor.
async fn sign_in(house: &House) -> anyhow::Result<String> {
    let mut people = PersonServiceClient::new(house.administrator().await?);
    let request =
        AddPersonRequest { name: "eva".into(), role: WireRole::Admin.into(), addresses: Vec::new() };
    let invitation = people.add_person(request).await?.into_inner().invitation;
    let begun = people.begin_set_up(BeginSetUpRequest { invitation: invitation.clone() }).await?.into_inner();
    let secret = BASE32_NOPAD.decode(begun.secret.as_bytes())?;
    // One code each: they are good for a step to either side.
    let step = step_at(clock::now());
    let request =
        FinishSetUpRequest { invitation, password: PASSWORD.into(), code: code_at(&secret, step - 1) };
    people.finish_set_up(request).await?;
    let request =
        LoginRequest { name: "eva".into(), password: PASSWORD.into(), code: code_at(&secret, step) };
    Ok(people.login(request).await?.into_inner().token)
}

/// A connection to the console with a session.
struct Browser {
    sender: SendRequest<Empty<Bytes>>,
    cookie: String,
}

impl Browser {
    async fn open(house: &House, session: String) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(house.console()).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, cookie: format!("reeve={session}") })
    }

    async fn get(&mut self, address: &str) -> anyhow::Result<(u16, Bytes)> {
        self.sender.ready().await?;
        let request = Request::get(address).header("host", "localhost").header("cookie", &self.cookie);
        let answer = self.sender.send_request(request.body(Empty::new())?).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await.with_context(|| address.to_owned())?.to_bytes()))
    }
}
