//! The calls of the management API as a table, from which the router is made: so what it takes can
//! be read, and compared with what is documented and tested.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use http::Method;

use super::Api;

/// A method at a path, and what answers it.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    answers: MethodRouter<Api>,
}

/// A router of these calls.
pub(super) fn router(calls: impl IntoIterator<Item = Call>) -> Router<Api> {
    calls.into_iter().fold(Router::new(), |router, call| router.route(call.path, call.answers))
}

pub(super) fn get<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Call {
    Call { method: Method::GET, path, answers: routing::get(handler) }
}

pub(super) fn post<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Call {
    Call { method: Method::POST, path, answers: routing::post(handler) }
}

pub(super) fn patch<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Call {
    Call { method: Method::PATCH, path, answers: routing::patch(handler) }
}

pub(super) fn delete<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Call {
    Call { method: Method::DELETE, path, answers: routing::delete(handler) }
}
