//! Cases as they are stored, and their story.

use reeve_policy::{Decision, Name, Notice, TenantId, Timestamp, Violation, ViolationId};

use super::query::Select;
use super::read::{MeasureColumns, MeasureRow, NoticeRow, measure_row};
use super::row::{Body, name, nanos, time, uncount};
use super::seals::Sight;
use super::{Connection, Store, StoreError};
use crate::listing::Plan;

/// The most that is told of each part of a case's story to whoever looks at it.
pub(crate) const TOLD: i64 = 500;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseState {
    /// The people on call's.
    Open,
    /// The customer's.
    Waiting,
    /// Nobody's.
    Closed,
}

impl CaseState {
    /// All of them, as they are stored and asked for.
    pub const NAMES: &[&str] = &["open", "waiting", "closed"];

    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => Self::NAMES[0],
            Self::Waiting => Self::NAMES[1],
            Self::Closed => Self::NAMES[2],
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        let all = [Self::Open, Self::Waiting, Self::Closed];
        let found = all.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| StoreError::Body { kind: "case", detail: format!("its state is `{text}`") })
    }
}

/// The decisions of the case `$1`. Two questions by a key each, since an engine answers one with `OR` by reading everything.
macro_rules! decisions {
    () => {
        "(SELECT d.id FROM decisions d WHERE d.case_id = $1 \
         UNION SELECT d.id FROM violations v JOIN decisions d ON d.violation = v.id WHERE v.case_id = $1)"
    };
}

/// A case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseRow {
    /// Its key.
    pub id: Name,
    /// Whose it is.
    pub tenant: TenantId,
    /// Of which clause.
    pub clause: String,
    /// Whose turn it is.
    pub state: CaseState,
    /// When it was opened.
    pub opened: Timestamp,
    /// When something was last added to it.
    pub updated: Timestamp,
    /// Until when the customer has time.
    pub deadline: Option<Timestamp>,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Who keeps it past its time, why, and since when.
    pub held: Option<(String, String, Timestamp)>,
    /// Who sealed it, why, and since when.
    pub sealed: Option<(String, String, Timestamp)>,
}

/// What somebody said to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is looked at again then.
    Waits(Timestamp),
    /// It was seen again.
    Over(Timestamp),
}

/// What an entry of a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Somebody wrote something down.
    Note,
    /// It was moved.
    Move,
    /// It is kept past its time.
    Hold,
    /// It is not any longer.
    HoldEnd,
    /// Whoever was told has something to say.
    Statement,
    /// They say that it is mended.
    Claim,
    /// Somebody outside complained.
    Complaint,
    /// It is sealed.
    Seal,
    /// It is not any longer.
    SealEnd,
}

impl EntryKind {
    const ALL: [(Self, &str); 9] = [
        (Self::Note, "note"),
        (Self::Move, "move"),
        (Self::Hold, "hold"),
        (Self::HoldEnd, "hold-end"),
        (Self::Statement, "statement"),
        (Self::Claim, "claim"),
        (Self::Complaint, "complaint"),
        (Self::Seal, "seal"),
        (Self::SealEnd, "seal-end"),
    ];

    /// As it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// What somebody said or did about a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseEntry {
    /// From 1 on.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What it is about; `None` of what a newer controller wrote.
    pub kind: Option<EntryKind>,
    /// Who; empty for the controller.
    pub author: String,
    /// In their words.
    pub text: String,
    /// Where it was moved to.
    pub state: Option<CaseState>,
    /// With which deadline.
    pub deadline: Option<Timestamp>,
}

/// A case's story: of each part the newest, oldest first.
#[derive(Clone, Debug)]
pub struct Story {
    /// What people said and did.
    pub entries: Vec<CaseEntry>,
    /// What happened.
    pub violations: Vec<Violation>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// What came of it.
    pub measures: Vec<MeasureRow>,
    /// Who was told.
    pub notices: Vec<NoticeRow>,
}

/// Which cases.
#[derive(Clone, Debug)]
pub(crate) struct CaseFilter {
    /// Of whom.
    pub tenant: Option<TenantId>,
    /// Whether those that are closed as well.
    pub with_closed: bool,
    /// What is to stand in them: each of these.
    pub words: Vec<CaseWord>,
    /// Whether those that are sealed as well.
    pub sight: Sight,
    /// Which page, in which order, and what else they are narrowed to.
    pub plan: Plan,
}

/// A word that is looked for.
#[derive(Clone, Debug)]
pub(crate) struct CaseWord {
    /// It, in small letters.
    pub text: String,
    /// Tenants whose key or name it stands in, or whose address it is.
    pub tenants: Vec<TenantId>,
}

type Row = (
    String,
    String,
    String,
    String,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<i64>,
);

