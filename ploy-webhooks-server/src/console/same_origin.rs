//! Where a form is from: what the browser says of it (`Sec-Fetch-Site`, `Origin`).

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderName, Uri};

use super::Console;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a form is from, as far as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provenance {
    /// From a page of this origin, or from no page, or it is no browser that sends it.
    Own,
    /// From a page whose origin the browser keeps to itself. Pages of the console ask it to
    /// (`Referrer-Policy`), and where there is no TLS it says nothing else either; but so does a
    /// page of somebody else's in a sandbox.
    Withheld,
    /// From another origin.
    Foreign,
}

/// Where the form in that request is from.
pub(super) fn provenance(console: &Console, request: &Parts) -> Provenance {
    let site = request.headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Provenance::Foreign;
    }
    let mut origins = request.headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Provenance::Own,
        (Some(_), Some(_)) => Provenance::Foreign,
        (Some(origin), None) if origin == "null" => match site {
            Some(_) => Provenance::Own,
            None => Provenance::Withheld,
        },
        (Some(origin), None) => {
            match origin.to_str().is_ok_and(|it| is_own(console, request, it)) {
                true => Provenance::Own,
                false => Provenance::Foreign,
            }
        }
    }
}

/// Whether the origin is what this server is reached at: by the request's own word, or, where a
/// proxy has written another, by the public URL.
fn is_own(console: &Console, request: &Parts, origin: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let Some(authority) = origin.authority().map(|authority| authority.as_str()) else {
        return false;
    };
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let asked = host.or_else(|| request.uri.authority().map(|authority| authority.as_str()));
    let public = &console.parts.public_url;
    let is_public = public.scheme() == origin.scheme()
        && public.authority().is_some_and(|known| known.as_str().eq_ignore_ascii_case(authority));
    is_public || asked.is_some_and(|asked| asked.eq_ignore_ascii_case(authority))
}
