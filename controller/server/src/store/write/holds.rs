//! Evidence that a person keeps past its time.

use reeve_policy::{Timestamp, ViolationId};

use super::super::row::nanos;
use super::super::{Connection, StoreError};

/// A person keeps a violation past its time, or ends that.
#[derive(Clone, Debug)]
pub struct HoldAsked {
    /// Which.
    pub violation: ViolationId,
    /// Who.
    pub by: String,
    /// Why; `None` where it ends.
    pub reason: Option<String>,
}

/// Begins or ends a hold; whether anything is other than before, `None` where there is no such violation. Whoever held first holds.
///
/// # Errors
/// Where the database fails.
pub async fn hold(
    conn: &mut Connection,
    asked: &HoldAsked,
    now: Timestamp,
) -> Result<Option<bool>, StoreError> {
    let id = asked.violation.as_name().as_str();
    let known: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM violations WHERE id = $1").bind(id).fetch_optional(&mut *conn).await?;
    if known.is_none() {
        return Ok(None);
    }
    let done = match &asked.reason {
        Some(reason) => {
            sqlx::query(
                "INSERT INTO evidence_holds (violation, operator, reason, since) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (violation) DO NOTHING",
            )
            .bind(id)
            .bind(asked.by.as_str())
            .bind(reason.as_str())
            .bind(nanos(now))
            .execute(conn)
            .await?
        }
        None => sqlx::query("DELETE FROM evidence_holds WHERE violation = $1").bind(id).execute(conn).await?,
    };
    Ok(Some(done.rows_affected() > 0))
}
