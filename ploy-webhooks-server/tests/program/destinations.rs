//! `/destinations`: set, shown without what is secret, tried, confirmed, deleted.

mod confirm;
mod runs;
mod sample;
mod shell;
mod state;

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::harness::Server;
use crate::receiver::delivering_here;

async fn made(server: &Server, form: Value) -> Value {
    server.done(Method::POST, "/destinations", Some(form)).await
}

fn path_of(destination: &Value) -> String {
    format!("/destinations/{}", destination["id"].as_str().unwrap())
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("`{member}` in {answer}"))
}

/// Everything that a destination is set by.
fn full() -> Value {
    json!({
        "url": "https://hooks.example/in/{{ customer }}?v=2",
        "description": "CRM",
        "status": "paused",
        "method": "PUT",
        "headers": {"X-Plain": "{{ event.id }}", "X-Api-Key": {"secret": "hunter2-header"}},
        "body": {"json": {"z": "{{ name }}", "a": [1, true, null]}},
        "missing": "empty",
        "signing": {"scheme": "stripe", "secret": "hunter2-signing"},
        "time_limit_seconds": 7,
        "retry": {"attempts_max": 3, "first_gap_seconds": 1, "gap_max_seconds": 9},
        "rate": {"per_second": 5, "burst": 9},
        "at_once": 2,
        "max_submissions": 100,
        "order_by": "/customer/id",
        "disable_after_seconds": 3600,
    })
}

/// The form as it is shown: what is secret is only said to be.
fn shown_of(mut form: Value) -> Map<String, Value> {
    form["headers"]["X-Api-Key"] = json!({"secret": true});
    form["signing"] = json!({"scheme": "stripe"});
    form.as_object().unwrap().clone()
}

