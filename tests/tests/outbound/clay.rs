//! Tables that enrich leads: rows go in at a pace and up to a number, and come back signed, perhaps
//! twice, to be routed by their score.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ploy_webhooks_tests::{Server, Store, on_each_store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::receiver::{Got, Receiver, Says};
use crate::scene::{
    attempts, destination, ended_runs, has_ended, publish_many, show, start, subscribe, text,
    until, wire,
};
use crate::senders::Signing;

#[test]
fn rows_arrive_at_the_pace_of_the_table() {
    let folder = TempDir::new().expect("a folder is made");
    let (server, table) = (start(Store::Sqlite(folder.path())), Receiver::always(200));
    let form = json!({
        "url": table.url("/"), "signing": {"scheme": "none"}, "rate": {"per_second": 5},
    });
    let id = wire(&server, &form);
    let rows = 20;
    publish_many(&server, rows);
    let runs = ended_runs(&server, &id, rows);
    assert!(runs.iter().all(|run| run["state"] == "succeeded"));
    let got = table.got();
    assert_eq!(got.len(), rows);
    // By the rate it is 200 ms; the first may be late, and the last is not early.
    let spacing = (got[rows - 1].at - got[0].at) / u32::try_from(rows - 1).expect("a few");
    assert!(spacing >= Duration::from_millis(100), "{spacing:?} apart");
}

#[test]
fn a_table_is_never_sent_one_row_more_than_it_takes() {
    const ROWS_MAX: usize = 30;
    let folder = TempDir::new().expect("a folder is made");
    let server = start(Store::Sqlite(folder.path()));
    let (asked, taken) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let counted = taken.clone();
    // What it refuses it has not taken.
    let table = Receiver::start(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) < 2 {
            return Says::status(503);
        }
        counted.fetch_add(1, Ordering::Relaxed);
        Says::status(200)
    });
    let form = json!({
        "url": table.url("/"), "max_submissions": ROWS_MAX, "retry": {"gaps_seconds": [0, 0, 0]},
    });
    let id = wire(&server, &form);
    publish_many(&server, ROWS_MAX + 6);
    let runs = ended_runs(&server, &id, ROWS_MAX + 6);
    let (succeeded, failed): (Vec<_>, Vec<_>) =
        runs.iter().partition(|run| run["state"] == "succeeded");
    assert_eq!((succeeded.len(), failed.len()), (ROWS_MAX, 6));
    assert_eq!((taken.load(Ordering::Relaxed), table.got().len()), (ROWS_MAX, ROWS_MAX + 2));
    for run in failed {
        let last = attempts(run).last().expect("an attempt");
        assert_eq!(last["delivery"]["class"], "exhausted");
        let error = text(&last["error"]);
        assert!(error.contains("has taken its 30 submissions"), "{error}");
        assert!(error.contains("raise `max_submissions`"), "{error}");
    }
    let shown = show(&server, &format!("/destinations/{id}"));
    assert_eq!(shown["state"]["submissions"], ROWS_MAX);
}

/// An enriched lead with that score, if it has one.
fn lead(name: &str, score: Option<u32>) -> String {
    let mut lead = json!({
        "email": format!("{name}@acme.com"),
        "first_name": name,
        "last_name": "Doe",
        "job_title": "CTO",
        "company_name": "Acme",
    });
    if let Some(score) = score {
        lead["icp_score"] = score.into();
    }
    lead.to_string()
}

/// Where leads go by their score: the first in the group that takes them, and hot ones to a channel
/// too.
struct Routes {
    outreach: Receiver,
    nurture: Receiver,
    channel: Receiver,
}

