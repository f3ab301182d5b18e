//! Complaints of people outside, as they are stored.

use reeve_policy::{Name, TenantId, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::query::Select;
use super::row::{count, time, uncount};
use super::seals::{OF_COMPLAINTS, Sight};
use super::{Connection, Store, StoreError};
use crate::listing::Plan;

/// How far a complaint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComplaintState {
    /// It belongs to a case.
    Filed,
    /// Whose matter it is, a person has to find out.
    Unmatched,
    /// A person has to read it.
    Unreadable,
    /// Nobody has anything to do about it.
    Dismissed,
}

impl ComplaintState {
    /// All of them, as they are stored and asked for.
    pub const NAMES: &[&str] = &["filed", "unmatched", "unreadable", "dismissed"];

    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filed => Self::NAMES[0],
            Self::Unmatched => Self::NAMES[1],
            Self::Unreadable => Self::NAMES[2],
            Self::Dismissed => Self::NAMES[3],
        }
    }

    /// Whether a person has to look.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Unmatched | Self::Unreadable)
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Filed, Self::Unmatched, Self::Unreadable, Self::Dismissed];
        all.into_iter().find(|state| state.name() == text)
    }
}

/// A complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComplaintRow {
    /// Grows with every one.
    pub number: u64,
    /// How far it is.
    pub state: ComplaintState,
    /// When it came, for the first time.
    pub received: Timestamp,
    /// How often it came.
    pub times: u64,
    /// By which way.
    pub via: String,
    /// The format that it was written in; empty where it could not be read.
    pub format: String,
    /// What it is about.
    pub kind: String,
    /// The address or network that is complained about.
    pub source: String,
    /// When it is said to have happened.
    pub seen: Option<Timestamp>,
    /// Who complains, as they say.
    pub reporter: String,
    /// Whose matter it is.
    pub tenant: Option<TenantId>,
    /// The case that it belongs to.
    pub case: Option<Name>,
    /// What a node saw of it.
    pub violation: Option<Name>,
    /// Why it could not be read or matched, or why it was dismissed.
    pub detail: String,
    /// Until when it is to be answered.
    pub deadline: Option<Timestamp>,
}

/// What was said, and of what could not be read, what came.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// What was read of it, as JSON; empty for nothing.
    pub body: String,
    /// As it came.
    pub message: Vec<u8>,
}

/// A row as it is read.
struct Read(ComplaintRow);

impl<'r> FromRow<'r, AnyRow> for Read {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        let wrong = |column: &str| sqlx::Error::Decode(format!("a complaint's {column}").into());
        let text = |column: &str| row.try_get::<String, _>(column);
        let at = |column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(time));
        let key = |column: &str| match row.try_get::<Option<String>, _>(column)? {
            Some(text) => text.parse::<Name>().map(Some).map_err(|_| wrong(column)),
            None => Ok(None),
        };
        let tenant = row.try_get::<Option<String>, _>("tenant")?;
        Ok(Self(ComplaintRow {
            number: uncount(row.try_get("number")?),
            state: ComplaintState::parse(&text("state")?).ok_or_else(|| wrong("state"))?,
            received: time(row.try_get("received")?),
            times: uncount(row.try_get("times")?),
            via: text("via")?,
            format: text("format")?,
            kind: text("kind")?,
            source: text("source")?,
            seen: at("seen")?,
            reporter: text("reporter")?,
            tenant: tenant.map(|tenant| tenant.parse()).transpose().map_err(|_| wrong("tenant"))?,
            case: key("case_id")?,
            violation: key("violation")?,
            detail: text("detail")?,
            deadline: at("deadline")?,
        }))
    }
}

const COLUMNS: &str = "SELECT number, state, received, times, via, format, kind, source, seen, reporter, tenant, \
    case_id, violation, detail, deadline FROM complaints WHERE ";

/// The one with this number.
///
/// # Errors
/// Where the database fails.
pub(super) async fn one(conn: &mut Connection, number: i64) -> Result<Option<ComplaintRow>, StoreError> {
    let mut query = Select::new(COLUMNS);
    query.push("number = ").push_bind(number);
    Ok(query.fetch_all::<Read>(conn).await?.into_iter().next().map(|Read(row)| row))
}

/// The one with this mark.
///
/// # Errors
/// Where the database fails.
pub(super) async fn marked(conn: &mut Connection, mark: &str) -> Result<Option<ComplaintRow>, StoreError> {
    let mut query = Select::new(COLUMNS);
    query.push("mark = ").push_bind(mark);
    Ok(query.fetch_all::<Read>(conn).await?.into_iter().next().map(|Read(row)| row))
}

impl Store {
    /// Complaints, page by page.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn complaints(
        &self,
        plan: &Plan,
        sight: Sight,
    ) -> Result<Vec<ComplaintRow>, StoreError> {
        let mut query = Select::new(COLUMNS);
        query.push("1 = 1");
        sight.narrow(&mut query, OF_COMPLAINTS);
        query.page(plan);
        let rows: Vec<Read> = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|Read(row)| row).collect())
    }

    /// A complaint and what is said in it; `None` if there is none of that number.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn complaint(&self, number: u64) -> Result<Option<(ComplaintRow, Said)>, StoreError> {
        let mut conn = self.readers.acquire().await?;
        let Some(row) = one(&mut conn, count(number)).await? else { return Ok(None) };
        let said: Option<(String, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT body, message FROM complaints WHERE number = $1")
                .bind(count(number))
                .fetch_optional(&mut *conn)
                .await?;
        let (body, message) = said.unwrap_or_default();
        Ok(Some((row, Said { body, message: message.unwrap_or_default() })))
    }
}
