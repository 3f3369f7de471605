//! What was wrong with a form, in words, and beside which field they belong.

use http::StatusCode;

use super::text::Text;
use crate::api_client::ApiError;

/// What was wrong with a form; nothing, by default.
#[derive(Debug, Default)]
pub(super) struct Fault {
    status: Option<StatusCode>,
    detail: Text,
    /// The member of the call that it is about: as the API says first, between backquotes.
    member: Option<String>,
}

impl Fault {
    /// What the API has said.
    pub(super) fn of(error: &ApiError) -> Self {
        Self::new(error.status(), error.to_string())
    }

    /// What is found before the API is asked: a text that is no number, say.
    pub(super) fn at_member(member: &str, why: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{member}`: {why}"))
    }

    fn new(status: StatusCode, detail: String) -> Self {
        let quoted = detail.strip_prefix('`').and_then(|rest| rest.split_once('`'));
        let member = quoted.map(|(member, _)| member.to_owned());
        Self { status: Some(status), detail: detail.into(), member }
    }

    /// The status of the page that shows it.
    pub(super) fn status(&self) -> StatusCode {
        self.status.unwrap_or(StatusCode::OK)
    }

    /// What is wrong, if something is.
    pub(super) fn detail(&self) -> Option<&Text> {
        self.status.map(|_| &self.detail)
    }

    /// What is wrong with that field, if that is what is: fields are named as members are.
    pub(super) fn at(&self, field: &str) -> Option<&Text> {
        let member = self.member.as_deref()?;
        let is_within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        let is_it = member == field || is_within(member, field) || is_within(field, member);
        is_it.then_some(&self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_beside_its_field() {
        let fault = Fault::at_member("limits.rate.burst", "too small");
        assert!(fault.at("limits.rate.burst").is_some() && fault.at("limits.rate").is_some());
        assert!(fault.at("limits.quota").is_none() && fault.at("limit").is_none());
        assert!(Fault::at_member("headers", "no object").at("headers.x").is_some());
        assert!(Fault::default().at("limits").is_none() && Fault::default().detail().is_none());
    }
}
