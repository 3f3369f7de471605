//! The calls of the management API as a table, from which the router is made: so what it takes can
//! be read, documented and tested.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use http::Method;

use super::Api;
use super::openapi::Operation;

/// A method at a path, what it is for, and what answers it.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) operation: Operation,
    answers: MethodRouter<Api>,
}

/// A router of these calls.
pub(super) fn router(calls: impl IntoIterator<Item = Call>) -> Router<Api> {
    calls.into_iter().fold(Router::new(), |router, call| router.route(call.path, call.answers))
}

macro_rules! methods {
    ($($name:ident = $method:ident;)*) => {$(
        pub(super) fn $name<H: Handler<T, Api>, T: 'static>(
            path: &'static str,
            handler: H,
            operation: Operation,
        ) -> Call {
            Call { method: Method::$method, path, operation, answers: routing::$name(handler) }
        }
    )*};
}

methods! {
    get = GET;
    post = POST;
    patch = PATCH;
    delete = DELETE;
}
