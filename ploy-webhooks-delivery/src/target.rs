//! [`Target`]: where something is sent, and what signs it.

use std::fmt;

use reqwest::Url;
use thiserror::Error;

use crate::sign::Signer;

/// A URL that requests are POSTed to, and what signs them.
///
/// `Debug` shows scheme, host and port alone: there may be secrets in the rest.
#[derive(Clone)]
pub struct Target {
    url: Url,
    signer: Option<Signer>,
}

/// A text that is no URL to POST to. It does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// It is no URL, or one of another scheme.
    #[error("not an http or https URL")]
    Form,
    /// It has credentials in it, which would be shown wherever the URL is.
    #[error("a URL with a user name or a password in it is not taken")]
    Credentials,
}

impl Target {
    /// The http or https URL that the text is. What is sent there is not signed.
    ///
    /// # Errors
    ///
    /// When the text is no such URL, or has a user name or a password in it.
    pub fn at(url: &str) -> Result<Self, TargetError> {
        let url = Url::parse(url).map_err(|_| TargetError::Form)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Form);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        Ok(Self { url, signer: None })
    }

    /// The same, with what is sent there signed.
    #[must_use]
    pub fn signed_by(self, signer: impl Into<Signer>) -> Self {
        Self { signer: Some(signer.into()), ..self }
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) const fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Scheme, host and port: what may be shown of it.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("origin", &self.origin())
            .field("signer", &self.signer)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_without_credentials_are_taken() {
        for url in ["http://127.0.0.1:8080", "https://engine.example/run?key=k", "HTTPS://a"] {
            assert!(Target::at(url).is_ok(), "{url}");
        }
        for url in ["", "engine.example", "/run", "ftp://a/b", "file:///etc/passwd", "https://"] {
            assert_eq!(Target::at(url).unwrap_err(), TargetError::Form, "{url}");
        }
        for url in ["https://u:hunter2@x.io", "http://u@x.io", "http://:hunter2@x.io"] {
            assert_eq!(Target::at(url).unwrap_err(), TargetError::Credentials, "{url}");
        }
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_printed() {
        let signer: Signer = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let target = Target::at("https://x.io:8443/hunter2?key=hunter2").unwrap().signed_by(signer);
        let shown = format!("{target:?}");
        assert!(shown.contains("https://x.io:8443") && !shown.contains("hunter2"), "{shown}");
    }
}
