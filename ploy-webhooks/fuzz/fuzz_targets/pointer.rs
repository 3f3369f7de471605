//! What a pointer leads to is what serde_json's leads to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ploy_webhooks::JsonPointer;
use serde_json::Value;

fuzz_target!(|input: (&str, &str)| {
    let (text, json) = input;
    let Ok(pointer) = text.parse::<JsonPointer>() else {
        return;
    };
    assert_eq!(pointer.to_string(), text);
    let found = pointer.follow(json);
    // Of what is no JSON anything may be found, as long as nothing breaks.
    let Ok(tree) = serde_json::from_str::<Value>(json) else {
        return;
    };
    let found = found.map(|found| serde_json::from_str::<Value>(found).expect("a value"));
    assert_eq!(found.as_ref(), tree.pointer(text));
});
