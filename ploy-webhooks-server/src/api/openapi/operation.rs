//! What a call is for, what it takes and what it answers: without it, there is no call.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::refusals::{OPEN, OPENED_BY_TOKEN, WITH_BODY, refusal};
use super::schemas::Schemas;

/// How the schema of a type is found.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A call of which is not said yet what it answers.
#[derive(Debug)]
#[must_use = "say what it answers"]
pub(in crate::api) struct Draft {
    id: &'static str,
    summary: &'static str,
    on: Option<SchemaOf>,
}

/// What a call is for, what it takes and what it answers.
#[derive(Debug)]
pub(in crate::api) struct Operation {
    id: &'static str,
    summary: &'static str,
    details: &'static str,
    on: Option<SchemaOf>,
    query: Vec<Parameter>,
    body: Option<Body>,
    status: StatusCode,
    answer: Answer,
    also: Vec<(StatusCode, &'static str)>,
    refusals: Vec<u16>,
    opened_by: OpenedBy,
}

#[derive(Debug)]
struct Parameter {
    name: &'static str,
    is_header: bool,
    description: &'static str,
    schema: SchemaOf,
}

#[derive(Debug)]
struct Body {
    schema: SchemaOf,
    is_required: bool,
}

#[derive(Debug)]
enum Answer {
    Nothing,
    Json(SchemaOf),
    Lines(SchemaOf),
    Any { media_type: &'static str, what: &'static str },
}

/// What opens a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OpenedBy {
    Nothing,
    /// The key or the signature of an endpoint.
    Sender,
    Token,
    RootToken,
}

/// A call on no thing by its name: to a list, for example.
pub(in crate::api) const fn call(id: &'static str, summary: &'static str) -> Draft {
    Draft { id, summary, on: None }
}

/// A call on a thing, which the path names so.
pub(in crate::api) const fn call_on<T: JsonSchema>(
    id: &'static str,
    summary: &'static str,
) -> Draft {
    Draft { id, summary, on: Some(SchemaGenerator::subschema_for::<T>) }
}

