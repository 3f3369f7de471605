//! What templates become.

use ploy_webhooks_delivery::template::{
    BodyTemplate, HeaderTemplate, Merge, Missing, RenderError, TextTemplate, UrlTemplate,
};
use serde_json::json;

use crate::scene::{fields, lenient, merge, merge_of};

const LEAD: &str = r#"{
    "contact": {"email": "alex@acme.com", "name": null, "tags": ["a", "b"]},
    "first_name": "alex", "score": 92, "price": 19.5, "vip": true, "Work Email": "w@acme.com",
    "größe": 5, "big": 18446744073709551615, "small": -9223372036854775808, "digits": "42",
    "event": "mine", "twice": 1, "twice": 2, "if": "word", "at": "2026-01-31T12:00:00Z"
}"#;

fn text(template: &str, merge: &Merge) -> Result<String, RenderError> {
    template
        .parse::<TextTemplate>()
        .unwrap_or_else(|fault| panic!("{template}: {fault}"))
        .render(merge)
}

fn body(template: &str, merge: &Merge) -> Result<String, RenderError> {
    let (body, _) = BodyTemplate::parse(template).unwrap().render(merge)?;
    Ok(String::from_utf8(body.into()).unwrap())
}

#[test]
fn expressions_have_their_values() {
    for (template, expected) in [
        ("no field { at } all", "no field { at } all"),
        ("Hi {{ first_name | capitalize }}!", "Hi Alex!"),
        ("{{contact.email}}", "alex@acme.com"),
        ("{{ contact['email'] }}{{ contact[\"tags\"][-1] }}{{contact.tags.0}}", "alex@acme.comba"),
        ("{{Work Email}}|{{ payload['Work Email'] }}|{{ größe }}", "w@acme.com|w@acme.com|5"),
        ("{{ 'hot' if score >= 90 else 'cold' }}", "hot"),
        ("{{ 'hot' if digits | int >= 90 else 'cold' }}", "cold"),
        ("{{ 'yes' if vip and not digits is number else 'no' }}", "yes"),
        ("{{ 'b' in contact.tags }} {{ 'acme' in contact.email }}", "true true"),
        ("{{ nobody | default(\"there\") }}", "there"),
        ("{{ nobody.at.all | default(first_name) }}", "alex"),
        ("{{ 'x' if nobody.here is defined else 'y' }}", "y"),
        ("{{ 'x' if contact.email is not defined else 'y' }}", "y"),
        ("{{ 'x' if vip is undefined }}", ""),
        ("[{{ contact.name }}] [{{ contact.name | default('x') }}]", "[] []"),
        ("{{ contact.name | default('x', true) }} {{ contact.name is none }}", "x true"),
        ("{{ 'a' ~ contact.name ~ score }} {{ contact.name == none }}", "a92 true"),
        (
            "{{ big }} {{ small }} {{ price }} {{ vip }} {{ score - 2 }}",
            "18446744073709551615 -9223372036854775808 19.5 true 90",
        ),
        ("{{ contact }}", r#"{"email":"alex@acme.com","name":null,"tags":["a","b"]}"#),
        ("{{ contact.tags | join(', ') }} {{ contact.tags | length }}", "a, b 2"),
        ("{{ contact.tags | first }}{{ first_name | last }}{{ first_name[:2] }}", "axal"),
        (
            "{{ '  x ' | trim }}{{ 'jo ANN' | title }}{{ 'ß' | upper }}{{ 'Ä' | lower }}",
            "xJo AnnSSä",
        ),
        ("{{ 2.567 | round(1) }} {{ 2.5 | round | int }} {{ '1.5' | float }}", "2.6 3 1.5"),
        ("{{ contact.tags | tojson }} {{ {'a': [1, none]} }}", r#"["a","b"] {"a":[1,null]}"#),
        ("{{ contact.tags | string | length }}", "9"),
        ("{{ at | date('%d.%m.%Y') }} {{ '2026-02-03' | date('%Y') }}", "31.01.2026 2026"),
        ("{{ '{{' }} {{ '{%' }} {{ \"}}\" }} }} %} #}", "{{ {% }} }} %} #}"),
        ("{{ event.type }} {{ payload.event }} {{ event['type'] }}", "lead.new mine lead.new"),
        ("{{ delivery.id }} {{ delivery.attempt }}", "dlv_1 3"),
        (
            "{{ event.id[:4] }} {{ event.endpoint_id[:3] }} {{ event.workspace_id[:3] }}",
            "evt_ ep_ ws_",
        ),
        ("{{ event.received_at | length }}", "24"),
        ("{{ twice }} {{ payload['if'] }}", "2 word"),
        ("{{ payload.contact | length }} {{ payload == payload }}", "3 true"),
    ] {
        assert_eq!(text(template, &merge(LEAD)).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn fields_of_the_endpoint_are_there() {
    let fields = fields(r#"{"contact.mail": "/contact/email"}"#, LEAD);
    let merge = merge_of(LEAD, &fields, Missing::Fail);
    assert_eq!(text("{{ fields.contact.mail }}", &merge).as_deref(), Ok("alex@acme.com"));
    let missing = text("{{ fields.contact.phone }}", &merge).unwrap_err();
    assert_eq!(missing.to_string(), "the payload has no `fields.contact.phone`");
}

#[test]
fn every_missing_field_is_named_as_it_is_written() {
    let template = r#"{"json": {"a": "{{ contact.phone }}", "b": ["{{Last Name}} {{ score }}"],
        "c": "{{ payload['x y'] ~ first_name }}", "d": "{{ contact[score] }}",
        "e": "{{ nothing | default(1) }}", "f": "{{ 1 if gone > 2 else 3 }}"}}"#;
    let RenderError::Missing { names } = body(template, &merge(LEAD)).unwrap_err() else {
        panic!("fields are missing")
    };
    assert_eq!(names, ["contact.phone", "Last Name", "payload['x y']", "contact[score]", "gone"]);
}

#[test]
fn what_is_missing_may_be_empty() {
    for (template, expected) in [
        ("a{{ nobody }}b{{ nobody.at.all }}c", "abc"),
        ("{{ nobody ~ 'x' ~ contact[score] }}", ""),
        ("{{ nobody ~ 'x' }}", "x"),
        ("{{ (nobody or vip) | default('x') }}", "true"),
        ("{{ nobody | default('x') }}{{ nobody is defined }}{{ nobody | upper }}", "xfalse"),
    ] {
        assert_eq!(text(template, &lenient(LEAD)).as_deref(), Ok(expected), "{template}");
    }
    let body = body(r#"{"json": {"a": "{{ nobody }}", "b": "{{ nobody }}!"}}"#, &lenient(LEAD));
    assert_eq!(body.as_deref(), Ok(r#"{"a":null,"b":"!"}"#));
}

#[test]
fn a_json_body_keeps_its_form_and_types() {
    let template = r#"{"json": {"z": "{{ score }}", "a": "{{ contact.tags }}", "m": "{{ vip }} ",
        "n": "{{ contact.name }}", "o": {"{": 1, "x": [true, null, -1, 2.5, "{{ contact }}"]},
        "big": "{{ big }}", "p": "{{ price }}", "e": "{{ 'hot' if score > 1 else 1 }}"}}"#;
    let expected = r#"{"z":92,"a":["a","b"],"m":"true ","n":null,"o":{"{":1,"x":[true,null,-1,2.5,{"email":"alex@acme.com","name":null,"tags":["a","b"]}]},"big":18446744073709551615,"p":19.5,"e":"hot"}"#;
    assert_eq!(body(template, &merge(LEAD)).as_deref(), Ok(expected));
    let set = BodyTemplate::parse(template).unwrap();
    let written = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<BodyTemplate>(&written).unwrap(), set);
    assert!(written.find("\"z\"") < written.find("\"a\""), "{written}");
}

#[test]
fn a_form_is_encoded() {
    let template = r#"{"form": {"who": "{{ first_name }} & co", "a b": "{{ vip }}", "x": "="}}"#;
    let set = BodyTemplate::parse(template).unwrap();
    let (body, content_type) = set.render(&merge(LEAD)).unwrap();
    assert_eq!(content_type, "application/x-www-form-urlencoded");
    assert_eq!(&body[..], b"who=alex+%26+co&a+b=true&x=%3D");
    assert_eq!(
        serde_json::to_value(&set).unwrap(),
        json!({"form": {"who": "{{ first_name }} & co", "a b": "{{ vip }}", "x": "="}})
    );
}

#[test]
fn urls_take_values_as_data() {
    let payload = json!({"a": "x/y?z#&=%2e ü", "dot": ".", "dots": "..", "none": "", "n": 5});
    let merge = merge(payload.to_string());
    let filled = |template: &str| {
        let template: UrlTemplate = template.parse().unwrap();
        template.render(&merge).map(String::from)
    };
    for (template, expected) in [
        ("https://a.example/{{ a }}/b", "https://a.example/x%2Fy%3Fz%23%26%3D%252e%20%C3%BC/b"),
        (
            "https://a.example?q={{ a }}&n={{ n }}",
            "https://a.example/?q=x%2Fy%3Fz%23%26%3D%252e%20%C3%BC&n=5",
        ),
        ("https://a.example:8443/v{{ n }}{{ none }}/?{{ dots }}", "https://a.example:8443/v5/?.."),
        ("https://a.example/a{{ dots }}", "https://a.example/a.."),
        ("http://a.example/plain?x=1", "http://a.example/plain?x=1"),
        ("HTTPS://A.Example/{{ n }}", "https://a.example/5"),
    ] {
        assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
    }
    for template in [
        "https://a.example/{{ dot }}",
        "https://a.example/{{ dots }}/x",
        "https://a.example/{{ none }}",
        "https://a.example/.{{ dot }}/x",
        "https://a.example/%2e{{ dot }}",
        "https://a.example/%2E{{ none }}",
        "https://a.example/{{ dot }}{{ dot }}",
        "https://a.example/x/{{ none }}?q=1",
        "https://a.example/{{ none }}{{ none }}/x",
    ] {
        let fault = filled(template).unwrap_err();
        assert!(matches!(fault, RenderError::UrlSegment { .. }), "{template}: {fault}");
    }
}

#[test]
fn headers_take_visible_ascii_alone() {
    let payload = json!({"ok": "a\tb ~", "lf": "a\nb: c", "cr": "\r", "nul": "\0", "del": "\u{7f}", "ü": "ü"});
    let merge = merge(payload.to_string());
    let template: HeaderTemplate = "Bearer x {{ ok }}".parse().unwrap();
    assert_eq!(template.render(&merge).unwrap(), "Bearer x a\tb ~");
    for name in ["lf", "cr", "nul", "del", "ü"] {
        let template: HeaderTemplate = format!("a {{{{ {name} }}}} b").parse().unwrap();
        let written = name.to_owned();
        assert_eq!(
            template.render(&merge),
            Err(RenderError::HeaderCharacter { written }),
            "{name}"
        );
    }
}

#[test]
fn what_has_no_value_says_so_without_the_values() {
    let payload = json!({"s": "hunter2", "n": 1, "o": {"hunter2": "hunter2"}});
    for template in [
        "{{ s - n }}",
        "{{ s | int }}",
        "{{ n | join }}",
        "{{ s | date('%Y') }}",
        "{{ s + n }}",
        "{{ -s }}",
        "{{ n / 0 }}",
        "{{ s | upper(1) }}",
        "{{ n | length }}",
        "{{ n in n }}",
        "{{ o | float }}",
        "{{ (s or n)(1) }}",
        "{{ '2026-01-01' | date(s ~ '%!') }}",
    ] {
        let fault = text(template, &merge(payload.to_string())).unwrap_err();
        assert!(matches!(fault, RenderError::Expression { .. }), "{template}: {fault:?}");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
}

#[test]
fn a_payload_that_is_no_json_has_no_fields() {
    let merge = merge("no json");
    assert_eq!(text("plain", &merge).as_deref(), Ok("plain"));
    assert_eq!(text("{{ event.type }}", &merge).as_deref(), Ok("lead.new"));
    let fault = text("{{ a | default('x') }}", &merge);
    assert_eq!(fault, Err(RenderError::NotJson { what: "payload" }));
}
