//! `/backup`: a copy of the store, where its engine has no tools of its own. For the root token
//! alone.

use std::path::PathBuf;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp as Time;
use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{Clock, SystemClock};
use ploy_webhooks_sqlite::SqliteStore;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::caller::RootApi;
use super::json::Json;
use super::openapi::call;
use super::problem::Problem;
use super::query::NoParameters;
use super::routing::{self, Call};
use super::to_its_end::to_its_end;

/// Copies of a store, in one folder.
#[derive(Clone, Debug)]
pub struct Backups {
    store: Arc<SqliteStore>,
    folder: PathBuf,
    /// One is made at a time.
    turn: Arc<Semaphore>,
}

impl Backups {
    /// Copies of that store are made in that folder, which is made where it is missing.
    #[must_use]
    pub fn new(store: Arc<SqliteStore>, folder: PathBuf) -> Self {
        Self { store, folder, turn: Arc::new(Semaphore::new(1)) }
    }
}

/// The copy that was made.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Backup")]
struct Made {
    /// Where it is, on the machine of the server.
    #[schemars(with = "String")]
    file: PathBuf,
    bytes: u64,
}

pub(super) fn calls() -> [Call; 1] {
    [routing::post(
        "/backup",
        back_up,
        call("back_up", "Copy the store into the folder of backups, while it goes on.")
            .creates::<Made>()
            .for_root()
            .conflicts(),
    )]
}

async fn back_up(root: RootApi, _: NoParameters) -> Result<Response, Problem> {
    let Some(backups) = root.definitions.backups().cloned() else {
        return Err(Problem::conflict(
            "this server makes no backups: set `backup_folder`, or, where the store is not \
             `sqlite:`, use the tools of its engine",
        ));
    };
    let made = to_its_end(async move { backups.make().await }).await?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

impl Backups {
    async fn make(&self) -> Result<Made, Problem> {
        let Ok(_turn) = self.turn.try_acquire() else {
            return Err(Problem::conflict("a backup is under way: wait for that one"));
        };
        tokio::fs::create_dir_all(&self.folder).await.map_err(|error| {
            let folder = self.folder.display();
            Problem::conflict(format!("cannot make the folder `{folder}`: {error}"))
        })?;
        let file = self.folder.join(name_now());
        let bytes = self.store.back_up(&file).await.map_err(problem)?;
        tracing::info!(file = %file.display(), bytes, "a backup is made");
        Ok(Made { file, bytes })
    }
}

/// By the time in UTC, so that names sort as the backups were made.
fn name_now() -> String {
    let millis = i64::try_from(SystemClock.now().as_millis()).unwrap_or(i64::MAX);
    let time = Time::from_millisecond(millis).unwrap_or(Time::MAX);
    time.strftime("ploy-%Y%m%dT%H%M%S.%3fZ.db").to_string()
}

/// What an operator has to mend is told: the caller is one.
fn problem(error: StoreError) -> Problem {
    match error.kind() {
        StoreErrorKind::Refused | StoreErrorKind::Misuse => Problem::conflict(error.to_string()),
        _ => error.into(),
    }
}
