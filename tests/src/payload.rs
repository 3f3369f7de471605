//! Payloads of a size.

/// A JSON object of exactly so many bytes.
///
/// # Panics
///
/// When so few bytes hold no such object.
#[must_use]
pub fn object_of(bytes: usize) -> Vec<u8> {
    let (open, close) = (br#"{"pad":""#, br#""}"#);
    let padding = bytes.checked_sub(open.len() + close.len()).expect("room for the object");
    [&open[..], &vec![b'x'; padding], &close[..]].concat()
}
