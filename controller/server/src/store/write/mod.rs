//! Changes to the database, each within the transaction of whoever calls.
//!
//! A change notes in [`Effects`] what is to be told once the transaction is on disk. Reports may come twice (a
//! crash between commit and acknowledgement) and orders' results may overtake the reports behind them, so every
//! change is written to be repeated: keys are upserted, a closed episode stays closed, and what was lifted later
//! than a report says is not raised again by it.

mod acknowledge;
mod answered;
mod answers;
mod batch;
mod cases;
mod complaints;
mod cursors;
mod delete;
mod deliveries;
mod evidence;
mod exemptions;
mod follow;
mod greet;
mod holds;
mod mended;
mod notices;
mod orders;
mod pauses;
mod relay;
mod remedies;
mod reports;
mod retain;
mod rollout;
mod seen;
mod tenants;
mod unwritten;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reeve_policy::{NodeId, Pause, TenantId, Timestamp};

pub use acknowledge::AnswerTo;
pub use answered::order_result;
pub use answers::Answers;
pub use batch::{BatchTaken, Part, ReleaseAsked, release_all, suspend_all};
pub use cases::{CaseAct, CaseAsked, CaseTaken, Place, act_on_case, close_quiet, end_waiting};
pub use complaints::{
    BY_FORM, Incoming, KEPT, SettleAsked, SettleTaken, Submission, SubmissionTaken, settle_complaint, submit,
};
pub use cursors::Cursors;
pub(super) use delete::hash as text_hash;
pub use delete::{DeleteAsked, DeleteTaken, delete_policy};
pub use deliveries::{Attempted, LEASE, Outcome, ResendAsked, ResendTaken, attempted, claim, resend};
pub use exemptions::{GrantAsked, GrantTaken, RevokeAsked, grant, revoke_exemption};
pub use follow::{followed, records};
pub(super) use greet::ABSENT;
pub use greet::{Greeting, greet};
pub use holds::{HoldAsked, hold};
pub use mended::{MendAsked, Mended, look_again, mend};
pub use notices::{Ended, tell_ends};
pub use orders::{
    ForgiveAsked, LiftAsked, LiftTaken, OrderTaken, PaidFor, Released, Requested, forgive, lift, paid,
    release, release_brakes, suspend,
};
pub use pauses::{Asked, PauseRow, Target, pause, pauses, resume};
pub use relay::{VerifyAsked, verify};
pub use remedies::{MOST, Pulled, note_remedies, pull};
pub use reports::{Refusal, refuse, report};
pub use retain::{Limits, retain};
pub use rollout::{RolloutAsked, RolloutTaken, Upload, UploadTaken, Wanted, roll_out, upload};
pub use seen::{Seen, subjects};
pub use tenants::{Fate, ImportMethod, Imported, TenantChange, import_tenants, keep_grants};
pub use unwritten::{hear, settle, up};

use super::{Channels, Connection, Policies, StoreError};
use crate::directory::{Paused, Rollout, Standing, Tenants};
use crate::events::What;

/// What nodes tell in a transaction, as far as it is looked up and written many at a time.
#[derive(Debug, Default)]
pub struct Told {
    /// How far their reports are stored.
    pub cursors: Cursors,
    /// What they answer to orders.
    pub answers: Answers,
}

impl Told {
    /// Writes what is not written yet.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn write(&mut self, conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
        self.answers.write(conn, now).await?;
        self.cursors.write(conn, now).await
    }
}

/// What notices are made with: who is who, and by which policies it was decided.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    /// The tenants, as they were before the transaction.
    pub people: Arc<Tenants>,
    /// The policies that nodes told of.
    pub policies: Policies,
    /// By which ways notices leave this controller.
    pub channels: Arc<Channels>,
}

