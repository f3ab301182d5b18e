//! Reeve's vocabulary and its policy language.
//!
//! Everything that an agent, a controller and an operator's tool must mean the same by lives here: tenants,
//! abuse classes, alerts, violations, decisions and measures, and the acceptable-use policy that leads from the
//! one to the other. The crate is pure: no clock, no I/O, no randomness; time is always an argument.
//!
//! What is deliberately left out: packets and how abuse is recognised (`reeve-core`), how a measure gets into
//! the kernel (`reeve-agent`), and what travels between daemons (`reeve-proto`).

pub mod alert;
pub mod class;
mod complaint;
pub mod decision;
pub mod event;
pub mod evidence;
pub mod exemption;
pub mod explain;
pub mod judge;
pub mod language;
pub mod local;
mod mailbox;
pub mod measure;
pub mod net;
pub mod notice;
pub mod order;
pub mod pause;
pub mod pcapng;
pub mod rate;
pub mod reader;
pub mod reckoning;
mod relay;
pub mod report;
mod sample;
pub mod standing;
pub mod tenant;
pub mod time;
pub mod usage;
pub mod violation;

pub use alert::{Alert, HeaderSample, Loss, Metric, Outcome, TargetSeen, Window};
pub use class::Class;
pub use decision::{Action, Decision, DecisionId, Origin, Scope, Until};
pub use event::{NodeEvent, NodeEventKind};
pub use evidence::{Dossier, Evidence};
pub use exemption::{ClausePattern, Exemption};
pub use explain::Explanation;
pub use mailbox::{Mailbox, ParseMailboxError};
pub use measure::{DesiredState, LiftReason, Measure, MeasureCounters};
pub use net::{Protocol, Target};
pub use notice::{Notice, NoticeId, NoticeKind};
pub use order::{AssignedError, AssignedPolicy, Assignment, Lift, Order, OrderFailure, OrderId, OrderResult};
pub use pause::{HeldPause, Pause, PauseScope};
pub use rate::Rate;
pub use reckoning::Reckoning;
pub use relay::{RelayAnswer, RelayChecked};
pub use report::{NodeHealth, PolicyVersion, Report};
pub use standing::{StrikeElsewhere, TenantStanding};

pub use tenant::{Domain, InterfaceSelector, Mode, Name, NodeId, Profile, Tenant, TenantId};
pub use time::Timestamp;
pub use usage::{Month, Usage};
pub use violation::{CheckVerdict, Violation, ViolationId, ViolationState};
