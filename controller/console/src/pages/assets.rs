//! What pages load: all of it is part of the program.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::App;

/// For so long browsers need not ask again, in seconds.
const KEPT: &str = "public, max-age=3600";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Where they are.
pub(crate) fn routes() -> Router<App> {
    let style = include_str!("../../assets/console.css");
    let icon = include_str!("../../assets/icon.svg");
    Router::new()
        .route("/assets/console.css", get(async move || served("text/css; charset=utf-8", style)))
        .route("/assets/icon.svg", get(async move || served("image/svg+xml", icon)))
        .route("/assets/htmx.js", get(async || served(SCRIPT, include_str!("../../assets/htmx.min.js"))))
        .route("/assets/sse.js", get(async || served(SCRIPT, include_str!("../../assets/sse.min.js"))))
        .route("/assets/console.js", get(async || served(SCRIPT, include_str!("../../assets/console.js"))))
}

fn served(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, KEPT)], text)
}
