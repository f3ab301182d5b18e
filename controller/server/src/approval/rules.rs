//! The one table of which acts may take a second person, and how that is read of a request.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use prost::Message;
use reeve_policy::reader::format_duration;
use reeve_policy::{Name, RelayAnswer, Tenant, TenantId, Timestamp};
use reeve_proto::operator::v1::import_tenants_request::Method as ImportMethod;
use reeve_proto::operator::v1::pause_target::Target;
use reeve_proto::operator::v1::revoke_request::Subject;
use reeve_proto::operator::v1::stage_policy_request::Share;
use reeve_proto::operator::v1::{
    BatchSuspendRequest, ImportTenantsRequest, ImposeRequest, PolicyNodes, ReleaseBrakesRequest,
    RemovePersonRequest, ResumeRequest, RevokeRequest, RevokeTokenRequest, StagePolicyRequest,
    SuspendRequest, VerifyRequest,
};
use reeve_proto::types::v1::Tenant as WireTenant;

use super::Count;
use crate::auth::{Book, Caller};
use crate::directory::Snapshot;
use crate::services::check_batch;
use crate::settings::Approval;
use crate::store::write::keep_grants;

/// So many of those that an import takes away are named to whoever is to approve it.
const NAMED: usize = 20;

/// When an act takes a second person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Never: it ends a measure, pauses enforcement, or harms nobody.
    Never,
    /// It suspends a tenant: many, and one that is important.
    Suspends,
    /// It suspends several: likewise, all of them counted.
    SuspendsAll,
    /// It limits or blocks a tenant: likewise.
    Imposes,
    /// It tells nodes what a mail server said: that it is open, as the three above.
    Answers,
    /// It lets policy act again: on the fleet, and on many nodes.
    Resumes,
    /// It lets policy hold more tenants: on many nodes.
    Brakes,
    /// It takes tenants away, or what they are known by: many, and one that is important.
    Imports,
    /// It ends somebody else's certificates.
    Revokes,
    /// It removes somebody else's account.
    Removes,
    /// It ends somebody else's token.
    RevokesToken,
    /// It has some nodes run another policy: a share of the fleet, and many by name.
    Stages,
    /// It has the whole fleet do so.
    Activates,
}

/// Every act, by its path. What is not an act never waits; a test holds the table against the audit log's.
pub const RULES: &[(&str, Rule)] = &[
    ("/reeve.operator.v1.OperatorService/ImportTenants", Rule::Imports),
    ("/reeve.operator.v1.OperatorService/Suspend", Rule::Suspends),
    ("/reeve.operator.v1.OperatorService/Impose", Rule::Imposes),
    ("/reeve.operator.v1.OperatorService/Release", Rule::Never),
    // That a server is open bears a warning out; that a node is to ask it, and that it is closed, harms nobody.
    ("/reeve.operator.v1.OperatorService/Verify", Rule::Answers),
    ("/reeve.operator.v1.OperatorService/Paid", Rule::Never),
    ("/reeve.operator.v1.OperatorService/Pause", Rule::Never),
    ("/reeve.operator.v1.OperatorService/Resume", Rule::Resumes),
    ("/reeve.operator.v1.OperatorService/Lift", Rule::Never),
    ("/reeve.operator.v1.OperatorService/ReleaseBrakes", Rule::Brakes),
    ("/reeve.operator.v1.OperatorService/HoldEvidence", Rule::Never),
    ("/reeve.operator.v1.OperatorService/ResendDelivery", Rule::Never),
    ("/reeve.operator.v1.OperatorService/BatchSuspend", Rule::SuspendsAll),
    ("/reeve.operator.v1.OperatorService/BatchRelease", Rule::Never),
    // Whatever a token may do, it does as the person who made it.
    ("/reeve.operator.v1.AccessService/CreateToken", Rule::Never),
    ("/reeve.operator.v1.AccessService/RevokeToken", Rule::RevokesToken),
    ("/reeve.operator.v1.AccessService/CreateEnrolmentToken", Rule::Never),
    ("/reeve.operator.v1.AccessService/Revoke", Rule::Revokes),
    // Sessions of an account approve nothing that whoever invited its holder asks for.
    ("/reeve.operator.v1.PersonService/AddPerson", Rule::Never),
    ("/reeve.operator.v1.PersonService/ResetPerson", Rule::Never),
    ("/reeve.operator.v1.PersonService/RemovePerson", Rule::Removes),
    ("/reeve.operator.v1.PersonService/Logout", Rule::Never),
    ("/reeve.operator.v1.PersonService/RevokeSession", Rule::Never),
    ("/reeve.operator.v1.ApprovalService/Approve", Rule::Never),
    ("/reeve.operator.v1.ApprovalService/Reject", Rule::Never),
    ("/reeve.operator.v1.PolicyService/UploadPolicy", Rule::Never),
    ("/reeve.operator.v1.PolicyService/StagePolicy", Rule::Stages),
    ("/reeve.operator.v1.PolicyService/ActivatePolicy", Rule::Activates),
    ("/reeve.operator.v1.PolicyService/RollbackPolicy", Rule::Never),
    // What is deleted no node runs, nor would by any act but an upload of the same.
    ("/reeve.operator.v1.PolicyService/DeletePolicy", Rule::Never),
    ("/reeve.operator.v1.CaseService/AddCaseNote", Rule::Never),
    ("/reeve.operator.v1.CaseService/MoveCase", Rule::Never),
    ("/reeve.operator.v1.CaseService/HoldCase", Rule::Never),
    ("/reeve.operator.v1.CaseService/SealCase", Rule::Never),
    ("/reeve.operator.v1.ComplaintService/SubmitComplaints", Rule::Never),
    ("/reeve.operator.v1.ComplaintService/SettleComplaint", Rule::Never),
    // It holds nobody, and what it permits is taken back as easily.
    ("/reeve.operator.v1.StandingService/CreateExemption", Rule::Never),
    ("/reeve.operator.v1.StandingService/RevokeExemption", Rule::Never),
    ("/reeve.operator.v1.StandingService/ForgiveStrikes", Rule::Never),
];

