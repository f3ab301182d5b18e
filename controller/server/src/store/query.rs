//! Statements that are put together, and what both engines understand in the same words.
//!
//! Every other statement of the store is fixed text with numbered placeholders (`$1`), which SQLite and PostgreSQL read
//! alike. What else they share, and the store keeps to: `INSERT ... ON CONFLICT (key)`, `RETURNING`, row values,
//! `CASE` in the place of the smaller or larger of two values, and times and counts as signed 64 bits. Columns of the row
//! that is updated are named with their table, since PostgreSQL takes a bare name for ambiguous.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, Arguments as _, AssertSqlSafe, Encode, Executor, FromRow, Type};

use super::{Connection, StoreError};
use crate::listing::{Field, Filter, Plan, Value};

/// The sum of a column of counts, as SQL: exact to 53 bits, nine petabytes, and the most there is beyond 63, where the
/// engines' own sums fail.
macro_rules! total {
    ($column:literal) => {
        concat!(
            "CASE WHEN coalesce(sum(CAST(",
            $column,
            " AS DOUBLE PRECISION)), 0) < 9.2e18 THEN CAST(coalesce(sum(CAST(",
            $column,
            " AS DOUBLE PRECISION)), 0) AS BIGINT) ELSE 9223372036854775807 END"
        )
    };
}
pub(super) use total;

/// The most rows that one statement writes.
const ROWS: usize = 64;

