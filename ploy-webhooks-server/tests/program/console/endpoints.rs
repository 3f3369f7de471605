//! An endpoint from the form that makes it to the form that deletes it.

use reqwest::Method;
use serde_json::json;

use super::{Browser, copied, form};
use crate::harness::Server;

/// Makes one by the form, and gives its page and the page that showed its secret.
async fn made(browser: &Browser, fields: &[(&str, &str)]) -> (String, String) {
    let page = browser.fill("/console/endpoints/new", "/console/endpoints", fields).await;
    assert_eq!(page.status, 201, "{}", page.body);
    assert_eq!(page.header("cache-control"), "no-store");
    let path = super::between(&page.body, "class=\"button primary\" href=\"", "\"").to_owned();
    (path, page.body)
}

#[tokio::test]
async fn a_key_is_shown_once_and_its_command_sends() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let fields = [("description", "Clay enrichment"), ("limits.rate.per_second", "50")];
    let (path, shown) = made(&browser, &fields).await;
    let key = copied(&shown, "secret");
    assert!(key.starts_with("pwk_"), "{key}");

    let command = copied(&shown, "command");
    let sent = tokio::process::Command::new("sh").args(["-c", &command]).output().await.unwrap();
    let sent = String::from_utf8(sent.stdout).unwrap();
    assert!(sent.contains("\"status\":\"accepted\""), "{command}: {sent}");

    for path in ["/console", "/console/endpoints", "/console/events", &path] {
        assert!(!browser.page(path).await.contains(&key), "{path}");
    }
    let page = browser.page(&path).await;
    assert!(page.contains("Clay enrichment") && page.contains("evt_"), "{page}");
    assert_eq!(copied(&page, "url"), copied(&shown, "url"));
}

#[tokio::test]
async fn a_signing_secret_is_shown_once_and_its_command_is_true() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let of_scheme = async |scheme: &str, secret: &str| {
        let fields = [("description", scheme), ("auth.scheme", scheme), ("auth.secret", secret)];
        made(&browser, &fields).await.1
    };
    let stripe = of_scheme("stripe", "it's a secret").await;
    assert_eq!(copied(&stripe, "secret"), "it's a secret");
    let command = copied(&stripe, "command");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ploy-webhooks")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let mut shell = tokio::process::Command::new("sh");
    let sent = shell.args(["-c", &command]).env("PATH", path).output().await.unwrap();
    assert!(sent.status.success(), "{command}: {}", String::from_utf8_lossy(&sent.stderr));

    let gitlab = of_scheme("gitlab", "").await;
    assert!(copied(&gitlab, "command").contains("-H 'x-gitlab-token: whsec_"), "{gitlab}");
    // The public key of the first example of RFC 8032 §7.1.
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let discord = of_scheme("discord", key).await;
    assert!(discord.contains("only the sender signs"), "{discord}");
}

#[tokio::test]
async fn settings_are_saved_as_they_are_shown() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let (path, _) = made(&browser, &[("description", "Leads")]).await;
    let id = path.rsplit_once('/').unwrap().1;
    let fields = [
        ("description", "Leads of Acme"),
        ("limits.rate.per_second", "5"),
        ("limits.rate.burst", "10"),
        ("limits.quota.events", "1000"),
        ("dedup.by", "pointers"),
        ("dedup.key", "/email\r\n/a,b"),
        ("dedup.window_seconds", "60"),
        ("dedup.required", "1"),
        ("allow", "203.0.113.0/24, 2001:db8::/32"),
        ("event_type", r#"{"pointer":"/event"}"#),
    ];
    let saved = browser.fill(&path, &path, &fields).await;
    assert!(browser.follow(&saved).await.contains("The change is made"));
    let (_, now) = server.get(&format!("/endpoints/{id}")).await;
    assert_eq!(now["description"], "Leads of Acme");
    assert_eq!(now["limits"]["rate"], json!({"per_second": 5, "burst": 10}));
    assert_eq!(now["limits"]["quota"]["events"], 1000);
    let dedup = json!({"pointers": ["/email", "/a,b"], "window_seconds": 60, "required": true});
    assert_eq!(now["dedup"], dedup);
    assert_eq!(now["allow"], json!(["203.0.113.0/24", "2001:db8::/32"]));
    assert_eq!(now["event_type"], json!({"pointer": "/event"}));
    // Saved again as the form has it, nothing is another.
    browser.follow(&browser.fill(&path, &path, &[]).await).await;
    let (_, again) = server.get(&format!("/endpoints/{id}")).await;
    for member in ["description", "limits", "dedup", "allow", "event_type", "fields", "trigger"] {
        assert_eq!(again[member], now[member], "{member}");
    }
}

