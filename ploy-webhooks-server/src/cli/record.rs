//! What is on record of a request to a destination, for people.

use serde::Deserialize;

/// What is shown of a record.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) error: Option<String>,
    class: Option<String>,
    #[serde(default)]
    draft: bool,
    request: Option<Request>,
    response: Option<Response>,
    timings: Option<Timings>,
}

#[derive(Debug, Deserialize)]
struct Request {
    method: String,
    url: String,
}

#[derive(Debug, Deserialize)]
struct Response {
    status: u16,
    body: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Timings {
    total_ms: f64,
}

impl Record {
    /// Names and values, one a line.
    pub(super) fn lines(&self) -> Vec<[String; 2]> {
        let sent = if self.draft { "would be sent" } else { "sent" };
        let request =
            self.request.as_ref().map(|Request { method, url }| format!("{method} {url}"));
        let status = self.response.as_ref().map(|response| response.status.to_string());
        let body = self.response.as_ref().and_then(|response| response.body.clone());
        let took = self.timings.as_ref().map(|timings| format!("{:.1} ms", timings.total_ms));
        let lines = [
            (sent, request),
            ("answered", status),
            ("said", body),
            ("took", took),
            ("failure", self.class.clone()),
            ("error", self.error.clone()),
        ];
        let lines = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
        lines.collect()
    }
}
