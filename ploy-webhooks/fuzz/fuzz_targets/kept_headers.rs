//! What is read from lines is the same lines, and each of them is a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ploy_webhooks::KeptHeaders;

fuzz_target!(|lines: &[u8]| {
    if let Some(headers) = KeptHeaders::from_lines(lines) {
        assert_eq!(headers.as_lines(), lines);
        let count = lines.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(headers.iter().count(), count);
        assert_eq!(headers.is_empty(), lines.is_empty());
    }
});