/// Writes rows, many with one statement: `into` says where to, `values` binds what stands between the brackets of one, and `behind` says what
/// becomes of those that are there already, or, where `into` selects from the values, how. No two rows of `rows` are the same one.
///
/// # Errors
/// Where the database fails.
pub(super) async fn write_rows<T>(
    conn: &mut Connection,
    into: &'static str,
    rows: &[T],
    values: impl Fn(&mut Select, &T),
    behind: &'static str,
) -> Result<(), StoreError> {
    for query in statements(into, rows, values, behind) {
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// The same, where `behind` returns something of those that were written.
///
/// # Errors
/// Where the database fails.
pub(super) async fn write_rows_returning<T, R>(
    conn: &mut Connection,
    into: &'static str,
    rows: &[T],
    values: impl Fn(&mut Select, &T),
    behind: &'static str,
) -> Result<Vec<R>, StoreError>
where
    R: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
{
    let mut written = Vec::new();
    for query in statements(into, rows, values, behind) {
        written.append(&mut query.fetch_all(&mut *conn).await?);
    }
    Ok(written)
}

/// The statements that write rows, each of a power of two of them: few lengths are few statements for the engine to prepare.
fn statements<T>(
    into: &'static str,
    rows: &[T],
    values: impl Fn(&mut Select, &T),
    behind: &'static str,
) -> impl Iterator<Item = Select> {
    let mut left = rows;
    std::iter::from_fn(move || {
        let size = ROWS.min(1 << left.len().checked_ilog2()?);
        let (some, rest) = left.split_at(size);
        left = rest;
        let mut query = Select::new(into);
        for (place, row) in some.iter().enumerate() {
            query.push(if place == 0 { " VALUES (" } else { ", (" });
            values(&mut query, row);
            query.push(")");
        }
        query.push(behind);
        Some(query)
    })
}

/// A question whose conditions are put together. The text is the program's own; values are bound.
pub(super) struct Select {
    text: String,
    values: AnyArguments,
    /// A value that could not be bound, told when the question is asked.
    failed: Option<sqlx::Error>,
}

impl Select {
    /// Begins with this text.
    pub fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: AnyArguments::default(), failed: None }
    }

    /// Goes on with this text.
    pub fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with the placeholder of a value.
    pub fn push_bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.values.add(value) {
            self.failed = Some(sqlx::Error::Encode(error));
        }
        self.text.push_str(&format!("${}", self.values.len()));
        self
    }

    /// Goes on with the next value of a row.
    pub fn and<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        self.push(", ").push_bind(value)
    }

    /// Goes on with a list of values in brackets; of none, nothing is in it. The last is repeated until there is a power of two of them: few
    /// lengths are few statements for the engine to prepare.
    pub fn push_list<'t>(&mut self, values: impl ExactSizeIterator<Item = &'t str>) -> &mut Self {
        let mut last = "";
        let places = values.len().next_power_of_two();
        for (place, value) in values.map(Some).chain(std::iter::repeat(None)).take(places).enumerate() {
            last = value.unwrap_or(last);
            self.push(if place == 0 { "(" } else { ", " }).push_bind(last);
        }
        self.push(")")
    }

    /// The same of numbers; of none, one that nothing has.
    pub fn push_numbers(&mut self, values: impl ExactSizeIterator<Item = i64>) -> &mut Self {
        let mut last = -1;
        let places = values.len().next_power_of_two();
        for (place, value) in values.map(Some).chain(std::iter::repeat(None)).take(places).enumerate() {
            last = value.unwrap_or(last);
            self.push(if place == 0 { "(" } else { ", " }).push_bind(last);
        }
        self.push(")")
    }

    /// Goes on with a table `asked` of pairs, in the manner of [`Self::push_list`]: joined by both halves of a key, they are looked up by it whatever
    /// is known of how many rows share one half. The last comes several times.
    pub fn push_pairs<'t>(&mut self, pairs: impl ExactSizeIterator<Item = (&'t str, &'t str)>) -> &mut Self {
        let mut last = ("", "");
        let places = pairs.len().next_power_of_two();
        for (place, pair) in pairs.map(Some).chain(std::iter::repeat(None)).take(places).enumerate() {
            last = pair.unwrap_or(last);
            self.push(if place == 0 { "(VALUES (" } else { ", (" }).push_bind(last.0).and(last.1).push(")");
        }
        self.push(") AS asked")
    }

    /// Goes on with what a list is filtered by, as one condition.
    fn filter(&mut self, filter: &Filter, fields: &'static [Field]) {
        match filter {
            Filter::All => _ = self.push("1 = 1"),
            Filter::Is(place, op, value) => {
                self.push(fields[*place].column).push(op.sql());
                self.value(value);
            }
            Filter::Not(inner) => {
                self.push("NOT (");
                self.filter(inner, fields);
                self.push(")");
            }
            Filter::And(all) => self.all(all, " AND ", fields),
            Filter::Or(all) => self.all(all, " OR ", fields),
        }
    }

    fn all(&mut self, all: &[Filter], between: &'static str, fields: &'static [Field]) {
        for (number, one) in all.iter().enumerate() {
            self.push(if number > 0 { between } else { "" }).push("(");
            self.filter(one, fields);
            self.push(")");
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => _ = self.push_bind(text.clone()),
            Value::Number(number) => _ = self.push_bind(*number),
        }
    }

    /// Goes on with a page of a list, behind other conditions: what it is filtered by, where it begins and in which order it is. One row more
    /// than the page has says that there is another.
    pub fn page(&mut self, plan: &Plan) -> &mut Self {
        let fields = plan.list.fields;
        let (key, by) = (fields[0].column, fields[plan.order].column);
        self.push(" AND (");
        self.filter(&plan.filter, fields);
        self.push(")");
        let (beyond, way) = if plan.descending { (" < ", " DESC") } else { (" > ", "") };
        match plan.after() {
            None => {}
            Some((Some(order), last)) => {
                self.push(" AND (").push(by).push(", ").push(key).push(")").push(beyond).push("(");
                self.value(order);
                self.push(", ");
                self.value(last);
                self.push(")");
            }
            Some((None, last)) => {
                self.push(" AND ").push(key).push(beyond);
                self.value(last);
            }
        }
        self.push(" ORDER BY ");
        if plan.order > 0 {
            self.push(by).push(way).push(", ");
        }
        self.push(key).push(way).push(" LIMIT ").push_bind(i64::from(plan.size) + 1)
    }

    /// Carries it out, where it gives no rows.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn execute<'c>(self, conn: impl Executor<'c, Database = Any>) -> Result<(), StoreError> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        sqlx::query_with(AssertSqlSafe(self.text), self.values).execute(conn).await?;
        Ok(())
    }

    /// Asks, and gives every row.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn fetch_all<'c, T>(self, conn: impl Executor<'c, Database = Any>) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        Ok(sqlx::query_as_with(AssertSqlSafe(self.text), self.values).fetch_all(conn).await?)
    }
}
