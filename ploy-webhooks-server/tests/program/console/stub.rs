//! The console before an API of another make: what it draws, and what it passes on.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body::Body};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use ploy_webhooks::Keyring;
use ploy_webhooks_server::console;
use tokio::net::TcpListener;

use super::Browser;

/// A server that has the console alone, before that API.
async fn serve(api: Router) -> Browser {
    let app = console::router(api, Keyring::mint(), "http://127.0.0.1");
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(stream, service)
                    .await;
            });
        }
    });
    let browser = Browser::at(&url);
    assert_eq!(browser.sign_in("whatever").await.status, 303);
    browser
}

fn json(text: &'static str) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// An API in which there is nothing, whatever is asked for.
fn nothing() -> Router {
    Router::new().fallback(|| async { json(r#"{"data":[],"next_cursor":null}"#) })
}

#[tokio::test]
async fn what_was_counted_is_drawn() {
    let api = nothing().route(
        "/api/v1/activity",
        get(|request: Request| async move {
            let query = request.uri().query().unwrap();
            let span: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let [(from, first), (to, last)] = &span[..] else { panic!("{query}") };
            assert_eq!((from.as_str(), to.as_str()), ("from", "to"));
            // One that is half within the day is not in it; what is not told of is nothing.
            let counted = serde_json::json!({"step_seconds": 300, "data": [
                {"at": first, "accepted": 1_000, "refused": 0, "succeeded": 5, "failed": 0},
                {"at": last, "accepted": 42, "refused": 1, "succeeded": 5, "failed": 2},
            ]});
            ([(CONTENT_TYPE, "application/json")], counted.to_string())
        }),
    );
    let page = serve(api).await.page("/console").await;
    for drawn in [
        "Accepted: 42 in all, at most 42 within 15 min",
        "Refused: 1 in all, at most 1 within 15 min",
        "Runs failed: 2 in all, at most 2 within 15 min",
        "V72H313V72H316V0H320V72Z\"/>",
    ] {
        assert!(page.contains(drawn), "{drawn} in {page}");
    }
}

#[tokio::test]
async fn the_stream_is_passed_on_as_it_comes_and_goes_on_where_it_ended() {
    let (say, said) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let said = std::sync::Arc::new(tokio::sync::Mutex::new(Some(said)));
    let api = nothing().route(
        "/api/v1/events/stream",
        get(move |headers: HeaderMap| async move {
            assert_eq!(headers["last-event-id"], "seven");
            assert_eq!(headers["authorization"], "Bearer whatever");
            let said = said.lock().await.take().unwrap();
            let stream = futures_util::stream::unfold(said, |mut said| async move {
                said.recv().await.map(|one| (one, said))
            });
            ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
        }),
    );
    let browser = serve(api).await;
    let request = browser.request(reqwest::Method::GET, "/console/events/stream");
    let mut answer = request.header("last-event-id", "seven").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    for one in ["event: accepted\ndata: {}\n\n", "event: run\ndata: {}\n\n"] {
        // The next one is said when this one has come.
        say.send(Ok(one)).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), one);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_page_that_says_so() {
    let browser = serve(nothing()).await;
    let page = browser.get("/console/events/evt_x").await;
    assert_eq!(page.status, 500);
    assert!(page.body.contains("The server failed"), "{}", page.body);
}

#[tokio::test]
async fn a_minted_token_is_shown_also_where_the_others_cannot_be_listed() {
    let minted = r#"{"id":"tok_1","workspace":"ws_1","scope":"read","description":"",
        "created_at":"2026-01-31T12:00:00.000Z","expires_at":null,"token":"pwt_shown_once"}"#;
    let api = nothing().route(
        "/api/v1/tokens",
        get(|request: Request| async move {
            // That of signing in is answered.
            if request.uri().query() == Some("limit=1") {
                return json(r#"{"data":[],"next_cursor":null}"#);
            }
            let problem = r#"{"code":"unavailable","detail":"the store does not answer"}"#;
            (StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
        })
        .post(move || async move { json(minted) }),
    );
    let browser = serve(api).await;
    let filled = super::form::of(&browser.page("/console/events").await, "/console/sign-out");
    let page = browser.submit(&filled, "/console/tokens", &[("scope", "read")]).await;
    assert_eq!(page.status, 201, "{}", page.body);
    assert!(page.body.contains("pwt_shown_once"), "{}", page.body);
    assert!(page.body.contains("could not be listed"), "{}", page.body);
    assert_eq!(browser.get("/console/tokens").await.status, 503);
}
