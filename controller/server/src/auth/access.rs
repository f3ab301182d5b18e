//! The one table of who may call what. What is not in it nobody may.
//!
//! docs/access.md holds the same table for people; a test compares the two.

use super::caller::Role;

/// A set of roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether a role is among them.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }
}

impl std::fmt::Display for Roles {
    /// `viewer, operator or admin`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [Role::Stranger, Role::Node].into_iter().chain(Role::OF_PEOPLE);
        let names: Vec<&str> = all.filter(|role| self.contains(*role)).map(Role::as_str).collect();
        match names.split_last() {
            Some((last, [])) => f.write_str(last),
            Some((last, first)) => write!(f, "{} or {last}", first.join(", ")),
            None => f.write_str("nobody"),
        }
    }
}

/// Who has no certificate yet, or one that ends soon.
const ENROLLING: Roles = Roles::of(&[Role::Stranger, Role::Node]);
/// Who logs in: whoever has shown nothing yet, or something else.
const COMERS: Roles =
    Roles::of(&[Role::Stranger, Role::Status, Role::Billing, Role::Viewer, Role::Operator, Role::Admin]);
const AGENTS: Roles = Roles::of(&[Role::Node]);
/// Whoever has shown who it is.
const KNOWN: Roles =
    Roles::of(&[Role::Node, Role::Status, Role::Billing, Role::Viewer, Role::Operator, Role::Admin]);
/// Everybody but nodes.
const PEOPLE: Roles = Roles::of(&Role::OF_PEOPLE);
const READERS: Roles = Roles::of(&[Role::Viewer, Role::Operator, Role::Admin]);
const ORDERERS: Roles = Roles::of(&[Role::Operator, Role::Admin]);
/// Of suspensions billing has those until an invoice is paid alone, which the services see to.
const CASHIERS: Roles = Roles::of(&[Role::Billing, Role::Operator, Role::Admin]);
const ADMINS: Roles = Roles::of(&[Role::Admin]);

