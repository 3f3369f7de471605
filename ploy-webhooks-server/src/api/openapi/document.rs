//! The description as a whole.

use std::collections::BTreeSet;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::beside::{Beside, beside};
use super::nouns;
use super::refusals::responses;
use super::schemas::Schemas;
use crate::api::routing::Call;
use crate::api::{open_calls, table};

const ABOUT: &str = "Takes webhooks in, stores them, runs what is wired to them, and delivers them.\n\n\
    Every answer that is no success is `application/problem+json` (RFC 9457) with a stable `code`. \
    Times are RFC 3339 in UTC with milliseconds. Unknown members and parameters are refused by name \
    in requests; in answers, there may be more of them from version to version. What is another \
    workspace's is not there. `GET` is also `HEAD`.";

const TAGS: [(&str, &str); 9] = [
    ("destinations", "Where events are delivered to."),
    ("endpoints", "Ingest addresses: who may send there, and what comes of it."),
    ("events", "What was accepted, and what the app publishes itself."),
    ("ploybooks", "What triggers name: what is run, how, and on what terms."),
    ("runs", "What was carried out because of events."),
    ("subscriptions", "Which events run what, or are delivered where."),
    ("tokens", "What opens this API for a workspace. For the root token alone."),
    ("workspaces", "Tenants. For the root token alone."),
    ("operations", "For senders and for whoever watches the server."),
];

/// The description of the API, in OpenAPI 3.1.
pub(in crate::api) fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for Call { method, path, operation, .. } in table().chain(open_calls()) {
        let tag = path.split('/').nth(1).filter(|tag| TAGS.iter().any(|(known, _)| known == tag));
        let described = operation.to_json(path, tag.unwrap_or("operations"), &mut schemas);
        add(&mut paths, format!("/api/v1{path}"), method.as_str(), described);
    }
    for Beside { method, path, operation } in beside() {
        let described = operation.to_json(path, "operations", &mut schemas);
        add(&mut paths, path.to_owned(), method.as_str(), described);
    }
    schemas.of_answer(SchemaGenerator::subschema_for::<nouns::Problem>);
    let tags = TAGS.map(|(name, description)| json!({"name": name, "description": description}));
    let workspace = schemas.of_request(SchemaGenerator::subschema_for::<nouns::WorkspaceId>);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ploy-webhooks",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "parameters": {
                "PloyWorkspace": {
                    "name": "Ploy-Workspace",
                    "in": "header",
                    "description": "The workspace in which the root token acts: the default one where \
                        it is left out. Any other token has a workspace of its own, and may not name \
                        one.",
                    "schema": workspace,
                },
            },
            "responses": responses(),
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token of the API: it opens one workspace, to read (`GET`) or to \
                        write; or the root token, which opens all.",
                },
                "sender": {
                    "type": "http", "scheme": "bearer",
                    "description": "The key of the endpoint. An endpoint whose senders sign has a \
                        signature in the header of its scheme instead.",
                },
            },
        },
    });
    let schemas = schemas.finish(&mut document);
    document["components"]["schemas"] = Value::Object(schemas);
    keep_what_is_used(&mut document);
    document
}

fn add(paths: &mut Map<String, Value>, path: String, method: &str, described: Value) {
    let path = paths.entry(path).or_insert_with(|| json!({}));
    path[method.to_ascii_lowercase()] = described;
}

/// Drops the schemas that were looked at only to take their members from them.
fn keep_what_is_used(document: &mut Value) {
    loop {
        let mut used = BTreeSet::new();
        references(document, &mut used);
        let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| used.contains(&format!("#/components/schemas/{name}")));
        if schemas.len() == before {
            return;
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_thing_where_its_call_says_which() {
        for Call { path, operation, .. } in table().chain(open_calls()) {
            assert_eq!(operation.is_on_a_thing(), path.contains('{'), "{path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_given_once() {
        let document = document();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        for reference in used {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let mut ids = BTreeSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            }
        }
    }
}
