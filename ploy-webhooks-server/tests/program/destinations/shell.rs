//! Destinations from the shell.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::text;
use crate::harness::{ROOT_TOKEN, Server, program};
use crate::receiver::{Receiver, delivering_here};

async fn parsed(server: &Server, args: &[&str]) -> Value {
    serde_json::from_str(&server.printed(&[args, &["--json"]].concat()).await).unwrap()
}

#[tokio::test]
async fn destinations_are_worked_with_from_the_shell() {
    let server = delivering_here().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, r#"{"z":"{{ name }}","a":1}"#).unwrap();
    let body = format!("@{}", file.path().display());
    let mut command = program(&[
        "destinations",
        "create",
        "https://hooks.example/{{ id }}",
        "--description",
        "CRM",
        "--method",
        "PUT",
        "--header",
        "X-Plain: {{ event.id }}: b",
        "--secret-header-env",
        "X-Api-Key: KEY",
        "--secret-header",
        "X-Other: hunter2-other",
        "--body-json",
        &body,
        "--scheme",
        "clay",
        "--rate",
        "5",
        "--burst",
        "9",
        "--at-once",
        "2",
        "--max-submissions",
        "100",
        "--retry",
        "day",
        "--timeout",
        "7",
        "--order-by",
        "/id",
        "--draft",
    ]);
    command.env("PLOY_URL", &server.url).env("PLOY_TOKEN", ROOT_TOKEN);
    command.env("KEY", "hunter2-header").env("PLOY_SECRET", "hunter2-signing").arg("--json");
    let output = command.output().await.unwrap();
    let made = String::from_utf8(output.stdout).unwrap();
    assert!(made.contains(r#""body":{"json":{"z":"{{ name }}","a":1}}"#), "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    for (name, value) in [
        ("url", json!("https://hooks.example/{{ id }}")),
        ("status", json!("draft")),
        ("method", json!("PUT")),
        (
            "headers",
            json!({
                "X-Plain": "{{ event.id }}: b", "X-Api-Key": {"secret": true},
                "X-Other": {"secret": true},
            }),
        ),
        ("signing", json!({"scheme": "clay"})),
        ("signing_secret", json!("hunter2-signing")),
        ("rate", json!({"per_second": 5, "burst": 9})),
        ("at_once", json!(2)),
        ("max_submissions", json!(100)),
        ("retry", json!("day")),
        ("time_limit_seconds", json!(7)),
        ("order_by", json!("/id")),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    let form = parsed(
        &server,
        &[
            "destinations",
            "create",
            "https://hooks.example/",
            "--form",
            "z={{ a }}=1",
            "--form",
            "a=",
            "--unverified",
            "--scheme",
            "none",
        ],
    )
    .await;
    assert_eq!(form["body"], json!({"form": {"z": "{{ a }}=1", "a": ""}}));
    assert_eq!((&form["status"], form.get("signing_secret")), (&json!("unverified"), None));

    let id = text(&made, "id");
    let shown = server.printed(&["destinations", "show", id]).await;
    for said in ["PUT https://hooks.example/", "draft", "5/s, 9 at once", "0 of 100", "clay"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    let list = server.printed(&["destinations", "list"]).await;
    assert!(list.contains("FAILING SINCE") && list.contains(id) && list.contains("CRM"), "{list}");
    assert!(server.printed(&["destinations", "pause", id]).await.contains("paused"));
    assert!(server.printed(&["destinations", "resume", id]).await.contains("active"));
    let rotated = server.printed(&["destinations", "rotate", id, "--overlap-seconds", "60"]).await;
    assert!(rotated.contains("whsec_") && rotated.contains(", until 20"), "{rotated}");
    assert!(!server.printed(&["destinations", "show", id]).await.contains("whsec_"));

    let subscription =
        parsed(&server, &["subscriptions", "create", "--destination", id, "--draft"]).await;
    assert_eq!((&subscription["destination"], &subscription["draft"]), (&json!(id), &json!(true)));
    let sub = text(&subscription, "id");
    let list = server.printed(&["subscriptions", "list"]).await;
    assert!(list.contains(id) && list.contains("draft"), "{list}");
    let set = parsed(&server, &["subscriptions", "set", sub, "--no-draft"]).await;
    assert_eq!((&set["destination"], &set["draft"]), (&json!(id), &json!(false)));
    let set = parsed(&server, &["subscriptions", "set", sub, "--ploybook", "page"]).await;
    assert_eq!((&set["ploybook"], set.get("destination")), (&json!("page"), None));
    let set = parsed(&server, &["subscriptions", "set", sub, "--destination", id]).await;
    assert_eq!((&set["destination"], set.get("ploybook")), (&json!(id), None));

    for (args, code, said) in [
        (&["destinations", "delete", id][..], 1, "409"),
        (&["destinations", "show", "dst_00000000000000000000000000"], 1, "404"),
        (&["destinations", "create", "ftp://x.io"], 1, "url"),
        (&["destinations", "create"], 2, "URL"),
        (&["destinations", "create", "https://x.io", "--header", "X"], 2, "--header"),
        (&["destinations", "create", "https://x.io", "--secret-header", "hunter2"], 2, "colon"),
        (&["destinations", "create", "https://x.io", "--secret-header-env", "X: NONE"], 2, "NONE"),
        (&["destinations", "create", "https://x.io", "--body-json", "{"], 2, "not JSON"),
        (&["destinations", "create", "https://x.io", "--body-json", "@none"], 1, "none"),
        (&["destinations", "create", "https://x.io", "--form", "a"], 2, "--form"),
        (&["destinations", "create", "https://x.io", "--retry", "never"], 2, "--retry"),
        (&["destinations", "create", "https://x.io", "--draft", "--unverified"], 2, "--draft"),
        (&["subscriptions", "create"], 2, "--ploybook"),
        (&["subscriptions", "create", "--ploybook", "a", "--destination", id], 2, "--destination"),
    ] {
        let output = server.shell(args).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(code), 0),
            "{args:?}: {message}"
        );
        assert!(message.contains(said) && !message.contains("hunter2"), "{args:?}: {message}");
    }
    server.printed(&["subscriptions", "delete", sub]).await;
    assert_eq!(server.printed(&["destinations", "delete", id]).await, "");
}

#[tokio::test]
async fn examples_and_questions_are_sent_from_the_shell() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let url = &receiver.url;
    let made = parsed(&server, &["destinations", "create", url, "--unverified"]).await;
    let id = text(&made, "id");
    for (status, code, said) in [("202 Accepted", 0, "202"), ("500 No", 1, "500")] {
        let args = ["destinations", "test", id, "--type", "a.b", "--payload", r#"{"z":1.0,"a":2}"#];
        let receiving = async {
            let received = receiver.received().await;
            assert_eq!(String::from_utf8_lossy(&received.body), r#"{"z":1.0,"a":2}"#);
            assert_eq!(received.header("ploy-event-type"), Some("a.b"));
            received.answer(status, "no \u{1b}[2J way").await;
        };
        let (output, ()) = tokio::join!(server.shell(&args), receiving);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert!(shown.contains(said) && shown.contains(url) && shown.contains(" ms"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
    for (echo, said) in [(false, "not yet"), (true, "yes")] {
        let receiving = async {
            let received = receiver.received().await;
            let question: Value = serde_json::from_slice(&received.body).unwrap();
            let token = text(&question, "confirmation_token").to_owned();
            received.answer("200 OK", if echo { &token } else { "" }).await;
        };
        let args = ["destinations", "verify", id];
        let (shown, ()) = tokio::join!(server.printed(&args), receiving);
        assert!(shown.contains(said), "{shown}");
    }
    assert!(server.printed(&["destinations", "show", id]).await.contains("confirmed"));
    // Nothing has failed: `destinations::runs` has what is tried again.
    assert_eq!(server.printed(&["destinations", "retry", id]).await, "retried 0\n");
    let since = ["destinations", "retry", id, "--since", "2026-01-31T09:00:00Z"];
    assert_eq!(parsed(&server, &since).await, json!({"retried": 0}));
    let output = server.shell(&["destinations", "retry", id, "--since", "yesterday"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("since"));
}

#[tokio::test]
async fn events_are_published_from_a_file_or_standard_input() {
    let server = delivering_here().await;
    let made = parsed(&server, &["destinations", "create", "https://hooks.example/"]).await;
    let id = text(&made, "id");
    server.printed(&["subscriptions", "create", "--destination", id]).await;
    let payload = "{ \"z\": 1.10,\n \"a\":2 }";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, payload).unwrap();
    let path = file.path().to_str().unwrap();
    let publish = ["events", "publish", "invoice.paid", path, "--idempotency-key", "k-1"];
    let first = parsed(&server, &publish).await;
    let event = text(&first, "id");
    assert_eq!(server.printed(&["events", "show", event, "--payload"]).await, payload);
    let again = server.printed(&publish).await;
    assert!(again.contains(event) && again.contains("accepted before"), "{again}");

    let mut command = program(&["events", "publish", "invoice.paid", "-"]);
    command.env("PLOY_URL", &server.url).env("PLOY_TOKEN", ROOT_TOKEN);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"n\":1}").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("accepted"), "{:?}", output.stderr);

    let list = server.printed(&["runs", "list", "--destination", id]).await;
    assert_eq!(list.lines().filter(|line| line.contains(id)).count(), 2, "{list}");
    let other = "dst_00000000000000000000000000";
    assert!(!server.printed(&["runs", "list", "--destination", other]).await.contains("run_"));

    std::fs::write(&file, r#"{}, "type": "x""#).unwrap();
    for (args, said) in [
        (&["events", "publish", "a", path][..], "cannot use"),
        (&["events", "publish", "a", "none"], "cannot read none"),
        (&["events", "publish", "", "/dev/null"], "cannot use"),
    ] {
        let output = server.shell(args).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(message.contains(said), "{args:?}: {message}");
    }
}
