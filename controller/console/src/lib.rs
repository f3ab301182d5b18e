//! Reeve's console: pages for the people on call, rendered on the controller.
//!
//! It owns no data and no rights. Each page calls the controller's own gRPC services in this process, with the session of whoever looks, so that the same gate,
//! log and second person stand before it as before everybody ([`api`]). What is served works without scripts; htmx adds what moves.
//!
//! How a page is written (see `pages/nodes.rs` or another one):
//! - `pub(crate) fn routes() -> Router<App>` in `pages/<page>.rs`; a handler takes a [`session::Session`] and answers `Result<Response, Error>`.
//! - `session.api()` has the clients: `let mut client = session.api().operator(); client.list_nodes(…).await?` (a `Status` becomes an [`error::Error`]).
//! - A template `templates/<page>.html` extends `base.html`, and has a field `base: Base` (`session.base("<page>")`); [`page::html`] renders it. Its texts are
//!   `{{ base.t("error.title") }}` and, with values, `base.fill("common.page_of", &[&value])`, in Rust alone, for `{}` in the text; they stand in `words/<page>.<language>.toml`.
//! - Templates pass values by reference by themselves: no `&` before a field. Times are `{{ base.time(thing.at)|safe }}` for an `Option<prost_types::Timestamp>` (a whole `<time>` element; nothing in it is foreign).
//! - Addresses with values from outside are made by [`page::address`] in Rust (`address("/tenants", &[id], &[("state", "open")])`), and in templates by
//!   `{{ base.link("/tenants", tenant.id) }}` and `{{ base.narrowed("/violations", "tenant", tenant.id) }}`.
//! - An act is a POST form with `{{ base.csrf_field()|safe }}` and is handled with [`forms::Signed<T>`] in place of axum's `Form<T>`; it ends in
//!   [`session::Session::done`], which leads back with a word of what came of it.

#![forbid(unsafe_code)]

mod api;
mod chart;
mod error;
mod forms;
mod front;
mod page;
mod pages;
mod session;
mod shown;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

pub use api::Transport;

/// Whose browser asks: its address, told by whoever serves, among the request's extensions and those of the calls that are made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From(pub IpAddr);

/// What the console is to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it is reached from outside: with a scheme, without a slash at the end.
    pub url: String,
}

/// What all pages share.
#[derive(Clone)]
pub(crate) struct App {
    pub settings: Arc<Settings>,
    pub transport: Transport,
    /// How many live feeds there are.
    pub feeds: pages::now::Feeds,
}

impl App {
    /// Whether browsers come over TLS, so that cookies can be for it alone.
    pub fn is_secure(&self) -> bool {
        self.settings.url.starts_with("https://")
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// All pages, for a server that puts a [`From`] among each request's extensions. `transport` carries calls to the controller's services.
pub fn router(settings: Settings, transport: Transport) -> Router {
    let app = App { settings: Arc::new(settings), transport, feeds: pages::now::Feeds::default() };
    pages::routes()
        .fallback(front::nowhere)
        .layer(from_fn_with_state(app.clone(), front::dress))
        .with_state(app)
}
