//! Mail servers that are asked because an operator wants it, or were asked by one.

use std::net::IpAddr;

use reeve_core::engine::Input;
use reeve_policy::{CheckVerdict, OrderFailure, OrderId, RelayAnswer, TenantId, Timestamp};

use super::{Sensor, engine_time};

impl Sensor {
    /// Has a tenant's mail server asked for an operator, or takes what the operator was told.
    pub(super) fn verify(
        &mut self,
        id: OrderId,
        tenant: TenantId,
        by: String,
        answer: Option<RelayAnswer>,
        now: Timestamp,
    ) {
        if self.engine().topology().index_of(&tenant).is_none() {
            return self.refuse(id, &tenant, OrderFailure::UnknownTenant, now);
        }
        if let Some(RelayAnswer { server, verdict, is_outside }) = answer {
            tracing::info!(order = %id, %tenant, by, %server, verdict = verdict.name(), "an operator has asked a mail server");
            self.take_checked(tenant, verdict, is_outside, Some(server), by);
        } else {
            if let Err(why) = self.engine().may_verify(&tenant, engine_time(now)) {
                let failure = OrderFailure::NotAsked { detail: why.to_string() };
                return self.refuse(id, &tenant, failure, now);
            }
            tracing::info!(order = %id, %tenant, by, "an operator has the tenant's mail server asked");
            self.verifying.insert(tenant.clone(), by);
            self.core.handle(Input::Verify { tenant, at: engine_time(now) });
        }
        self.awaiting.push(id);
        self.changed = true;
    }

    pub(super) fn take_checked(
        &mut self,
        tenant: TenantId,
        verdict: CheckVerdict,
        is_outside: bool,
        server: Option<IpAddr>,
        by: String,
    ) {
        let at = engine_time(self.clock.now());
        self.core.handle(Input::RelayChecked { tenant, verdict, is_outside, server, by, at });
    }
}
