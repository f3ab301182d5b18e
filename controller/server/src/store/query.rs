//! Statements that are put together, and what both engines understand in the same words.
//!
//! Every other statement of the store is fixed text with numbered placeholders (`$1`), which SQLite and PostgreSQL read
//! alike. What else they share, and the store keeps to: `INSERT ... ON CONFLICT (key)`, `RETURNING`, row values,
//! `CASE` in the place of the smaller or larger of two values, and times and counts as signed 64 bits. Columns of the row
//! that is updated are named with their table, since PostgreSQL takes a bare name for ambiguous.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, Arguments as _, AssertSqlSafe, Encode, Executor, FromRow, Type};

use super::StoreError;

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
