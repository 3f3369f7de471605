//! What is refused when a template is set.

use ploy_webhooks_delivery::template::{
    BodyTemplate, HeaderTemplate, TemplateError, TextTemplate, UrlTemplate,
};

#[test]
fn texts_that_are_no_templates_are_refused() {
    for (template, message) in [
        ("a {{ b", "the `{{` at character 3 has no `}}` after it"),
        ("{{ 'a }}", "has no `}}`"),
        ("ü{{ a b' }}", "at character 2"),
        ("{{ }}", "is no expression"),
        ("{{ a + }}", "`{{a +}}` at character 1 is no expression: unexpected end of input"),
        ("{{ a | }}", "is no expression"),
        ("{{ (a }}", "is no expression"),
        ("{{ a ; b }}", "is no expression"),
        ("{{ a.b c.d }}", "is no expression"),
        ("a{% for x in y %}", "`{%` at character 2"),
        ("{# c #}", "`{#` at character 1"),
        ("{{- a }}", "`{{-` at character 1"),
        ("{{ a | nope }}", "no filter is called `nope` (character 8)"),
        ("{{ a | upper | replace('a', 'b') }}", "no filter is called `replace`"),
        ("{{ a is odd }}", "no test is called `odd`"),
        ("{{ a is not odd }}", "no test is called `odd`"),
        ("{{ range(9) }}", "`range(…)` at character 4"),
        ("{{ a.items() }}", "`a.items(…)`"),
        ("{{ 'a'.upper() }}", "`upper(…)`"),
        ("{{ super() }}", "`super(…)`"),
        ("{{ a * 2 }}", "no multiplication"),
        ("{{ 2 ** 9 }}", "no multiplication"),
        ("{{ a | default(*a) }}", "no multiplication"),
        ("{{ a | default(value=1) }}", "no named arguments"),
        ("{{ event.tpye }}", "there is no `event.tpye` (character 4)"),
        ("{{ event.id.x }}", "there is no `event.id.x`"),
        ("{{ delivery['url'] }}", "there is no `delivery['url']`"),
        ("{{ event[0] }}", "there is no `event[0]`"),
    ] {
        let fault = template.parse::<TextTemplate>().expect_err(template).to_string();
        assert!(fault.contains(message), "{template}: {fault}");
    }
}

#[test]
fn bounds_of_texts_are_kept() {
    let long = "a".repeat(8 << 10);
    assert!(long.parse::<TextTemplate>().is_ok());
    assert_eq!(format!("{long}a").parse::<TextTemplate>(), Err(TemplateError::TextTooLong));
    let long = format!("{{{{ a {} }}}}", "~ 'x'".repeat(300));
    let fault = long.parse::<TextTemplate>();
    assert_eq!(fault, Err(TemplateError::ExpressionTooLong { at: 1 }));
    let many = format!("{{{{ a{} }}}}", "~a".repeat(40));
    assert_eq!(many.parse::<TextTemplate>(), Err(TemplateError::TooManyFields { at: 1 }));
}

#[test]
fn nesting_of_expressions_is_refused_or_harmless() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("not ", ""), ("- ", ""), ("{'a':", "}"), ("a[", "]")]
    {
        for depth in [10, 100, 400] {
            let template = format!("{{{{ {}1{} }}}}", open.repeat(depth), close.repeat(depth));
            if let Ok(set) = template.parse::<TextTemplate>() {
                let _ = set.render(&crate::scene::lenient("{}"));
            }
        }
    }
    for chain in ["|string", "~'a'", "+1", " or 1", "[0]", " if 1 else 1"] {
        let template = format!("{{{{ 1{} }}}}", chain.repeat(900 / chain.len()));
        let set: TextTemplate = template.parse().unwrap();
        let _ = set.render(&crate::scene::lenient("{}"));
    }
}

