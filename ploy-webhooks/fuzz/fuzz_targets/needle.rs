//! What stands in a payload is found there, in whatever case; a needle survives its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ploy_webhooks::store::Needle;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (text, before, after) = input;
    let Ok(needle) = Needle::new(text) else {
        assert!(text.is_empty() || text.len() > Needle::BYTES_MAX);
        return;
    };
    let mut scratch = Vec::new();
    let written = serde_json::to_string(&needle).expect("a needle has a JSON form");
    assert_eq!(serde_json::from_str::<Needle>(&written).expect("and is read from it"), needle);
    let _whatever = needle.stands_in(before, &mut scratch);
    // Between bytes that are no text the needle's own could become part of theirs.
    if let (Ok(before), Ok(after)) = (std::str::from_utf8(before), std::str::from_utf8(after)) {
        let payload = format!("{before}{text}{after}");
        assert!(needle.stands_in(payload.as_bytes(), &mut scratch));
    }
});
