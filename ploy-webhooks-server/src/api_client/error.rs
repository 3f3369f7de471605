//! Why a call of the management API came to nothing.

use http::StatusCode;
use serde::Deserialize;
use thiserror::Error;

/// Why a call came to nothing. `Display` of a refusal is its `detail`, in the words of the API.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// The API said no.
    #[error("{detail}")]
    Refused { status: StatusCode, code: String, detail: String },
    /// The call could not be put into a request.
    #[error("the call cannot be written as a request")]
    Request(#[source] http::Error),
    /// The server could not be asked.
    #[error("the server does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// The answer has too many bytes.
    #[error("the answer has more than {0} bytes: ask for less of it")]
    TooLarge(usize),
    /// The answer did not come to its end.
    #[error("the answer broke off")]
    Broken(#[source] axum::BoxError),
    /// The answer is of another form than it should be.
    #[error("the answer is of another form than it should be")]
    Unreadable(#[source] serde_json::Error),
}

/// The members of every refusal that are read.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl ApiError {
    pub(super) fn refused(status: StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Problem { code, detail }) => Self::Refused { status, code, detail },
            Err(error) => Self::Unreadable(error),
        }
    }

    /// What cannot even stand in a header is refused as what is not valid.
    pub(crate) fn not_a_token() -> Self {
        Self::Refused {
            status: StatusCode::UNAUTHORIZED,
            code: "unauthorized".to_owned(),
            detail: "the token is not valid".to_owned(),
        }
    }

    /// The code of the refusal; of what is none, that the API is no use now.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "unavailable",
        }
    }

    /// The status that says the same to whoever asked for the call.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Request(_)
            | Self::Unreachable(_)
            | Self::TooLarge(_)
            | Self::Broken(_)
            | Self::Unreadable(_) => StatusCode::BAD_GATEWAY,
        }
    }
}
