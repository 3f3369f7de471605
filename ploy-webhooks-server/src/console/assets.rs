//! The one style sheet and the one script, at addresses that change when they do.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ploy_webhooks::SecretDigest;

use super::refusal::Refusal;
use super::{Console, ROOT};

/// A file that browsers keep.
#[derive(Debug)]
struct Asset {
    name: String,
    content_type: &'static str,
    text: &'static str,
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("css", "text/css", include_str!("../../assets/console.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("js", "text/javascript; charset=utf-8", include_str!("../../assets/console.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("svg", "image/svg+xml", include_str!("../../assets/icon.svg")));

impl Asset {
    fn new(extension: &str, content_type: &'static str, text: &'static str) -> Self {
        let digest = SecretDigest::of(text);
        let hash: String =
            digest.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("{hash}.{extension}"), content_type, text }
    }

    fn url(&self) -> String {
        format!("{ROOT}/assets/{}", self.name)
    }
}

/// The address of the style sheet.
pub(super) fn style_url() -> String {
    STYLE.url()
}

/// The address of the script.
pub(super) fn script_url() -> String {
    SCRIPT.url()
}

/// The address of the icon.
pub(super) fn icon_url() -> String {
    ICON.url()
}

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Result<Response, Refusal> {
    let known: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let asset = known.into_iter().find(|asset| asset.name == name).ok_or(Refusal::NotFound)?;
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.text).into_response())
}