const COLUMNS: &str = "SELECT id, tenant, clause, state, opened, updated, deadline, closed, held_by, held_reason, \
    held_since, sealed_by, sealed_reason, sealed_since FROM cases WHERE ";

fn row(row: Row) -> Result<CaseRow, StoreError> {
    let (
        id,
        tenant,
        clause,
        state,
        opened,
        updated,
        deadline,
        closed,
        by,
        reason,
        since,
        sealer,
        why,
        sealed,
    ) = row;
    let act = |by: Option<String>, reason: Option<String>, since: Option<i64>| {
        by.map(|by| (by, reason.unwrap_or_default(), time(since.unwrap_or_default())))
    };
    Ok(CaseRow {
        id: name("case", &id)?,
        tenant: name("tenant", &tenant)?,
        clause,
        state: CaseState::read(&state)?,
        opened: time(opened),
        updated: time(updated),
        deadline: deadline.map(time),
        closed: closed.map(time),
        held: act(by, reason, since),
        sealed: act(sealer, why, sealed),
    })
}

/// What holds a text somewhere, for `LIKE` with `!` before what is meant as it stands.
fn like(text: &str) -> String {
    let mut like = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            like.push('!');
        }
        like.push(letter);
    }
    like + "%"
}

/// One of them.
///
/// # Errors
/// Where the database fails.
pub(super) async fn one(conn: &mut Connection, id: &str) -> Result<Option<CaseRow>, StoreError> {
    let mut query = Select::new(COLUMNS);
    query.push("id = ").push_bind(id);
    query.fetch_all::<Row>(conn).await?.into_iter().next().map(row).transpose()
}