fn assert_shows(shown: &Value, form: &Map<String, Value>) {
    for (name, value) in form {
        assert_eq!(&shown[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_destination_is_shown_as_it_was_set_and_its_secrets_once() {
    let server = delivering_here().await;
    let destination = made(&server, full()).await;
    assert_eq!(destination["signing_secret"], "hunter2-signing");
    assert_eq!(destination["revision"], 1);
    assert_shows(&destination, &shown_of(full()));
    let idle = json!({
        "submissions": 0, "failing_since": null, "disabled": null, "verified_at": null,
    });
    assert_eq!(destination["state"], idle);
    assert_eq!(destination["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(destination["secrets"][0]["expires_at"], Value::Null);

    let path = path_of(&destination);
    let shown = server.done(Method::GET, &path, None).await;
    let mut without = destination.clone();
    without.as_object_mut().unwrap().remove("signing_secret");
    assert_eq!(shown, without);
    let listed = server.done(Method::GET, "/destinations", None).await;
    assert_eq!(listed, json!({"data": [without], "next_cursor": null}));
    assert!(!listed.to_string().contains("hunter2"), "{listed}");

    let least = made(&server, json!({"url": "https://hooks.example/"})).await;
    assert_shows(
        &least,
        json!({
            "description": "", "status": "active", "method": "POST", "headers": {}, "body": null,
            "signing": {"scheme": "standard-webhooks"}, "time_limit_seconds": 30,
            "retry": "default", "rate": null, "at_once": 16, "max_submissions": null,
            "order_by": null, "disable_after_seconds": 432_000,
        })
        .as_object()
        .unwrap(),
    );
    assert!(text(&least, "signing_secret").starts_with("whsec_"), "{least}");
    let unsigned = json!({"url": "https://hooks.example/", "signing": {"scheme": "none"}});
    let unsigned = made(&server, unsigned).await;
    assert_eq!((unsigned.get("signing_secret"), &unsigned["secrets"]), (None, &json!([])));
    let bearer = json!({"url": "https://hooks.example/", "signing": {"scheme": "bearer"}});
    let bearer = made(&server, bearer).await;
    assert!(text(&bearer, "signing_secret").len() >= 32, "{bearer}");
}

/// What a tree of JSON would sort, and round.
#[tokio::test]
async fn the_body_keeps_the_order_of_its_members_through_a_patch() {
    let server = delivering_here().await;
    let body = r#"{"json":{"z":1,"a":{"y":"{{ x }}","b":2}}}"#;
    let form = format!(r#"{{"url":"https://hooks.example/","body":{body}}}"#);
    let read = async |method, path: &str, form: Option<String>| {
        let request = server.request(method, path, None).bearer_auth(crate::harness::ROOT_TOKEN);
        let request = match form {
            Some(form) => request.header("content-type", "application/json").body(form),
            None => request,
        };
        request.send().await.unwrap().text().await.unwrap()
    };
    let destination = read(Method::POST, "/destinations", Some(form)).await;
    assert!(destination.contains(body), "{destination}");
    let path = path_of(&serde_json::from_str(&destination).unwrap());
    let shown = read(Method::PATCH, &path, Some(r#"{"description":"x"}"#.to_owned())).await;
    assert!(shown.contains(body), "{shown}");
    let other = r#"{"form":{"z":"{{ x }}","a":"1"}}"#;
    read(Method::PATCH, &path, Some(format!(r#"{{"body":{other}}}"#))).await;
    let shown = read(Method::GET, &path, None).await;
    assert!(shown.contains(other), "{shown}");
}

#[tokio::test]
async fn a_patch_changes_what_it_has_and_null_takes_it_back() {
    let server = delivering_here().await;
    let destination = made(&server, full()).await;
    let path = path_of(&destination);
    let mut expected = shown_of(full());
    for (change, now) in [
        (json!({"description": "y"}), json!({"description": "y"})),
        (
            json!({"headers": {"X-More": "1", "X-Plain": null}}),
            json!({"headers": {"X-More": "1", "X-Api-Key": {"secret": true}}}),
        ),
        (json!({"headers": {"X-Api-Key": {"secret": true}}}), json!({})),
        (json!({"rate": {"burst": null}}), json!({"rate": {"per_second": 5, "burst": null}})),
        (
            json!({"retry": {"attempts_max": 5}}),
            json!({"retry": {"attempts_max": 5, "first_gap_seconds": 1, "gap_max_seconds": 9}}),
        ),
        (json!({"retry": "day"}), json!({"retry": "day"})),
        (json!({"retry": {"gaps_seconds": [1, 2]}}), json!({"retry": {"gaps_seconds": [1, 2]}})),
        (json!({"rate": null}), json!({"rate": null})),
        (json!({"body": "none"}), json!({"body": "none"})),
        (json!({"disable_after_seconds": 60}), json!({"disable_after_seconds": 60})),
        (json!({"status": "active"}), json!({"status": "active"})),
        (
            json!({
                "body": null, "retry": null, "headers": null, "method": null, "order_by": null,
                "max_submissions": null, "disable_after_seconds": null, "missing": null,
            }),
            json!({
                "body": null, "retry": "default", "headers": {}, "method": "POST",
                "order_by": null, "max_submissions": null, "missing": "fail",
            }),
        ),
    ] {
        let shown = server.done(Method::PATCH, &path, Some(change.clone())).await;
        assert_eq!(shown.get("signing_secret"), None, "{change}");
        assert_eq!(shown["secrets"], destination["secrets"], "{change}");
        expected.extend(now.as_object().unwrap().clone());
        if change.get("disable_after_seconds") == Some(&Value::Null) {
            expected
                .insert("disable_after_seconds".to_owned(), shown["disable_after_seconds"].clone());
        }
        assert_shows(&shown, &expected);
        assert_eq!(server.done(Method::GET, &path, None).await, shown);
    }
    server.refused(Method::PATCH, &path, Some(json!({"url": null})), 422).await;
}

#[tokio::test]
async fn a_new_scheme_or_secret_is_answered_once_and_rotation_overlaps() {
    let server = delivering_here().await;
    let destination = made(&server, full()).await;
    let path = path_of(&destination);
    let change = async |change: Value| server.done(Method::PATCH, &path, Some(change)).await;
    let same = change(json!({"signing": {"scheme": "stripe"}})).await;
    assert_eq!((same.get("signing_secret"), &same["secrets"]), (None, &destination["secrets"]));
    let given = change(json!({"signing": {"secret": "hunter2-other"}})).await;
    assert_eq!(
        (&given["signing_secret"], &given["signing"]),
        (&json!("hunter2-other"), &json!({"scheme": "stripe"}))
    );
    assert_ne!(given["secrets"], destination["secrets"]);
    let custom = json!({"scheme": "custom", "header": "X-Sig", "layout": "{signature}"});
    let custom = change(json!({"signing": custom})).await;
    assert_eq!(
        (&custom["signing"]["scheme"], &custom["signing"]["header"]),
        (&json!("custom"), &json!("x-sig"))
    );
    assert!(text(&custom, "signing_secret").starts_with("whsec_"), "{custom}");
    // What described the one scheme is of no use to the next.
    let clay = change(json!({"signing": {"scheme": "clay"}})).await;
    assert_eq!(clay["signing"], json!({"scheme": "clay"}));
    assert!(clay.get("signing_secret").is_some());

    let rotate = format!("{path}/rotate");
    let rotated = server.done(Method::POST, &rotate, None).await;
    assert_ne!(rotated["signing_secret"], clay["signing_secret"]);
    assert_eq!(rotated["secrets"].as_array().unwrap().len(), 1);
    assert_ne!(rotated["secrets"], clay["secrets"]);
    let form = Some(json!({"overlap_seconds": 60, "secret": "hunter2-third"}));
    let overlapping = server.done(Method::POST, &rotate, form).await;
    assert_eq!(overlapping["signing_secret"], "hunter2-third");
    let secrets = overlapping["secrets"].as_array().unwrap();
    assert_eq!((secrets.len(), &secrets[0]["id"]), (2, &rotated["secrets"][0]["id"]));
    assert!(text(&secrets[0], "expires_at").ends_with('Z'), "{overlapping}");
    assert_eq!(secrets[1]["expires_at"], Value::Null);
    let shown = server.done(Method::GET, &path, None).await;
    assert!(!shown.to_string().contains("hunter2") && !shown.to_string().contains("whsec_"));

    change(json!({"signing": {"scheme": "none"}})).await;
    assert!(server.refused(Method::POST, &rotate, None, 409).await.contains("signs nothing"));
    for (form, named) in [
        (json!({"overlap_seconds": 2_592_001}), "overlap_seconds"),
        (json!({"secrets": "hunter2"}), "secrets"),
        (json!({"secret": ["hunter2"]}), "secret"),
    ] {
        let said = server.refused(Method::POST, &rotate, Some(form), 422).await;
        assert!(said.contains(named) && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn what_is_unknown_or_out_of_bounds_is_named_and_no_secret_repeated() {
    let server = delivering_here().await;
    let standing = made(&server, json!({"url": "https://hooks.example/"})).await;
    let path = path_of(&standing);
    let url = "https://hooks.example/";
    for (change, named) in [
        (json!({"colour": "red"}), "colour"),
        (json!({"colour": null}), "colour"),
        (json!({"url": "ftp://hooks.example/"}), "url"),
        (json!({"url": "https://{{ host }}/"}), "url"),
        (json!({"url": 7}), "url"),
        (json!({"status": "disabled"}), "status"),
        (json!({"method": "TRACE"}), "method"),
        (json!({"method": "GET", "body": "payload"}), "body"),
        (json!({"headers": {"Host": "x"}}), "headers.Host"),
        (json!({"headers": {"Webhook-Id": "x"}}), "headers.Webhook-Id"),
        (json!({"headers": {"a b": "x"}}), "headers.a b"),
        (json!({"headers": {"X": {"secret": "hunter2\n"}}}), "headers.X"),
        (json!({"headers": {"X": {"secret": true}}}), "headers.X"),
        (json!({"headers": {"X": {"secret": ["hunter2"]}}}), "headers"),
        (json!({"headers": {"X": 7}}), "headers"),
        (json!({"headers": "hunter2"}), "headers"),
        (json!({"body": {"json": {"a": "{{ x"}}}), "body.json.a"),
        (json!({"body": {"xml": {}}}), "body"),
        (json!({"missing": "maybe"}), "missing"),
        (json!({"signing": {"scheme": "hunter2"}}), "signing"),
        (json!({"signing": {"scheme": "none", "secret": "hunter2"}}), "signing.secret"),
        (
            json!({"signing": {"scheme": "standard-webhooks", "secret": "hunter2"}}),
            "signing.secret",
        ),
        (json!({"signing": {"scheme": "discord"}}), "signing"),
        (json!({"signing": {"scheme": "clay", "key": "hunter2"}}), "key"),
        (json!({"signing": {"scheme": "clay", "secret": ["hunter2"]}}), "secret"),
        (json!({"signing": "hunter2"}), "signing"),
        (json!({"time_limit_seconds": 0}), "time_limit_seconds"),
        (json!({"time_limit_seconds": 3601}), "time_limit_seconds"),
        (json!({"retry": {"attempts_max": 101}}), "retry"),
        (json!({"retry": "never"}), "retry"),
        (json!({"rate": {"per_second": 0}}), "rate"),
        (json!({"at_once": 65}), "at_once"),
        (json!({"max_submissions": 0}), "max_submissions"),
        (json!({"order_by": "customer"}), "order_by"),
        (json!({"disable_after_seconds": 59}), "disable_after_seconds"),
        (json!({"description": "x".repeat(501)}), "description"),
    ] {
        let mut form = json!({"url": url});
        for (name, value) in change.as_object().unwrap() {
            form[name] = value.clone();
        }
        for (method, path, form) in
            [(Method::POST, "/destinations", form), (Method::PATCH, &path, change.clone())]
        {
            let said = server.refused(method, path, Some(form), 422).await;
            assert!(said.contains(named), "{change}: {said}");
            assert!(!said.contains("hunter2"), "{change}: {said}");
        }
    }
    server.refused(Method::POST, "/destinations", Some(json!({})), 422).await;
    for id in ["dst_00000000000000000000000000", "x"] {
        let path = format!("/destinations/{id}");
        server.refused(Method::GET, &path, None, 404).await;
        server.refused(Method::PATCH, &path, Some(json!({})), 404).await;
        server.refused(Method::DELETE, &path, None, 404).await;
        for call in ["rotate", "test", "verify", "retry"] {
            server.refused(Method::POST, &format!("{path}/{call}"), None, 404).await;
        }
    }
    let listed = server.done(Method::GET, "/destinations", None).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "nothing was made");
    assert_eq!(listed["data"][0]["revision"], 1, "nothing was changed");
}

#[tokio::test]
async fn a_subscription_delivers_to_what_is_there_and_holds_it() {
    let server = delivering_here().await;
    let url = json!({"url": "https://hooks.example/"});
    let (here, there) = (made(&server, url.clone()).await, made(&server, url).await);
    let nowhere = "dst_00000000000000000000000000";
    let form = |id: &Value| json!({"destination": id, "types": ["invoice.*"]});
    let said = server.refused(Method::POST, "/subscriptions", Some(form(&json!(nowhere))), 422);
    assert!(said.await.contains(nowhere));
    let both = json!({"destination": here["id"], "ploybook": "page"});
    server.refused(Method::POST, "/subscriptions", Some(both), 422).await;

    let mut draft = form(&here["id"]);
    draft["draft"] = true.into();
    let subscription = server.done(Method::POST, "/subscriptions", Some(draft)).await;
    assert_eq!((&subscription["destination"], &subscription["draft"]), (&here["id"], &json!(true)));
    assert_eq!(subscription.get("ploybook"), None);
    let id = text(&subscription, "id");
    let path = format!("/subscriptions/{id}");
    let change = |to: &Value| Some(json!({"destination": to, "draft": null}));
    let said = server.refused(Method::PATCH, &path, change(&json!(nowhere)), 422).await;
    assert!(said.contains(nowhere), "{said}");

    let said = server.refused(Method::DELETE, &path_of(&here), None, 409).await;
    assert!(said.contains(id), "{said}");
    let shown = server.done(Method::PATCH, &path, change(&there["id"])).await;
    assert_eq!((&shown["destination"], &shown["draft"]), (&there["id"], &json!(false)));
    assert_eq!(server.call(Method::DELETE, &path_of(&here), None).await.0, 204);
    server.refused(Method::GET, &path_of(&here), None, 404).await;

    let event = json!({"type": "invoice.paid", "payload": {}});
    let event = server.done(Method::POST, "/events", Some(event)).await;
    let runs = format!("/runs?event={}", text(&event, "id"));
    let runs = server.done(Method::GET, &runs, None).await;
    assert_eq!(
        runs["data"][0]["trigger"],
        json!({"destination": there["id"], "subscription": subscription["id"]})
    );
    let ploybook = json!({"destination": null, "ploybook": "page"});
    server.done(Method::PATCH, &path, Some(ploybook)).await;
    assert_eq!(server.call(Method::DELETE, &path_of(&there), None).await.0, 204);
}

#[tokio::test]
async fn lists_join_and_there_is_an_end_to_them() {
    let server = delivering_here().await;
    let mut ids = Vec::new();
    let form = json!({"url": "https://hooks.example/", "signing": {"scheme": "none"}});
    for _ in 0..1_000 {
        ids.push(made(&server, form.clone()).await["id"].clone());
    }
    let said = server.refused(Method::POST, "/destinations", Some(form.clone()), 409).await;
    assert!(said.contains("at most 1000") && said.contains("delete one"), "{said}");
    let (mut listed, mut path) = (Vec::new(), "/destinations?limit=199".to_owned());
    loop {
        let page = server.done(Method::GET, &path, None).await;
        listed.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/destinations?limit=199&cursor={cursor}");
    }
    assert_eq!(listed, ids, "the oldest comes first");
    let path = format!("/destinations/{}", ids[7].as_str().unwrap());
    assert_eq!(server.call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    made(&server, form).await;
}