/// The rule of a method.
#[must_use]
pub fn rule(method: &str) -> Rule {
    RULES.iter().find(|(path, _)| *path == method).map_or(Rule::Never, |(_, rule)| *rule)
}

/// What an act takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nobody else.
    Nobody,
    /// Somebody else, because of this.
    Second(String),
    /// Somebody else because of this, where more was done than is for one person.
    Counted(Count, String),
}

/// What the controller knows when it weighs an act.
pub(super) struct Known<'a> {
    pub settings: &'a Approval,
    pub snapshot: &'a Snapshot,
    pub book: &'a Book,
    pub now: Timestamp,
}

impl Known<'_> {
    /// What an act takes. A message that cannot be read is left to the service, which refuses it.
    pub fn weigh(&self, rule: Rule, message: &[u8], caller: &Caller) -> Takes {
        let weighed = match rule {
            Rule::Never => Ok(Takes::Nobody),
            Rule::Suspends => {
                SuspendRequest::decode(message).map(|request| self.harm(&[request.tenant], caller))
            }
            Rule::SuspendsAll => BatchSuspendRequest::decode(message).map(|batch| {
                let tenants: Vec<String> = batch.requests.into_iter().map(|one| one.tenant).collect();
                // What the service refuses at once is neither counted nor kept, by the same measure.
                if check_batch(tenants.iter().map(String::as_str)).is_err() {
                    return Takes::Nobody;
                }
                self.harm(&tenants, caller)
            }),
            Rule::Imposes => {
                ImposeRequest::decode(message).map(|request| self.harm(&[request.tenant], caller))
            }
            Rule::Answers => VerifyRequest::decode(message).map(|request| {
                let answer = request.answer.and_then(|answer| RelayAnswer::try_from(answer).ok());
                match answer.filter(RelayAnswer::is_open) {
                    Some(_) => self.harm(&[request.tenant], caller),
                    None => Takes::Nobody,
                }
            }),
            Rule::Resumes => ResumeRequest::decode(message).map(|request| {
                match request.target.and_then(|target| target.target) {
                    Some(Target::Node(node)) => self.nodes(node, caller),
                    _ => Takes::Second("it lets policy act again on the whole fleet".to_owned()),
                }
            }),
            Rule::Brakes => {
                ReleaseBrakesRequest::decode(message).map(|request| self.nodes(request.node, caller))
            }
            Rule::Imports => {
                ImportTenantsRequest::decode(message).map(|request| self.import(&request, caller))
            }
            Rule::Revokes => RevokeRequest::decode(message).map(|request| match request.subject {
                Some(Subject::Person(person)) => self.lock_out(Some(person.as_str()), &person, caller),
                // A node goes on by itself, and is back with another certificate.
                Some(Subject::Node(_)) | None => Takes::Nobody,
            }),
            Rule::Removes => RemovePersonRequest::decode(message)
                .map(|request| self.lock_out(Some(request.name.as_str()), &request.name, caller)),
            Rule::Stages => StagePolicyRequest::decode(message).map(|request| match request.share {
                Some(Share::Nodes(PolicyNodes { nodes })) => {
                    let limit = self.settings.nodes;
                    self.count(
                        "nodes",
                        nodes,
                        limit,
                        caller,
                        "stages policies to, resumes or releases the brakes of",
                    )
                }
                _ => Takes::Second("it has a share of the fleet run another policy".to_owned()),
            }),
            Rule::Activates => Ok(Takes::Second("it has the whole fleet run another policy".to_owned())),
            Rule::RevokesToken => RevokeTokenRequest::decode(message).map(|request| {
                let tokens = self.book.tokens();
                let good = |token: &&std::sync::Arc<crate::auth::Token>| {
                    token.name.as_str() == request.name && token.is_good(self.now)
                };
                match tokens.iter().find(good) {
                    Some(token) => {
                        let whose = token.owner.as_ref().map(Name::as_str);
                        self.lock_out(whose, &format!("the token {}", token.name), caller)
                    }
                    None => Takes::Nobody,
                }
            }),
        };
        weighed.unwrap_or(Takes::Nobody)
    }

    fn harm(&self, tenants: &[String], caller: &Caller) -> Takes {
        // Of whom nobody knows nothing comes.
        let known = tenants.iter().filter_map(|id| self.snapshot.tenants.by_id(&id.parse().ok()?));
        let known: Vec<&TenantId> = known.map(|tenant| &tenant.id).collect();
        if let Some(id) = known.iter().find(|id| self.settings.important.contains(**id)) {
            return Takes::Second(format!("{id} is important (approval.important)"));
        }
        let (limit, known) = (self.settings.tenants, known.iter().map(ToString::to_string).collect());
        self.count("tenants", known, limit, caller, "suspends, limits or blocks")
    }

    fn nodes(&self, node: String, caller: &Caller) -> Takes {
        self.count("nodes", vec![node], self.settings.nodes, caller, "resumes or releases the brakes of")
    }

    fn import(&self, request: &ImportTenantsRequest, caller: &Caller) -> Takes {
        // A dry run takes nobody away.
        if request.dry_run {
            return Takes::Nobody;
        }
        let named: HashMap<&str, &WireTenant> =
            request.tenants.iter().map(|tenant| (tenant.id.as_str(), tenant)).collect();
        let is_whole = request.method() == ImportMethod::Replace;
        // Whoever loses what it is known by is taken away from there: what was its is another's then, or nobody's.
        let is_taken = |id: &TenantId, tenant: &Tenant| match named.get(id.as_str()) {
            Some(wanted) => loses(tenant, wanted),
            None => is_whole,
        };
        let all = self.snapshot.tenants.all();
        let mut removed: BTreeSet<&TenantId> =
            all.iter().filter(|(id, tenant)| is_taken(id, tenant)).map(|(id, _)| id).collect();
        removed.extend(request.tenants.iter().flat_map(|wanted| self.cut_out(wanted)));
        let removed: Vec<&TenantId> = removed.into_iter().collect();
        if removed.is_empty() {
            return Takes::Nobody;
        }
        if let Some(id) = removed.iter().find(|id| self.settings.important.contains(**id)) {
            return Takes::Second(format!(
                "it takes away {id}, which is important (approval.important): {}",
                self.changes(request, &removed)
            ));
        }
        let subjects = removed.iter().map(ToString::to_string).collect();
        match self.count("removed", subjects, self.settings.removed, caller, "takes away") {
            Takes::Counted(count, why) => {
                Takes::Counted(count, format!("{why}; {}", self.changes(request, &removed)))
            }
            other => other,
        }
    }

    /// Whose addresses become this tenant's, since the longer prefix holds: a part of theirs, which they keep by name alone.
    fn cut_out(&self, wanted: &WireTenant) -> Vec<&TenantId> {
        let Ok(wanted) = Tenant::try_from(wanted.clone()) else { return Vec::new() };
        let tenants = &self.snapshot.tenants;
        let known = tenants.by_id(&wanted.id);
        let is_new = |prefix: &&IpNet| known.is_none_or(|known| !known.addresses.contains(prefix));
        let new = wanted.addresses.iter().filter(is_new);
        let owners = new.filter_map(|prefix| {
            let owner = tenants.by_address(prefix.network())?;
            let is_inside = owner.addresses.iter().any(|own| own.contains(prefix) && own != prefix);
            (owner.id != wanted.id && is_inside).then_some(&owner.id)
        });
        owners.collect()
    }

    /// What an import that forgets whom it does not name does, for whoever is to approve it.
    fn changes(&self, request: &ImportTenantsRequest, removed: &[&TenantId]) -> String {
        let (mut added, mut changed) = (0, 0);
        for tenant in &request.tenants {
            let known = tenant.id.parse().ok().and_then(|id: TenantId| self.snapshot.tenants.by_id(&id));
            let Some(known) = known else {
                added += 1;
                continue;
            };
            // One that cannot be read has the whole import refused when it is carried out.
            let wanted = Tenant::try_from(tenant.clone());
            changed += usize::from(wanted.is_ok_and(|wanted| keep_grants(&wanted, Some(known)) != **known));
        }
        let all = self.snapshot.tenants.all().len();
        let mut whom: Vec<&str> = removed.iter().take(NAMED).map(|id| id.as_str()).collect();
        let more = format!("{} more", removed.len() - whom.len());
        whom.extend((removed.len() > NAMED).then_some(more.as_str()));
        let (gone, whom) = (removed.len(), whom.join(", "));
        format!(
            "this import takes away {gone} of {all} tenants, or what they are known by ({whom}), adds {added} and changes {changed}"
        )
    }

    /// Ends what is `whose`, if that is known. One's own one may always end: it may have been stolen.
    fn lock_out(&self, whose: Option<&str>, what: &str, caller: &Caller) -> Takes {
        let own = caller.owner.as_ref().map(Name::as_str);
        if !self.settings.revoke || (own.is_some() && own == whose) {
            return Takes::Nobody;
        }
        Takes::Second(format!("it locks {what} out (approval.revoke)"))
    }

    fn count(
        &self,
        kind: &'static str,
        subjects: Vec<String>,
        limit: u32,
        caller: &Caller,
        does: &str,
    ) -> Takes {
        if subjects.is_empty() || self.settings.uncounted.contains(&caller.name) {
            return Takes::Nobody;
        }
        let noun = if kind == "nodes" { "nodes" } else { "tenants" };
        let window = self.settings.window;
        let since = self.now.minus(window);
        let why = format!("one person {does} more than {limit} {noun} within {}", format_duration(window));
        let owner = caller.owner.clone().unwrap_or_else(|| caller.name.clone());
        Takes::Counted(Count { owner, kind, subjects, limit, since }, why)
    }
}

