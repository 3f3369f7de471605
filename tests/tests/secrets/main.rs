//! Nothing secret leaks: neither into what the program prints and logs at every level, nor into what
//! its API answers, nor into what a store keeps.
//!
//! A run has every kind of secret, and uses each rightly and wrongly. Then all of them are looked
//! for in all that there is, in every form that a slip would give them.

mod dump;
mod needles;
mod node;
mod scene;
mod senders;

use std::path::Path;

use ploy_webhooks_engines::{Postgres, Redis};
use tempfile::TempDir;

use self::needles::Needles;
use self::scene::Scene;

/// Runs all of it on that store; `dumped` is what the store keeps when the program has ended.
fn nothing_leaks(store: &str, folder: &Path, dumped: impl FnOnce() -> Vec<(String, Vec<u8>)>) {
    let mut scene = Scene::new(store, folder);
    scene.first_start();
    if store != "memory:" {
        scene.second_start();
    }
    let (secrets, mut heard) = scene.end();
    assert!(secrets.len() > 100, "{} secrets are too few for all of them", secrets.len());
    let printed = dump::files_of(folder);
    let is_a_log = |(_, bytes): &(String, Vec<u8>)| needles::contains(bytes, b"DEBUG");
    assert!(printed.iter().any(is_a_log), "nothing was logged at the lower levels");
    heard.extend(printed);
    heard.extend(dumped());
    let leaks = Needles::of(&secrets).found_in(&heard);
    let leaks = leaks.iter().map(|(place, leaks)| {
        let one = leaks.first().map_or("", String::as_str);
        format!("{} in {place}, such as {one}", leaks.len())
    });
    let leaks: Vec<_> = leaks.collect();
    assert!(leaks.is_empty(), "secrets leak:\n{}", leaks.join("\n"));
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder is made")
}

#[test]
fn in_memory() {
    nothing_leaks("memory:", folder().path(), Vec::new);
}

#[test]
fn in_a_file() {
    let folder = folder();
    let database = folder.path().join("data/ploy.db");
    let store = format!("sqlite:{}", database.display());
    nothing_leaks(&store, folder.path(), || dump::sqlite(&database));
}

#[test]
fn on_postgres() {
    let url = Postgres::shared().database();
    nothing_leaks(&url, folder().path(), || dump::postgres(&url));
}

#[test]
fn on_redis() {
    let url = Redis::shared().url();
    let store = format!("{url}?prefix=test-{:016x}", fastrand::u64(..));
    nothing_leaks(&store, folder().path(), || dump::redis(url));
}

#[test]
fn every_form_of_a_secret_is_found() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    let bytes: Vec<u8> = (0..32).map(|byte: u8| byte.wrapping_mul(37).wrapping_add(129)).collect();
    let secret = format!("whsec_{}", STANDARD.encode(&bytes));
    let needles = Needles::of(&[("it".to_owned(), secret.clone())]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut hidden: Vec<Vec<u8>> = vec![
        secret.clone().into(),
        secret["whsec_".len()..].into(),
        bytes.clone(),
        hex(&bytes).into(),
        hex(secret.as_bytes()).to_uppercase().into(),
        format!("{bytes:?}").into(),
        format!("{:?}", secret.as_bytes()).into(),
    ];
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{secret}\"}}");
        hidden.push(STANDARD.encode(&text).into());
        hidden.push(URL_SAFE_NO_PAD.encode([before.as_bytes(), &bytes].concat()).into());
    }
    for form in hidden {
        let among = [&b"some text "[..], &form, b" more of it"].concat();
        assert_eq!(needles.found_in(&[("x".to_owned(), among.clone())]).len(), 1, "{form:?}");
    }
    let other = [("x".to_owned(), b"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_vec())];
    assert!(needles.found_in(&other).is_empty());
}
