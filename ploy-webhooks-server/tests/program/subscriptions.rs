//! `/subscriptions`: which events run what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::{Engine, ploybook_at};
use crate::harness::{Endpoint, Server};

/// A server on which these Ploybooks are run by an engine that says which it was.
async fn with_ploybooks(names: &[&str]) -> Server {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    for name in names {
        server.done(Method::POST, "/ploybooks", Some(ploybook_at(&url, name))).await;
    }
    server
}

async fn subscribed(server: &Server, form: Value) -> String {
    let made = server.done(Method::POST, "/subscriptions", Some(form)).await;
    made["id"].as_str().unwrap().to_owned()
}

/// The Ploybooks that one more event of this endpoint runs.
async fn run_by(server: &Server, endpoint: &Endpoint, payload: &str, count: usize) -> Vec<String> {
    let event = &server.accepted(endpoint, &[payload]).await[0];
    let runs = server.ended(event, count).await;
    let mut names: Vec<_> =
        runs.iter().map(|run| run["trigger"]["ploybook"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn output(run: &Value) -> &str {
    assert_eq!(run["state"], "succeeded", "{run}");
    run["attempts"][0]["output"].as_str().unwrap()
}

#[tokio::test]
async fn of_a_group_the_first_whose_condition_holds_is_followed() {
    let server = with_ploybooks(&["outreach", "nurture"]).await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    // The second comes first: it is their positions that count.
    let nurture = "has(payload.icp_score) && payload.icp_score >= 50";
    let nurture = subscribed(
        &server,
        json!({"group": "leads", "position": 2, "condition": nurture, "ploybook": "nurture"}),
    );
    let nurture = nurture.await;
    let outreach = "has(payload.icp_score) && payload.icp_score >= 80 && has(payload.email)";
    let outreach = subscribed(
        &server,
        json!({"group": "leads", "position": 1, "condition": outreach, "ploybook": "outreach"}),
    );
    let outreach = outreach.await;

    for (payload, followed) in [
        (r#"{"icp_score":92,"email":"cto@acme.com"}"#, Some("outreach")),
        (r#"{"icp_score":80.0,"email":"cto@acme.com"}"#, Some("outreach")),
        (r#"{"icp_score":92}"#, Some("nurture")),
        (r#"{"icp_score":60,"email":"cto@acme.com"}"#, Some("nurture")),
        (r#"{"icp_score":12,"email":"cto@acme.com"}"#, None),
        (r#"{"email":"cto@acme.com"}"#, None),
        (r#"{"icp_score":"92","email":"cto@acme.com"}"#, None),
    ] {
        let event = &server.accepted(&endpoint, &[payload]).await[0];
        let runs = server.ended(event, 1 + followed.iter().count()).await;
        let decision = runs.iter().find(|run| run["trigger"]["group"] == "leads").unwrap();
        let rules = decision["trigger"]["rules"].as_array().unwrap();
        assert_eq!(
            (&rules[0]["subscription"], &rules[1]["subscription"]),
            (&json!(outreach), &json!(nurture))
        );
        let account: Vec<_> = output(decision).lines().collect();
        match followed {
            Some(name) => {
                let follower = runs.iter().find(|run| run["trigger"]["ploybook"] == name).unwrap();
                let id = if name == "outreach" { &outreach } else { &nurture };
                assert_eq!(follower["trigger"]["subscription"], **id);
                assert_eq!(output(follower), format!("did {name}"));
                let said = format!(
                    "{id} is followed: the Ploybook `{name}` is run as {}",
                    follower["id"].as_str().unwrap()
                );
                assert_eq!(*account.last().unwrap(), said);
                assert_eq!(account.len(), if name == "outreach" { 1 } else { 2 });
            }
            None => {
                assert!(
                    account[0].starts_with(&format!("{outreach} is passed over: `")),
                    "{account:?}"
                );
                assert!(
                    account[1].starts_with(&format!("{nurture} is passed over: `")),
                    "{account:?}"
                );
                assert_eq!(account[2..], ["skipped: no condition of the group `leads` holds"]);
            }
        }
    }
}

#[tokio::test]
async fn types_and_endpoints_say_which_events_are_meant() {
    let server = with_ploybooks(&["own", "invoices", "paid", "here", "all"]).await;
    let form = json!({"description": "", "event_type": {"pointer": "/type"}});
    let (here, elsewhere) = (server.create(form.clone()).await, server.create(form).await);
    for subscription in [
        json!({"ploybook": "invoices", "types": ["invoice.*"]}),
        json!({"ploybook": "paid", "types": ["invoice.paid", "order.paid"]}),
        json!({"ploybook": "here", "endpoints": [here.id], "types": ["*"]}),
        json!({"ploybook": "all"}),
    ] {
        subscribed(&server, subscription).await;
    }
    let own = json!({"trigger": {"ploybook": "own"}});
    server.done(Method::PATCH, &format!("/endpoints/{}", elsewhere.id), Some(own)).await;
    for (endpoint, payload, expected) in [
        (&here, r#"{"type":"invoice.paid"}"#, vec!["all", "here", "invoices", "paid"]),
        (&here, r#"{"type":"invoice.sent.late"}"#, vec!["all", "here", "invoices"]),
        (&here, r#"{"type":"invoices"}"#, vec!["all", "here"]),
        (&here, r#"{"no":"type"}"#, vec!["all"]),
        (&elsewhere, r#"{"type":"invoice.paid"}"#, vec!["all", "invoices", "own", "paid"]),
        (&elsewhere, r#"{"type":"order.paid"}"#, vec!["all", "own", "paid"]),
    ] {
        assert_eq!(run_by(&server, endpoint, payload, expected.len()).await, expected, "{payload}");
    }
}

#[tokio::test]
async fn a_change_holds_from_the_moment_it_is_answered() {
    let server = with_ploybooks(&["one", "two"]).await;
    let endpoint = server.create(json!({"description": ""})).await;
    let other = server.create(json!({"description": ""})).await;
    let next = async |count| run_by(&server, &endpoint, "{}", count).await;
    assert_eq!(next(0).await, [""; 0]);
    let id = subscribed(&server, json!({"ploybook": "one"})).await;
    let path = format!("/subscriptions/{id}");
    for round in 0..5 {
        assert_eq!(next(1).await, ["one"], "{round}");
        for (change, expected) in [
            (json!({"enabled": false}), None),
            (json!({"enabled": true, "ploybook": "two"}), Some("two")),
            (json!({"endpoints": [other.id]}), None),
            (json!({"endpoints": null}), Some("two")),
            (json!({"types": ["never"]}), None),
            (json!({"types": null, "ploybook": "one"}), Some("one")),
        ] {
            server.done(Method::PATCH, &path, Some(change.clone())).await;
            let names = next(expected.iter().count()).await;
            assert_eq!(names, expected.into_iter().collect::<Vec<_>>(), "{change}");
        }
    }
    assert_eq!(server.call(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(next(0).await, [""; 0]);
    for method in [Method::GET, Method::DELETE] {
        server.refused(method, &path, None, 404).await;
    }
    server.refused(Method::PATCH, &path, Some(json!({})), 404).await;
}

#[tokio::test]
async fn a_subscription_is_shown_as_it_was_set_and_null_takes_it_back() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let form = json!({
        "description": "hot leads", "enabled": false, "endpoints": [endpoint.id],
        "types": ["lead.*"], "condition": "payload.icp_score >= 80", "ploybook": "outreach",
        "group": "leads", "position": 3,
    });
    let made = server.done(Method::POST, "/subscriptions", Some(form.clone())).await;
    for (name, value) in form.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!(made["revision"], 1);
    let path = format!("/subscriptions/{}", made["id"].as_str().unwrap());
    assert_eq!(server.done(Method::GET, &path, None).await, made);

    let cleared: Value = form
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "ploybook")
        .map(|name| (name.clone(), Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let shown = server.done(Method::PATCH, &path, Some(cleared)).await;
    let least = subscribed(&server, json!({"ploybook": "outreach"})).await;
    let least = server.done(Method::GET, &format!("/subscriptions/{least}"), None).await;
    for name in form.as_object().unwrap().keys() {
        assert_eq!(shown[name], least[name], "{name}");
    }

    let list = server.done(Method::GET, "/subscriptions?limit=1", None).await;
    assert_eq!(list["data"][0]["id"], made["id"], "the oldest comes first");
    let cursor = list["next_cursor"].as_str().unwrap();
    let list = server.done(Method::GET, &format!("/subscriptions?cursor={cursor}"), None).await;
    assert_eq!((&list["data"][0], &list["next_cursor"]), (&least, &Value::Null));
}

#[tokio::test]
async fn what_is_unknown_or_out_of_bounds_is_named() {
    let server = Server::in_memory().await;
    let standing = subscribed(&server, json!({"ploybook": "page"})).await;
    let path = format!("/subscriptions/{standing}");
    let long = format!("payload.a == '{}'", "x".repeat(2_048));
    for (change, named) in [
        (json!({"colour": "red"}), vec!["colour"]),
        (json!({"colour": null}), vec!["colour"]),
        (json!({"ploybook": null}), vec!["ploybook"]),
        (json!({"ploybook": " a"}), vec!["ploybook", "not the name of a Ploybook"]),
        (json!({"endpoints": ["x"]}), vec!["endpoints"]),
        (json!({"endpoints": "x"}), vec!["endpoints"]),
        (json!({"types": ["in*"]}), vec!["types", "not a pattern"]),
        (json!({"types": vec!["a"; 101]}), vec!["types"]),
        (json!({"group": ""}), vec!["group"]),
        (json!({"position": -1}), vec!["position"]),
        (json!({"enabled": 1}), vec!["enabled"]),
        (json!({"description": "x".repeat(501)}), vec!["description"]),
        (json!({"condition": ""}), vec!["condition"]),
        (json!({"condition": long}), vec!["condition"]),
        (json!({"condition": "payload.a >= >= 3"}), vec!["`condition`", "line 1, column 14"]),
        (
            json!({"condition": "payload.a > 1 &&\n  body.b == 2"}),
            vec!["line 2, column 3", "`body`"],
        ),
        (json!({"condition": "payload.a.matches('x')"}), vec!["line 1", "`matches`"]),
    ] {
        let mut form = json!({"ploybook": "page"});
        for (name, value) in change.as_object().unwrap() {
            form[name] = value.clone();
        }
        for (method, path, form) in
            [(Method::POST, "/subscriptions", form), (Method::PATCH, &path, change.clone())]
        {
            let detail = server.refused(method, path, Some(form), 422).await;
            for named in &named {
                assert!(detail.contains(named), "{named}: {detail}");
            }
        }
    }
    for id in ["sub_00000000000000000000000000", "x"] {
        let path = format!("/subscriptions/{id}");
        server.refused(Method::GET, &path, None, 404).await;
        server.refused(Method::DELETE, &path, None, 404).await;
    }
    let list = server.done(Method::GET, "/subscriptions", None).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "nothing was made");
}

#[tokio::test]
async fn there_are_two_hundred_at_most() {
    let server = Server::in_memory().await;
    let mut last = String::new();
    for _ in 0..200 {
        last = subscribed(&server, json!({"ploybook": "page"})).await;
    }
    let form = Some(json!({"ploybook": "page"}));
    let said = server.refused(Method::POST, "/subscriptions", form.clone(), 409).await;
    assert!(said.contains("at most 200") && said.contains("delete one"), "{said}");
    let path = format!("/subscriptions/{last}");
    assert_eq!(server.call(Method::DELETE, &path, None).await.0, 204);
    server.done(Method::POST, "/subscriptions", form).await;
}
