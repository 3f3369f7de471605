//! What a condition reads, as the values that it is evaluated on. Texts are borrowed from the
//! payload where it has them without escapes.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::check::Members;
use super::work::{Work, text_cost};
use crate::event::Event;

type Tree<'json> = Box<dyn Val + 'json>;

/// The value of a JSON text, with those members alone where it is an object and `only` some are
/// asked for.
pub(super) fn read<'json>(
    json: &'json str,
    only: Option<&Members>,
    work: &Work,
) -> Result<Tree<'json>, serde_json::Error> {
    let only = match only {
        Some(Members::These(names)) => Some(names),
        Some(Members::All) | None => None,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let tree = Reader { only, work }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(tree)
}

/// The variable `event`.
pub(super) fn event(event: &Event) -> Tree<'_> {
    let text = |text: Option<String>| -> Tree<'_> {
        text.map_or_else(|| Box::new(CelNull) as Tree<'_>, |text| Box::new(CelString::from(text)))
    };
    let received_at = i64::try_from(event.received_at().as_millis()).unwrap_or(i64::MAX);
    let members: [(&str, Tree<'_>); 4] = [
        ("id", text(Some(event.id.to_string()))),
        ("type", text(event.event_type.as_ref().map(ToString::to_string))),
        ("endpoint", text(event.endpoint.map(|endpoint| endpoint.to_string()))),
        ("received_at", Box::new(CelInt::from(received_at))),
    ];
    let members: HashMap<_, _> = members
        .into_iter()
        .map(|(name, value)| (CelMapKey::String(CelString::from(name)), value))
        .collect();
    Box::new(CelMap::from(members))
}

/// Reads a value, and pays for all of it.
#[derive(Clone, Copy)]
struct Reader<'tree> {
    only: Option<&'tree BTreeSet<String>>,
    work: &'tree Work,
}

impl Reader<'_> {
    fn pay<E: Error>(self, steps: u64) -> Result<(), E> {
        if self.work.spend(steps) { Ok(()) } else { Err(E::custom("too much work")) }
    }
}

impl<'json> DeserializeSeed<'json> for Reader<'_> {
    type Value = Tree<'json>;

    fn deserialize<D: Deserializer<'json>>(self, value: D) -> Result<Tree<'json>, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'json> Visitor<'json> for Reader<'_> {
    type Value = Tree<'json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree<'json>, E> {
        self.pay(1)?;
        Ok(Box::new(CelNull))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree<'json>, E> {
        self.pay(1)?;
        Ok(Box::new(CelBool::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Tree<'json>, E> {
        self.pay(1)?;
        Ok(Box::new(CelInt::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Tree<'json>, E> {
        self.pay(1)?;
        Ok(match i64::try_from(value) {
            Ok(value) => Box::new(CelInt::from(value)),
            Err(_) => Box::new(CelUInt::from(value)),
        })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Tree<'json>, E> {
        self.pay(1)?;
        Ok(Box::new(CelDouble::from(value)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree<'json>, E> {
        self.pay(text_cost(text.len()))?;
        Ok(Box::new(CelString::from(text.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'json str) -> Result<Tree<'json>, E> {
        self.pay(text_cost(text.len()))?;
        Ok(Box::new(CelString::from(text)))
    }

    fn visit_seq<A: SeqAccess<'json>>(self, mut items: A) -> Result<Tree<'json>, A::Error> {
        self.pay(1)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self { only: None, ..self })? {
            list.push(item);
        }
        Ok(Box::new(CelList::from(list)))
    }

    fn visit_map<A: MapAccess<'json>>(self, mut entries: A) -> Result<Tree<'json>, A::Error> {
        self.pay(1)?;
        let mut map = HashMap::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            if self.only.is_some_and(|only| !only.contains(key.inner())) {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            self.pay(text_cost(key.inner().len()))?;
            let value = entries.next_value_seed(Self { only: None, ..self })?;
            // Of a name that occurs twice the last counts.
            map.insert(CelMapKey::String(key), value);
        }
        Ok(Box::new(CelMap::from(map)))
    }
}

/// Reads the name of a member.
struct Key;

impl<'json> DeserializeSeed<'json> for Key {
    type Value = CelString<'json>;

    fn deserialize<D: Deserializer<'json>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl<'json> Visitor<'json> for Key {
    type Value = CelString<'json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(CelString::from(text.to_owned()))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'json str) -> Result<Self::Value, E> {
        Ok(CelString::from(text))
    }
}