#[test]
fn urls_that_depend_on_the_payload_are_refused() {
    for (template, expected) in [
        ("{{ url }}", TemplateError::UrlForm),
        ("{{ scheme }}://a.example/", TemplateError::UrlForm),
        ("https://{{ host }}/", TemplateError::UrlOrigin),
        ("https://{{ host }}", TemplateError::UrlOrigin),
        ("https://a.example{{ path }}", TemplateError::UrlOrigin),
        ("https://a.example:{{ port }}/", TemplateError::UrlForm),
        ("https://a.example:80{{ port }}/", TemplateError::UrlForm),
        ("https://a{{ x }}.example/", TemplateError::UrlOrigin),
        ("https://u:p@a.example/{{ x }}", TemplateError::UrlCredentials),
        ("https://{{ u }}@a.example/", TemplateError::UrlCredentials),
        ("https://a.example/#{{ x }}", TemplateError::UrlFragment),
        ("https://a.example/#x", TemplateError::UrlFragment),
        ("https://a.example\\{{ x }}", TemplateError::UrlCharacter),
        ("https:\\\\a.example/{{ x }}", TemplateError::UrlCharacter),
        ("https://a.example/ {{ x }}", TemplateError::UrlCharacter),
        ("https://a.exa\tmple/{{ x }}", TemplateError::UrlCharacter),
        ("https://a.example/{{ x }}/../y", TemplateError::UrlDots),
        ("https://a.example/%2e%2E/{{ x }}", TemplateError::UrlDots),
        ("ftp://a.example/{{ x }}", TemplateError::UrlForm),
        ("https:/{{ x }}", TemplateError::UrlForm),
        ("https:///{{ x }}", TemplateError::UrlOrigin),
        ("file:///{{ x }}", TemplateError::UrlForm),
        ("", TemplateError::UrlForm),
    ] {
        let fault = template.parse::<UrlTemplate>().expect_err(template);
        assert_eq!(fault, expected, "{template}");
    }
}

#[test]
fn headers_with_other_characters_are_refused() {
    for template in ["a\nb {{ x }}", "ü", "{{ x }}\r", "\0"] {
        let fault = template.parse::<HeaderTemplate>().unwrap_err();
        assert_eq!(fault, TemplateError::HeaderCharacter, "{template:?}");
    }
}

#[test]
fn bodies_say_where_the_fault_is() {
    let deep = format!(r#"{{"json": {}{}}}"#, "[".repeat(70), "]".repeat(70));
    let wide = format!(r#"{{"json": [{}1]}}"#, "1,".repeat(5000));
    let long = format!(r#"{{"json": [{}"x"]}}"#, format!("\"{}\",", "x".repeat(8000)).repeat(9));
    for (template, message) in [
        (
            r#"{"json": {"a": {"b/c": ["x", "{{ d | nope }}"]}}}"#,
            "at /a/b~1c/1: no filter is called `nope`",
        ),
        (r#"{"json": {"a": 1, "b": 2, "a": 3}}"#, "the name \"a\" is there twice"),
        (r#"{"json": {"a": {"{{ x }}": 1}}}"#, "at /a: there are no merge fields in names"),
        (r#"{"form": {"a": "1", "a": "2"}}"#, "the name \"a\" is there twice"),
        (r#"{"form": {"a": "{{ b"}}"#, "at /a: the `{{` at character 1"),
        (r#"{"form": {"a": 1}}"#, "not a template of a body"),
        (r#"{"xml": "a"}"#, "either `json` or `form`"),
        (r#"{"json": 1, "form": {}}"#, "and nothing else"),
        (r#"{}"#, "either `json` or `form`"),
        (r#"{"json": "#, "not a template of a body"),
        (&deep, "64 times at most"),
        (&wide, "at most 4096 values"),
        (&long, "at most 65536 bytes"),
    ] {
        let fault = BodyTemplate::parse(template).expect_err(template).to_string();
        assert!(fault.contains(message), "{fault}");
        let fault = serde_json::from_str::<BodyTemplate>(template).unwrap_err().to_string();
        assert!(fault.contains(message) || message.starts_with("not a template"), "{fault}");
    }
    let deep = format!(r#"{{"json": {}{}}}"#, "[".repeat(60), "]".repeat(60));
    assert!(BodyTemplate::parse(&deep).is_ok());
}

#[test]
fn nothing_that_may_be_a_secret_is_printed() {
    let url: UrlTemplate = "https://a.example/hunter2?k=hunter2{{ x }}".parse().unwrap();
    let header: HeaderTemplate = "Bearer hunter2".parse().unwrap();
    let body = BodyTemplate::parse(r#"{"form": {"key": "hunter2"}}"#).unwrap();
    let merge = crate::scene::merge(r#"{"key": "hunter2"}"#);
    let shown = format!("{url:?} {header:?} {body:?} {merge:?}");
    assert!(shown.contains("https://a.example") && !shown.contains("hunter2"), "{shown}");
}