#[tokio::test]
async fn what_others_have_changed_meanwhile_is_not_changed_back() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let browser = Browser::of_root(&server).await;
    let (api, path) =
        (format!("/endpoints/{}", endpoint.id), format!("/console/endpoints/{}", endpoint.id));
    let filled = form::of(&browser.page(&path).await, &path);
    let others = json!({"allow": ["203.0.113.0/24"], "limits": {"rate": {"per_second": 5}}});
    server.done(Method::PATCH, &api, Some(others)).await;
    // Also where it was refused first, and sent again.
    let wrong = [("description", "Leads"), ("limits.quota.events", "many")];
    let again = form::of(&browser.submit(&filled, &path, &wrong).await.body, &path);
    browser.follow(&browser.submit(&again, &path, &[("limits.quota.events", "9")]).await).await;
    let (_, now) = server.get(&api).await;
    assert_eq!(now["description"], "Leads");
    assert_eq!(now["allow"], json!(["203.0.113.0/24"]));
    assert_eq!(now["limits"]["rate"]["per_second"], 5);
    assert_eq!(now["limits"]["quota"]["events"], 9);
}

#[tokio::test]
async fn what_is_wrong_is_said_beside_its_field_and_the_rest_stays_filled_in() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    for (fields, at) in [
        (&[("limits.rate.per_second", "many")][..], "limits.rate.per_second"),
        (&[("limits.rate.per_second", "0")], "limits.rate.per_second"),
        (&[("allow", "203.0.113.0/99")], "allow"),
        (&[("event_type", "{")], "event_type"),
        (&[("dedup.by", "pointers"), ("dedup.key", "email")], "dedup"),
    ] {
        let fields = [&[("description", "kept as it is")], fields].concat();
        let page = browser.fill("/console/endpoints/new", "/console/endpoints", &fields).await;
        assert_eq!(page.status, 422, "{at}: {}", page.body);
        assert!(page.body.contains(&format!("id=\"{at}-wrong\"")), "{at}: {}", page.body);
        let filled = form::of(&page.body, "/console/endpoints");
        for (name, value) in fields {
            assert!(filled.contains(&(name.to_owned(), value.to_owned())), "{name}: {filled:?}");
        }
    }
    assert!(browser.page("/console/endpoints").await.contains("No endpoint yet"));
}

#[tokio::test]
async fn paused_resumed_rotated_and_deleted() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let browser = Browser::of_root(&server).await;
    let path = format!("/console/endpoints/{}", endpoint.id);
    assert!(browser.press(&path, &format!("{path}/pause")).await.contains("paused</span>"));
    assert_eq!(server.send(&endpoint, &endpoint.key, "{}").await.0, 403);
    assert!(browser.page("/console").await.contains("Paused endpoints"));
    assert!(browser.press(&path, &format!("{path}/resume")).await.contains("active</span>"));

    let rotate = format!("{path}/rotate");
    let rotated = browser.fill(&path, &rotate, &[("overlap_seconds", "60")]).await;
    let key = copied(&rotated.body, "secret");
    assert_ne!(key, endpoint.key);
    for key in [&key, &endpoint.key] {
        assert_eq!(server.send(&endpoint, key, "{}").await.0, 202);
    }
    let refused = browser.fill(&path, &rotate, &[("overlap_seconds", "99999999")]).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("id=\"overlap_seconds-wrong\""), "{}", refused.body);

    let delete = format!("{path}/delete");
    let kept = browser.fill(&path, &delete, &[("confirm", "yes")]).await;
    assert_eq!(kept.status, 422);
    assert!(kept.body.contains("id=\"confirm-wrong\""), "{}", kept.body);
    let deleted = browser.fill(&path, &delete, &[("confirm", &endpoint.slug)]).await;
    assert!(browser.follow(&deleted).await.contains("No endpoint yet"));
    assert_eq!(browser.get(&path).await.status, 404);
}
