//! Signatures: who sends, proved by a secret that is never sent.
//!
//! One engine, schemes as data. A [`Scheme`] is one of the [presets](Preset) or a
//! [description](SignatureScheme) of one's own in the same form; a [`Verifier`] knows a scheme and
//! the secrets that are valid; a [`Signer`] makes what it verifies. The pipeline does
//! all of this for endpoints whose [`Auth`](crate::Auth) is a signature; here it is for who wants
//! it elsewhere.
//!
//! ```
//! use http::HeaderMap;
//! use ploy_webhooks::verify::{Preset, Scheme, Signed, Verifier};
//! use ploy_webhooks::{Clock, CredentialId, Secret, SystemClock};
//! use std::time::Duration;
//!
//! let now = SystemClock.now();
//! let secret = Secret::from("your-signing-secret".to_owned());
//! let preset = Preset::named("toolplex").expect("it comes with the crate");
//! let request = Signed { method: "POST", url: "", body: b"{}" };
//! let headers = preset.description().sign(&secret, "", now, &request)?;
//!
//! let verifier = Verifier::new(Scheme::Preset(preset), Duration::from_secs(300));
//! let verifier = verifier.with_secret(CredentialId::mint(now), &secret, None)?;
//! let headers: HeaderMap = headers.into_iter().collect();
//! let presented = verifier.present(&headers, now)?;
//! assert!(verifier.verify(&presented, &request, now).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Comparisons take the same time wherever a signature is wrong. Nothing of a secret or a
//! signature is in an error or in `Debug`.

mod content;
mod handshake;
mod key;
mod layout;
mod presets;
mod scheme;
mod sign;
mod verifier;

pub use content::{ParseSignedContentError, SignedContent};
pub use handshake::{Handshake, HandshakeReply};
pub use key::SecretError;
pub use layout::{Layout, ParseLayoutError};
pub use presets::Preset;
pub use scheme::{
    Digest, Encoding, Method, Scheme, SchemeError, SecretEncoding, SecretForm, SignatureScheme,
    TOLERANCE_DEFAULT, TimestampSource, Unit,
};
pub use sign::{SignError, Signer};
pub use verifier::{Presented, Proven, SignatureFault, Signed, Verifier};
