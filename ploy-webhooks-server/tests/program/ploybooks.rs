//! `/ploybooks`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::ploybook_by;
use crate::harness::Server;

/// The name as a segment of a path: every byte that is no letter and no digit is escaped.
fn path_of(name: &str) -> String {
    let escaped: String = name
        .bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect();
    format!("/ploybooks/{escaped}")
}

fn http(name: &str) -> Value {
    json!({"name": name, "run": {"http": {"url": "https://engine.example/run"}}})
}

#[tokio::test]
async fn a_ploybook_is_defined_shown_and_deleted_by_its_name() {
    let server = Server::in_memory().await;
    for name in
        ["page", "Generate ABM page for prospect", "a/b", "../x", "100% sure? #1", "Seite für → é"]
    {
        let made = server.done(Method::POST, "/ploybooks", Some(http(name))).await;
        assert_eq!(
            made,
            json!({
                "name": name, "revision": 1, "description": "", "enabled": true,
                "run": {"http": {"url": "https://engine.example/run"}}, "instructions": "",
                "time_limit_seconds": 60, "takes_requests": true,
                "retry": {"attempts_max": 4, "first_gap_seconds": 5, "gap_max_seconds": 3600},
            })
        );
        let path = path_of(name);
        assert_eq!(server.done(Method::GET, &path, None).await, made);
        let second = server.refused(Method::POST, "/ploybooks", Some(http(name)), 409).await;
        assert!(second.contains("that name already"), "{second}");

        assert_eq!(server.call(Method::DELETE, &path, None).await.0, 204);
        for method in [Method::GET, Method::DELETE] {
            server.refused(method, &path, None, 404).await;
        }
        server.refused(Method::PATCH, &path, Some(json!({"enabled": false})), 404).await;
    }
}

#[tokio::test]
async fn a_change_is_of_what_is_given_and_null_takes_it_back() {
    let server = Server::in_memory().await;
    let mut form = http("page");
    form["retry"] = json!({"attempts_max": 2, "first_gap_seconds": 9});
    form["instructions"] = json!("Make a page.");
    let mut expected = server.done(Method::POST, "/ploybooks", Some(form)).await;
    let path = path_of("page");
    for (changes, changed) in [
        (json!({}), json!({})),
        (json!({"enabled": false}), json!({"enabled": false})),
        (
            json!({"time_limit_seconds": 5, "enabled": null}),
            json!({"time_limit_seconds": 5, "enabled": true}),
        ),
        (
            json!({"retry": {"attempts_max": 3}}),
            json!({"retry": {"attempts_max": 3, "first_gap_seconds": 9, "gap_max_seconds": 3600}}),
        ),
        (
            json!({"retry": {"first_gap_seconds": null}}),
            json!({"retry": {"attempts_max": 3, "first_gap_seconds": 5, "gap_max_seconds": 3600}}),
        ),
        (
            json!({"retry": null, "instructions": null}),
            json!({
                "retry": {"attempts_max": 4, "first_gap_seconds": 5, "gap_max_seconds": 3600},
                "instructions": "",
            }),
        ),
        (
            json!({"run": {"function": "page"}, "time_limit_seconds": null}),
            json!({"run": {"function": "page"}, "time_limit_seconds": 60}),
        ),
    ] {
        let shown = server.done(Method::PATCH, &path, Some(changes.clone())).await;
        for (name, value) in changed.as_object().unwrap() {
            expected[name] = value.clone();
        }
        expected["revision"] = shown["revision"].clone();
        assert_eq!(shown, expected, "{changes}");
        assert_eq!(server.done(Method::GET, &path, None).await, shown);
    }
}

