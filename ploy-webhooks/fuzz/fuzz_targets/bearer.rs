//! Of all `Authorization` headers only `Bearer`, in any case, a space and the key opens.
#![no_main]

use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use ploy_webhooks_fuzz::{KEY, at_the_door};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let request = Request::post("/door")
        .header("content-type", "application/json")
        .header("authorization", value);
    let request = request.body(()).expect("a request");
    let status = at_the_door(|door| door.call(request)).status().as_u16();
    let opens = bytes.split_at_checked(7).is_some_and(|(scheme, key)| {
        scheme.eq_ignore_ascii_case(b"Bearer ") && key == KEY.as_bytes()
    });
    assert_eq!(status, if opens { 202 } else { 401 });
});
