//! What is accepted is what serde_json takes for an object, and is kept verbatim.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ploy_webhooks_fuzz::at_the_door;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    at_the_door(|door| {
        let judged = serde_json::from_slice::<Value>(body);
        match (door.submit(body), judged) {
            (Ok(accepted), judged) => {
                assert_eq!(door.payload(accepted.id), body);
                match judged {
                    Ok(tree) => assert!(tree.is_object()),
                    Err(fault) => assert!(is_not_about_form(&fault), "{fault}"),
                }
            }
            (Err(refusal), Ok(tree)) => {
                assert!(!tree.is_object(), "{refusal}");
                assert_eq!(refusal.code(), "not_an_object");
            }
            (Err(refusal), Err(_)) => assert_eq!(refusal.status(), 400),
        }
    });
});

/// What a tree cannot hold and the text may say: lone surrogates, numbers that are too large,
/// nesting that is too deep.
fn is_not_about_form(fault: &serde_json::Error) -> bool {
    let fault = fault.to_string();
    let known = ["surrogate", "hex escape", "out of range", "recursion limit"];
    known.iter().any(|known| fault.contains(known))
}
