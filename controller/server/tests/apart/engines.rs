//! What the engines have in common: their layouts, which are written down twice, and what they store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::common::{self, Agent, Running};
use reeve_cluster::Cluster;
use reeve_controller::settings::{Database, Settings};
use reeve_controller::store::{Connection, Store};
use reeve_policy::{Alert, Class, Loss, Report, Timestamp, Violation, ViolationId, ViolationState, Window};
use reeve_proto::operator::v1::ListViolationsRequest;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::session::Up;

/// Tables and their columns: type, and whether it may be missing.
type Layout = BTreeMap<String, BTreeMap<String, (String, bool)>>;

async fn columns(conn: &mut Connection, statement: &'static str) -> Layout {
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(statement).fetch_all(conn).await.unwrap();
    let mut layout = Layout::new();
    for (table, column, kind, is_optional) in rows {
        let kind = match kind.as_str() {
            "INTEGER" | "bigint" => "count",
            "TEXT" | "text" => "text",
            "BLOB" | "bytea" => "bytes",
            other => panic!("{table}.{column}: {other}"),
        };
        layout.entry(table).or_default().insert(column, (kind.to_owned(), is_optional == 1));
    }
    layout
}

async fn words(conn: &mut Connection, statement: &'static str) -> BTreeSet<String> {
    let rows: Vec<(String,)> = sqlx::query_as(statement).fetch_all(conn).await.unwrap();
    rows.into_iter().map(|(word,)| word).collect()
}

/// What stands between single quotes, in each text of its own.
async fn quoted(conn: &mut Connection, statement: &'static str) -> BTreeSet<BTreeSet<String>> {
    let texts = words(conn, statement).await;
    let words = |text: &str| -> BTreeSet<String> {
        let text = text.split_once(')').map_or(text, |(list, _)| list);
        text.split('\'').skip(1).step_by(2).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    texts
        .iter()
        .flat_map(|text| text.split(" IN (").map(words).collect::<Vec<_>>())
        .filter(|all| all.len() > 1)
        .collect()
}

#[tokio::test]
async fn both_layouts_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (_file, mut sqlite) = Store::open(&Database::File, dir.path()).await.unwrap();
    common::share(dir.path(), &Cluster::of_this_process().database().unwrap());
    let settings = Settings::load(dir.path()).unwrap();
    let (_server, mut postgres) = Store::open(&settings.database, dir.path()).await.unwrap();
    let (sqlite, postgres) = (sqlite.connection().await.unwrap(), postgres.connection().await.unwrap());

    let here = columns(
        sqlite,
        "SELECT m.name, p.name, p.type, CASE WHEN p.\"notnull\" = 1 OR p.pk > 0 THEN 0 ELSE 1 END \
         FROM sqlite_master m JOIN pragma_table_info(m.name) p \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations'",
    )
    .await;
    let there = columns(
        postgres,
        "SELECT table_name::text, column_name::text, data_type::text, CASE WHEN is_nullable = 'YES' THEN 1 ELSE 0 END \
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'",
    )
    .await;
    assert!(here.len() > 15, "{here:?}");
    assert_eq!(here, there);

    let indexes =
        words(sqlite, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").await;
    let unnamed = "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey' \
                   AND indexname NOT LIKE '%\\_key'";
    assert!(indexes.len() > 10, "{indexes:?}");
    assert_eq!(indexes, words(postgres, unnamed).await);

    // The words that a column takes.
    let allowed =
        quoted(sqlite, "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql LIKE '% IN (%'").await;
    let checked = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0";
    assert!(allowed.len() >= 4, "{allowed:?}");
    assert_eq!(allowed, quoted(postgres, checked).await);

    // Keys are compared byte by byte, whatever the database's language.
    let sorted = "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c WHERE c.table_schema = 'public' \
                  AND c.data_type = 'text' AND c.table_name <> '_sqlx_migrations' AND c.collation_name IS DISTINCT FROM 'C'";
    assert_eq!(words(postgres, sorted).await, BTreeSet::new());
}

/// A violation of a node that goes on for so long.
fn violation(node: &str, alerts: u64) -> Violation {
    let (at, now) = (Timestamp::from_secs(1_000), Timestamp::from_secs(1_000 + alerts));
    let (node, tenant, rule) = (node.parse().unwrap(), "alice".parse().unwrap(), "portscan".parse().unwrap());
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        tenant: tenant.clone(),
        rule,
        clause: "p/c".into(),
        opened: at,
        last_seen: now,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant,
            at: now,
            window: Window { start: at, end: now },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
    }
}