impl Draft {
    /// It answers 200 and this in JSON.
    pub(in crate::api) fn answers<T: JsonSchema>(self) -> Operation {
        self.finish(StatusCode::OK, Answer::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// It answers 201 and this in JSON.
    pub(in crate::api) fn creates<T: JsonSchema>(self) -> Operation {
        self.finish(StatusCode::CREATED, Answer::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// It answers 202 and this in JSON.
    pub(in crate::api) fn accepts<T: JsonSchema>(self) -> Operation {
        self.finish(StatusCode::ACCEPTED, Answer::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// It answers 200 and lines, each of which is this in JSON.
    pub(in crate::api) fn answers_lines<T: JsonSchema>(self) -> Operation {
        self.finish(StatusCode::OK, Answer::Lines(SchemaGenerator::subschema_for::<T>))
    }

    /// It answers 204, which has no body.
    pub(in crate::api) fn answers_nothing(self) -> Operation {
        self.finish(StatusCode::NO_CONTENT, Answer::Nothing)
    }

    /// It answers 200 and something of this media type.
    pub(in crate::api) fn answers_any(
        self,
        media_type: &'static str,
        what: &'static str,
    ) -> Operation {
        self.finish(StatusCode::OK, Answer::Any { media_type, what })
    }

    fn finish(self, status: StatusCode, answer: Answer) -> Operation {
        Operation {
            id: self.id,
            summary: self.summary,
            details: "",
            on: self.on,
            query: Vec::new(),
            body: None,
            status,
            answer,
            also: Vec::new(),
            refusals: OPENED_BY_TOKEN.to_vec(),
            opened_by: OpenedBy::Token,
        }
    }
}

impl Operation {
    /// What does not fit into a line.
    pub(in crate::api) const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// It takes this in JSON.
    pub(in crate::api) fn takes<T: JsonSchema>(self) -> Self {
        self.with_body(Body { schema: SchemaGenerator::subschema_for::<T>, is_required: true })
    }

    /// It takes this in JSON, or nothing.
    pub(in crate::api) fn may_take<T: JsonSchema>(self) -> Self {
        self.with_body(Body { schema: SchemaGenerator::subschema_for::<T>, is_required: false })
    }

    /// It takes this parameter in its query string.
    pub(in crate::api) fn query<T: JsonSchema>(
        mut self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.query.push(Parameter { name, is_header: false, description, schema });
        self
    }

    /// It looks at this header.
    pub(in crate::api) fn header<T: JsonSchema>(
        mut self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.query.push(Parameter { name, is_header: true, description, schema });
        self
    }

    /// It is a list, a page at a time.
    pub(in crate::api) fn pages(self) -> Self {
        self.query::<super::nouns::Limit>("limit", "How many are on a page at most.")
            .query::<String>("cursor", "Where the page begins: `next_cursor` of the one before it.")
    }

    /// It is refused with 409 where what is asked for does not go with how things are.
    pub(in crate::api) fn conflicts(self) -> Self {
        self.refuses(&[409])
    }

    /// It is refused with these too.
    pub(in crate::api) fn refuses(mut self, with: &[u16]) -> Self {
        self.refusals.extend(with);
        self
    }

    /// The root token alone opens it.
    pub(in crate::api) const fn for_root(mut self) -> Self {
        self.opened_by = OpenedBy::RootToken;
        self
    }

    /// It needs no token.
    pub(in crate::api) fn open(mut self) -> Self {
        self.opened_by = OpenedBy::Nothing;
        self.refusals = OPEN.to_vec();
        self
    }

    /// It may answer this in place of what it mostly does.
    pub(super) fn or(mut self, status: StatusCode, what: &'static str) -> Self {
        self.also.push((status, what));
        self
    }

    /// What opens it is that of the endpoint, and it is refused with these alone.
    pub(super) fn for_senders(mut self, refusals: &[u16]) -> Self {
        self.opened_by = OpenedBy::Sender;
        self.refusals = refusals.to_vec();
        self
    }

    /// It is refused with these alone.
    pub(super) fn refuses_alone(mut self, with: &[u16]) -> Self {
        self.refusals = with.to_vec();
        self
    }

    /// Whether the path of the call names a thing.
    #[cfg(test)]
    pub(super) const fn is_on_a_thing(&self) -> bool {
        self.on.is_some()
    }

    fn with_body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self.refusals.extend(WITH_BODY);
        self
    }

    /// The member of a path that describes it.
    pub(super) fn to_json(&self, path: &str, tag: &str, schemas: &mut Schemas) -> Value {
        let mut form = json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [tag],
            "responses": self.responses(schemas),
        });
        let details = [self.details, self.who_may()].map(str::trim);
        let details = details.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
        if !details.is_empty() {
            form["description"] = details.join("\n\n").into();
        }
        let parameters = self.parameters(path, schemas);
        if !parameters.is_empty() {
            form["parameters"] = parameters.into();
        }
        if let Some(body) = &self.body {
            let schema = schemas.of_request(body.schema);
            form["requestBody"] = json!({
                "required": body.is_required,
                "content": {"application/json": {"schema": schema}},
            });
        }
        form["security"] = match self.opened_by {
            OpenedBy::Nothing => json!([]),
            OpenedBy::Sender => json!([{"sender": []}, {}]),
            OpenedBy::Token | OpenedBy::RootToken => json!([{"bearer": []}]),
        };
        form
    }

    const fn who_may(&self) -> &'static str {
        match self.opened_by {
            OpenedBy::RootToken => "For the root token alone.",
            OpenedBy::Nothing | OpenedBy::Sender | OpenedBy::Token => "",
        }
    }

    fn parameters(&self, path: &str, schemas: &mut Schemas) -> Vec<Value> {
        let mut parameters = Vec::new();
        let name = path.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        if let (Some((name, _)), Some(on)) = (name, self.on) {
            let schema = schemas.of_request(on);
            parameters
                .push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
        for Parameter { name, is_header, description, schema } in &self.query {
            parameters.push(json!({
                "name": name,
                "in": if *is_header { "header" } else { "query" },
                "description": description,
                "schema": schemas.of_request(*schema),
            }));
        }
        if matches!(self.opened_by, OpenedBy::Token | OpenedBy::RootToken) {
            parameters.push(json!({"$ref": "#/components/parameters/PloyWorkspace"}));
        }
        parameters
    }

    fn responses(&self, schemas: &mut Schemas) -> BTreeMap<String, Value> {
        let success = match &self.answer {
            Answer::Nothing => json!({"description": "Done."}),
            Answer::Json(schema) => json!({
                "description": "Done.",
                "content": {"application/json": {"schema": schemas.of_answer(*schema)}},
            }),
            Answer::Lines(schema) => json!({
                "description": "Lines, each of which is of this schema.",
                "content": {"application/x-ndjson": {"schema": schemas.of_answer(*schema)}},
            }),
            Answer::Any { media_type, what } => {
                json!({"description": what, "content": {*media_type: {}}})
            }
        };
        let mut responses = BTreeMap::from([(self.status.as_str().to_owned(), success)]);
        for (status, what) in &self.also {
            let mut answer = json!({"description": what});
            if *status != StatusCode::NO_CONTENT {
                answer["content"] = json!({"application/json": {}});
            }
            responses.insert(status.as_str().to_owned(), answer);
        }
        responses.extend(self.refusals.iter().map(|&status| {
            let name = refusal(status).name;
            (status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}))
        }));
        responses
    }
}
