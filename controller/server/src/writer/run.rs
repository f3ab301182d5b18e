//! What jobs do, each within a transaction.

use std::collections::BTreeMap;

use reeve_policy::{Tenant, TenantId};

use super::{Job, Numbered, Reply, WriteError};
use crate::auth::Taken;
use crate::store::write::{self, Effects, ImportMethod, Imported, Told};
use crate::store::{Connection, StoreError, access, approvals, audit, share};

/// Adds what one job changes to what all do.
pub(super) fn merge(all: &mut Effects, mut own: Effects) {
    all.events.append(&mut own.events);
    all.ended.append(&mut own.ended);
    all.touched.append(&mut own.touched);
    all.ordered.append(&mut own.ordered);
    all.tenants_changed |= own.tenants_changed;
    all.pauses_changed |= own.pauses_changed;
    all.pauses_told.append(&mut own.pauses_told);
    all.access_changed |= own.access_changed;
    all.rollout_changed |= own.rollout_changed;
}

/// Does a job; it may be done again, in another transaction.
pub(super) async fn run(
    conn: &mut Connection,
    job: &mut Job,
    own: &str,
    told: &mut Told,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    match job {
        Job::Greet { .. } => greet(conn, std::slice::from_mut(job), &mut told.cursors, effects).await,
        Job::Report(numbered) => store_report(conn, numbered, &mut told.cursors, effects).await,
        Job::OrderResult { node, result } => {
            write::order_result(conn, node, result, &mut told.answers, effects).await
        }
        Job::Saw { node } => {
            write::hear(node, effects);
            Ok(())
        }
        Job::Import { tenants, method, is_dry, reply } => {
            import(conn, (tenants, *method, *is_dry), reply, effects).await
        }
        Job::Suspend { requested, decision, reply } => {
            reply.put(write::suspend(conn, requested, decision, effects).await)
        }
        Job::Release { requested, id, tenant, by, reason, forgive, reply } => {
            let what = (&*id, &*tenant, by.as_str(), reason.as_str(), *forgive);
            reply.put(write::release(conn, requested, what, effects).await)
        }
        Job::SuspendAll { requested, decisions, reply } => {
            reply.put(write::suspend_all(conn, requested, decisions, effects).await)
        }
        Job::ReleaseAll { requested, releases, reply } => {
            reply.put(write::release_all(conn, requested, releases, effects).await)
        }
        Job::Verify { requested, asked, reply } => {
            reply.put(write::verify(conn, requested, asked, effects).await)
        }
        Job::Paid { requested, id, tenant, by, reason, reply } => {
            let what = (&*id, &*tenant, by.as_str(), reason.as_str());
            reply.put(write::paid(conn, requested, what, effects).await)
        }
        Job::Pause { requested, asked, reply } => {
            reply.put(write::pause(conn, requested, asked, effects).await)
        }
        Job::Resume { requested, asked, reply } => {
            reply.put(write::resume(conn, requested, asked, effects).await)
        }
        Job::Lift { requested, asked, reply } => {
            reply.put(write::lift(conn, requested, asked, effects).await)
        }
        Job::ReleaseBrakes { requested, id, node, by, reason, reply } => {
            let what = (&*id, &*node, by.as_str(), reason.as_str());
            reply.put(write::release_brakes(conn, requested, what, effects).await)
        }
        Job::Enter { draft, also, reply } => {
            reply.put(audit::enter_all(conn, draft, also, effects.now).await)
        }
        Job::Seal { signer, reply } => reply.put(audit::seal(conn, signer, effects.now).await),
        Job::Access { change, reply, .. } => {
            let taken = access::change(conn, change, effects.now).await?;
            effects.access_changed |= taken == Taken::Done;
            reply.put(Ok(taken))
        }
        Job::Up { node, stream } => {
            write::up(node, (own, *stream), effects);
            Ok(())
        }
        Job::Down { node, stream, reason } => share::down(conn, node, (own, *stream), reason, effects).await,
        Job::Bury { controller, beat } => {
            if share::bury(conn, controller, Some(*beat), effects).await? {
                tracing::warn!(controller, "another controller is gone");
            }
            Ok(())
        }
        Job::Leave { reply } => reply.put(share::bury(conn, own, None, effects).await.map(|_| ())),
        Job::Hold { asked, reply } => reply.put(write::hold(conn, asked, effects.now).await),
        Job::Case { requested, asked, reply } => {
            reply.put(write::act_on_case(conn, requested, asked, effects).await)
        }
        Job::Complaints { submission, reply } => reply.put(write::submit(conn, submission, effects).await),
        Job::SettleComplaint { requested, asked, reply } => {
            reply.put(write::settle_complaint(conn, requested, asked, effects).await)
        }
        Job::Mend { asked, reply } => reply.put(write::mend(conn, asked, effects).await),
        Job::LookAgain { reply } => reply.put(write::look_again(conn, effects).await),
        Job::EndWaiting { reply } => reply.put(write::end_waiting(conn, effects).await),
        Job::CloseQuiet { quiet, behind, reply } => {
            reply.put(write::close_quiet(conn, *quiet, behind, effects).await)
        }
        Job::ClaimDeliveries { channels, most, reply } => {
            write::settle(conn, effects).await?;
            reply.put(write::claim(conn, channels, *most, effects).await)
        }
        Job::Attempted { all, reply } => reply.put(write::attempted(conn, all, effects).await),
        Job::Resend { requested, asked, reply } => {
            reply.put(write::resend(conn, requested, asked, effects).await)
        }
        Job::Remedies { reply } => reply.put(write::note_remedies(conn, effects).await),
        Job::Pull { name, is_start, reply } => reply.put(write::pull(conn, name, *is_start, effects).await),
        Job::Retain { limits, reply } => reply.put(write::retain(conn, limits, effects).await),
        Job::Upload { upload, reply } => reply.put(write::upload(conn, upload, effects).await),
        Job::DeletePolicy { asked, reply } => reply.put(write::delete_policy(conn, asked, effects).await),
        Job::RollOut { asked, reply } => reply.put(write::roll_out(conn, asked, effects).await),
        Job::Grant { requested, asked, reply } => {
            reply.put(write::grant(conn, requested, asked, effects).await)
        }
        Job::Forgive { requested, asked, reply } => {
            reply.put(write::forgive(conn, requested, asked, effects).await)
        }
        Job::RevokeExemption { asked, reply } => {
            reply.put(write::revoke_exemption(conn, asked, effects).await)
        }
        Job::Forget => share::forget(conn).await,
        Job::Probe { reply } => reply.put(Ok(())),
        Job::Claimed { claim, is_lost, job } => {
            *is_lost = !approvals::claim(conn, claim, effects.now).await?;
            if *is_lost { Ok(()) } else { Box::pin(run(conn, job, own, told, effects)).await }
        }
        Job::Keep { asked, seal, reply } => reply.put(approvals::keep(conn, asked, seal).await),
        Job::Reject { decided, reply } => reply.put(approvals::reject(conn, decided, effects.now).await),
        Job::Outcome { id, outcome, reply } => reply.put(approvals::outcome(conn, id, outcome).await),
        Job::Count { count, reply } => reply.put(approvals::count(conn, count, effects.now).await),
    }
}

