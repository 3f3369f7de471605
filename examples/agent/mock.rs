//! A chat endpoint on this machine, so that the example needs neither a network nor a key.

use std::io;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What it was asked, and by whom.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Starts one that answers so. Where it is, and what it is asked from then on.
pub(crate) async fn start(
    answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
) -> io::Result<(String, mpsc::UnboundedReceiver<Asked>)> {
    let (tell, asked) = mpsc::unbounded_channel();
    let handle = async move |headers: HeaderMap, body: Bytes| {
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let asked = Asked { headers, body };
        let response = answer(&asked);
        // Who started it may not care.
        let _ = tell.send(asked);
        response
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}/v1", listener.local_addr()?);
    let app = Router::new().route("/v1/chat/completions", post(handle));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((base, asked))
}

/// Says how much it was given to read, to whoever has a key.
pub(crate) fn count(asked: &Asked) -> Response {
    if !asked.headers.contains_key(AUTHORIZATION) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let given = asked.body["messages"][1]["content"].as_str().unwrap_or_default();
    let said = format!("I was given {} words.", given.split_whitespace().count());
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": said}});
    let answer = json!({"object": "chat.completion", "choices": [choice]});
    ([("content-type", "application/json")], answer.to_string()).into_response()
}
