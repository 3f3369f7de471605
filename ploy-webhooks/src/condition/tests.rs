use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::event::{EventType, NewEvent};
use crate::fields::FieldMap;
use crate::id::{EventId, WorkspaceId};

fn event(payload: impl Into<Bytes>) -> Event {
    let id = EventId::mint(Timestamp::from_millis(1_700_000_000_000));
    NewEvent::published(id, WorkspaceId::DEFAULT, payload.into()).into()
}

fn judge(condition: &str, payload: impl Into<Bytes>) -> Verdict {
    let condition =
        Condition::compile(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    condition.judge(&Facts { event: &event(payload), fields: &Fields::default() })
}

fn reason(condition: &str, payload: impl Into<Bytes>) -> String {
    match judge(condition, payload) {
        Verdict::Unclear(reason) => reason,
        verdict => panic!("{condition}: {verdict:?}"),
    }
}

fn refusal(condition: &str) -> String {
    Condition::compile(condition).expect_err(condition).to_string()
}

#[test]
fn conditions_are_judged_as_people_expect() {
    let payload = r#"{
        "icp_score": 85, "decimal": 80.0, "email": "alex@acme.com", "tags": ["vip", "eu"],
        "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2.5}, {"sku": "c"}, {}],
        "null": null, "huge": 18446744073709551615, "a b": 1, "nested": {"a": {"b": [1, [2]]}}
    }"#;
    for condition in [
        "payload.icp_score >= 80",
        "payload.icp_score >= 80.0 && payload.icp_score < 85.5",
        "payload.decimal == 80",
        "payload.decimal in [80]",
        "has(payload.email) && payload.email.endsWith(\"@acme.com\")",
        "!has(payload.absent)",
        "size(payload.items) > 3",
        "payload.items.size() == 4",
        "\"vip\" in payload.tags",
        "payload.tags == ['vip', 'eu'] && ['vip', 'eu'] == payload.tags",
        "\"email\" in payload",
        "payload['a b'] == 1",
        "payload['null'] == null",
        "payload.huge > 9223372036854775807",
        "payload.items.exists(item, item.sku == \"b\" && item.n > 2)",
        "payload.items.exists(item, item.n == 2.5)",
        "payload.items.exists_one(item, has(item.sku) && item.sku == 'a')",
        "payload.items.filter(item, has(item.n)).map(item, item.n).all(n, n >= 1)",
        "payload.nested.a.b[1][0] == 2",
        "payload.nested == {'a': {'b': [1, [2]]}}",
        "payload.icp_score > 90 ? false : payload.email.contains('@')",
        "payload.icp_score + 1 == 86 && payload.decimal * 2.0 == 160.0",
        "string(payload.icp_score) == '85' && int('85') == payload.icp_score",
        "type(payload.email) == string",
        "payload.absent == 1 || true",
        "event.type == null && event.endpoint == null && event.id.startsWith('evt_')",
        "event.received_at == 1700000000000",
        "size(fields) == 0",
        "true // a comment with a \" in it",
    ] {
        assert_eq!(judge(condition, payload), Verdict::Holds, "{condition}");
    }
    for condition in
        ["payload.icp_score >= 86", "payload.email == 85", "false", "payload.tags == []"]
    {
        assert_eq!(judge(condition, payload), Verdict::Fails, "{condition}");
    }
    for score in
        ["80", "80.0", "85.5", "1e2", "18446744073709551615", "123456789012345678901234567890"]
    {
        let payload = format!(r#"{{"icp_score":{score}}}"#);
        assert_eq!(judge("payload.icp_score >= 80", payload), Verdict::Holds, "{score}");
    }
}

#[test]
fn events_and_fields_are_read() {
    let mut event = event(r#"{"person":{"email":"a@b.c"}}"#);
    event.event_type = Some(EventType::try_from("lead.new".to_owned()).unwrap());
    let map: FieldMap = serde_json::from_str(r#"{"contact.email":"/person/email"}"#).unwrap();
    let fields = map.take(std::str::from_utf8(&event.payload).unwrap()).unwrap();
    let condition = "event.type == 'lead.new' && fields.contact.email == payload.person.email";
    let condition = Condition::compile(condition).unwrap();
    assert!(condition.judge(&Facts { event: &event, fields: &fields }).holds());
}

#[test]
fn what_cannot_be_judged_says_why() {
    let payload = r#"{"score":"90","n":null,"o":{},"l":[1],"i":1,"d":1.5,"name":{"a":1}}"#;
    for (condition, expected) in [
        ("payload.email == 'a'", "there is no `email`"),
        ("payload.o.deep.er", "there is no `deep`"),
        ("payload.score >= 80", "a text does not compare with a whole number"),
        ("80 <= payload.score", "a whole number does not compare with a text"),
        ("payload.n > 1", "null does not compare with a whole number"),
        ("payload.score.x", "a text has no members"),
        ("payload.l.x", "a list has no members"),
        ("has(payload.i.x)", "a whole number has no members"),
        ("payload.l[1] == 1", "the list is shorter than that"),
        (
            "payload.i + payload.d == 2.5",
            "`+` cannot be applied to a whole number and a decimal number",
        ),
        ("payload.score.contains(1)", "`contains` cannot be applied to a text and a whole number"),
        ("size(payload.i) == 1", "`size` cannot be applied to a whole number"),
        ("1 in payload.score", "`in` cannot be applied to a whole number and a text"),
        ("payload.i / 0 == 1", "it divides by zero"),
        ("int(payload.score + 'x') == 1", "`int` has no result for this value"),
        ("9223372036854775807 + payload.i > 0", "a number becomes too large"),
        ("payload.score", "a condition is true or false, and this is a text"),
        ("payload.i && true", "`&&` cannot be applied to a whole number and true or false"),
        ("payload.i.all(x, true)", "this is a whole number, where something else is needed"),
    ] {
        assert_eq!(reason(condition, payload), expected, "{condition}");
    }
}

#[test]
fn payloads_that_are_no_tree_are_not_judged() {
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for (payload, expected) in [
        (&deep[..], "recursion limit"),
        (r#"{"a":"\ud800"}"#, "the payload cannot be read"),
        (r#"{"a":1e400}"#, "number out of range"),
        ("{", "the payload cannot be read"),
        ("", "the payload cannot be read"),
    ] {
        let reason = reason("payload.a == 1", payload.to_owned());
        assert!(reason.contains(expected), "{reason}");
    }
    assert!(reason("payload.a == 1", &b"{\"a\":\"\xff\"}"[..]).contains("UTF-8"));
    // What is not read does no harm, and neither does it cost.
    let payload = format!(r#"{{"x":{deep},"y":"\ud800","z":1e400,"a":1}}"#);
    assert_eq!(judge("payload.a == 1", payload), Verdict::Holds);
    for payload in ["[1]", "1", "null", "\"a\""] {
        assert!(matches!(judge("payload.a == 1", payload), Verdict::Unclear(_)), "{payload}");
    }
    assert_eq!(judge("payload[0] == 1", "[1]"), Verdict::Holds);
}

#[test]
fn what_is_no_condition_is_refused_with_its_place() {
    for (condition, expected) in [
        ("", "line 1, column 1: "),
        ("1 +", "line 1, column 4: "),
        ("true &&\n  $", "line 2, column 3: "),
        ("'é' == paylod.a", "line 1, column 8: there is no variable `paylod`"),
        ("'é' == $", "line 1, column 8: "),
        ("'é' ==\n'é' $", "line 2, column 5: "),
        ("payload.a.matches('x')", "there is no function `matches`"),
        ("payload.a.startsWith()", "there is no function `startsWith`"),
        ("true &&\n size()", "line 2, column 6: there is no function `size`"),
        ("optional.none().hasValue()", "there is no"),
        ("payload.?a", "unsupported syntax"),
        ("payload.l.all(payload, true)", "the variable of a loop cannot be named `payload`"),
        ("A{b: 1}.b", "conditions have no messages"),
        ("@pay(payload)", "line 1, column 1: "),
        (".payload == 1", "there is no variable"),
        ("has(payload)", "invalid argument to has()"),
        ("[1].map(1, 1)", "line 1, column"),
    ] {
        let refusal = refusal(condition);
        assert!(refusal.contains(expected), "{condition}: {refusal}");
    }
    assert_eq!(Condition::compile(&" ".repeat(2_049)).unwrap_err(), ConditionError::TooLong);
}

/// Every way that is known to make the parser or the evaluator descend, as long as a text may be.
#[test]
fn nothing_overflows_the_stack() {
    for (start, open, middle, close) in [
        ("", "(", "true", ")"),
        ("", "(", "", ""),
        ("", "!", "true", ""),
        ("", "-", "1", ""),
        ("", "- !", "1", ""),
        ("", "[", "", "]"),
        ("", "{1:", "1", "}"),
        ("", "([{1:", "1", "}])"),
        ("", "([{a?", "", ""),
        ("", "payload[", "1", "]"),
        ("", "size(", "payload", ")"),
        ("", "f(", "1", ")"),
        ("", "A{a:", "1", "}"),
        ("", "true?1:", "1", ""),
        ("", "true?", "1", ":1"),
        ("", "payload.a.all(x,", "true", ")"),
        ("payload", ".a", "", ""),
        ("has(payload", ".a", ")", ""),
        ("payload", "[1]", "", ""),
        ("payload", ".a()", "", ""),
        ("payload", ".map(x,x)", "", ""),
        ("1", "+1", "", ""),
        ("1", "*1", "", ""),
        ("1", "<1", "", ""),
        ("true", "&&true", "", ""),
        ("true", "||true", "", ""),
        ("[", "1,", "1]", ""),
        ("", "\"", "", ""),
        // What hides brackets from who counts them, if anything does.
        ("", "r'\\' + (", "", ""),
        ("", "//\"\n(", "", ""),
        ("", "'''\"''' + (", "", ""),
        ("", "\"\\\"\" + (", "", ""),
        ("", "b'\"' + (", "", ""),
    ] {
        for n in [1, 2, 4, 8, 11, 12, 13, 20, 23, 24, 25, 32, 64, 128, 256, 512, 1_024, 2_048] {
            let text = format!("{start}{}{middle}{}", open.repeat(n), close.repeat(n));
            if let Ok(condition) = Condition::compile(&text) {
                let event = event(r#"{"a":[[[[[[1]]]]]]}"#);
                let _ = condition.judge(&Facts { event: &event, fields: &Fields::default() });
            }
        }
    }
}

#[test]
fn what_is_too_deep_is_said_so() {
    assert!(refusal(&format!("{}1{}", "(".repeat(13), ")".repeat(13))).contains("column 13"));
    assert!(refusal(&format!("{}1{}", "[\"(\",".repeat(13), "]".repeat(13))).contains("12 deep"));
    assert!(refusal(&format!("{}1", "true?1:".repeat(100))).contains("choices"));
    assert!(refusal(&format!("1{}", "+1".repeat(100))).contains("24 operations"));
    assert_eq!(judge(&format!("'{}' != ''", "(".repeat(100)), "{}"), Verdict::Holds);
    assert_eq!(judge(&format!("true{}", "&&true".repeat(300)), "{}"), Verdict::Holds);
}

/// What multiplies work, each on a payload that makes the most of it. None of them would be stopped
/// but for what it pays, and some would take minutes or all the memory that there is.
#[test]
fn amplifiers_run_out_of_work() {
    let numbers = format!(
        r#"{{"s":[{}0],"l":[{}0],"t":"{}"}}"#,
        "0,".repeat(1_000),
        "0,".repeat(200_000),
        "x".repeat(500_000)
    );
    let nested = "payload.l.all(a, payload.l.all(b, payload.l.all(c, a == 0)))";
    let doubled = format!("size([payload.t]{}) > 0", ".map(x, x + x)".repeat(8));
    let listed = format!("size([payload.t]{}) > 0", ".map(x, [x, x])".repeat(8));
    let texts = "payload.l.map(x, payload.t).all(t, t.contains('y'))";
    let literal = format!("size(payload.l.map(x, '{}')) > 0", "y".repeat(1_900));
    for condition in [
        // Loops in loops, and what absorbs the error of the inner one.
        nested,
        "payload.l.exists(a, payload.l.exists(b, b == 1) || a == 1)",
        "payload.l.all(a, payload.l.all(b, false) || true)",
        // Values that double, as texts, in lists and in objects.
        &doubled,
        &listed,
        "size(payload.s.map(x, payload.l)) > 0",
        "size(payload.s.map(x, {'a': payload.l})) > 0",
        "size(payload.s.map(x, payload.l + payload.l)) > 0",
        // A large literal, for each item.
        &literal,
        // Functions and comparisons that look through all of their operand, for each item.
        texts,
        "payload.s.exists(x, payload.t.contains('y'))",
        "payload.s.exists(x, payload.t.endsWith('y'))",
        "payload.s.exists(x, size(payload.t) == 1)",
        "payload.s.exists(x, payload.t + 'a' == payload.t)",
        "payload.s.exists(x, payload.l != payload.l)",
        "payload.s.exists(x, 1 in payload.l)",
        "payload.s.exists(x, string(payload.t) == 'y')",
        "payload.s.exists(x, payload.t > payload.t)",
        // Errors that hold their operands, for each item.
        "payload.s.exists(x, payload.t < 1)",
        "payload.s.exists(x, 1 < payload.l)",
        "payload.s.exists(x, 1 + payload.l > 0)",
        "payload.s.exists(x, -1 * payload.l > 0)",
        "payload.s.exists(x, payload.l[0.5] > 0)",
        "payload.s.exists(x, payload.l[double(x) + 0.5] > 0)",
        "payload.s.exists(x, payload.l[payload.l] > 0)",
        "payload.s.exists(x, payload.l in {})",
        "payload.s.exists(x, {payload.t: 1}.a == 1)",
        "payload.s.exists(x, int(payload.t) > 0)",
    ] {
        assert_eq!(
            reason(condition, numbers.clone()),
            "it takes too much work on this payload",
            "{condition}"
        );
    }
    let values = format!(r#"{{"l":[{}0]}}"#, "0,".repeat(2_000_000));
    assert!(reason("payload.l == 1", values).contains("too much work"));
}

/// What people write is far from the bound, also on a large payload.
#[test]
fn common_conditions_have_work_to_spare() {
    let items = r#"{"sku":"abc","tags":["one","two"],"price":12.5,"text":"a text of some words"},"#;
    let payload = format!(r#"{{"items":[{}{{}}],"email":"a@b.c"}}"#, items.repeat(12_000));
    assert!(payload.len() > 900_000);
    for condition in [
        "payload.email.endsWith('b.c')",
        "payload.items.exists(item, item.sku == 'x') || true",
        "!payload.items.exists(item, has(item.tags) && item.tags.exists(tag, tag == 'three'))",
        "size(payload.items.filter(item, has(item.price) && item.price > 12)) == 12000",
    ] {
        assert_eq!(judge(condition, payload.clone()), Verdict::Holds, "{condition}");
    }
}

#[test]
fn conditions_are_shared() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Condition>();
}

/// Texts that are nearly conditions.
fn text() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        Just("payload"),
        Just("payload.a"),
        Just("payload.b"),
        Just("fields"),
        Just("event.type"),
        Just("x"),
        Just("1"),
        Just("1.5"),
        Just("0u"),
        Just("'a'"),
        Just("\"\\u00e9\""),
        Just("true"),
        Just("null"),
        Just("-9223372036854775808"),
        Just("b'a'"),
        Just("int"),
        Just("[]"),
        Just("{}"),
    ]
    .prop_map(str::to_owned);
    atom.prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in ", ".",
            ",", "?", ":",
        ]);
        let function = prop::sample::select(vec![
            "size", "int", "uint", "double", "string", "bool", "type", "has", "bytes", "dyn", "f",
        ]);
        let member = prop::sample::select(vec!["size", "contains", "startsWith", "endsWith", "a"]);
        let macros = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a}{op}{b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), member, inner.clone()).prop_map(|(a, f, b)| format!("{a}.{f}({b})")),
            (inner.clone(), macros, inner.clone()).prop_map(|(a, f, b)| format!("{a}.{f}(x, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            inner.prop_map(|a| format!("-{a}")),
        ]
    })
}

fn payload() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "-0.0",
        "1e400",
        "18446744073709551615",
        "123456789012345678901234567890",
        "null",
        "true",
        "\"a\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "-9223372036854775808",
        "[1",
    ])
    .prop_map(str::to_owned);
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(","))),
            (inner.clone(), inner).prop_map(|(a, b)| format!(r#"{{"a":{a},"b":{b}}}"#)),
        ]
    });
    prop_oneof![
        4 => (value.clone(), value.clone()).prop_map(|(a, b)| format!(r#"{{"a":{a},"b":{b}}}"#)),
        1 => value,
    ]
}

proptest! {
    #[test]
    fn nothing_panics(text in prop_oneof![text(), any::<String>()], payload in payload()) {
        if let Ok(condition) = Condition::compile(&text) {
            let event = event(payload);
            let facts = Facts { event: &event, fields: &Fields::default() };
            let verdict = condition.judge(&facts);
            prop_assert_eq!(condition.judge(&facts), verdict);
        }
    }

    /// To pay changes nothing: the verdict is that of the evaluator by itself.
    #[test]
    fn the_verdict_is_that_of_cel(text in text(), payload in payload()) {
        let Ok(condition) = Condition::compile(&text) else { return Ok(()) };
        let event = event(payload.clone());
        let verdict = condition.judge(&Facts { event: &event, fields: &Fields::default() });
        let work = Work::new(u32::MAX);
        let Ok(tree) = tree::read(&payload, None, &work) else { return Ok(()) };
        let mut context = Context::with_env(work::environment());
        context.add_variable_as_val("payload", tree);
        context.add_variable_as_val("event", tree::event(&event));
        context.add_variable_as_val("fields", tree::read("{}", None, &work).unwrap());
        let program = work::environment().compile(&text).unwrap();
        let expected = match program.execute(&context) {
            Ok(Value::Bool(true)) => Verdict::Holds,
            Ok(Value::Bool(false)) => Verdict::Fails,
            _ => {
                prop_assert!(matches!(verdict, Verdict::Unclear(_)), "{verdict:?}");
                return Ok(());
            }
        };
        prop_assert_eq!(verdict, expected);
    }

    #[test]
    fn no_bytes_panic(text: String, payload: Vec<u8>) {
        let _ = Condition::compile(&text);
        let _ = judge("payload.a == 1", payload);
    }
}
