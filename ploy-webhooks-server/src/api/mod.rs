//! The management API: an axum router over any [`Store`].
//!
//! ```
//! use ploy_webhooks::store::MemoryStore;
//! use ploy_webhooks::{Keyring, Secret};
//! use ploy_webhooks_delivery::{AddressPolicy, Courier, HttpSettings};
//! use ploy_webhooks_server::api::{self, Api};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), ploy_webhooks_delivery::ClientError> {
//! let (keyring, token) = (Keyring::mint(), Secret::mint_token());
//! let mut settings = HttpSettings::default();
//! settings.addresses = AddressPolicy::public();
//! let courier = Courier::new(keyring.clone(), settings)?;
//! let public_url = "https://hooks.example.com".to_owned();
//! let store = Arc::new(MemoryStore::new());
//! let api = Api::builder(store, keyring, courier, token.digest(), public_url).build();
//! let app: axum::Router = api::router(api);
//! # Ok(())
//! # }
//! ```
//!
//! The router has everything under `/api/v1` but the intake, which is a service of its own
//! ([`ploy_webhooks::Ingest`]), `/health/live` and `/health/ready`. What it takes and answers is
//! described at `/api/v1/openapi.json`, in OpenAPI 3.1, for whoever asks; by [`openapi`] within a
//! program. Have `public_url` be the URL under which the router is mounted: the description says it.
//!
//! Every answer that is no success is `application/problem+json` (RFC 9457) with a `code`.
//! Whoever has not shown a token is told nothing but that. The root token opens everything; every
//! other token opens one workspace, and to whoever shows it there is nothing in any other.

mod activity;
mod admission;
mod auth;
mod backup;
mod builder;
mod caller;
mod definitions;
mod destinations;
mod endpoints;
mod events;
mod health;
mod id;
mod json;
mod openapi;
mod page;
mod pieces;
mod places;
mod ploybooks;
mod problem;
mod query;
mod removal;
mod rotation;
mod routing;
mod run;
mod runs;
mod streams;
mod subscriptions;
mod time;
mod to_its_end;
mod token;
mod tokens;
mod workspaces;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method};
use ploy_webhooks::{Keyring, SecretDigest, Slug};
use ploy_webhooks_delivery::Courier;

pub use self::backup::Backups;
pub use self::builder::ApiBuilder;
use self::places::Places;
use self::problem::Problem;
use self::routing::Call;
use self::streams::Streams;
use crate::store::Store;

/// How many exports are under way at once, from one node.
const EXPORTS_AT_ONCE: usize = 8;

/// What the management API works on.
#[derive(Clone, Debug)]
pub struct Api {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: Arc<dyn Store>,
    keyring: Keyring,
    courier: Courier,
    root: SecretDigest,
    public_url: String,
    commands: Commands,
    payload_bytes_max: usize,
    backups: Option<Backups>,
    streams: Streams,
    /// Room for exports: each holds a few MiB.
    exports: Places,
}

/// Whether Ploybooks may run programs of the machine: whoever may define one that does, may do on
/// the machine what the server may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "they are run or not")]
pub enum Commands {
    /// They may not be defined.
    Refused,
    /// They may.
    Allowed,
}

impl Api {
    /// An API over that store, whose secrets the keyring seals and whose root token has that
    /// digest. Destinations are tried out by the courier: have it open secrets by the same keyring,
    /// and go to [public addresses](ploy_webhooks_delivery::AddressPolicy::public) alone where
    /// tenants set destinations. Endpoints show URLs that begin with `public_url`, which has no
    /// slash at its end.
    pub fn builder(
        store: Arc<dyn Store>,
        keyring: Keyring,
        courier: Courier,
        root: SecretDigest,
        public_url: String,
    ) -> ApiBuilder {
        ApiBuilder::new(Parts {
            store,
            keyring,
            courier,
            root,
            public_url,
            commands: Commands::Refused,
            payload_bytes_max: 1 << 20,
            backups: None,
            streams: Streams::new(ApiBuilder::STREAMS_MAX),
            exports: Places::new(EXPORTS_AT_ONCE),
        })
    }

    /// Ends the streams of events that are open, and opens none any more: they would keep their
    /// connections open for as long as their clients like. Who is told of nothing any more goes on
    /// with another server, or this one when it is back.
    pub fn end_streams(&self) {
        self.parts.streams.end();
    }

    fn streams(&self) -> &Streams {
        &self.parts.streams
    }

    fn store(&self) -> &dyn Store {
        &*self.parts.store
    }
}

/// Every call of the management API: its method, and its path after `/api/v1`. The router takes
/// these and no others; `GET` is also `HEAD`.
#[must_use]
pub fn calls() -> Vec<(Method, &'static str)> {
    table().chain(open_calls()).map(|call| (call.method, call.path)).collect()
}

/// What describes the API to programs, in OpenAPI 3.1: what is answered at
/// `/api/v1/openapi.json`, but for the URL of the server.
#[must_use]
pub fn openapi() -> serde_json::Value {
    openapi::document()
}

/// The calls that need a token.
fn table() -> impl Iterator<Item = Call> {
    std::iter::empty()
        .chain(activity::calls())
        .chain(backup::calls())
        .chain(destinations::calls())
        .chain(endpoints::calls())
        .chain(events::calls())
        .chain(ploybooks::calls())
        .chain(runs::calls())
        .chain(subscriptions::calls())
        .chain(tokens::calls())
        .chain(workspaces::calls())
}

/// The calls that need none.
fn open_calls() -> impl Iterator<Item = Call> {
    destinations::open_calls().into_iter().chain(openapi::open_calls())
}

/// The router: `/api/v1/…` but for the intake itself, and `/health/…`. What it does not know it
/// answers with 404.
///
/// An app that has routes of its own makes it their
/// [`fallback_service`](axum::Router::fallback_service), beside the intake, and nests both where it
/// wants them:
///
/// ```
/// # use axum::Router;
/// # fn mounted<I>(ingest: I, management: Router) -> Router
/// # where
/// #     I: tower::Service<axum::extract::Request, Error = std::convert::Infallible>,
/// #     I: Clone + Send + Sync + 'static,
/// #     I::Response: axum::response::IntoResponse,
/// #     I::Future: Send + 'static,
/// # {
/// let hooks = Router::new()
///     .route_service("/api/v1/webhook/{slug}", ingest)
///     .fallback_service(management);
/// let app = Router::new().nest("/hooks", hooks);
/// # app
/// # }
/// ```
#[must_use = "a router serves nothing by itself"]
pub fn router(api: Api) -> Router {
    let management = routing::router(table())
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .layer(from_fn_with_state(api.clone(), auth::admit))
        .merge(
            routing::router(open_calls())
                .layer(Extension(openapi::Text::default()))
                .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed }),
        );
    Router::new()
        .nest("/api/v1", management)
        .route("/api/v1/webhook/{*rest}", any(|| async { Problem::NotFound }))
        .merge(health::routes())
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        // Bodies are bounded where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(|request, next: axum::middleware::Next| async {
            never_cached(next.run(request).await)
        }))
        .with_state(api)
}

/// Where senders find the endpoint with that slug.
pub(crate) fn ingest_url(public_url: &str, slug: &Slug) -> String {
    format!("{public_url}/api/v1/webhook/{slug}")
}

fn never_cached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
