//! Promises about endpoints that are made, changed and listed.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Fixture;
use super::scene::{
    LONG, change, create, delete, endpoint, endpoint_of, list, look_up_id, look_up_slug,
    set_status, workspace,
};
use crate::auth::{Auth, KeyDigest};
use crate::clock::{Clock, SystemClock};
use crate::endpoint::{
    AllowList, DedupBy, DedupRule, Endpoint, EndpointConfig, EndpointTrigger, Revision, Slug,
    Status,
};
use crate::fields::{Absence, Field, FieldMap};
use crate::id::EndpointId;
use crate::limits::{Limits, Quota, Rate};
use crate::retention::Retention;
use crate::secret::Secret;
use crate::store::{Created, EndpointPatch, EndpointStore, Updated};
use crate::value_source::ValueSource;

/// An endpoint comes back as it was made, from its slug, its id and the list, with everything
/// that can be set on one; and so it does after a change of each part.
pub async fn endpoints_are_kept_whole<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let plain = endpoint();
    let full = Endpoint {
        revision: Revision::new(41),
        auth: many_keys(),
        config: full_config(),
        ..endpoint_of(plain.workspace)
    };
    for made in [&plain, &full] {
        create(&*store, made.clone(), Created::Created).await;
        assert_is_shown(&*store, made).await;
    }
    for patch in [
        EndpointPatch::default(),
        EndpointPatch { config: Some(full_config()), auth: None },
        EndpointPatch { config: None, auth: Some(many_keys()) },
        EndpointPatch { config: Some(EndpointConfig::default()), auth: Some(plain.auth.clone()) },
    ] {
        let before = look_up_slug(&*store, &plain.slug).await;
        let before = before.expect("the endpoint is not deleted");
        let expected = patch.clone().apply(&before);
        let changed = change(&*store, &before, patch).await;
        assert_eq!(changed, expected, "left: what `update` gives; right: the patch applied");
        assert_is_shown(&*store, &expected).await;
    }
    assert_is_shown(&*store, &full).await;
}

fn many_keys() -> Auth {
    let now = SystemClock.now();
    let keys = [None, Some(now), Some(now.after(LONG))]
        .map(|expires_at| KeyDigest { digest: Secret::mint_api_key().digest(), expires_at });
    Auth::ApiKey { keys: keys.into() }
}

/// A configuration with every part set, to values that are easily lost.
fn full_config() -> EndpointConfig {
    let pointer = |text: &str| text.parse().expect("a JSON pointer");
    EndpointConfig {
        description: "Clay → CRM; 'quotes' \"and\" \\ %_ \u{1f600}".to_owned(),
        status: Status::Paused,
        trigger: Some(EndpointTrigger { ploybook: "enrich the lead".parse().expect("a name") }),
        limits: Limits {
            rate: Some(Rate { per_second: NonZeroU32::MAX, burst: Some(NonZeroU32::MIN) }),
            quota: Some(Quota { events: NonZeroU64::MAX, period_seconds: NonZeroU32::new(86_400) }),
            body_bytes: Some(1 << 40),
            retention: Some(Retention::MAX),
        },
        dedup: Some(DedupRule {
            window: Duration::from_secs(90),
            required: true,
            ..DedupRule::new(DedupBy::Pointers(vec![pointer("/a~1b/0"), pointer("/")]))
        }),
        allow: Some(AllowList::new(vec![
            "203.0.113.0/24".parse().expect("an address range"),
            "2001:db8::/32".parse().expect("an address range"),
        ])),
        event_type: Some(ValueSource::Pointer(pointer("/type"))),
        answer: serde_json::from_str(r#"{"status":200,"body":{"received": true}}"#).ok(),
        fields: Some(full_fields()),
    }
}

fn full_fields() -> FieldMap {
    let field = |pointer: &str, absence| Field {
        pointer: pointer.parse().expect("a JSON pointer"),
        absence,
    };
    let stand_in = serde_json::json!({"→ '": [null, "\u{1f600}\\"]});
    let fields = [
        ("contact.email", field("/a~1b/0", Absence::Refuse)),
        ("contact.name", field("/", Absence::Default(stand_in))),
        ("_", field("/\"'", Absence::Leave)),
    ];
    let named = fields.map(|(name, field)| (name.parse().expect("the name of a field"), field));
    FieldMap::new(named).expect("fields that do not exclude each other")
}

async fn assert_is_shown<S: EndpointStore + ?Sized>(store: &S, endpoint: &Endpoint) {
    let by_slug = look_up_slug(store, &endpoint.slug).await;
    assert_eq!(by_slug.as_deref(), Some(endpoint), "the endpoint by its slug");
    let by_id = look_up_id(store, endpoint).await;
    assert_eq!(by_id.as_deref(), Some(endpoint), "the endpoint by its id");
    let listed = store.endpoints(&endpoint.workspace, None, NonZeroU16::MAX).await;
    let listed = listed.expect("a list of endpoints gives no error");
    let listed = listed.iter().find(|listed| listed.id == endpoint.id);
    assert_eq!(listed.map(|listed| &**listed), Some(endpoint), "the endpoint in the list");
}

/// A slug belongs to one endpoint of all workspaces, an id too: of 16 that want one slug at the
/// same time one gets it, and the others change nothing.
pub async fn slugs_and_ids_belong_to_one_endpoint<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let slug = Slug::mint();
    let start = Arc::new(Barrier::new(16));
    let mut creations = JoinSet::new();
    for _ in 0..16 {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        let wants = Endpoint { slug: slug.clone(), ..endpoint() };
        creations.spawn(async move {
            start.wait().await;
            let created = store.create(wants.clone()).await;
            (wants, created.expect("create gives no error"))
        });
    }
    let outcomes = creations.join_all().await;
    let made: Vec<_> =
        outcomes.iter().filter(|(_, created)| *created == Created::Created).collect();
    let [(owner, _)] = made[..] else {
        panic!("of 16 endpoints with one slug {} were made, not one", made.len());
    };
    for (wanted, _) in outcomes.iter().filter(|(wanted, _)| wanted.id != owner.id) {
        let found = look_up_id(&*store, wanted).await;
        assert_eq!(found, None, "an endpoint that was not made is there");
    }
    let same_id = Endpoint { id: owner.id, ..endpoint() };
    create(&*store, same_id.clone(), Created::Taken).await;
    assert_eq!(look_up_slug(&*store, &same_id.slug).await, None, "it was not made");
    assert_is_shown(&*store, owner).await;
}

