//! What is entered in the audit log, and when: every act before it is done and what came of it behind, every look at evidence
//! before it is answered.
//!
//! It stands before the services ([`AuditLayer`]), so that no act can be left out by whoever writes a service, and goes by one table
//! ([`KINDS`]). An entry that cannot be written refuses the call: nothing is done that is not on the record. A controller that is
//! killed in between leaves an entry without what came of it, never an act without an entry.
//!
//! The chain itself, and how it is verified, is `reeve_audit`. Calls that were refused at the gate are in the controller's
//! log and its metrics, not here: else anybody could fill it.

mod body;
mod layer;
pub(crate) mod request;

use std::sync::Arc;
use std::time::Duration;

use reeve_audit::Signer;

use crate::writer::{Job, WriteError, Writer};

pub(crate) use body::whole;
pub(crate) use layer::{AuditLayer, audited};

/// The key's name in the controller's folder.
pub const KEY: &str = "audit.key";
/// How often the chain is signed while it grows.
const SEALED_EVERY: Duration = Duration::from_secs(3_600);

/// What is entered, but for its place and time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Who.
    pub who: String,
    /// In which role.
    pub role: String,
    /// From which address; empty where there is none.
    pub from: String,
    /// Which method.
    pub act: String,
    /// About whom or what.
    pub subject: String,
    /// The request as JSON.
    pub asked: String,
    /// Why, in the caller's words.
    pub reason: String,
    /// What came of it.
    pub outcome: String,
}

/// One more of those whom a call is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Also {
    /// Whom.
    pub subject: String,
    /// Why, in the caller's words.
    pub reason: String,
}

/// What came of an act, in the words of the service that did it, where that is more than that it was done. It goes with the answer.
#[derive(Clone, Debug)]
pub(crate) struct Outcome(pub String);

/// What a call is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is done: it is entered, and so is what came of it.
    Act,
    /// Somebody looks at evidence, or at this log: it is entered.
    Look,
    /// Neither.
    Plain,
}

