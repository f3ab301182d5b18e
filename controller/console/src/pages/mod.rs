//! The pages.

mod account;
mod approvals;
mod audit;
mod case;
mod cases;
mod complaints;
mod letters;
mod nodes;
pub(crate) mod now;
mod outbox;
mod policies;
mod policy;
mod sign_in;
mod tenant;
mod tenant_acts;
mod tenants;
mod violation;
mod violations;

mod assets;

use axum::Router;

use crate::App;

/// All of them.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .merge(assets::routes())
        .merge(sign_in::routes())
        .merge(account::routes())
        .merge(now::routes())
        .merge(tenants::routes())
        .merge(tenant::routes())
        .merge(violations::routes())
        .merge(violation::routes())
        .merge(cases::routes())
        .merge(case::routes())
        .merge(complaints::routes())
        .merge(nodes::routes())
        .merge(policies::routes())
        .merge(policy::routes())
        .merge(letters::routes())
        .merge(outbox::routes())
        .merge(approvals::routes())
        .merge(audit::routes())
}
