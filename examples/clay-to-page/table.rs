//! A table that stands in for Clay's: rows come in by webhook, each once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

/// The rows, by what tells a repeat.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeMap<String, Row>>);

#[derive(Clone, Debug, Deserialize)]
struct Row {
    company: String,
    abm_page_url: String,
}

impl Table {
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/", post(take)).with_state(self.clone())
    }

    /// Each company with the URL of its page.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<_> = self
            .lock()
            .values()
            .map(|row| (row.company.clone(), row.abm_page_url.clone()))
            .collect();
        rows.sort();
        rows
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        self.0.lock().expect("no holder panics")
    }
}

async fn take(State(table): State<Arc<Table>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    match (key, serde_json::from_slice(&body)) {
        (Some(key), Ok(row)) => {
            table.lock().insert(key.to_owned(), row);
            StatusCode::OK
        }
        _ => StatusCode::BAD_REQUEST,
    }
}