/// Every method, by its path, and what it is.
pub const KINDS: &[(&str, Kind)] = &[
    ("/reeve.agent.v1.AgentService/Connect", Kind::Plain),
    // Anybody may call it, and could fill the record: that the token was made is entered, and for which node.
    ("/reeve.agent.v1.EnrolmentService/Enroll", Kind::Plain),
    ("/reeve.agent.v1.EnrolmentService/Renew", Kind::Plain),
    ("/reeve.status.v1.StatusService/GetStatus", Kind::Plain),
    ("/reeve.status.v1.StatusService/BatchGetStatus", Kind::Plain),
    ("/reeve.status.v1.StatusService/WatchStatus", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ListTenants", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ImportTenants", Kind::Act),
    ("/reeve.operator.v1.OperatorService/ListNodes", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ListViolations", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/GetViolation", Kind::Look),
    ("/reeve.operator.v1.OperatorService/Suspend", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Impose", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Release", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Verify", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Paid", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Pause", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Resume", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Lift", Kind::Act),
    ("/reeve.operator.v1.OperatorService/ReleaseBrakes", Kind::Act),
    ("/reeve.operator.v1.OperatorService/HoldEvidence", Kind::Act),
    ("/reeve.operator.v1.OperatorService/ListEvents", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ListUsage", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ListSuspensions", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ListNotices", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ListDeliveries", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/ResendDelivery", Kind::Act),
    ("/reeve.operator.v1.OperatorService/Watch", Kind::Plain),
    ("/reeve.operator.v1.OperatorService/BatchSuspend", Kind::Act),
    ("/reeve.operator.v1.OperatorService/BatchRelease", Kind::Act),
    ("/reeve.operator.v1.OperatorService/ExportEvidence", Kind::Look),
    ("/reeve.operator.v1.OperatorService/ExportReport", Kind::Look),
    ("/reeve.operator.v1.AccessService/WhoAmI", Kind::Plain),
    ("/reeve.operator.v1.AccessService/CreateToken", Kind::Act),
    ("/reeve.operator.v1.AccessService/ListTokens", Kind::Plain),
    ("/reeve.operator.v1.AccessService/RevokeToken", Kind::Act),
    ("/reeve.operator.v1.AccessService/CreateEnrolmentToken", Kind::Act),
    ("/reeve.operator.v1.AccessService/Revoke", Kind::Act),
    ("/reeve.operator.v1.AccessService/ListRevocations", Kind::Plain),
    ("/reeve.operator.v1.ApprovalService/ListApprovals", Kind::Plain),
    ("/reeve.operator.v1.ApprovalService/GetApproval", Kind::Plain),
    ("/reeve.operator.v1.ApprovalService/Approve", Kind::Act),
    ("/reeve.operator.v1.ApprovalService/Reject", Kind::Act),
    ("/reeve.operator.v1.PersonService/AddPerson", Kind::Act),
    ("/reeve.operator.v1.PersonService/ListPeople", Kind::Plain),
    ("/reeve.operator.v1.PersonService/ResetPerson", Kind::Act),
    ("/reeve.operator.v1.PersonService/RemovePerson", Kind::Act),
    // Anybody may call these three, and could fill the record: what went well the service enters itself.
    ("/reeve.operator.v1.PersonService/BeginSetUp", Kind::Plain),
    ("/reeve.operator.v1.PersonService/FinishSetUp", Kind::Plain),
    ("/reeve.operator.v1.PersonService/Login", Kind::Plain),
    ("/reeve.operator.v1.PersonService/Logout", Kind::Act),
    ("/reeve.operator.v1.PersonService/ListSessions", Kind::Plain),
    ("/reeve.operator.v1.PersonService/RevokeSession", Kind::Act),
    ("/reeve.operator.v1.AuditService/ListAudit", Kind::Look),
    ("/reeve.operator.v1.AuditService/ExportAudit", Kind::Look),
    ("/grpc.health.v1.Health/Check", Kind::Plain),
    ("/grpc.health.v1.Health/Watch", Kind::Plain),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Kind::Plain),
    ("/reeve.operator.v1.CaseService/ListCases", Kind::Plain),
    ("/reeve.operator.v1.CaseService/GetCase", Kind::Look),
    ("/reeve.operator.v1.CaseService/AddCaseNote", Kind::Act),
    ("/reeve.operator.v1.CaseService/MoveCase", Kind::Act),
    ("/reeve.operator.v1.CaseService/HoldCase", Kind::Act),
    ("/reeve.operator.v1.CaseService/SealCase", Kind::Act),
    ("/reeve.operator.v1.CaseService/ExportCase", Kind::Look),
    ("/reeve.operator.v1.ComplaintService/SubmitComplaints", Kind::Act),
    ("/reeve.operator.v1.ComplaintService/ListComplaints", Kind::Plain),
    ("/reeve.operator.v1.ComplaintService/GetComplaint", Kind::Look),
    ("/reeve.operator.v1.ComplaintService/SettleComplaint", Kind::Act),
    ("/reeve.operator.v1.PolicyService/UploadPolicy", Kind::Act),
    ("/reeve.operator.v1.PolicyService/ListPolicies", Kind::Plain),
    ("/reeve.operator.v1.PolicyService/GetPolicy", Kind::Plain),
    ("/reeve.operator.v1.PolicyService/DiffPolicies", Kind::Plain),
    ("/reeve.operator.v1.PolicyService/StagePolicy", Kind::Act),
    ("/reeve.operator.v1.PolicyService/ActivatePolicy", Kind::Act),
    ("/reeve.operator.v1.PolicyService/RollbackPolicy", Kind::Act),
    ("/reeve.operator.v1.PolicyService/GetRollout", Kind::Plain),
    ("/reeve.operator.v1.PolicyService/DeletePolicy", Kind::Act),
    ("/reeve.operator.v1.PolicyService/TryPolicy", Kind::Plain),
    ("/reeve.operator.v1.StandingService/CreateExemption", Kind::Act),
    ("/reeve.operator.v1.StandingService/ListExemptions", Kind::Plain),
    ("/reeve.operator.v1.StandingService/RevokeExemption", Kind::Act),
    ("/reeve.operator.v1.StandingService/ForgiveStrikes", Kind::Act),
    ("/reeve.operator.v1.StandingService/GetStanding", Kind::Plain),
];

/// What a method is; [`Kind::Act`] for one that is not in the table, which nobody may call.
#[must_use]
pub fn kind(method: &str) -> Kind {
    KINDS.iter().find(|(path, _)| *path == method).map_or(Kind::Act, |(_, kind)| *kind)
}

/// Enters something; its number, once it is on disk.
///
/// # Errors
/// Where it could not be written.
pub(crate) async fn enter(writer: &Writer, draft: Draft) -> Result<u64, WriteError> {
    enter_all(writer, draft, Vec::new()).await
}

/// The same, with a line for each of those that the call is about besides.
///
/// # Errors
/// Where it could not be written.
pub(crate) async fn enter_all(writer: &Writer, draft: Draft, also: Vec<Also>) -> Result<u64, WriteError> {
    writer.ask(|reply| Job::Enter { draft: Box::new(draft), also, reply }).await
}

/// Signs the chain now and then, for as long as it is polled.
pub(crate) async fn keep_sealed(writer: Writer, signer: Arc<Signer>) {
    loop {
        tokio::time::sleep(SEALED_EVERY).await;
        if let Err(error) = writer.ask(|reply| Job::Seal { signer: Arc::clone(&signer), reply }).await {
            tracing::error!(%error, "the audit log could not be signed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::auth::access::METHODS;

    #[test]
    fn every_method_that_may_be_called_is_in_the_table() {
        let kinds: BTreeMap<&str, Kind> = KINDS.iter().copied().collect();
        let methods: Vec<&str> = METHODS.iter().map(|(path, _)| *path).collect();
        let missing: Vec<&&str> = methods.iter().filter(|path| !kinds.contains_key(**path)).collect();
        assert!(missing.is_empty(), "say what these are to the audit log: {missing:?}");
        assert_eq!((kinds.len(), KINDS.len()), (methods.len(), methods.len()));
        // By their names: what lists and gets is no act, and all else is.
        for (path, kind) in KINDS {
            let name = path.rsplit('/').next().unwrap();
            let reads = [
                "List",
                "Get",
                "Watch",
                "WhoAmI",
                "Connect",
                "Export",
                "BatchGet",
                "Diff",
                "Try",
                "Enroll",
                "Renew",
                "BeginSetUp",
                "FinishSetUp",
                "Login",
                "Check",
                "ServerReflectionInfo",
            ];
            if *kind != Kind::Act {
                assert!(reads.iter().any(|read| name.starts_with(read)), "{path} is an act by its name");
            }
        }
        assert_eq!(kind("/reeve.operator.v1.OperatorService/Nothing"), Kind::Act);
    }
}
