//! What is sent is signed by the table that receivers verify with.

use std::time::Duration;

use ploy_webhooks::verify::{Preset, Scheme, Signed, Verifier};
use ploy_webhooks::{Clock, CredentialId, Secret};
use ploy_webhooks_delivery::Signing;
use serde_json::json;

use crate::receiver::{Got, Receiver};
use crate::scene::World;

fn is_content(name: &str, secret: &Secret, got: &Got, url: &str, world: &World) -> bool {
    let scheme = Scheme::Preset(Preset::named(name).expect("a preset"));
    let now = world.clock.now();
    let verifier = Verifier::new(scheme, Duration::from_secs(300))
        .with_secret(CredentialId::mint(now), secret, None)
        .expect("a secret");
    let signed = Signed { method: "POST", url, body: &got.body };
    let presented = verifier.present(&got.headers, now).expect("a signature");
    verifier.verify(&presented, &signed, now).is_ok()
}

#[tokio::test(start_paused = true)]
async fn every_scheme_that_signs_is_verified_by_the_same_table() {
    let names = [
        "standard-webhooks",
        "svix",
        "toolplex",
        "clay",
        "crm",
        "stripe",
        "github",
        "shopify",
        "slack",
        "zoom",
        "linear",
        "paddle",
        "calendly",
        "typeform",
        "hubspot",
        "square",
        "intercom",
        "gitlab",
    ];
    for name in names {
        let (world, receiver) = (World::start(), Receiver::start().await);
        let secret = Secret::mint_signing_secret();
        let url = receiver.url("/in?a=1");
        let signing = json!({"scheme": name, "secret": secret.expose()});
        world.wire(json!({"url": url, "signing": signing})).await;
        world.publish("a", r#"{"a":1}"#).await;
        let got = receiver.has_got(1).await.remove(0);
        assert!(is_content(name, &secret, &got, &url, &world), "{name}");
        assert!(!is_content(name, &Secret::mint_signing_secret(), &got, &url, &world), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn during_a_rotation_receivers_of_either_secret_are_content() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    let [old, new] = [(); 2].map(|()| Secret::mint_signing_secret());
    let (url, minute) = (receiver.url("/"), Duration::from_secs(60));
    let signing = json!({"scheme": "standard-webhooks", "secret": old.expose()});
    let id = world.wire(json!({"url": url, "signing": signing})).await;
    let mut destination = world.kept(id).await;
    let now = world.clock.now();
    let rotated = destination.signing.rotated(id, &world.keyring, &new, minute, now);
    destination.signing = rotated.expect("there is a secret to rotate");
    world.keep(id, &destination).await;
    world.publish("a", "{}").await;
    let got = receiver.has_got(1).await.remove(0);
    assert!([&old, &new].iter().all(|secret| is_content(
        "standard-webhooks",
        secret,
        &got,
        &url,
        &world
    )));
    world.settle().await;
    world.pass(minute * 2, minute / 2).await;
    world.publish("a", "{}").await;
    let got = receiver.has_got(2).await.remove(1);
    let of = |secret| is_content("standard-webhooks", secret, &got, &url, &world);
    assert_eq!((of(&old), of(&new)), (false, true), "left: after the overlap");
}

#[tokio::test(start_paused = true)]
async fn a_bearer_token_is_sent_and_nothing_where_nothing_is_wanted() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    let bearer = json!({"scheme": "bearer", "secret": "hunter2"});
    world.wire(json!({"url": receiver.url("/bearer"), "signing": bearer})).await;
    world.wire(json!({"url": receiver.url("/none"), "signing": {"scheme": "none"}})).await;
    world.publish("a", "{}").await;
    for got in receiver.has_got(2).await {
        let expected = (got.uri.path() == "/bearer").then_some("Bearer hunter2");
        assert_eq!(got.header("authorization"), expected);
        assert_eq!(got.header("webhook-signature"), None);
    }
}

impl World {
    async fn kept(&self, id: ploy_webhooks::DestinationId) -> ploy_webhooks_delivery::Destination {
        use ploy_webhooks::store::{DefinitionKind, DefinitionStore};

        let kind = DefinitionKind::Destination;
        let found = self.store.definition(&crate::scene::WORKSPACE, kind, &id.to_string()).await;
        let text = found.expect("the memory store works").expect("it is there").text;
        let kept: ploy_webhooks_delivery::Destination = serde_json::from_str(&text).expect("JSON");
        assert!(matches!(kept.signing, Signing::Signature { .. }));
        kept
    }
}
