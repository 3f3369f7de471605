//! Events that an app publishes in its own transactions.

use std::sync::Arc;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Defined, DefinitionKind, DefinitionStore, EventStore, RunStore,
};
use ploy_webhooks::{
    Clock, EventId, EventType, Publication, Subscription, SubscriptionId, SystemClock, Trigger,
};
use ploy_webhooks_postgres::{Outbox, OutboxError, PostgresStore};
use sqlx::{Connection, PgConnection};
use tokio::task::{JoinHandle, JoinSet};

use super::vanishing::Vanishing;
use super::wake::await_listening;
use crate::scene::{
    Database, LONG, WORKSPACE, append, count, everything, find, open, published, rows, run, soon,
    store_one, until,
};

fn publication(payload: impl Into<Bytes>) -> Publication {
    let event_type = EventType::try_from("order.paid".to_owned()).expect("it is a type");
    Publication::new(WORKSPACE, event_type, payload.into())
}

/// Publishes so many in one transaction, which count up, and names them.
async fn publish_many(connection: &mut PgConnection, many: usize) -> Vec<EventId> {
    let mut transaction = connection.begin().await.expect("a transaction begins");
    let (outbox, mut ids) = (Outbox::default(), Vec::with_capacity(many));
    for number in 0..many {
        let publication = publication(format!(r#"{{"number":{number}}}"#));
        let id = outbox.publish(&mut transaction, &publication);
        ids.push(id.await.expect("it is put into the outbox"));
    }
    transaction.commit().await.expect("it commits");
    ids
}

/// Has the node relay.
fn relay(store: &Arc<PostgresStore>) -> JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.relay_outbox().await })
}

const WAITING: &str = "SELECT count(*) FROM ploy.outbox";

async fn until_relayed(sql: &mut PgConnection) {
    until("the outbox is empty", async || count(sql, WAITING).await == 0).await;
}