/// Takes greetings, of each node one. One that has hung up, and greets anew, is passed over: who waits behind it waits for nothing.
pub(super) async fn greet(
    conn: &mut Connection,
    jobs: &mut [Job],
    cursors: &mut write::Cursors,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let greeted = jobs.iter_mut().filter_map(|job| match job {
        Job::Greet { hello, reply } if !reply.is_abandoned() => Some((&**hello, reply)),
        _ => None,
    });
    let (hellos, replies): (Vec<_>, Vec<_>) = greeted.unzip();
    let greetings = write::greet(conn, &hellos, cursors, effects).await?;
    replies.into_iter().zip(greetings).try_for_each(|(reply, greeting)| reply.put(Ok(greeting)))
}

/// Takes over tenants, unless they clash or forget one that is held.
async fn import(
    conn: &mut Connection,
    (tenants, method, is_dry): (&[Tenant], ImportMethod, bool),
    reply: &mut Reply<Imported>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    // The directory may be behind: another import may be in this very transaction.
    let current = write::tenants(conn, &effects.desk.people).await?;
    let mut wanted: BTreeMap<TenantId, Tenant> = match method {
        ImportMethod::Replace => BTreeMap::new(),
        ImportMethod::Upsert => {
            current.all().iter().map(|(id, tenant)| (id.clone(), Tenant::clone(tenant))).collect()
        }
    };
    wanted.extend(tenants.iter().map(|tenant| {
        let known = current.by_id(&tenant.id).map(|known| &**known);
        (tenant.id.clone(), write::keep_grants(tenant, known))
    }));
    let all: Vec<Tenant> = wanted.into_values().collect();
    if let Err(clash) = reeve_policy::language::check_tenants(&all) {
        reply.refuse(WriteError::Clash(clash.to_string()));
        return Ok(());
    }
    let wanted: BTreeMap<TenantId, Tenant> =
        all.into_iter().map(|tenant| (tenant.id.clone(), tenant)).collect();
    let gone: Vec<&TenantId> = current.all().keys().filter(|id| !wanted.contains_key(*id)).collect();
    let standings = write::standings(conn, &gone, &effects.desk).await?;
    let held = standings.iter().filter(|(_, standing)| !standing.held.is_empty());
    let held: Vec<&str> = held.map(|(id, _)| id.as_str()).collect();
    if !held.is_empty() {
        reply.refuse(WriteError::Held(held.join(", ")));
        return Ok(());
    }
    reply.put(write::import_tenants(conn, &current, &wanted, is_dry, effects).await)
}

/// Stores a report unless it was stored before; one that cannot be read, or that is not the node's to make, is counted
/// and thrown away, since sent again it would be the same.
async fn store_report(
    conn: &mut Connection,
    numbered: &Numbered,
    cursors: &mut write::Cursors,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let Numbered { node, epoch, sequence, report, .. } = numbered;
    if numbered.progress.borrow().is_broken || *sequence <= cursors.of(conn, node, *epoch).await? {
        return Ok(());
    }
    match report {
        _ if numbered.is_refused => {
            tracing::warn!(%node, sequence, "a report that the database does not take was thrown away");
            write::refuse(conn, node, 1).await?;
        }
        Ok(report) => {
            if let Err(refusal) = write::report(conn, node, report, effects).await? {
                tracing::warn!(%node, sequence, %refusal, "a report was thrown away");
                write::refuse(conn, node, 1).await?;
            }
        }
        Err(error) => {
            tracing::warn!(%node, sequence, %error, "an unreadable report was thrown away");
            write::refuse(conn, node, 1).await?;
        }
    }
    cursors.advance(node, *epoch, *sequence);
    Ok(())
}
