//! `/endpoints`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, answer};

#[tokio::test]
async fn an_endpoint_is_made_shown_and_deleted() {
    let server = Server::in_memory_with(&[("PLOY_PUBLIC_URL", "https://hooks.example.com/")]).await;
    let form = json!({
        "description": "Clay",
        "trigger": {"ploybook": "page"},
        "auth": {"scheme": "api-key"},
        "limits": {"rate": {"per_second": 5, "burst": 10}, "body_bytes": 1024},
        "dedup": {"pointers": ["/email"], "window_seconds": 60},
        "allow": ["127.0.0.0/8", "2001:db8::/32"],
    });
    let (status, made) = server.call(Method::POST, "/endpoints", Some(form.clone())).await;
    assert_eq!(status, 201);
    let slug = made["slug"].as_str().unwrap();
    assert_eq!(made["url"], format!("https://hooks.example.com/api/v1/webhook/{slug}"));
    assert_eq!((&made["status"], &made["revision"]), (&json!("active"), &json!(1)));
    assert_eq!(made["auth"], json!({"scheme": "api-key"}));
    for name in ["description", "trigger", "limits", "allow"] {
        assert_eq!(made[name], form[name], "{name}");
    }
    assert_eq!(made["dedup"]["required"], false);
    let created_at = made["created_at"].as_str().unwrap();
    assert!(created_at.len() == 24 && created_at.ends_with('Z'), "{created_at}");
    assert!(made["api_key"].as_str().unwrap().starts_with("pwk_"));

    let path = format!("/endpoints/{}", made["id"].as_str().unwrap());
    let (status, shown) = server.get(&path).await;
    assert_eq!(status, 200);
    // What was sent to it is shown where one endpoint is; its key is shown no more.
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("api_key");
    expected["activity"] = json!({"quota": null, "refused": {}});
    let credential = &mut expected["credentials"][0];
    assert_eq!(credential["expires_at"], Value::Null);
    credential["uses"] = 0.into();
    credential["last_used_at"] = Value::Null;
    assert_eq!(shown, expected);

    assert_eq!(
        server.call(Method::DELETE, &path, None).await,
        (204.try_into().unwrap(), Value::Null)
    );
    for method in [Method::GET, Method::DELETE] {
        let (status, problem) = server.call(method, &path, None).await;
        assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")));
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_clears() {
    let server = Server::in_memory().await;
    let endpoint = server
        .create(json!({
            "description": "before",
            "trigger": {"ploybook": "page"},
            "limits": {"rate": {"per_second": 5}, "body_bytes": 1024},
            "dedup": {"body": true},
            "allow": ["127.0.0.0/8"],
            "event_type": {"header": "x-type"},
        }))
        .await;
    let path = format!("/endpoints/{}", endpoint.id);
    let patch = async |body| server.call(Method::PATCH, &path, Some(body)).await;

    let (status, changed) = patch(json!({"description": "after", "status": "paused"})).await;
    assert_eq!(status, 200);
    assert_eq!((&changed["description"], &changed["revision"]), (&json!("after"), &json!(2)));
    assert_eq!(changed["trigger"], json!({"ploybook": "page"}), "what is not named stays");
    let (status, refused) = server.send(&endpoint, &endpoint.key, "{}").await;
    assert_eq!((status.as_u16(), &refused["code"]), (403, &json!("endpoint_paused")));

    let (_, cleared) = patch(json!({
        "status": "active", "trigger": null, "dedup": null, "allow": null, "event_type": null,
        "limits": {"rate": null},
    }))
    .await;
    for name in ["trigger", "dedup", "allow", "event_type"] {
        assert_eq!(cleared[name], Value::Null, "{name}");
    }
    assert_eq!(cleared["limits"], json!({"rate": null, "body_bytes": 1024}));
    assert_eq!(server.send(&endpoint, &endpoint.key, "{}").await.0, 202);

    let (_, same) = patch(json!({})).await;
    assert_eq!(same, cleared, "no change is no revision");
}

#[tokio::test]
async fn changes_at_the_same_time_all_take_effect() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let path = format!("/endpoints/{}", endpoint.id);
    let patch = |body| server.call(Method::PATCH, &path, Some(body));
    let (one, two, three) = tokio::join!(
        patch(json!({"description": "x"})),
        patch(json!({"status": "paused"})),
        patch(json!({"trigger": {"ploybook": "page"}})),
    );
    assert_eq!([one.0, two.0, three.0], [200; 3]);
    let (_, shown) = server.get(&path).await;
    assert_eq!(shown["revision"], 4);
    assert_eq!((&shown["description"], &shown["status"]), (&json!("x"), &json!("paused")));
}

#[tokio::test]
async fn a_rotation_ends_the_old_key_now_or_after_the_overlap() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let path = format!("/endpoints/{}/rotate", endpoint.id);
    let rotate = async |body| {
        let (status, rotated) = server.call(Method::POST, &path, body).await;
        assert_eq!(status, 200, "{rotated}");
        rotated["api_key"].as_str().unwrap().to_owned()
    };
    let status = async |key: &str| server.send(&endpoint, key, "{}").await.0.as_u16();

    let second = rotate(None).await;
    assert_eq!((status(&endpoint.key).await, status(&second).await), (401, 202));
    let third = rotate(Some(json!({"overlap_seconds": 60}))).await;
    assert_eq!((status(&second).await, status(&third).await), (202, 202));
    let fourth = rotate(Some(json!({"overlap_seconds": 0}))).await;
    assert_eq!((status(&second).await, status(&third).await), (401, 401));
    assert_eq!(status(&fourth).await, 202);
}

