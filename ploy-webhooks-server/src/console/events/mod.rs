//! Events: searched, followed as they come, shown, replayed.

mod search;
mod show;
mod stream;
mod view;

use axum::Router;
use axum::routing::{get, post};

use super::Console;

pub(super) use self::search::in_full;
pub(super) use self::view::Summary;

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/events", get(search::list))
        .route("/events/stream", get(stream::stream))
        .route("/events/{id}", get(show::show))
        .route("/events/{id}/payload", get(show::payload))
        .route("/events/{id}/replay", post(show::replay))
}
