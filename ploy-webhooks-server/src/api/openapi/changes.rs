//! What may be changed of a thing: any of its members, and `null` for what they are by themselves.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// The body of a `PATCH` of what `T` makes (RFC 7396).
#[derive(Debug)]
pub(in crate::api) struct Changes<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Changes<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Changes", T::schema_name().trim_start_matches("New")).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let required = schema.remove("required");
        for rule in ["oneOf", "default"] {
            schema.remove(rule);
        }
        let is_required = |name: &str| {
            let required = required.as_ref().and_then(Value::as_array);
            required.is_some_and(|names| names.iter().any(|required| required == name))
        };
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for (name, property) in properties {
                if let Value::Object(property) = property {
                    property.remove("default");
                }
                if !is_required(name) {
                    *property = or_null(property.take());
                }
            }
        }
        let description =
            "What is left out stays; what is `null` goes back to what it is by itself.";
        schema.insert("description".to_owned(), description.into());
        schema
    }
}

fn or_null(mut schema: Value) -> Value {
    if accepts_null(&schema) {
        return schema;
    }
    let is_plain = schema.get("enum").is_none() && schema.get("const").is_none();
    match schema.get_mut("type") {
        Some(kind @ Value::String(_)) if is_plain => {
            *kind = json!([kind, "null"]);
            schema
        }
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn accepts_null(schema: &Value) -> bool {
    let has = |name: &str, null: &Value| {
        schema.get(name).and_then(Value::as_array).is_some_and(|values| values.contains(null))
    };
    has("type", &"null".into()) || has("anyOf", &json!({"type": "null"}))
}
