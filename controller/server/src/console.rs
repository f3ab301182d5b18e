//! The way to the services from within: for the console, and for what is asked of them over HTTP. Through the same gate, log and second person as
//! everybody's, without a connection.

use reeve_console::Transport;
use tonic::service::Routes;
use tower_layer::Layer as _;

use crate::approval::ApprovalLayer;
use crate::audit::AuditLayer;
use crate::auth::GateLayer;
use crate::refusal::ReasonLayer;

/// What stands before the services.
pub(crate) struct Guards {
    pub gate: GateLayer,
    pub audit: AuditLayer,
    pub approval: ApprovalLayer,
}

/// These services behind these guards, as they are on the port.
pub(crate) fn inside(guards: Guards, routes: Routes) -> Transport {
    let Guards { gate, audit, approval } = guards;
    Transport::new(ReasonLayer.layer(gate.layer(audit.layer(approval.layer(routes)))))
}

/// These services behind the log and the second person alone: for a port that has asked the gate itself, and says among a request's extensions
/// whom it let in (`auth::Caller`).
pub(crate) fn behind_gate(audit: AuditLayer, approval: ApprovalLayer, routes: Routes) -> Transport {
    Transport::new(ReasonLayer.layer(audit.layer(approval.layer(routes))))
}
