//! URLs that are given by hand: of a server, of an endpoint, of this server as senders know it.

use reqwest::Url;
use thiserror::Error;

/// A text that is no URL to be called by. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HttpUrlError {
    #[error("not an http or https URL")]
    Form,
    #[error("a URL with a user name or a password in it is not taken")]
    Credentials,
}

/// The http or https URL that the text is. One with credentials is refused: they would be shown
/// wherever the URL is.
pub(crate) fn http_url(text: &str) -> Result<Url, HttpUrlError> {
    let url = Url::parse(text).map_err(|_| HttpUrlError::Form)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpUrlError::Form);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpUrlError::Credentials);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_urls() {
        assert_eq!(http_url(" https:x.io").unwrap().as_str(), "https://x.io/");
        for text in ["x.io", "ftp://u:hunter2@x.io", "https://", ""] {
            assert_eq!(http_url(text), Err(HttpUrlError::Form), "{text}");
        }
        for text in ["https://u:hunter2@x.io", "http://u@x.io", "http://:hunter2@x.io"] {
            assert_eq!(http_url(text), Err(HttpUrlError::Credentials), "{text}");
        }
    }
}
