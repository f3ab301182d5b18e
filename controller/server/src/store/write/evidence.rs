//! The alerts that decisions rest on, which outlive what is seen later in the same violation.

use reeve_policy::evidence::{self, MAX_KEPT};
use reeve_policy::{Alert, Decision, DecisionId, Violation};

use super::super::row::{Body, nanos};
use super::super::{Connection, StoreError};
use super::seen::Known;

/// Keeps the alert by which a violation was opened. `before` is what is stored of it, which may be from a time when nothing was kept
/// beside a violation.
pub(super) async fn keep_opening(
    conn: &mut Connection,
    violation: &Violation,
    before: Option<&Known>,
) -> Result<(), StoreError> {
    // Of one that is new nothing is kept yet.
    let Some(before) = before else { return keep(conn, violation, &violation.evidence, None).await };
    if before.has_evidence {
        return Ok(());
    }
    let id = violation.id.as_name().as_str();
    let before = Violation::decode(&before.body)?;
    let decisions: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT body FROM decisions WHERE violation = $1")
        .bind(id)
        .fetch_all(&mut *conn)
        .await?;
    let decisions: Vec<Decision> =
        decisions.iter().map(|(body,)| Decision::decode(body)).collect::<Result<_, _>>()?;
    let behind = decisions.iter().find(|decision| evidence::is_behind(&before.evidence, decision));
    keep(conn, violation, &before.evidence, behind.map(|decision| &decision.id)).await
}

/// Keeps the alert that a decision rests on: the violation was told with it just before.
pub(super) async fn keep_behind(
    conn: &mut Connection,
    decision: &Decision,
    violation: &Violation,
) -> Result<(), StoreError> {
    if !evidence::is_behind(&violation.evidence, decision) {
        return Ok(());
    }
    keep(conn, violation, &violation.evidence, Some(&decision.id)).await
}

async fn keep(
    conn: &mut Connection,
    violation: &Violation,
    alert: &Alert,
    decision: Option<&DecisionId>,
) -> Result<(), StoreError> {
    // What opened it is stored before anything is decided; then the decision takes the alert for its own.
    sqlx::query(
        "INSERT INTO evidence (violation, raised, class, decision, body) SELECT $1, $2, $3, $4, $5 \
         WHERE (SELECT count(*) FROM evidence WHERE violation = $1) < $6 \
         OR EXISTS (SELECT 1 FROM evidence WHERE violation = $1 AND raised = $2 AND class = $3) \
         ON CONFLICT (violation, raised, class) DO UPDATE SET decision = excluded.decision, body = excluded.body \
         WHERE evidence.decision IS NULL AND excluded.decision IS NOT NULL",
    )
    .bind(violation.id.as_name().as_str())
    .bind(nanos(alert.at))
    .bind(alert.class.name())
    .bind(decision.map(|id| id.0.as_str()))
    .bind(alert.encode())
    .bind(i64::try_from(MAX_KEPT).unwrap_or(i64::MAX))
    .execute(conn)
    .await?;
    Ok(())
}