/// Has every event of the app's own run a Ploybook.
async fn subscribe(store: &PostgresStore) -> SubscriptionId {
    let id = SubscriptionId::mint(SystemClock.now());
    let subscription = Subscription::to("enrich".parse().expect("it is a name"));
    let text = serde_json::to_string(&subscription).expect("it is JSON");
    let kind = DefinitionKind::Subscription;
    let defined = store.define(&WORKSPACE, kind, &id.to_string(), None, &text).await;
    assert!(matches!(defined.expect("the store works"), Defined::Defined(_)));
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_published_and_nothing_else() {
    let database = Database::new().await;
    let store = database.node().await;
    let subscription = subscribe(&store).await;
    let mut sql = database.sql().await;
    run(&mut sql, "CREATE TABLE orders (number int)").await;
    relay(&store);
    let outbox = store.outbox();
    let mut app = database.sql().await;

    let mut given_up = app.begin().await.expect("a transaction begins");
    outbox.publish(&mut given_up, &publication("{}")).await.expect("it is put there");
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *given_up).await.expect("an order");
    given_up.rollback().await.expect("it is rolled back");

    let mut kept = app.begin().await.expect("a transaction begins");
    sqlx::query("INSERT INTO orders VALUES (2)").execute(&mut *kept).await.expect("an order");
    let payload = "{\"order\": 2,  \"note\":\"\\u0000\"}";
    let id = outbox.publish(&mut kept, &publication(payload)).await.expect("it is put there");
    // It is there once it is committed, and not before.
    assert_eq!(find(&store, everything()).await, []);
    kept.commit().await.expect("it commits");

    until_relayed(&mut sql).await;
    assert_eq!(find(&store, everything()).await, [id]);
    let event = store.event(&WORKSPACE, &id).await.expect("a look-up").expect("it is there");
    assert_eq!(event.payload, payload);
    assert_eq!(event.event_type.expect("it has a type").as_str(), "order.paid");
    let runs = store.runs(&WORKSPACE, &id).await.expect("runs are read");
    let [owed] = &runs[..] else { panic!("it owes one run: {runs:?}") };
    let Trigger::Task(task) = &owed.trigger else { panic!("{:?}", owed.trigger) };
    assert_eq!(task.subscription, Some(subscription));
    assert_eq!(count(&mut sql, "SELECT sum(number)::bigint FROM orders").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_the_apps_own_is_published_once() {
    let database = Database::new().await;
    let store = database.node().await;
    let (mut app, mut sql) = (database.sql().await, database.sql().await);
    let mut keyed = publication("{}");
    keyed.idempotency_key = Some("order 2 \u{0} paid".to_owned());
    let first = store.outbox().publish(&mut app, &keyed).await.expect("it is put there");
    store.outbox().publish(&mut app, &keyed).await.expect("it is put there");
    relay(&store);
    until_relayed(&mut sql).await;
    store.outbox().publish(&mut app, &keyed).await.expect("it is put there");
    until_relayed(&mut sql).await;
    assert_eq!(find(&store, everything()).await, [first]);
    assert_eq!(rows(&mut sql).await.len(), 1);
}

/// A node that is opened when the others have ended whatever they were at.
async fn after(database: &Database, nodes: &[Arc<PostgresStore>]) -> Arc<PostgresStore> {
    for node in nodes {
        soon("a store closes", node.close()).await;
    }
    database.node().await
}

/// Whichever node relays which: each is one event, and those of a transaction are in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_nodes_relay_is_published_once_and_in_order() {
    const APPS: usize = 4;
    const OF_EACH: usize = 2_500;
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let mut apps = JoinSet::new();
    for _ in 0..APPS {
        let mut app = database.sql().await;
        apps.spawn(async move { publish_many(&mut app, OF_EACH).await });
    }
    nodes.iter().for_each(|node| drop(relay(node)));
    let mut sql = database.sql().await;
    // Who relays is another one all the time.
    let hand_over = "UPDATE ploy.relaying SET until = now()";
    let mut published = Vec::new();
    while let Some(ids) = soon("the apps publish", apps.join_next()).await {
        let ids = ids.expect("no app fails");
        assert!(ids.is_sorted_by(|a, b| a < b), "the ids are not in the order of the calls");
        published.extend(ids);
        run(&mut sql, hand_over).await;
    }
    until("the outbox is empty", async || {
        run(&mut sql, hand_over).await;
        count(&mut sql, WAITING).await == 0
    })
    .await;
    published.sort();
    let store = after(&database, &nodes).await;
    assert_eq!(find(&store, everything()).await, published);
    assert_eq!(rows(&mut sql).await.len(), APPS * OF_EACH);
}

/// How many sessions of the stores wait for a lock.
const STUCK: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Whether its node is lost before or after the commit, nobody else can tell: there is no moment at
/// which the event is stored and its row is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_was_relaying_that_is_gone_is_published_once() {
    let database = Database::new().await;
    let (mut sql, mut looking) = (database.sql().await, database.sql().await);
    let gone = Vanishing::open(database.settings(), &mut sql).await;
    let store = database.node().await;
    let mut published = publish_many(&mut database.sql().await, 20).await;
    // It has deleted the rows, and stores the events as soon as it can.
    run(&mut sql, "BEGIN; LOCK TABLE ploy.events IN EXCLUSIVE MODE").await;
    gone.begin(|gone| async move { gone.relay_outbox().await });
    until("it stores the events", async || count(&mut looking, STUCK).await > 0).await;
    tokio::join!(gone.vanish(&mut looking), run(&mut sql, "COMMIT"));

    relay(&store);
    run(&mut sql, "UPDATE ploy.relaying SET until = now()").await;
    published.extend(publish_many(&mut looking, 1).await);
    until_relayed(&mut sql).await;
    assert_eq!(find(&store, everything()).await, published);
    assert_eq!(rows(&mut sql).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_nodes_relay_at_the_same_time_is_published_once() {
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let (mut sql, mut looking) = (database.sql().await, database.sql().await);
    let published = publish_many(&mut looking, 20).await;
    run(&mut sql, "BEGIN; LOCK TABLE ploy.events IN EXCLUSIVE MODE").await;
    for (stuck, node) in (1..).zip(&nodes) {
        relay(node);
        // The other one believes that its time is over.
        until("it stores the events", async || count(&mut looking, STUCK).await >= stuck).await;
        run(&mut looking, "UPDATE ploy.relaying SET until = now()").await;
    }
    run(&mut sql, "COMMIT").await;
    until_relayed(&mut sql).await;
    let store = after(&database, &nodes).await;
    assert_eq!(find(&store, everything()).await, published);
    assert_eq!(rows(&mut sql).await.len(), 20);
}

/// Two relays of one node have the same rows wait behind a batch that takes long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_relays_of_a_node_take_is_published_once() {
    const TAKEN: &str = "SELECT count(*) FROM ploy.relaying WHERE until > now()";
    const STUCK_READERS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%definitions%'";
    let database = Database::new().await;
    let store = database.node().await;
    let (mut sql, mut looking) = (database.sql().await, database.sql().await);
    let mut readers = database.sql().await;
    let mut ids = publish_many(&mut looking, 20).await;
    run(&mut sql, "BEGIN; LOCK TABLE ploy.events IN EXCLUSIVE MODE").await;
    run(&mut readers, "BEGIN; LOCK TABLE ploy.definitions IN ACCESS EXCLUSIVE MODE").await;
    let own = published("{}");
    ids.push(own.id);
    let busy = tokio::spawn({
        let store = Arc::clone(&store);
        async move { append(&store, own).await }
    });
    until("the writer is busy", async || count(&mut looking, STUCK).await > 0).await;
    for taken in 1..=2 {
        relay(&store);
        until("it has taken the rows", async || count(&mut looking, TAKEN).await > 0).await;
        until("it reads", async || count(&mut looking, STUCK_READERS).await == taken).await;
        run(&mut looking, "UPDATE ploy.relaying SET until = now()").await;
    }
    run(&mut readers, "COMMIT").await;
    until("they have read", async || count(&mut looking, STUCK_READERS).await == 0).await;
    run(&mut sql, "COMMIT").await;
    let stored = busy.await.expect("it does not panic");
    assert!(matches!(stored, Ok(Appended::Stored)), "{stored:?}");
    until_relayed(&mut sql).await;
    assert_eq!(find(&store, everything()).await, ids);
    assert_eq!(rows(&mut sql).await.len(), 21);
    store_one(&store, published("{}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_wakes_the_relay_of_any_node() {
    let database = Database::new().await;
    let mut settings = database.settings();
    settings.outbox_poll = LONG;
    let (store, other) = (open(settings).await, database.node().await);
    // A connection that has just begun to listen has it look, too.
    await_listening(&store, &other).await;
    relay(&store);
    let (mut app, mut sql) = (database.sql().await, database.sql().await);
    for _ in 0..3 {
        publish_many(&mut app, 1).await;
        until_relayed(&mut sql).await;
    }
    assert_eq!(find(&other, everything()).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_published_keeps_nothing_behind_it() {
    let database = Database::new().await;
    let store = database.node().await;
    let mut sql = database.sql().await;
    let broken = "INSERT INTO ploy.outbox (id, workspace, type, payload)
        SELECT gen_random_uuid(), gen_random_uuid(), '', '' FROM generate_series(1, 600)";
    run(&mut sql, broken).await;
    let published = publish_many(&mut database.sql().await, 3).await;
    relay(&store);
    const PUT_OFF: &str = "SELECT count(*) FROM ploy.outbox
        WHERE failure LIKE '%column type%' AND not_before > now()";
    until("they are put off", async || count(&mut sql, PUT_OFF).await == 600).await;
    until("the others go", async || count(&mut sql, WAITING).await == 600).await;
    assert_eq!(find(&store, everything()).await, published);
}

/// One is larger than whatever may wait, and another one fails as if the server were at fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_keeps_nothing_behind_it() {
    let database = Database::new().await;
    let mut settings = database.settings();
    settings.waiting_bytes_max = 20_000;
    let store = open(settings).await;
    let (mut app, mut sql) = (database.sql().await, database.sql().await);
    let refuse = "CREATE FUNCTION ploy.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF position('bad' IN encode(NEW.payload, 'escape')) > 0 THEN
                RAISE 'it has none of it' USING ERRCODE = '53100';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON ploy.events
        FOR EACH ROW EXECUTE FUNCTION ploy.refuse()";
    run(&mut sql, refuse).await;
    for payload in [" ".repeat(20_001), "bad".to_owned()] {
        let id = Outbox::default().publish(&mut app, &publication(payload)).await;
        id.expect("it is put there");
    }
    let published = publish_many(&mut app, 600).await;
    relay(&store);
    const PUT_OFF: &str = "SELECT count(*) FROM ploy.outbox
        WHERE not_before > now() AND (failure LIKE '%waiting_bytes_max%' OR failure LIKE '%53100%')";
    until("they are put off", async || count(&mut sql, PUT_OFF).await == 2).await;
    until("the others go", async || count(&mut sql, WAITING).await == 2).await;
    assert_eq!(find(&store, everything()).await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_relayed_is_refused_and_the_transaction_goes_on() {
    let database = Database::new().await;
    let store = database.node().await;
    let (mut app, mut sql) = (database.sql().await, database.sql().await);
    let with_key = |key: String| {
        let mut keyed = publication("{}");
        keyed.idempotency_key = Some(key);
        keyed
    };
    let mut transaction = app.begin().await.expect("a transaction begins");
    let mut publish =
        async |publication| Outbox::default().publish(&mut transaction, &publication).await;

    let large = publish(publication(vec![b' '; Outbox::PAYLOAD_BYTES_MAX + 1])).await;
    assert!(matches!(large, Err(OutboxError::TooLarge { bytes: 8_388_609 })), "{large:?}");
    for bytes in [0, 256] {
        let refused = publish(with_key("k".repeat(bytes))).await;
        let Err(OutboxError::Key { bytes: said }) = refused else { panic!("{refused:?}") };
        assert_eq!(said, bytes);
    }
    let largest = publish(publication(vec![b' '; Outbox::PAYLOAD_BYTES_MAX])).await;
    let longest = publish(with_key("k".repeat(255))).await;
    let taken = [largest, longest].map(|id| id.expect("it is put there"));
    transaction.commit().await.expect("it commits");
    relay(&store);
    until_relayed(&mut sql).await;
    assert_eq!(find(&store, everything()).await, taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_ends_with_its_store() {
    let database = Database::new().await;
    let store = database.node().await;
    let relay = relay(&store);
    soon("the store closes", store.close()).await;
    soon("the relay ends", relay).await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_publish_is_told_what_to_do() {
    let database = Database::new().await;
    let mut app = database.sql().await;
    let error = Outbox::default().publish(&mut app, &publication("{}")).await;
    let error = error.expect_err("there is no store yet");
    assert!(matches!(error, OutboxError::Missing { .. }), "{error:?}");
    let _store = database.node().await;
    run(&mut app, "CREATE ROLE nobody_much; SET ROLE nobody_much").await;
    let error = Outbox::default().publish(&mut app, &publication("{}")).await;
    assert!(matches!(error, Err(OutboxError::Denied { .. })), "{error:?}");
    run(&mut app, "RESET ROLE; GRANT USAGE ON SCHEMA ploy TO nobody_much").await;
    run(&mut app, "GRANT INSERT, SELECT ON ploy.outbox TO nobody_much").await;
    run(&mut app, "SET ROLE nobody_much").await;
    Outbox::default().publish(&mut app, &publication("{}")).await.expect("it is put there");
    run(&mut app, "RESET ROLE; DROP OWNED BY nobody_much; DROP ROLE nobody_much").await;
    assert!(matches!(Outbox::in_schema("a\"b"), Err(OutboxError::Schema)));
}
