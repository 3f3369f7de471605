//! The console: the face of the server in a browser, under `/console`.
//!
//! It is a client of the management API in the same process: each page asks the API by the token
//! that was signed in with, and so shows and does what that token may. No page has a way to the
//! store. Pages are made here, whole; they work without JavaScript but for the live list of events
//! and the copy buttons.
//!
//! ```
//! use ploy_webhooks::store::MemoryStore;
//! use ploy_webhooks::{Keyring, Secret};
//! use ploy_webhooks_delivery::{AddressPolicy, Courier, HttpSettings};
//! use ploy_webhooks_server::api::{self, Api};
//! use ploy_webhooks_server::console;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), ploy_webhooks_delivery::ClientError> {
//! let (keyring, token) = (Keyring::mint(), Secret::mint_token());
//! let mut settings = HttpSettings::default();
//! settings.addresses = AddressPolicy::public();
//! let courier = Courier::new(keyring.clone(), settings)?;
//! let public_url = "https://hooks.example.com";
//! let store = Arc::new(MemoryStore::new());
//! let api = Api::builder(store, keyring.clone(), courier, token.digest(), public_url.to_owned());
//! let api = api::router(api.build());
//! let app: axum::Router = api.clone().merge(console::router(api, keyring, public_url));
//! # Ok(())
//! # }
//! ```
//!
//! # Sessions
//!
//! A session is a cookie and nothing else: the token and the time of its end (12 hours after it was
//! begun), sealed by the server's [`Keyring`], so that every node that has the keyring serves it and
//! whoever has the cookie alone cannot read the token. The token goes to the API with each call: one
//! that is revoked ends the session at its next page. The cookie is `HttpOnly`, `SameSite=Strict`,
//! where `public_url` is https, `Secure` and named `__Host-…`, so that no other host can set it, a
//! sibling of the same domain neither. Browsers take such a name for the path `/` alone, so it is
//! sent to the intake and the API too, which read no cookie; over http its path is `/console`.
//!
//! # What a page may do, and who may ask for it
//!
//! Every page forbids scripts, styles, images and connections but the server's own, frames, and
//! whatever would be written into it (`Content-Security-Policy`). What comes from outside is text
//! everywhere: escaped, isolated in its direction, its control characters shown as signs.
//!
//! A `POST` is taken from the console's own pages: a browser that says where a form is from
//! (`Sec-Fetch-Site`, `Origin`) has to say that it is from here, and each form carries a token that
//! is bound to the session.
//!
//! Signing in is not slowed down, and nobody can keep others from it by guessing: a token is looked
//! up by its digest, as it is by the API and by `/mcp`, where guesses are worth the same. What keeps
//! guesses from coming true is the token: one that was minted has 190 random bits. A root token that
//! was chosen by hand has to be as random.

mod assets;
mod chart;
mod cookie;
mod destinations;
mod endpoints;
mod events;
mod fault;
mod form;
mod headers;
mod home;
mod loaded;
mod page;
mod payload;
mod ploybooks;
mod refusal;
mod runs;
mod same_origin;
mod session;
mod shell_word;
mod shown_once;
mod signin;
mod subscriptions;
mod text;
mod time;
mod tokens;
mod visitor;
mod workspaces;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::get;
use http::Uri;
use ploy_webhooks::Keyring;

use self::refusal::Refusal;

/// Where the console is.
const ROOT: &str = "/console";

/// What every page works with.
#[derive(Clone, Debug)]
struct Console {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    api: Router,
    keyring: Keyring,
    /// The URL that senders know the server by.
    public_url: Uri,
}

/// The router: `/console/…`, and `/`, which leads there. To be merged with that of the API, which is
/// also handed over, for the console to call.
///
/// Sessions are sealed by the keyring: nodes that share one share sessions. `public_url` is the URL
/// at which the console is opened; where it is https, cookies are for https alone.
///
/// # Panics
///
/// When `public_url` is no URL.
#[must_use = "a router serves nothing by itself"]
pub fn router(api: Router, keyring: Keyring, public_url: &str) -> Router {
    let public_url = public_url.parse().expect("the public URL is a URL");
    let parts = Parts { api, keyring, public_url };
    let pages = Router::new()
        .merge(assets::routes())
        .merge(signin::routes())
        .merge(home::routes())
        .merge(endpoints::routes())
        .merge(events::routes())
        .merge(runs::routes())
        .merge(ploybooks::routes())
        .merge(destinations::routes())
        .merge(subscriptions::routes())
        .merge(tokens::routes())
        .merge(workspaces::routes())
        .fallback(|| async { Refusal::NotFound })
        .method_not_allowed_fallback(|| async { Refusal::MethodNotAllowed })
        // Bodies are bounded where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(headers::guard));
    Router::new()
        .route("/", get(|| async { Redirect::to(ROOT) }))
        .nest(ROOT, pages)
        .with_state(Console { parts: Arc::new(parts) })
}