#[tokio::test]
async fn lists_are_walked_by_cursor() {
    let server = Server::in_memory().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(server.create(json!({"description": ""})).await.id);
    }
    let mut walked = Vec::new();
    let mut path = "/endpoints?limit=2".to_owned();
    loop {
        let (status, list) = server.get(&path).await;
        assert_eq!(status, 200, "{list}");
        let data = list["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        assert!(data.iter().all(|endpoint| endpoint.get("api_key").is_none()));
        walked.extend(data.iter().map(|endpoint| endpoint["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = list["next_cursor"].as_str() else {
            break;
        };
        path = format!("/endpoints?limit=2&cursor={cursor}");
    }
    assert_eq!(walked, made);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let long = "é".repeat(501);
    let ranges: Vec<_> = (0..257).map(|n| format!("10.0.{}.0/24", n % 256)).collect();
    let wrong_on_create = [
        (json!({}), "description"),
        (json!({"description": "", "colour": 1}), "colour"),
        (json!({"description": "", "limits": {"rat": 1}}), "rat"),
        (json!({"description": "", "limits": {"body_bytes": 0}}), "body_bytes"),
        (json!({"description": "", "limits": {"rate": {"per_second": 0}}}), "nonzero"),
        (json!({"description": long}), "description"),
        (json!({"description": "a\u{7}"}), "description"),
        (json!({"description": "", "trigger": {"ploybook": ""}}), "ploybook"),
        (json!({"description": "", "auth": {"scheme": "magic"}}), "scheme"),
        (json!({"description": "", "auth": {"scheme": "api-key", "secret": "x"}}), "secret"),
        (json!({"description": "", "allow": ["everybody"]}), "IP"),
        (json!({"description": "", "allow": ranges}), "allow"),
        (json!({"description": "", "status": "paused"}), "status"),
    ];
    for (body, named) in wrong_on_create {
        let (status, problem) = server.call(Method::POST, "/endpoints", Some(body)).await;
        assert_eq!((status.as_u16(), &problem["code"]), (422, &json!("validation_failed")));
        assert!(problem["detail"].as_str().unwrap().contains(named), "{named}: {problem}");
    }
    let path = format!("/endpoints/{}", endpoint.id);
    for body in [json!({"slug": "x"}), json!({"description": null}), json!({"status": "off"})] {
        let (status, problem) = server.call(Method::PATCH, &path, Some(body)).await;
        assert_eq!(status, 422, "{problem}");
    }
    for query in ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "cursor=x", "page=2"] {
        let (status, problem) = server.get(&format!("/endpoints?{query}")).await;
        assert_eq!(status, 422, "{query}");
        let name = query.split('=').next().unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(name), "{problem}");
    }
    for path in
        ["/endpoints/ep_nonsense", "/endpoints/%ff", "/endpoints/evt_00000000000000000000000000"]
    {
        assert_eq!(server.get(path).await.0, 404, "{path}");
    }
    let body = Some(json!({"overlap_seconds": 2_592_001}));
    assert_eq!(server.call(Method::POST, &format!("{path}/rotate"), body).await.0, 422);
}

#[tokio::test]
async fn bodies_that_are_not_json_have_codes_of_their_own() {
    let server = Server::in_memory().await;
    let post = async |content_type: &str, body: String| {
        let request = server
            .http
            .post(format!("{}/api/v1/endpoints", server.url))
            .bearer_auth(crate::harness::ROOT_TOKEN)
            .header("content-type", content_type)
            .body(body);
        let (status, problem) = answer(request).await;
        (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    };
    let json = "application/json";
    let is = |status: u16, code: &str| (status, code.to_owned());
    let form = r#"{"description":""}"#.to_owned();
    assert_eq!(post("text/plain", form).await, is(415, "unsupported_media_type"));
    assert_eq!(post(json, "{".to_owned()).await, is(400, "invalid_json"));
    assert_eq!(post(json, r#"{"x":1} 2"#.to_owned()).await, is(400, "invalid_json"));
    assert_eq!(post(json, " ".repeat(524_289)).await, is(413, "payload_too_large"));
}

#[tokio::test]
async fn nothing_is_told_without_the_root_token() {
    let server = Server::in_memory().await;
    let client = &server.http;
    for path in ["/endpoints", "/events", "/endpoints/ep_x", "/nothing", "/endpoints?x=1"] {
        for authorization in [None, Some("Bearer wrong"), Some("Basic cm9vdA=="), Some("Bearer")] {
            let mut request = client.put(format!("{}/api/v1{path}", server.url));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{path} {authorization:?}");
            assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="management""#);
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_with_those_allowed() {
    let server = Server::in_memory().await;
    let response = server
        .http
        .put(format!("{}/api/v1/endpoints", server.url))
        .bearer_auth(crate::harness::ROOT_TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}
