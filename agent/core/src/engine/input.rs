//! Everything but frames that goes into an engine, as values: what a record holds, and what live and replay hand in alike.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use reeve_policy::judge::Standing;
use reeve_policy::language::Policy;
use reeve_policy::{
    CheckVerdict, Decision, DecisionId, DesiredState, Lift, Mode, Name, Pause, Tenant, TenantId,
    TenantStanding, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::detect::quota::Tally;
use crate::frame::VantageId;
use crate::stream::StreamEvent;
use crate::topology::Vantage;

/// One thing that goes into the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// What an earlier run left; see [`Engine::restore`].
    Restore {
        /// Measures in force.
        desired: DesiredState,
        /// Strikes and open episodes.
        standing: Standing,
    },
    /// What tenants used before; see [`Engine::restore_usage`].
    Usage {
        /// It.
        tallies: Vec<Tally>,
    },
    /// Tenants and vantages; see [`Engine::handle_topology`].
    Topology {
        /// The tenants.
        tenants: Vec<Arc<Tenant>>,
        /// The vantages.
        vantages: Vec<Vantage>,
        /// When.
        at: Timestamp,
    },
    /// Another policy or mode; see [`Engine::handle_policy`].
    Policy {
        /// The policy.
        policy: Arc<Policy>,
        /// The node's mode.
        mode: Mode,
        /// When.
        at: Timestamp,
    },
    /// Frames that were lost; see [`Engine::handle_loss`].
    Loss {
        /// Where.
        vantage: VantageId,
        /// How many.
        dropped: u64,
        /// When.
        at: Timestamp,
    },
    /// Whether the node has a way to the outside; see [`Engine::handle_upstream`].
    Upstream {
        /// Whether it has.
        is_up: bool,
        /// When.
        at: Timestamp,
    },
    /// Time alone; see [`Engine::handle_tick`].
    Tick {
        /// When.
        at: Timestamp,
    },
    /// What was said in the frame before; see [`Engine::handle_said`].
    Said {
        /// It.
        said: Vec<StreamEvent>,
        /// When.
        at: Timestamp,
    },
    /// What follows a tenant from node to node; see [`Engine::handle_standing`].
    Standing {
        /// It.
        standing: Box<TenantStanding>,
        /// When.
        at: Timestamp,
    },
    /// An operator's decision; see [`Engine::handle_impose`].
    Impose {
        /// It.
        decision: Box<Decision>,
        /// When.
        at: Timestamp,
    },
    /// An operator's release; see [`Engine::handle_release`].
    Release {
        /// Whom.
        tenant: TenantId,
        /// Whether the strikes of what it ends are taken back. Older records do not say it.
        #[serde(default)]
        forgive: bool,
        /// When.
        at: Timestamp,
    },
    /// Some of what holds a tenant is let go of; see [`Engine::handle_let_go`].
    LetGo {
        /// Whom.
        tenant: TenantId,
        /// What was decided.
        decisions: BTreeSet<DecisionId>,
        /// When.
        at: Timestamp,
    },
    /// An invoice is paid; see [`Engine::handle_paid`].
    Paid {
        /// Whose.
        tenant: TenantId,
        /// When.
        at: Timestamp,
    },
    /// The stop button, pressed or let go; see [`Engine::handle_pause`].
    Pause {
        /// Who pressed it; `None` when nobody holds it any more.
        paused: Option<Pause>,
        /// When.
        at: Timestamp,
    },
    /// What a tenant's mail server said when it was asked; see [`Engine::handle_relay_checked`].
    RelayChecked {
        /// Whose.
        tenant: TenantId,
        /// What it said.
        verdict: CheckVerdict,
        /// Whether whoever asked is a stranger to it.
        is_outside: bool,
        /// The server. Older records do not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<IpAddr>,
        /// The operator who asked, or had it asked.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// When.
        at: Timestamp,
    },
    /// An operator has a tenant's mail server asked; see [`Engine::handle_verify`].
    Verify {
        /// Whose.
        tenant: TenantId,
        /// When.
        at: Timestamp,
    },
    /// An operator takes strikes back; see [`Engine::handle_forgive`].
    Forgive {
        /// Whose.
        tenant: TenantId,
        /// Only those under this rule.
        rule: Option<Name>,
        /// Those given until then.
        before: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// A person released the brakes; see [`Engine::handle_release_brakes`].
    ReleaseBrakes {
        /// When.
        at: Timestamp,
    },
    /// What policy did is undone; see [`Engine::handle_lift`].
    Lift {
        /// What of it.
        lift: Lift,
        /// When.
        at: Timestamp,
    },
}

impl Engine {
    /// Takes an input.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Restore { desired, standing } => self.restore(desired, standing),
            Input::Usage { tallies } => self.restore_usage(&tallies),
            Input::Topology { tenants, vantages, at } => self.handle_topology(tenants, vantages, at),
            Input::Policy { policy, mode, at } => self.handle_policy(policy, mode, at),
            Input::Loss { vantage, dropped, at } => self.handle_loss(at, vantage, dropped),
            Input::Upstream { is_up, at } => self.handle_upstream(is_up, at),
            Input::Tick { at } => self.handle_tick(at),
            Input::Said { said, at } => self.handle_said(said, at),
            Input::Standing { standing, at } => self.handle_standing(*standing, at),
            Input::Impose { decision, at } => self.handle_impose(&decision, at),
            Input::Release { tenant, forgive, at } => self.handle_release(&tenant, forgive, at),
            Input::LetGo { tenant, decisions, at } => self.handle_let_go(&tenant, &decisions, at),
            Input::Paid { tenant, at } => self.handle_paid(&tenant, at),
            Input::RelayChecked { tenant, verdict, is_outside, server, by, at } => {
                self.handle_relay_checked(&tenant, (verdict, is_outside), server, by, at);
            }
            Input::Verify { tenant, at } => self.handle_verify(&tenant, at),
            Input::Forgive { tenant, rule, before, at } => {
                self.handle_forgive(&tenant, rule.as_ref(), before, at);
            }
            Input::ReleaseBrakes { at } => self.handle_release_brakes(at),
            Input::Pause { paused, at } => self.handle_pause(paused, at),
            Input::Lift { lift, at } => self.handle_lift(&lift, at),
        }
    }
}