/// Every method, by its path, and who may call it.
pub const METHODS: &[(&str, Roles)] = &[
    ("/reeve.agent.v1.AgentService/Connect", AGENTS),
    ("/reeve.agent.v1.EnrolmentService/Enroll", ENROLLING),
    ("/reeve.agent.v1.EnrolmentService/Renew", AGENTS),
    ("/reeve.status.v1.StatusService/GetStatus", PEOPLE),
    ("/reeve.status.v1.StatusService/BatchGetStatus", PEOPLE),
    ("/reeve.status.v1.StatusService/WatchStatus", PEOPLE),
    ("/reeve.operator.v1.OperatorService/ListTenants", READERS),
    ("/reeve.operator.v1.OperatorService/ImportTenants", ORDERERS),
    ("/reeve.operator.v1.OperatorService/ListNodes", READERS),
    ("/reeve.operator.v1.OperatorService/ListViolations", READERS),
    ("/reeve.operator.v1.OperatorService/GetViolation", READERS),
    ("/reeve.operator.v1.OperatorService/Suspend", CASHIERS),
    ("/reeve.operator.v1.OperatorService/Impose", ORDERERS),
    ("/reeve.operator.v1.OperatorService/Release", ORDERERS),
    ("/reeve.operator.v1.OperatorService/Verify", ORDERERS),
    ("/reeve.operator.v1.OperatorService/Paid", CASHIERS),
    ("/reeve.operator.v1.OperatorService/Pause", ORDERERS),
    ("/reeve.operator.v1.OperatorService/Resume", ORDERERS),
    ("/reeve.operator.v1.OperatorService/Lift", ORDERERS),
    ("/reeve.operator.v1.OperatorService/ReleaseBrakes", ORDERERS),
    ("/reeve.operator.v1.OperatorService/HoldEvidence", ORDERERS),
    ("/reeve.operator.v1.OperatorService/ListEvents", READERS),
    ("/reeve.operator.v1.OperatorService/ListUsage", READERS),
    ("/reeve.operator.v1.OperatorService/ListSuspensions", READERS),
    ("/reeve.operator.v1.OperatorService/ListNotices", READERS),
    ("/reeve.operator.v1.OperatorService/ListDeliveries", READERS),
    ("/reeve.operator.v1.OperatorService/ResendDelivery", ORDERERS),
    ("/reeve.operator.v1.OperatorService/Watch", READERS),
    ("/reeve.operator.v1.OperatorService/BatchSuspend", CASHIERS),
    ("/reeve.operator.v1.OperatorService/BatchRelease", ORDERERS),
    ("/reeve.operator.v1.OperatorService/ExportEvidence", READERS),
    ("/reeve.operator.v1.OperatorService/ExportReport", READERS),
    ("/reeve.operator.v1.AccessService/WhoAmI", PEOPLE),
    ("/reeve.operator.v1.AccessService/CreateToken", ADMINS),
    ("/reeve.operator.v1.AccessService/ListTokens", ADMINS),
    ("/reeve.operator.v1.AccessService/RevokeToken", ADMINS),
    ("/reeve.operator.v1.AccessService/CreateEnrolmentToken", ADMINS),
    ("/reeve.operator.v1.AccessService/Revoke", ADMINS),
    ("/reeve.operator.v1.AccessService/ListRevocations", ADMINS),
    ("/reeve.operator.v1.ApprovalService/ListApprovals", READERS),
    ("/reeve.operator.v1.ApprovalService/GetApproval", READERS),
    // Whoever approves must be able to do it, too, which the service sees to.
    ("/reeve.operator.v1.ApprovalService/Approve", ORDERERS),
    ("/reeve.operator.v1.ApprovalService/Reject", ORDERERS),
    ("/reeve.operator.v1.PersonService/AddPerson", ADMINS),
    ("/reeve.operator.v1.PersonService/ListPeople", ADMINS),
    ("/reeve.operator.v1.PersonService/ResetPerson", ADMINS),
    ("/reeve.operator.v1.PersonService/RemovePerson", ADMINS),
    ("/reeve.operator.v1.PersonService/BeginSetUp", COMERS),
    ("/reeve.operator.v1.PersonService/FinishSetUp", COMERS),
    ("/reeve.operator.v1.PersonService/Login", COMERS),
    ("/reeve.operator.v1.PersonService/Logout", PEOPLE),
    ("/reeve.operator.v1.PersonService/ListSessions", PEOPLE),
    ("/reeve.operator.v1.PersonService/RevokeSession", PEOPLE),
    ("/reeve.operator.v1.AuditService/ListAudit", ADMINS),
    ("/reeve.operator.v1.AuditService/ExportAudit", ADMINS),
    ("/grpc.health.v1.Health/Check", KNOWN),
    ("/grpc.health.v1.Health/Watch", KNOWN),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", READERS),
    ("/reeve.operator.v1.PolicyService/UploadPolicy", ORDERERS),
    ("/reeve.operator.v1.PolicyService/ListPolicies", READERS),
    ("/reeve.operator.v1.PolicyService/GetPolicy", READERS),
    ("/reeve.operator.v1.PolicyService/DiffPolicies", READERS),
    ("/reeve.operator.v1.PolicyService/StagePolicy", ORDERERS),
    ("/reeve.operator.v1.PolicyService/ActivatePolicy", ADMINS),
    ("/reeve.operator.v1.PolicyService/RollbackPolicy", ORDERERS),
    ("/reeve.operator.v1.PolicyService/GetRollout", READERS),
    ("/reeve.operator.v1.PolicyService/DeletePolicy", ADMINS),
    ("/reeve.operator.v1.PolicyService/TryPolicy", READERS),
    ("/reeve.operator.v1.CaseService/ListCases", READERS),
    ("/reeve.operator.v1.CaseService/GetCase", READERS),
    ("/reeve.operator.v1.CaseService/AddCaseNote", ORDERERS),
    ("/reeve.operator.v1.CaseService/MoveCase", ORDERERS),
    ("/reeve.operator.v1.CaseService/HoldCase", ORDERERS),
    ("/reeve.operator.v1.CaseService/SealCase", ADMINS),
    // It holds what the audit log says, which is theirs.
    ("/reeve.operator.v1.CaseService/ExportCase", ADMINS),
    ("/reeve.operator.v1.ComplaintService/SubmitComplaints", ORDERERS),
    ("/reeve.operator.v1.ComplaintService/ListComplaints", READERS),
    ("/reeve.operator.v1.ComplaintService/GetComplaint", READERS),
    ("/reeve.operator.v1.ComplaintService/SettleComplaint", ORDERERS),
    ("/reeve.operator.v1.StandingService/CreateExemption", ORDERERS),
    ("/reeve.operator.v1.StandingService/ListExemptions", READERS),
    ("/reeve.operator.v1.StandingService/RevokeExemption", ORDERERS),
    ("/reeve.operator.v1.StandingService/ForgiveStrikes", ORDERERS),
    ("/reeve.operator.v1.StandingService/GetStanding", READERS),
];

/// Who may call a method; `None` of one that is not in the table.
#[must_use]
pub fn roles(method: &str) -> Option<Roles> {
    METHODS.iter().find(|(path, _)| *path == method).map(|(_, roles)| *roles)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_that_is_served_is_in_the_table_once_and_nothing_else_is() {
        let sets = [
            reeve_proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut there = BTreeSet::new();
        for file in sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file) {
            for service in &file.service {
                for method in &service.method {
                    there.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        assert!(there.len() >= 20, "{there:?}");
        let listed: Vec<&str> = METHODS.iter().map(|(path, _)| *path).collect();
        let once: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(once.len(), listed.len(), "a method is listed twice");
        let listed: BTreeSet<String> = listed.iter().map(ToString::to_string).collect();
        assert_eq!(listed, there);
    }

    #[test]
    fn the_document_says_the_same() {
        let document = include_str!("../../../../docs/access.md");
        for (path, roles) in METHODS {
            let short = path.rsplit_once('.').map_or(*path, |(_, method)| method);
            let all = [Role::Stranger, Role::Node].into_iter().chain(Role::OF_PEOPLE);
            let marks: Vec<&str> = all.map(|role| if roles.contains(role) { "yes" } else { "" }).collect();
            let row = format!("| `{short}` | {} |", marks.join(" | "));
            assert!(document.contains(&row), "docs/access.md lacks: {row}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_nobody_may() {
        for path in
            ["", "/", "/reeve.operator.v1.OperatorService/", "/reeve.operator.v1.OperatorService/suspend"]
        {
            assert_eq!(roles(path), None, "{path}");
        }
        assert_eq!(READERS.to_string(), "viewer, operator or admin");
        assert_eq!(ADMINS.to_string(), "admin");
    }
}