#[tokio::test]
async fn what_is_unknown_or_out_of_bounds_is_named() {
    let server = Server::in_memory().await;
    server.done(Method::POST, "/ploybooks", Some(http("there"))).await;
    for (change, named) in [
        (json!({"colour": "red"}), "colour"),
        (json!({"colour": null}), "colour"),
        (json!({"id": "x"}), "`id`"),
        (json!({"run": null}), "`run`"),
        (json!({"run": {"ssh": {}}}), "ssh"),
        (json!({"run": {"http": {"url": "https://x.io", "colour": 1}}}), "colour"),
        (json!({"run": {"http": {}}}), "url"),
        (json!({"run": {"http": {"url": "ftp://x.io"}}}), "run.http.url"),
        (
            json!({"run": {"http": {"url": "https://x.io", "secret_env": ""}}}),
            "run.http.secret_env",
        ),
        (json!({"run": {"command": {"argv": []}}}), "run.command.argv"),
        (json!({"time_limit_seconds": 0}), "time_limit_seconds"),
        (json!({"time_limit_seconds": 86_401}), "time_limit_seconds"),
        (json!({"time_limit_seconds": -1}), "time_limit_seconds"),
        (json!({"time_limit_seconds": "60"}), "time_limit_seconds"),
        (json!({"enabled": "yes"}), "enabled"),
        (json!({"retry": {"attempts_max": 0}}), "retry.attempts_max"),
        (json!({"retry": {"attempts_max": 101}}), "retry"),
        (json!({"retry": {"colour": 1}}), "colour"),
        (json!({"retry": {"first_gap_seconds": 86_401}}), "retry"),
        (json!({"description": "x".repeat(501)}), "description"),
        (json!({"instructions": "\u{1}".repeat(65_536)}), ""),
        (json!({"instructions": "x".repeat(65_537)}), "instructions"),
        (json!({"instructions": 1}), "instructions"),
    ] {
        let mut form = http("new");
        for (name, value) in change.as_object().unwrap() {
            form[name] = value.clone();
        }
        let fits = named.is_empty();
        for (method, path, form) in [
            (Method::POST, "/ploybooks", form),
            (Method::PATCH, "/ploybooks/there", change.clone()),
        ] {
            let what = change.to_string();
            if fits {
                server.done(method, path, Some(form)).await;
            } else {
                let detail = server.refused(method, path, Some(form), 422).await;
                assert!(detail.contains(named), "{what:.80}: {detail}");
            }
        }
    }
    for name in ["", " a", "a\n", ".", "..", &"x".repeat(201)] {
        let detail = server.refused(Method::POST, "/ploybooks", Some(http(name)), 422).await;
        assert!(detail.contains("name"), "{detail}");
    }
    let nameless = json!({"run": {"function": "x"}});
    let detail = server.refused(Method::POST, "/ploybooks", Some(nameless), 422).await;
    assert!(detail.contains("`name`"), "{detail}");
    let renamed = json!({"name": "other"});
    let detail = server.refused(Method::PATCH, "/ploybooks/there", Some(renamed), 422).await;
    assert!(detail.contains("`name`"), "{detail}");
}

#[tokio::test]
async fn they_are_listed_by_their_names_a_page_at_a_time() {
    let server = Server::in_memory().await;
    for name in ["d", "b/b", "é", "a", "c c"] {
        server.done(Method::POST, "/ploybooks", Some(http(name))).await;
    }
    let mut names = Vec::new();
    let mut path = "/ploybooks?limit=2".to_owned();
    loop {
        let list = server.done(Method::GET, &path, None).await;
        let page = list["data"].as_array().unwrap();
        assert!(page.len() <= 2, "{list}");
        names.extend(page.iter().map(|ploybook| ploybook["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = list["next_cursor"].as_str() else { break };
        path = format!("/ploybooks?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["a", "b/b", "c c", "d", "é"]);
    for query in ["limit=0", "cursor=!", "enabled=true"] {
        let path = format!("/ploybooks?{query}");
        let detail = server.refused(Method::GET, &path, None, 422).await;
        let name = query.split('=').next().unwrap();
        assert!(detail.contains(&format!("`{name}`")), "{detail}");
    }
}

#[tokio::test]
async fn programs_are_refused_unless_the_server_allows_them() {
    let folder = tempfile::tempdir().unwrap();
    let program = ploybook_by("cat", folder.path(), "cat");
    let server = Server::in_folder(folder.path(), &[("PLOY_ALLOW_COMMANDS", "true")]).await;
    server.done(Method::POST, "/ploybooks", Some(program.clone())).await;
    let endpoint = server.create(json!({"description": "", "trigger": {"ploybook": "cat"}})).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let server = Server::in_folder(folder.path(), &[]).await;
    let mut other = program.clone();
    other["name"] = json!("other");
    let said = server.refused(Method::POST, "/ploybooks", Some(other), 422).await;
    assert!(said.contains("allow_commands"), "{said}");
    server.done(Method::POST, "/ploybooks", Some(http("http"))).await;
    let run = json!({"run": program["run"]});
    let said = server.refused(Method::PATCH, "/ploybooks/http", Some(run), 422).await;
    assert!(said.contains("allow_commands"), "{said}");

    // What was defined before is not run, and may be changed in all else.
    let event = &server.accepted(&endpoint, &["{}"]).await[0];
    let failed = &server.ended(event, 1).await[0];
    assert_eq!(failed["state"], "failed");
    let error = failed["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("allow_commands"), "{error}");
    let changed = json!({"enabled": false, "description": "not run here"});
    let changed = server.done(Method::PATCH, "/ploybooks/cat", Some(changed)).await;
    assert_eq!((&changed["enabled"], &changed["run"]), (&json!(false), &program["run"]));
}
