//! What was probably meant, where there is nothing of a name.

use reqwest::Method;
use serde::Deserialize;

use super::client::{Call, Client, parse};
use super::output::harmless;

/// What is called by ids: the collection in the path, what one of it is, what its ids begin with.
const KINDS: [(&str, &str, &str); 7] = [
    ("destinations", "a destination", ploy_webhooks::DestinationId::PREFIX),
    ("endpoints", "an endpoint", ploy_webhooks::EndpointId::PREFIX),
    ("events", "an event", ploy_webhooks::EventId::PREFIX),
    ("runs", "a run", ploy_webhooks::RunId::PREFIX),
    ("subscriptions", "a subscription", ploy_webhooks::SubscriptionId::PREFIX),
    ("tokens", "a token", ploy_webhooks::TokenId::PREFIX),
    ("workspaces", "a workspace", ploy_webhooks::WorkspaceId::PREFIX),
];

/// What stands where ids do, and is none.
const CALLS: [&str; 3] = ["export", "stream", "test"];

/// Pages of Ploybooks that are looked through for one that is called alike.
const PAGES_MAX: usize = 5;

/// What may be wrong with the path of a call that found nothing, by its form.
pub(super) fn about_path(path: &[&str]) -> Option<String> {
    let [collection, id, ..] = path else { return None };
    let (_, wanted, prefix) = KINDS.iter().find(|(known, ..)| known == collection)?;
    if CALLS.contains(id) {
        return None;
    }
    let given = id.split_once('_').map_or("", |(given, _)| given);
    if given == *prefix {
        return None;
    }
    let other = KINDS.iter().find(|(.., prefix)| *prefix == given);
    Some(match other {
        Some((_, other, _)) => {
            format!("that is the id of {other}; the id of {wanted} begins with `{prefix}_`")
        }
        None => format!("the id of {wanted} begins with `{prefix}_`"),
    })
}

/// What to say of a Ploybook that is not there; `None` where it is, or where nobody can tell.
pub(super) async fn about_ploybook(client: &Client, name: &str) -> Option<String> {
    let mut names = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let call = Call::new(Method::GET, ["ploybooks"])
            .query([("limit", Some("200".to_owned())), ("cursor", cursor)]);
        let page: Page = parse(&client.call(call).await.ok()?).ok()?;
        names.extend(page.data.into_iter().map(|ploybook| ploybook.name));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if names.iter().any(|known| known == name) || cursor.is_some() {
        return None;
    }
    let alike = nearest(name, &names).map(|alike| format!(": `{}` is", harmless(alike)));
    Some(format!("there is no Ploybook `{}`{}", harmless(name), alike.unwrap_or_default()))
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Named>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The name that is so much alike that it was probably meant.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    let name = name.to_lowercase();
    let distance = |known: &&String| strsim::damerau_levenshtein(&name, &known.to_lowercase());
    let nearest = known.iter().min_by_key(distance)?;
    (distance(&nearest) <= (name.chars().count() / 3).max(1)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_was_meant() {
        let known = ["make-page".to_owned(), "Enrich".to_owned()];
        let nearest = |name| nearest(name, &known).map(String::as_str);
        assert_eq!(nearest("mak-page"), Some("make-page"));
        assert_eq!(nearest("enrich"), Some("Enrich"));
        assert_eq!(nearest("enrcih"), Some("Enrich"));
        assert_eq!(nearest("send"), None);
    }

    #[test]
    fn an_id_of_another_kind_is_told() {
        let about = |path: &[&str]| about_path(path).unwrap_or_default();
        assert!(about(&["endpoints", "evt_1"]).contains("of an event"));
        assert!(about(&["endpoints", "Clay", "rotate"]).contains("`ep_`"));
        assert_eq!(about(&["endpoints", "ep_1"]), "");
        assert_eq!(about(&["events", "export"]), "");
        assert_eq!(about(&["ploybooks", "evt_1"]), "");
        assert_eq!(about(&["endpoints"]), "");
    }
}