/// A look-up that begins when a change has returned sees it: every creation, change and
/// deletion, from any task.
pub async fn look_up_sees_every_change_that_returned<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut endpoint = endpoint();
            assert_eq!(look_up_slug(&*store, &endpoint.slug).await, None);
            create(&*store, endpoint.clone(), Created::Created).await;
            for number in 0..8 {
                assert_is_shown(&*store, &endpoint).await;
                let status = [Status::Paused, Status::Active][number % 2];
                endpoint = change(&*store, &endpoint, set_status(&endpoint, status)).await;
            }
            assert_is_shown(&*store, &endpoint).await;
            delete(&*store, &endpoint, true).await;
            let found = look_up_slug(&*store, &endpoint.slug).await;
            assert_eq!(found, None, "a deleted endpoint is found by its slug");
            let found = look_up_id(&*store, &endpoint).await;
            assert_eq!(found, None, "a deleted endpoint is found by its id");
        });
    }
    tasks.join_all().await;
}

/// Of 16 changes at the same time that expect one revision one succeeds; the others are told
/// the new revision and change nothing.
pub async fn of_simultaneous_changes_one_wins<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let endpoint = endpoint();
    create(&*store, endpoint.clone(), Created::Created).await;
    let start = Arc::new(Barrier::new(16));
    let mut changes = JoinSet::new();
    for number in 0..16 {
        let (store, start, endpoint) = (Arc::clone(&store), Arc::clone(&start), endpoint.clone());
        changes.spawn(async move {
            let patch = EndpointPatch {
                config: Some(EndpointConfig {
                    description: format!("change {number}"),
                    ..EndpointConfig::default()
                }),
                auth: None,
            };
            start.wait().await;
            let Endpoint { workspace, id, .. } = &endpoint;
            let updated = store.update(workspace, id, endpoint.revision, patch).await;
            updated.expect("update gives no error")
        });
    }
    let mut winners = Vec::new();
    for updated in changes.join_all().await {
        match updated {
            Updated::Updated(winner) => winners.push(winner),
            Updated::Conflict(revision) => assert_eq!(
                revision,
                endpoint.revision.next(),
                "a change that lost was told a revision that the endpoint is not at"
            ),
            Updated::Missing => panic!("the endpoint is there, and `update` says `Missing`"),
        }
    }
    let [winner] = &winners[..] else {
        panic!("of 16 changes that expect one revision {} succeeded, not one", winners.len());
    };
    assert_is_shown(&*store, winner).await;
}

/// A change that expects another revision, earlier or later, changes nothing.
pub async fn a_change_of_another_revision_is_a_conflict<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let endpoint = Endpoint { revision: Revision::new(7), ..endpoint() };
    create(&*store, endpoint.clone(), Created::Created).await;
    for expected in [0, 1, 6, 8].map(Revision::new) {
        let Endpoint { workspace, id, .. } = &endpoint;
        let patch = set_status(&endpoint, Status::Paused);
        let updated = store.update(workspace, id, expected, patch).await;
        match updated.expect("update gives no error") {
            Updated::Conflict(revision) => assert_eq!(revision, endpoint.revision),
            other => panic!("a change of revision {expected:?} at 7 is {other:?}"),
        }
    }
    assert_is_shown(&*store, &endpoint).await;
    let nowhere = endpoint_of(endpoint.workspace);
    let patch = set_status(&nowhere, Status::Paused);
    let updated = store.update(&nowhere.workspace, &nowhere.id, Revision::FIRST, patch).await;
    let updated = updated.expect("update gives no error");
    assert!(
        matches!(updated, Updated::Missing),
        "a change of an endpoint that never was is {updated:?}"
    );
}

/// The list of endpoints is sorted by id and complete, whatever the size of its pages.
pub async fn lists_of_endpoints_join_without_gap_or_repeat<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    let mut made: Vec<_> = (0..23).map(|_| endpoint_of(workspace)).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut made);
    for endpoint in &made {
        create(&*store, endpoint.clone(), Created::Created).await;
    }
    let mut ids: Vec<EndpointId> = made.iter().map(|endpoint| endpoint.id).collect();
    ids.sort();
    for size in [1, 2, 7, 22, 23, 24, 200] {
        let size = NonZeroU16::new(size).expect("no size is zero");
        assert_eq!(
            list(&*store, workspace, size).await,
            ids,
            "left: the list in pages of {size}; right: what was made"
        );
    }
}
