//! Events that the app emits itself.

use bytes::Bytes;
use ploy_webhooks::store::{
    Defined, DefinitionKind, DefinitionStore, EventStore, MemoryStore, RunStore,
};
use ploy_webhooks::{
    Action, Clock, DestinationId, EventType, Publication, Published, Subscription, SubscriptionId,
    SystemClock, Task, Trigger, WorkspaceId, publish,
};

const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

async fn subscribe(store: &MemoryStore, form: serde_json::Value) -> SubscriptionId {
    let id = SubscriptionId::mint(SystemClock.now());
    let subscription: Subscription = serde_json::from_value(form).expect("a subscription");
    let text = serde_json::to_string(&subscription).expect("JSON");
    let kind = DefinitionKind::Subscription;
    let defined = store.define(&WORKSPACE, kind, &id.to_string(), None, &text).await;
    assert!(matches!(defined, Ok(Defined::Defined(_))));
    id
}

fn publication(event_type: &str, payload: &'static str) -> Publication {
    let event_type = EventType::try_from(event_type.to_owned()).expect("a type");
    Publication::new(WORKSPACE, event_type, Bytes::from_static(payload.as_bytes()))
}

#[tokio::test]
async fn an_event_is_stored_verbatim_with_what_its_type_has_it_run() {
    let store = MemoryStore::new();
    let destination = DestinationId::mint(SystemClock.now());
    let form = serde_json::json!({"destination": destination, "types": ["invoice.*"]});
    let invoices = subscribe(&store, form).await;
    subscribe(&store, serde_json::json!({"ploybook": "never", "types": ["task.*"]})).await;
    let drafted = serde_json::json!({"ploybook": "page", "types": ["*"], "draft": true});
    let drafted = subscribe(&store, drafted).await;

    let payload = r#"{ "amount" : 1.50, "amount" : 2 }"#;
    let published = publish(&store, publication("invoice.paid", payload)).await.expect("it stores");
    let Published::Stored { event, runs } = published else { panic!("it is no repeat") };
    let kept = store.event(&WORKSPACE, &event).await.expect("it reads").expect("it is there");
    assert_eq!((kept.payload, kept.endpoint), (Bytes::from(payload), None));
    assert_eq!(kept.event_type.expect("it has one").as_str(), "invoice.paid");
    let owed = store.runs(&WORKSPACE, &event).await.expect("it reads");
    assert_eq!(owed.iter().map(|run| run.id).collect::<Vec<_>>(), runs);
    let task = |action, subscription, draft| {
        Trigger::Task(Task { action, subscription: Some(subscription), draft })
    };
    let triggers: Vec<_> = owed.into_iter().map(|run| run.trigger).collect();
    let page = Action::Ploybook("page".parse().expect("a name"));
    assert_eq!(
        triggers,
        [task(Action::Destination(destination), invoices, false), task(page, drafted, true)]
    );
}

#[tokio::test]
async fn a_key_has_one_event_stored_once_in_its_workspace() {
    let store = MemoryStore::new();
    let keyed = |workspace, key: &str| {
        let mut publication = publication("a", "{}");
        publication.workspace = workspace;
        publication.idempotency_key = Some(key.to_owned());
        publication
    };
    let first = publish(&store, keyed(WORKSPACE, "k")).await.expect("it stores");
    let Published::Stored { event, .. } = first else { panic!("it is the first") };
    let again = publish(&store, keyed(WORKSPACE, "k")).await.expect("it answers");
    assert_eq!(again, Published::Duplicate(event));
    for (workspace, key) in [(WORKSPACE, "l"), (WorkspaceId::from_bytes([1; 16]), "k")] {
        let other = publish(&store, keyed(workspace, key)).await.expect("it stores");
        assert!(matches!(other, Published::Stored { .. }), "{workspace} {key}");
    }
}