impl Routes {
    fn on(server: &Server) -> Self {
        let routes = Self {
            outreach: Receiver::always(200),
            nurture: Receiver::always(200),
            channel: Receiver::always(200),
        };
        let to = |receiver: &Receiver, body: Value| {
            let signing = json!({"scheme": "none"});
            let form = json!({"url": receiver.url("/"), "signing": signing, "body": body});
            destination(server, &form)
        };
        subscribe(
            server,
            &json!({
                "destination": to(&routes.nurture, Value::Null),
                "condition": "payload.icp_score >= 50", "group": "leads", "position": 2,
            }),
        );
        subscribe(
            server,
            &json!({
                "destination": to(&routes.outreach, Value::Null),
                "condition": "payload.icp_score >= 80 && payload.email != ''",
                "group": "leads", "position": 1,
            }),
        );
        let message = "Hot lead from Clay: {{first_name}} {{last_name}} ({{job_title}}) at \
            {{company_name}} - ICP Score: {{icp_score}}";
        subscribe(
            server,
            &json!({
                "destination": to(&routes.channel, json!({"json": {"text": message}})),
                "condition": "payload.icp_score >= 90",
            }),
        );
        routes
    }
}

/// The names of the leads that it got, in the order of the alphabet.
fn names(receiver: &Receiver) -> Vec<String> {
    let name = |lead: Value| text(&lead["first_name"]).to_owned();
    let mut names: Vec<_> = receiver.got().iter().map(|got| name(got.json())).collect();
    names.sort();
    names
}

#[test]
fn enriched_leads_come_back_and_are_routed_once_by_their_score() {
    on_each_store(|store| {
        let server = start(store);
        let dedup = json!({"pointers": ["/email", "/company_name"], "window_seconds": 3600});
        let back = Signing::endpoint(&server, "clay", json!({"dedup": dedup}));
        let routes = Routes::on(&server);
        let leads = [
            ("ann", Some(95)),
            ("bea", Some(90)),
            ("cem", Some(89)),
            ("dan", Some(80)),
            ("eva", Some(79)),
            ("fay", Some(50)),
            ("gil", Some(49)),
            ("hal", None),
        ];
        for (name, score) in leads {
            let first = back.send(&server, &lead(name, score));
            assert_eq!(first.status, 202, "{}", first.json());
            // Enriched once more, it is the same lead.
            let again = back.send(&server, &lead(name, Some(100)));
            assert_eq!(again.json()["duplicate"], true, "{}", again.json());
            assert_eq!(again.string("id"), first.string("id"));
        }
        let stranger = Signing { secret: "not-the-secret".to_owned(), ..back.clone() };
        assert_eq!(stranger.send(&server, &lead("ivy", Some(100))).status, 401);

        // Each lead owes two decisions; four are sent on by the group's first rule, two by its second.
        let owed = 2 * leads.len() + 4 + 2 + 2;
        let runs = until("all is routed", || {
            let runs = server.list("/runs");
            (runs.len() >= owed && runs.iter().all(has_ended)).then_some(runs)
        });
        assert_eq!(runs.len(), owed);
        assert!(runs.iter().all(|run| run["state"] == "succeeded"), "{runs:?}");
        assert_eq!(names(&routes.outreach), ["ann", "bea", "cem", "dan"]);
        assert_eq!(names(&routes.nurture), ["eva", "fay"]);
        let mut messages: Vec<_> = routes.channel.got().iter().map(Got::json).collect();
        messages.sort_by_key(ToString::to_string);
        let message = |name: &str, score: u32| {
            json!({"text": format!(
                "Hot lead from Clay: {name} Doe (CTO) at Acme - ICP Score: {score}"
            )})
        };
        assert_eq!(messages, [message("ann", 95), message("bea", 90)]);
        // Why the others go nowhere is on record.
        let decided = runs.iter().filter(|run| run["trigger"]["group"] == "leads");
        let said: Vec<_> = decided.map(|run| text(&attempts(run)[0]["output"])).collect();
        let skipped =
            said.iter().filter(|said| said.contains("skipped: no condition of the group"));
        assert_eq!((said.len(), skipped.count()), (leads.len(), 2), "{said:?}");
    });
}
