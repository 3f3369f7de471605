//! Who may send: every form of `Authorization`, and keys that come and go.

use std::time::Duration;

use http::{HeaderValue, Request};
use ploy_webhooks::ingest::{CredentialFault, Refusal};
use ploy_webhooks::store::EndpointPatch;
use ploy_webhooks::{Auth, Clock, EndpointConfig, KeyDigest, Secret};

use super::intake::{Answer, Intake, URL, full};

async fn send_with(intake: &Intake, values: &[&[u8]]) -> Answer {
    let mut request = Request::post(URL).header("content-type", "application/json");
    for value in values {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        request = request.header("authorization", value);
    }
    intake.send(request.body(full("{}")).expect("a request")).await
}

#[tokio::test]
async fn every_fault_has_its_answer() {
    use CredentialFault::{Empty, Missing, Quoted, Repeated, Scheme, Spacing, Wrong};

    let intake = Intake::open(EndpointConfig::default()).await;
    let (key, other) = (intake.key.expose(), Secret::mint_api_key());
    intake.create("other", other.clone(), EndpointConfig::default()).await;
    let good = format!("Bearer {key}");
    let cases = [
        (vec![], Missing),
        (vec![good.clone(), good.clone()], Repeated),
        (vec![good.clone(), format!("Basic {key}")], Repeated),
        (vec![format!("Basic {key}")], Scheme),
        (vec![format!("Bearer{key}")], Scheme),
        (vec![key.to_owned()], Scheme),
        (vec![String::new()], Scheme),
        (vec![format!("Bearer  {key}")], Spacing),
        (vec![format!("Bearer\t{key}")], Spacing),
        (vec![format!("Bearer {key} ")], Spacing),
        (vec![format!("Bearer {key} {key}")], Spacing),
        (vec![format!("Bearer \"{key}\"")], Quoted),
        (vec![format!("Bearer '{key}'")], Quoted),
        (vec!["Bearer".to_owned()], Empty),
        (vec!["Bearer ".to_owned()], Empty),
        (vec![format!("Bearer {}", other.expose())], Wrong),
        (vec![format!("Bearer {}", key.to_uppercase())], Wrong),
        (vec![format!("Bearer {}", &key[..41])], Wrong),
        (vec![format!("Bearer {key}=")], Wrong),
        (vec![format!("Bearer {key},")], Wrong),
        (vec![format!("Bearer {key}é")], Wrong),
    ];
    for (values, fault) in cases {
        let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        let answer = send_with(&intake, &values).await;
        answer.assert_is(401, "unauthorized");
        let challenge = match fault {
            Missing => r#"Bearer realm="webhook""#,
            _ => r#"Bearer realm="webhook", error="invalid_token""#,
        };
        assert_eq!(answer.header("www-authenticate"), Some(challenge), "{fault:?}");
        let told = matches!(&answer.refusal, Some(Refusal::Unauthorized(told)) if *told == fault);
        assert!(told, "{fault:?}: {answer:?}");
    }
    assert_eq!(intake.count().await, 0);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let answer = send_with(&intake, &[format!("{scheme} {key}").as_bytes()]).await;
        assert_eq!(answer.status, 202, "{scheme}");
    }
}

#[tokio::test]
async fn a_key_opens_until_it_expires() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let (old, new) = (intake.key.clone(), Secret::mint_api_key());
    let expires_at = intake.clock.now().after(Duration::from_secs(60));
    let key = |secret: &Secret, expires_at| KeyDigest { digest: secret.digest(), expires_at };
    intake
        .change(EndpointPatch {
            config: None,
            auth: Some(Auth::ApiKey { keys: vec![key(&new, None), key(&old, Some(expires_at))] }),
        })
        .await;
    for (elapsed, status_of_old) in [(0, 202), (59_999, 202), (1, 401), (60_000, 401)] {
        intake.clock.0.advance(Duration::from_millis(elapsed));
        let bearer = format!("Bearer {}", old.expose());
        assert_eq!(send_with(&intake, &[bearer.as_bytes()]).await.status, status_of_old);
        let bearer = format!("Bearer {}", new.expose());
        assert_eq!(send_with(&intake, &[bearer.as_bytes()]).await.status, 202);
    }
}
