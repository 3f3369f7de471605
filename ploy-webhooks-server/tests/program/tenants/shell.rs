//! Workspaces and tokens from the shell.

use serde_json::{Value, json};

use super::text;
use crate::harness::{Server, program};

async fn parsed(server: &Server, args: &[&str]) -> Value {
    serde_json::from_str(&server.printed(&[args, &["--json"]].concat()).await).unwrap()
}

#[tokio::test]
async fn workspaces_are_worked_with_from_the_shell() {
    let server = Server::in_memory().await;
    let made =
        parsed(&server, &["workspaces", "create", "Acme", "--rate", "5", "--burst", "9"]).await;
    assert_eq!(made["limits"], json!({"rate": {"per_second": 5, "burst": 9}}));
    let id = text(&made, "id");
    let list = server.printed(&["workspaces", "list"]).await;
    let acme = list.lines().find(|line| line.contains(&id)).unwrap();
    assert!(acme.contains("Acme") && acme.contains("5/s, 9 at once"), "{list}");
    assert!(list.contains("Default") && list.contains("unbounded"), "{list}");
    let set = parsed(&server, &["workspaces", "set", &id, "--name", "Acme 2", "--no-rate"]).await;
    assert_eq!((&set["name"], &set["limits"]), (&json!("Acme 2"), &json!({"rate": null})));
    let set = server.printed(&["workspaces", "set", &id, "--rate", "7"]).await;
    assert!(set.contains("7/s") && set.contains("Acme 2"), "{set}");
    assert_eq!(parsed(&server, &["workspaces", "show", &id]).await["name"], "Acme 2");

    let endpoint = ["endpoints", "create", "--description", "Clay", "--workspace", &id];
    let endpoint = text(&parsed(&server, &endpoint).await, "id");
    assert!(!server.printed(&["endpoints", "list"]).await.contains(&endpoint));
    let refused = server.shell(&["workspaces", "delete", &id]).await;
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("409") && message.contains("has endpoints"), "{message}");
    server.printed(&["endpoints", "delete", &endpoint, "--workspace", &id]).await;
    assert_eq!(server.printed(&["workspaces", "delete", &id]).await, "");
    assert!(!server.printed(&["workspaces", "list"]).await.contains(&id));
    for args in [&["workspaces", "create"][..], &["workspaces", "create", "x", "--burst", "1"]] {
        assert_eq!(server.shell(args).await.status.code(), Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn tokens_are_worked_with_from_the_shell() {
    let server = Server::in_memory().await;
    let id = text(&parsed(&server, &["workspaces", "create", "Acme"]).await, "id");
    let create = ["tokens", "create", "--workspace", &id, "--scope", "write"];
    let made = server.printed(&[&create[..], &["--description", "CI"]].concat()).await;
    let token = made.split_whitespace().find(|word| word.starts_with("pwt_")).unwrap();
    let as_tenant = async |args: &[&str], workspace: &str| {
        let mut command = program(args);
        command.env("PLOY_URL", &server.url).env("PLOY_TOKEN", token);
        command.env("PLOY_WORKSPACE", workspace).output().await.unwrap()
    };
    let endpoint = as_tenant(&["endpoints", "create", "--json"], "").await;
    let endpoint: Value = serde_json::from_slice(&endpoint.stdout).unwrap();
    let listed = server.printed(&["endpoints", "list", "--workspace", &id]).await;
    assert!(listed.contains(&text(&endpoint, "id")), "{listed}");
    for (args, workspace) in [(["tokens", "list"], ""), (["endpoints", "list"], &*id)] {
        let refused = as_tenant(&args, workspace).await;
        assert_eq!(refused.status.code(), Some(1));
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.contains("403") && message.contains("root token"), "{message}");
    }

    let brief =
        parsed(&server, &["tokens", "create", "--scope", "read", "--expires-in-seconds", "60"]);
    let brief = text(&brief.await, "id");
    let listed = server.printed(&["tokens", "list"]).await;
    assert!(
        listed.contains("CI") && listed.contains("never") && listed.contains(&brief),
        "{listed}"
    );
    assert!(!listed.contains("pwt_"), "{listed}");
    let listed = server.printed(&["tokens", "list", "--workspace", &id]).await;
    assert!(listed.contains("CI") && !listed.contains(&brief), "{listed}");
    let shown = server.printed(&["tokens", "show", &brief]).await;
    assert!(shown.contains("read") && !shown.contains("pwt_"), "{shown}");

    let listed = parsed(&server, &["tokens", "list", "--workspace", &id]).await;
    let revoked = text(&listed["data"][0], "id");
    assert_eq!(server.printed(&["tokens", "revoke", &revoked]).await, "");
    let refused = as_tenant(&["endpoints", "list"], "").await;
    assert!(String::from_utf8(refused.stderr).unwrap().contains("401"));
    for args in [&["tokens", "create"][..], &["tokens", "create", "--scope", "root"]] {
        assert_eq!(server.shell(args).await.status.code(), Some(2), "{args:?}");
    }
}