/// What is to be told after the commit.
#[derive(Debug)]
pub struct Effects {
    /// The time of the transaction.
    pub now: Timestamp,
    /// What notices are made with.
    pub desk: Desk,
    /// Measures that are over, of which people may have to be told.
    pub ended: Vec<Ended>,
    /// To whoever watches.
    pub events: Vec<What>,
    /// Tenants whose standing may have changed.
    pub touched: BTreeSet<TenantId>,
    /// Nodes that have new orders.
    pub ordered: BTreeSet<NodeId>,
    /// The tenants of whom nodes are to be told something else.
    pub followed: BTreeSet<TenantId>,
    /// The tenants whose standing, or what is known of them, is another now, for those who follow.
    pub changed: BTreeSet<TenantId>,
    /// Whether the tenants changed.
    pub tenants_changed: bool,
    /// Whether what operators paused changed.
    pub pauses_changed: bool,
    /// What nodes say of their pause, where they say something else now.
    pub pauses_told: BTreeMap<NodeId, Option<Pause>>,
    /// Whether any of that changed at another controller.
    pub pauses_changed_elsewhere: bool,
    /// Whether somebody else may call now.
    pub access_changed: bool,
    /// Whether nodes are to run something else now.
    pub rollout_changed: bool,
    /// What is sealed, once it was asked for; `None` before.
    pub sealed: Option<super::seals::Seals>,
    /// What is kept of what reports are about, and what of it is to be written.
    pub seen: Seen,
}

impl Effects {
    /// Nothing yet.
    #[must_use]
    pub const fn new(now: Timestamp, desk: Desk) -> Self {
        Self {
            now,
            desk,
            ended: Vec::new(),
            events: Vec::new(),
            touched: BTreeSet::new(),
            ordered: BTreeSet::new(),
            followed: BTreeSet::new(),
            changed: BTreeSet::new(),
            tenants_changed: false,
            pauses_changed: false,
            pauses_told: BTreeMap::new(),
            pauses_changed_elsewhere: false,
            access_changed: false,
            rollout_changed: false,
            sealed: None,
            seen: Seen::new(),
        }
    }
}

/// Whether a tenant's case under this clause is sealed.
///
/// # Errors
/// Where the database fails.
pub(super) async fn is_sealed(
    conn: &mut Connection,
    tenant: &TenantId,
    clause: &str,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let seals = match effects.sealed.take() {
        Some(seals) => seals,
        None => super::seals::seals(conn, None).await?,
    };
    let is_sealed = seals.get(tenant).is_some_and(|clauses| clauses.contains(clause));
    effects.sealed = Some(seals);
    Ok(is_sealed)
}

/// Where some tenants stand as the transaction leaves them, by tenant: of those that nothing holds, nothing.
///
/// # Errors
/// Where the database fails.
pub async fn standings(
    conn: &mut Connection,
    tenants: &[&TenantId],
    desk: &Desk,
) -> Result<BTreeMap<TenantId, Standing>, StoreError> {
    super::read::standings(conn, tenants, desk).await
}

/// Takes over into `paused` what the transaction, or another controller, changed of what operators paused and nodes tell of it. Where it
/// was this one, no node is looked at but those that say something else now.
///
/// # Errors
/// Where the database fails.
pub async fn update_paused(
    conn: &mut Connection,
    paused: &mut Paused,
    effects: &Effects,
) -> Result<(), StoreError> {
    if effects.pauses_changed_elsewhere {
        *paused = super::read::paused(conn).await?;
    } else if effects.pauses_changed {
        (paused.fleet, paused.ordered) = super::read::ordered_pauses(conn).await?;
    }
    for (node, pause) in &effects.pauses_told {
        match pause {
            Some(pause) => _ = paused.nodes.insert(node.clone(), pause.clone()),
            None => _ = paused.nodes.remove(node),
        }
    }
    Ok(())
}

/// What nodes are to run as the transaction leaves it, sharing what is the same with what is `known`.
///
/// # Errors
/// Where the database fails.
pub async fn rollout(conn: &mut Connection, known: &Rollout) -> Result<Rollout, StoreError> {
    super::rollout::rollout(conn, known).await
}

/// The tenants as the transaction leaves them, sharing what is the same with those that are `known`.
///
/// # Errors
/// Where the database fails.
pub async fn tenants(conn: &mut Connection, known: &Arc<Tenants>) -> Result<Arc<Tenants>, StoreError> {
    super::read::tenants(conn, known).await
}