/// Whether a tenant is known by less afterwards: an address, a port, a user or a control group is missing. One that cannot be read has the
/// whole import refused when it is carried out.
fn loses(known: &Tenant, wanted: &WireTenant) -> bool {
    let Ok(wanted) = Tenant::try_from(wanted.clone()) else { return false };
    let is_held = |prefix: &IpNet| wanted.addresses.iter().any(|wider| wider.contains(prefix));
    !known.addresses.iter().all(is_held)
        || !known.interfaces.iter().all(|one| wanted.interfaces.contains(one))
        || !known.macs.iter().all(|one| wanted.macs.contains(one))
        || !known.uids.iter().all(|one| wanted.uids.contains(one))
        || !known.cgroups.iter().all(|one| wanted.cgroups.contains(one))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::audit::{KINDS, Kind};

    #[test]
    fn of_every_act_it_is_said_whether_it_waits() {
        let acts: BTreeSet<&str> =
            KINDS.iter().filter(|(_, kind)| *kind == Kind::Act).map(|(path, _)| *path).collect();
        let ruled: BTreeSet<&str> = RULES.iter().map(|(path, _)| *path).collect();
        assert_eq!(acts, ruled);
        assert_eq!(ruled.len(), RULES.len(), "a method is listed twice");
    }

    #[test]
    fn what_ends_harm_or_stops_the_machine_never_waits() {
        for method in ["Pause", "Release", "BatchRelease", "Lift", "Paid"] {
            assert_eq!(rule(&format!("/reeve.operator.v1.OperatorService/{method}")), Rule::Never);
        }
        assert_eq!(rule("/reeve.operator.v1.PolicyService/RollbackPolicy"), Rule::Never);
    }
}