/// Stores this many reports over some streams, and tells how many a whole controller of this build stored in a second.
async fn store(name: &str, dir: &std::path::Path) {
    const STREAMS: u64 = 4;
    const EACH: u64 = 2_500;
    let controller = Running::start(dir).await;
    let channel = controller.plain().await;
    let begun = Instant::now();
    let streams = (0..STREAMS).map(|number| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let node = format!("n{number}");
            let (mut agent, _) = Agent::greet(channel, &node, 1).await.unwrap();
            let up = agent.up.clone();
            let sending = tokio::spawn(async move {
                for sequence in 1..=EACH {
                    let report = Ok(Box::new(Report::Violation(violation(&node, sequence))));
                    up.send((&Up::Report { sequence, report }).into()).await.unwrap();
                }
            });
            agent.acknowledged(EACH).await;
            sending.await.unwrap();
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        stream.await.unwrap();
    }
    let rate = (STREAMS * EACH) as f64 / begun.elapsed().as_secs_f64();
    println!("{name}: {rate:.0} reports of a violation a second");
    let mut client = OperatorServiceClient::new(channel);
    let all = client.list_violations(ListViolationsRequest::default()).await.unwrap().into_inner().violations;
    assert_eq!(all.iter().map(|violation| violation.alerts).collect::<Vec<_>>(), [EACH; STREAMS as usize]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_stored_on_either_engine() {
    let dir = tempfile::tempdir().unwrap();
    store("SQLite", dir.path()).await;
    let dir = tempfile::tempdir().unwrap();
    common::share(dir.path(), &Cluster::of_this_process().database().unwrap());
    store("PostgreSQL", dir.path()).await;
}

/// The numbers and names of the migrations in a folder.
fn migrations(folder: &str) -> BTreeMap<u32, String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = file.strip_suffix(".sql") else { continue };
        let (number, name) = stem.split_once('_').unwrap();
        if let Some(other) = all.insert(number.parse().unwrap(), name.to_owned()) {
            panic!("{folder}: {other} and {name} are both number {number}");
        }
    }
    all
}

#[test]
fn every_migration_has_a_number_of_its_own_and_is_there_for_both_engines() {
    // PostgreSQL came with the tenth, and began with all that there was then.
    const BEGAN: u32 = 10;
    let (mut file, mut shared) = (migrations("migrations"), migrations("migrations/postgres"));
    assert_eq!(shared.remove(&BEGAN).as_deref(), Some("first"));
    file.retain(|number, _| *number > BEGAN);
    assert_eq!(file, shared);
}

/// The table of what is sent is made anew on SQLite, which cannot take a bound off a column: nothing of it is lost, and no number comes again.
#[tokio::test]
async fn what_was_sent_stays_when_acknowledgements_come_to_it() {
    use sqlx::{Connection as _, Row as _};
    let mut conn = sqlx::SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let all = migrations("migrations");
    let script = |number: &u32| {
        std::fs::read_to_string(folder.join(format!("{number:04}_{}.sql", all[number]))).unwrap()
    };
    for number in all.keys().filter(|number| **number < 37) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(script(number))).execute(&mut conn).await.unwrap();
    }
    let fill = "PRAGMA foreign_keys = ON; \
        INSERT INTO notices (id, recipient, tenant, kind, made, body) VALUES ('n1', 'alice', 'alice', 'warning', 1, x'00'); \
        INSERT INTO deliveries (notice, channel, target, state, made, due, attempts, tried, detail) VALUES \
        (1, 'mail', 'a@alice.example', 'sent', 1, 2, 3, 4, 'ok'), (1, 'webhook', 'portal', 'dead', 5, 6, 7, NULL, '410'), \
        (1, 'file', '', 'pending', 8, 9, 0, NULL, ''); \
        DELETE FROM deliveries WHERE channel = 'file'";
    sqlx::raw_sql(fill).execute(&mut conn).await.unwrap();
    let look = "SELECT number || ' ' || notice || ' ' || channel || ' ' || target || ' ' || state || ' ' || made || ' ' || due || ' ' || \
        attempts || ' ' || coalesce(tried, '-') || ' ' || detail AS row FROM deliveries ORDER BY number";
    let mut rows: Vec<Vec<String>> = Vec::new();
    for step in 0..2 {
        if step == 1 {
            let mut all = conn.begin().await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(script(&37))).execute(&mut *all).await.unwrap();
            all.commit().await.unwrap();
        }
        let found = sqlx::query(look).fetch_all(&mut conn).await.unwrap();
        rows.push(found.iter().map(|row| row.get("row")).collect());
    }
    assert_eq!(rows[0], ["1 1 mail a@alice.example sent 1 2 3 4 ok", "2 1 webhook portal dead 5 6 7 - 410"]);
    assert_eq!(rows[0], rows[1]);
    let next = "INSERT INTO deliveries (notice, channel, target, state, made, due, attempts, detail) VALUES (1, 'file', '', 'pending', 1, 1, 0, '') \
        RETURNING number";
    let next: i64 = sqlx::query_scalar(next).fetch_one(&mut conn).await.unwrap();
    assert_eq!(next, 4, "3 was forgotten, and is not used again");
    // What it tells of is one thing, and goes with it.
    for wrong in ["NULL, NULL, NULL", "1, 1, 'en'", "1, NULL, 'en'", "NULL, 1, NULL"] {
        let wrong = format!(
            "INSERT INTO deliveries (notice, complaint, language, channel, target, state, made, due, attempts, detail) \
             VALUES ({wrong}, 'mail', 'x', 'pending', 1, 1, 0, '')"
        );
        assert!(
            sqlx::raw_sql(sqlx::AssertSqlSafe(wrong.clone())).execute(&mut conn).await.is_err(),
            "{wrong}"
        );
    }
    sqlx::raw_sql("DELETE FROM notices").execute(&mut conn).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries").fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, 0);
}
