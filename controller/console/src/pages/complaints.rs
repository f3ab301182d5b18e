//! The page `complaints`.

use axum::Router;

use crate::App;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
}
