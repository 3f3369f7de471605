//! A JSON text as values of the engine.
//!
//! Objects and arrays are of our own, so that members keep their order, a look-up in a large object
//! is none through all of it, and what the engine takes out of them is paid for.

use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::output::{Output, write_json};
use super::work::Work;

/// The value of a JSON text, in which `null` is the engine's `none`.
pub(super) fn read(json: &[u8], work: &Arc<Work>) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = Reader(work).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The member of that name, where the value is an object that has it.
pub(super) fn member<'tree>(value: &'tree Value, name: &str) -> Option<&'tree Value> {
    value.downcast_object_ref::<Members>()?.find(name)
}

/// The item at that place, counted from the end where it is negative; or the member of that name.
pub(super) fn item(value: &Value, place: i64) -> Option<&Value> {
    if let Some(members) = value.downcast_object_ref::<Members>() {
        return members.find(&place.to_string());
    }
    let items = &value.downcast_object_ref::<Items>()?.items;
    let place = if place < 0 { place.checked_add_unsigned(items.len() as u64)? } else { place };
    items.get(usize::try_from(place).ok()?)
}

/// An object.
pub(super) struct Members {
    entries: Vec<(Box<str>, Value)>,
    by_name: Vec<u32>,
    work: Arc<Work>,
}

impl Members {
    /// What an event has.
    pub(super) const EVENT: [&str; 5] =
        ["id", "type", "received_at", "endpoint_id", "workspace_id"];
    /// What a delivery has.
    pub(super) const DELIVERY: [&str; 2] = ["id", "attempt"];

    /// These members. Of a name that occurs twice the last counts, at its place.
    pub(super) fn value(entries: Vec<(Box<str>, Value)>, work: &Arc<Work>) -> Value {
        Value::from_object(Self::new(entries, work))
    }

    fn new(mut entries: Vec<(Box<str>, Value)>, work: &Arc<Work>) -> Self {
        let by_name = sorted(&entries);
        let is_twice = |pair: &[u32]| entries[pair[0] as usize].0 == entries[pair[1] as usize].0;
        let by_name = if by_name.windows(2).any(is_twice) {
            entries = without_repeats(entries, &by_name);
            sorted(&entries)
        } else {
            by_name
        };
        Self { entries, by_name, work: Arc::clone(work) }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let named = |&at: &u32| &*self.entries[at as usize].0;
        let place = self.by_name.binary_search_by(|at| named(at).cmp(name)).ok()?;
        Some(&self.entries[self.by_name[place] as usize].1)
    }

    /// The members in the order in which they are written.
    pub(super) fn entries(&self) -> &[(Box<str>, Value)] {
        &self.entries
    }
}

/// The places of the entries by name, and those of one name in the order of writing.
fn sorted(entries: &[(Box<str>, Value)]) -> Vec<u32> {
    let count = u32::try_from(entries.len()).expect("a payload has fewer members than bytes");
    let mut places: Vec<u32> = (0..count).collect();
    places.sort_by_key(|&at| &*entries[at as usize].0);
    places
}

/// Each name once, with its last value.
fn without_repeats(mut entries: Vec<(Box<str>, Value)>, by_name: &[u32]) -> Vec<(Box<str>, Value)> {
    let mut is_kept = vec![true; entries.len()];
    for pair in by_name.windows(2) {
        let (earlier, later) = (pair[0] as usize, pair[1] as usize);
        if entries[earlier].0 == entries[later].0 {
            is_kept[earlier] = false;
        }
    }
    let mut kept = is_kept.into_iter();
    entries.retain(|_| kept.next().unwrap_or(true));
    entries
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("len", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Object for Members {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        paid(self.find(key)?, &self.work)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let members = Arc::clone(self);
        let names = (0..self.entries.len()).map_while(move |at| {
            let name = &*members.entries[at].0;
            members.work.pay(name.len()).then(|| Value::from(name))
        });
        Enumerator::Iter(Box::new(names))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(&Value::from_dyn_object(Arc::clone(self)), &self.work, f)
    }
}

/// An array.
pub(super) struct Items {
    items: Vec<Value>,
    work: Arc<Work>,
}

impl Items {
    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("len", &self.items.len()).finish_non_exhaustive()
    }
}

impl Object for Items {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        paid(self.items.get(key.as_usize()?)?, &self.work)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(&Value::from_dyn_object(Arc::clone(self)), &self.work, f)
    }
}

/// `null`, which unlike the engine's `none` is an empty text wherever it is written; or what a
/// field is that is not there and may be empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Null {
    Present,
    Missing,
}

impl Null {
    pub(super) fn present() -> Value {
        static PRESENT: LazyLock<Value> = LazyLock::new(|| Value::from_object(Null::Present));
        PRESENT.clone()
    }

    pub(super) fn missing() -> Value {
        static MISSING: LazyLock<Value> = LazyLock::new(|| Value::from_object(Null::Missing));
        MISSING.clone()
    }
}

impl Object for Null {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// A value as expressions have it, where there is work left for it.
pub(super) fn paid(value: &Value, work: &Work) -> Option<Value> {
    let is_paid = work.pay(value.as_str().map_or(0, str::len));
    is_paid.then(|| if value.is_none() { Null::present() } else { value.clone() })
}

/// Writes an object or an array where the engine makes a text of it. It takes no error, so what
/// there is no work left for is left out: whoever evaluates looks at what is left.
fn render(value: &Value, work: &Work, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut json = Output::default();
    let is_written = write_json(value, &mut json).is_ok() && work.pay(json.len());
    if is_written {
        f.write_str(&json.into_text())
    } else {
        work.exhaust();
        Ok(())
    }
}

/// Reads a value.
#[derive(Clone, Copy)]
struct Reader<'work>(&'work Arc<Work>);

impl<'json> DeserializeSeed<'json> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'json>>(self, value: D) -> Result<Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'json> Visitor<'json> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::from(()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'json>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = elements.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::from_object(Items { items, work: Arc::clone(self.0) }))
    }

    fn visit_map<A: MapAccess<'json>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = members.next_key::<Box<str>>()? {
            entries.push((name, members.next_value_seed(self)?));
        }
        Ok(Members::value(entries, self.0))
    }
}
