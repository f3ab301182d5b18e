//! What a seal hides: a case that is sealed, and all that is its, are there for administrators alone.

use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::{Name, TenantId, ViolationId};

use super::query::Select;
use super::row::name;
use super::{Connection, Store, StoreError};

/// Whether what is sealed is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// To administrators: everything.
    Whole,
    /// To everybody else: nothing of what is sealed.
    Unsealed,
}

/// By tenant, the clauses of whose cases those that are not closed are sealed.
pub type Seals = BTreeMap<TenantId, BTreeSet<String>>;

/// Narrows a question about `violations`.
pub(super) const OF_VIOLATIONS: &str =
    " AND NOT EXISTS (SELECT 1 FROM cases s WHERE s.id = violations.case_id AND s.sealed_since IS NOT NULL)";
/// Narrows a question about `complaints`.
pub(super) const OF_COMPLAINTS: &str =
    " AND NOT EXISTS (SELECT 1 FROM cases s WHERE s.id = complaints.case_id AND s.sealed_since IS NOT NULL)";

/// Narrows a question about what has the columns `violation` and `decision` of a notice.
macro_rules! of_notices {
    ($table:literal) => {
        concat!(
            " AND NOT EXISTS (SELECT 1 FROM violations sv JOIN cases s ON s.id = sv.case_id WHERE sv.id = ",
            $table,
            ".violation AND s.sealed_since IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM decisions sd JOIN cases s ON s.id = sd.case_id WHERE sd.id = ",
            $table,
            ".decision AND s.sealed_since IS NOT NULL)"
        )
    };
}
pub(super) use of_notices;

/// Narrows a question about what has the columns `violation` and `decision` of a notice, and the column `complaint` of what is sent.
macro_rules! of_deliveries {
    ($notice:literal, $delivery:literal) => {
        concat!(
            crate::store::seals::of_notices!($notice),
            " AND NOT EXISTS (SELECT 1 FROM complaints sp JOIN cases s ON s.id = sp.case_id WHERE sp.number = ",
            $delivery,
            ".complaint AND s.sealed_since IS NOT NULL)"
        )
    };
}
pub(super) use of_deliveries;

impl Sight {
    /// Adds what narrows a question, unless everything is told.
    pub(super) fn narrow(self, query: &mut Select, condition: &'static str) {
        if self == Self::Unsealed {
            query.push(condition);
        }
    }
}

/// What is sealed of all tenants, or of these.
///
/// # Errors
/// Where the database fails.
pub async fn seals(conn: &mut Connection, of: Option<&[&TenantId]>) -> Result<Seals, StoreError> {
    let mut query =
        Select::new("SELECT tenant, clause FROM cases WHERE sealed_since IS NOT NULL AND state <> 'closed'");
    if let Some(of) = of {
        query.push(" AND tenant IN ").push_list(of.iter().map(|tenant| tenant.as_str()));
    }
    let mut all = Seals::new();
    for (tenant, clause) in query.fetch_all::<(String, String)>(conn).await? {
        all.entry(name("tenant", &tenant)?).or_default().insert(clause);
    }
    Ok(all)
}

impl Store {
    /// Whether a case is there, and sealed.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn is_sealed(&self, case: &Name) -> Result<bool, StoreError> {
        let found: Option<(i64,)> =
            sqlx::query_as("SELECT 1 FROM cases WHERE id = $1 AND sealed_since IS NOT NULL")
                .bind(case.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.is_some())
    }

    /// Whether any case of a tenant is sealed, be it closed or not.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn has_seals(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let found: Option<(i64,)> =
            sqlx::query_as("SELECT 1 FROM cases WHERE tenant = $1 AND sealed_since IS NOT NULL LIMIT 1")
                .bind(tenant.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.is_some())
    }

    /// Those of these violations that belong to cases that are sealed.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn under_seal(&self, violations: &[&Name]) -> Result<BTreeSet<String>, StoreError> {
        if violations.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut query = Select::new(
            "SELECT v.id FROM violations v JOIN cases s ON s.id = v.case_id WHERE s.sealed_since IS NOT NULL AND v.id IN ",
        );
        query.push_list(violations.iter().map(|id| id.as_str()));
        let rows: Vec<(String,)> = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// The tenants of whom a case is sealed, be it closed or not.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn sealed_tenants(&self) -> Result<BTreeSet<String>, StoreError> {
        let query = Select::new("SELECT DISTINCT tenant FROM cases WHERE sealed_since IS NOT NULL");
        let rows: Vec<(String,)> = query.fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|(tenant,)| tenant).collect())
    }

    /// Whether a violation belongs to a case that is sealed.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn is_under_seal(&self, violation: &ViolationId) -> Result<bool, StoreError> {
        match self.case_of(violation).await? {
            Some(case) => self.is_sealed(&case).await,
            None => Ok(false),
        }
    }

    /// Whether what is told by what is sent belongs to a case that is sealed.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn is_delivery_sealed(&self, number: u64) -> Result<bool, StoreError> {
        let found: Option<(i64,)> = sqlx::query_as(concat!(
            "SELECT 1 FROM deliveries d LEFT JOIN notices n ON n.number = d.notice WHERE d.number = $1",
            of_deliveries!("n", "d")
        ))
        .bind(super::row::count(number))
        .fetch_optional(&self.readers)
        .await?;
        let known: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM deliveries WHERE number = $1")
            .bind(super::row::count(number))
            .fetch_optional(&self.readers)
            .await?;
        Ok(known.is_some() && found.is_none())
    }
}