/// What stands of a case: on which node, and what was decided.
///
/// # Errors
/// Where the database fails.
pub(super) async fn held_by_case(
    conn: &mut Connection,
    id: &str,
    now: Timestamp,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let rows = sqlx::query_as(concat!(
        "SELECT m.node, d.body FROM measures m JOIN decisions d ON d.id = m.decision \
         WHERE m.lifted IS NULL AND (m.expires IS NULL OR m.expires > $2) AND d.operator IS NULL \
         AND d.released IS NULL AND m.decision IN ",
        decisions!(),
        " ORDER BY d.id, m.node"
    ))
    .bind(id)
    .bind(nanos(now))
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Whether something of a case goes on: how many of its violations are open, and how many of its measures stand, or are still ordered.
///
/// # Errors
/// Where the database fails.
pub(super) async fn goes_on(
    conn: &mut Connection,
    id: &str,
    now: Timestamp,
) -> Result<(u64, u64), StoreError> {
    let (open,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM violations WHERE case_id = $1 AND state = 'open'")
            .bind(id)
            .fetch_one(&mut *conn)
            .await?;
    let (stand,): (i64,) = sqlx::query_as(concat!(
        "SELECT count(*) FROM measures m WHERE m.lifted IS NULL AND (m.expires IS NULL OR m.expires > $2) \
         AND m.decision IN ",
        decisions!()
    ))
    .bind(id)
    .bind(nanos(now))
    .fetch_one(&mut *conn)
    .await?;
    let (ordered,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM decisions d WHERE d.case_id = $1 AND d.released IS NULL \
         AND (d.expires IS NULL OR d.expires > $2) \
         AND NOT EXISTS (SELECT 1 FROM measures m WHERE m.decision = d.id AND m.lifted IS NULL)",
    )
    .bind(id)
    .bind(nanos(now))
    .fetch_one(conn)
    .await?;
    Ok((uncount(open), uncount(stand) + uncount(ordered)))
}

impl Store {
    /// Cases, page by page.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn cases(&self, filter: &CaseFilter) -> Result<Vec<CaseRow>, StoreError> {
        let mut query = Select::new(COLUMNS);
        query.push("1 = 1");
        filter.sight.narrow(&mut query, " AND sealed_since IS NULL");
        if let Some(tenant) = &filter.tenant {
            query.push(" AND tenant = ").push_bind(tenant.as_str());
        }
        if !filter.with_closed {
            query.push(" AND state <> 'closed'");
        }
        for word in &filter.words {
            let like = like(&word.text);
            query.push(" AND (lower(id) LIKE ").push_bind(like.clone()).push(" ESCAPE '!'");
            query.push(" OR lower(clause) LIKE ").push_bind(like.clone()).push(" ESCAPE '!'");
            if !word.tenants.is_empty() {
                query.push(" OR tenant IN ").push_list(word.tenants.iter().map(|tenant| tenant.as_str()));
            }
            query.push(
                " OR EXISTS (SELECT 1 FROM case_entries e WHERE e.case_id = cases.id AND lower(e.text) LIKE ",
            );
            query.push_bind(like).push(" ESCAPE '!'))");
        }
        query.page(&filter.plan);
        let rows: Vec<Row> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(row).collect()
    }

    /// A case; `None` if there is none of that key.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn case(&self, id: &Name) -> Result<Option<CaseRow>, StoreError> {
        let mut conn = self.readers.acquire().await?;
        one(&mut conn, id.as_str()).await
    }

    /// How many of a case's violations are open, and how many of its measures stand or are ordered.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn goes_on(&self, id: &Name, now: Timestamp) -> Result<(u64, u64), StoreError> {
        let mut conn = self.readers.acquire().await?;
        goes_on(&mut conn, id.as_str(), now).await
    }

    /// What came of what somebody said to be mended: when it is looked at again, or else when it was seen after all.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn claim(&self, id: &Name) -> Result<Option<Claim>, StoreError> {
        let found: Option<(i64, Option<i64>)> =
            sqlx::query_as("SELECT seen, due FROM claims WHERE case_id = $1")
                .bind(id.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.map(|(seen, due)| match due {
            Some(due) => Claim::Waits(time(due)),
            None => Claim::Over(time(seen)),
        }))
    }

    /// The case that a violation belongs to.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn case_of(&self, violation: &ViolationId) -> Result<Option<Name>, StoreError> {
        let found: Option<(Option<String>,)> = sqlx::query_as("SELECT case_id FROM violations WHERE id = $1")
            .bind(violation.as_name().as_str())
            .fetch_optional(&self.readers)
            .await?;
        found.and_then(|(case,)| case).map(|case| name("case", &case)).transpose()
    }

    /// A case's story, of each part so much.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn story(&self, id: &Name, most: i64) -> Result<Story, StoreError> {
        let id = id.as_str();
        Ok(Story {
            entries: self.entries(id, most).await?,
            violations: self.violations_of_case(id, most).await?,
            decisions: self.decisions_of_case(id, most).await?,
            measures: self.measures_of_case(id, most).await?,
            notices: self.notices_of_case(id, most).await?,
        })
    }

    async fn entries(&self, id: &str, most: i64) -> Result<Vec<CaseEntry>, StoreError> {
        type Entry = (i64, i64, String, String, String, Option<String>, Option<i64>);
        let rows: Vec<Entry> = sqlx::query_as(
            "SELECT number, at, kind, author, text, state, deadline FROM case_entries WHERE case_id = $1 \
             ORDER BY number DESC LIMIT $2",
        )
        .bind(id)
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        let entry = |(number, at, kind, author, text, state, deadline): Entry| {
            Ok(CaseEntry {
                number: uncount(number),
                at: time(at),
                kind: EntryKind::ALL.into_iter().find(|(_, name)| *name == kind).map(|(kind, _)| kind),
                author,
                text,
                state: state.as_deref().map(CaseState::read).transpose()?,
                deadline: deadline.map(time),
            })
        };
        rows.into_iter().rev().map(entry).collect()
    }

    async fn violations_of_case(&self, id: &str, most: i64) -> Result<Vec<Violation>, StoreError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
            "SELECT body FROM violations WHERE case_id = $1 ORDER BY opened DESC, id DESC LIMIT $2",
        )
        .bind(id)
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().rev().map(|(body,)| Violation::decode(body)).collect()
    }

    async fn decisions_of_case(&self, id: &str, most: i64) -> Result<Vec<Decision>, StoreError> {
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(concat!(
            "SELECT e.body FROM decisions e WHERE e.id IN ",
            decisions!(),
            " ORDER BY e.made DESC, e.id DESC LIMIT $2"
        ))
        .bind(id)
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().rev().map(|(body,)| Decision::decode(body)).collect()
    }

    async fn measures_of_case(&self, id: &str, most: i64) -> Result<Vec<MeasureRow>, StoreError> {
        let rows: Vec<MeasureColumns> = sqlx::query_as(concat!(
            "SELECT m.node, m.decision, m.since, m.expires, m.lifted, m.lift_reason, m.packets, m.bytes \
             FROM measures m WHERE m.decision IN ",
            decisions!(),
            " ORDER BY m.since DESC, m.node DESC, m.decision DESC LIMIT $2"
        ))
        .bind(id)
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().rev().map(measure_row).collect()
    }

    async fn notices_of_case(&self, id: &str, most: i64) -> Result<Vec<NoticeRow>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT n.number, n.made, n.body FROM notices n \
             WHERE n.number IN (SELECT o.number FROM violations v JOIN notices o ON o.violation = v.id WHERE v.case_id = $1 \
             UNION SELECT o.number FROM decisions d JOIN notices o ON o.decision = d.id WHERE d.case_id = $1) \
             ORDER BY n.number DESC LIMIT $2",
        )
        .bind(id)
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        let notice = |(number, made, body): (i64, i64, Vec<u8>)| {
            Ok(NoticeRow { number: uncount(number), notice: Notice::decode(&body)?, made: time(made) })
        };
        rows.into_iter().rev().map(notice).collect()
    }
}
