//! Whatever is no `application/json` is refused, and nothing else happens.
#![no_main]

use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use ploy_webhooks_fuzz::{KEY, at_the_door};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let request = Request::post("/door")
        .header("content-type", value)
        .header("authorization", format!("Bearer {KEY}"));
    let request = request.body(()).expect("a request");
    let status = at_the_door(|door| door.call(request)).status().as_u16();
    let essence = bytes.split(|&byte| byte == b';').next().unwrap_or_default();
    let is_json = essence.trim_ascii().eq_ignore_ascii_case(b"application/json");
    assert!(status == 415 || (status == 202 && is_json), "{status}");
    if is_json && !bytes.contains(&b';') {
        assert_eq!(status, 202);
    }
});
