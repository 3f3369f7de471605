//! Holds what is answered against the description: status, media type, and every member of a body.
//!
//! In answers, the description leaves room for more members; here there is none, so that none is
//! left undescribed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use jsonschema::{Draft, Validator};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

static DESCRIBED: LazyLock<Value> = LazyLock::new(ploy_webhooks_server::api::openapi);
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DESCRIBED["components"].clone();
    for schema in components["schemas"].as_object_mut().unwrap().values_mut() {
        close(schema);
    }
    components
});

/// The operation that answers at a path, which is whole and may have a query.
pub(crate) fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let fits = |template: &str| {
        let (parts, names) = (path.split('/'), template.split('/'));
        parts.clone().count() == names.clone().count()
            && parts.zip(names).all(|(part, name)| part == name || name.starts_with('{'))
    };
    let paths = DESCRIBED["paths"].as_object().unwrap();
    let method = method.as_str().to_ascii_lowercase();
    // What is written out wins over what is named: `/events/export` is no event.
    let mut fitting: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
    fitting.sort_by_key(|(template, _)| template.matches('{').count());
    fitting.first().and_then(|(_, operations)| operations.get(method))
}

/// Every operation, by its id.
pub(crate) fn operation_ids() -> impl Iterator<Item = &'static str> {
    let paths = DESCRIBED["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    operations.map(|operation| operation["operationId"].as_str().unwrap())
}

/// What is wrong with an answer of an operation, if anything is.
pub(crate) fn fault(
    operation: &Value,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<String> {
    let id = operation["operationId"].as_str().unwrap();
    let Some(mut answer) = operation["responses"].get(status.to_string()) else {
        return Some(format!("{id}: {status} is not described"));
    };
    if let Some(reference) = answer.get("$ref").and_then(Value::as_str) {
        answer = DESCRIBED.pointer(reference.strip_prefix('#').unwrap()).unwrap();
    }
    for name in answer.get("headers").and_then(Value::as_object).into_iter().flatten() {
        if !headers.contains_key(name.0) {
            return Some(format!("{id}: {status} without {}", name.0));
        }
    }
    let Some(content) = answer.get("content").and_then(Value::as_object) else {
        return (!body.is_empty()).then(|| format!("{id}: {status} has a body"));
    };
    let media_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let media_type = media_type.split(';').next().unwrap();
    let Some(described) = content.get(media_type) else {
        return Some(format!("{id}: {status} is `{media_type}`"));
    };
    let schema = described.get("schema")?;
    let mut values = match media_type {
        "application/x-ndjson" => body.split(|byte| *byte == b'\n').collect(),
        _ => vec![body],
    };
    // An empty line says nothing.
    values.retain(|value| !value.is_empty() || media_type == "application/json");
    values.into_iter().find_map(|value| match serde_json::from_slice(value) {
        Ok(body) => violation(&CLOSED, schema, &body)
            .map(|fault| format!("{id}: {status}: {fault}: {body}")),
        Err(error) => Some(format!("{id}: {status}: {error}")),
    })
}

/// Why the description refuses a body, if it does.
pub(crate) fn refusal(operation: &Value, body: &Value) -> Option<String> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    violation(&DESCRIBED["components"], schema, body)
}

fn violation(components: &Value, schema: &Value, body: &Value) -> Option<String> {
    static KNOWN: LazyLock<Mutex<HashMap<(usize, String), &'static Validator>>> =
        LazyLock::new(Mutex::default);
    let key = (std::ptr::from_ref(components).addr(), schema.to_string());
    let validator = *KNOWN.lock().unwrap().entry(key).or_insert_with(|| {
        let whole = json!({"allOf": [schema], "components": components});
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        Box::leak(Box::new(options.build(&whole).unwrap()))
    });
    let mut faults = validator.iter_errors(body);
    faults.next().map(|fault| format!("{fault} at {}", fault.instance_path()))
}

/// Refuses the members that are not described.
fn close(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    let has_members = members.contains_key("properties");
    let is_closed = ["additionalProperties", "unevaluatedProperties"];
    if has_members && !is_closed.iter().any(|name| members.contains_key(*name)) {
        members.insert("unevaluatedProperties".to_owned(), false.into());
    }
    for (name, member) in members {
        match name.as_str() {
            "properties" | "$defs" => {
                member.as_object_mut().unwrap().values_mut().for_each(close);
            }
            "items" | "additionalProperties" => close(member),
            // Parts of one that has members itself see but a part of them.
            "anyOf" | "oneOf" | "allOf" if !has_members => {
                member.as_array_mut().unwrap().iter_mut().for_each(close);
            }
            _ => {}
        }
    }
}
