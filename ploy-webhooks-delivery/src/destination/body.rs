//! What is sent to a destination.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use crate::template::BodyTemplate;

/// The body of a request. In JSON `"payload"` or `"none"`, or that of a [`BodyTemplate`]; `null`
/// leaves it to the method.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "these are the bodies that there are")]
pub enum Body {
    /// The payload for POST, PUT and PATCH; nothing for GET and DELETE.
    #[default]
    ByMethod,
    /// The payload, byte for byte.
    Payload,
    /// Nothing.
    None,
    /// What a template makes of the event.
    Template(BodyTemplate),
}

impl Body {
    /// Whether something is sent that the method would not have.
    pub(super) const fn is_given(&self) -> bool {
        matches!(self, Self::Payload | Self::Template(_))
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ByMethod => serializer.serialize_none(),
            Self::Payload => serializer.serialize_str("payload"),
            Self::None => serializer.serialize_str("none"),
            Self::Template(template) => template.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

/// Tells the forms by what they are, so that the fault of a template is told where it is.
struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""payload", "none", {"json": …} or {"form": {…}}"#)
    }

    fn visit_unit<E: Error>(self) -> Result<Body, E> {
        Ok(Body::ByMethod)
    }

    fn visit_none<E: Error>(self) -> Result<Body, E> {
        Ok(Body::ByMethod)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Body, E> {
        match name {
            "payload" => Ok(Body::Payload),
            "none" => Ok(Body::None),
            _ => Err(E::custom(r#"expected "payload", "none", {"json": …} or {"form": {…}}"#)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Body, A::Error> {
        BodyTemplate::deserialize(MapAccessDeserializer::new(members)).map(Body::Template)
    }
}
