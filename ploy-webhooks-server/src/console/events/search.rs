//! The list of events: filters in the address, pages by cursor, what was searched for in its place.

use askama::Template;
use axum::response::Response;
use tokio::task::JoinSet;

use super::Summary;
use crate::api_client::{ApiClient, Call};
use crate::console::endpoints::faulty;
use crate::console::endpoints::view::Endpoint;
use crate::console::fault::Fault;
use crate::console::form::Fields;
use crate::console::page::{self, Frame, Listing, Pages, Section, html};
use crate::console::payload::{self, Excerpt};
use crate::console::refusal::Refusal;
use crate::console::text::Text;
use crate::console::visitor::Visitor;

const FILTERS: [&str; 6] = ["endpoint", "type", "from", "to", "contains", "order"];
/// How many events there are on a page whose payloads are read, each of them a MiB perhaps.
const SEARCHED: &str = "20";
/// How many payloads are read at once.
const AT_ONCE: usize = 4;

#[derive(Template)]
#[template(path = "events.html")]
struct SearchPage {
    frame: Frame,
    fault: Fault,
    events: Vec<Summary>,
    endpoints: Vec<Endpoint>,
    filter: Filter,
    pages: Pages,
}

/// What is searched for, as it was filled in.
#[derive(Debug)]
struct Filter {
    endpoint: String,
    event_type: String,
    from: String,
    to: String,
    contains: String,
    is_ascending: bool,
}

impl Filter {
    fn of(query: &Fields) -> Self {
        let text = |name: &str| query.trimmed(name).to_owned();
        Self {
            endpoint: text("endpoint"),
            event_type: text("type"),
            from: text("from"),
            to: text("to"),
            contains: query.get("contains").to_owned(),
            is_ascending: query.get("order") == "asc",
        }
    }

    fn is_empty(&self) -> bool {
        let Self { endpoint, event_type, from, to, contains, .. } = self;
        [endpoint, event_type, from, to, contains].iter().all(|text| text.is_empty())
    }

    fn call(&self, query: &Fields) -> Call {
        let call = page::list("events", query)
            .with_some("endpoint", &self.endpoint)
            .with_some("type", &self.event_type)
            .with_some("from", &in_full(&self.from))
            .with_some("to", &in_full(&self.to))
            .with_some("contains", &self.contains)
            .with_some("order", query.get("order"));
        if self.contains.is_empty() { call } else { call.with("limit", SEARCHED) }
    }
}

/// A time as a browser's field has it is one in UTC, to the minute or to the second.
pub(in crate::console) fn in_full(time: &str) -> String {
    match time.len() {
        10 => format!("{time}T00:00:00Z"),
        16 => format!("{time}:00Z"),
        19 => format!("{time}Z"),
        _ => time.to_owned(),
    }
}

pub(super) async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    let (api, filter) = (visitor.api(), Filter::of(&query));
    let (found, endpoints) = tokio::join!(
        api.read::<Listing<Summary>>(filter.call(&query)),
        api.read::<Listing<Endpoint>>(Call::get(&["endpoints"]).with("limit", "200")),
    );
    let (mut found, fault) = match found {
        Ok(found) => (found, Fault::default()),
        Err(error) => (Listing { data: Vec::new(), next_cursor: None }, faulty(error)?),
    };
    if !filter.contains.is_empty() {
        mark(&api, &mut found.data, &filter.contains).await;
    }
    let page = SearchPage {
        frame: visitor.frame(Section::Events),
        pages: Pages::of("/console/events", &query, &FILTERS, found.next_cursor.as_deref()),
        events: found.data,
        endpoints: endpoints?.data,
        fault,
        filter,
    };
    Ok(html(page.fault.status(), &page))
}

/// Finds what was searched for in each payload, a few at once. An event that is gone meanwhile has
/// no excerpt.
async fn mark(api: &ApiClient, events: &mut [Summary], needle: &str) {
    for some in events.chunks_mut(AT_ONCE) {
        let mut under_way = JoinSet::new();
        for (place, event) in some.iter().enumerate() {
            let (api, id, needle) = (api.clone(), event.id.clone(), needle.to_owned());
            under_way.spawn(async move { (place, excerpt(&api, &id, &needle).await) });
        }
        while let Some(done) = under_way.join_next().await {
            if let Ok((place, excerpt)) = done {
                some[place].excerpt = excerpt;
            }
        }
    }
}

async fn excerpt(api: &ApiClient, id: &Text, needle: &str) -> Option<Excerpt> {
    let bytes = api.bytes(Call::get(&["events", id.raw(), "payload"])).await.ok()?;
    payload::excerpt(&String::from_utf8_lossy(&bytes), needle)
}
