//! What Ploybooks, subscriptions, destinations, workspaces and tokens have in common: kept as JSON
//! under a name, with a revision.

use ploy_webhooks::Revision;
use ploy_webhooks::store::{Defined, Definition, DefinitionKind, PageSize};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::caller::TenantApi;
use super::json::of_members;
use super::page::{List, take_cursor, take_limit, to_cursor};
use super::problem::Problem;
use super::query::Parameters;

/// How often a change is tried against changes that run at the same time.
const ROUNDS_MAX: usize = 8;

/// What is defined: kept in this form, checked before it is kept.
pub(super) trait Defines: Serialize + DeserializeOwned {
    const KIND: DefinitionKind;
    /// The members that are objects of settings, each of which is changed by itself.
    const SETTINGS: &[&str];

    /// Refuses what is out of bounds, and what may not become of what stood before.
    fn check(&self, before: Option<&Self>, api: &TenantApi) -> Result<(), Problem>;
}

/// A definition as callers see it.
#[derive(Debug, Serialize)]
pub(super) struct View<'a, T> {
    /// `id` or `name`: what it is called by.
    #[serde(flatten)]
    pub(super) called: Called<'a>,
    pub(super) revision: Revision,
    #[serde(flatten)]
    pub(super) defined: T,
}

/// What a definition is called by.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Called<'a> {
    Name(&'a str),
    Id(&'a str),
}

/// A definition of that kind, and its revision.
pub(super) async fn find<T: Defines>(
    api: &TenantApi,
    name: &str,
) -> Result<Option<(T, Revision)>, Problem> {
    let found = api.store().definition(api.workspace(), T::KIND, name).await?;
    found.map(|definition| Ok((read(&definition)?, definition.revision))).transpose()
}

/// Makes a definition where there is none of that name. `None` where there is.
pub(super) async fn make<T: Defines>(
    api: &TenantApi,
    name: &str,
    defined: &T,
) -> Result<Option<Revision>, Problem> {
    defined.check(None, api)?;
    let text = write(defined);
    match api.store().define(api.workspace(), T::KIND, name, None, &text).await? {
        Defined::Defined(revision) => Ok(Some(revision)),
        Defined::Conflict(_) => Ok(None),
    }
}

/// What a change has come to: how it was, and how it is.
#[derive(Debug)]
pub(super) struct Changed<T> {
    pub(super) before: T,
    pub(super) now: T,
    pub(super) revision: Revision,
}

/// Changes the members that are given of a definition, as it is now, again if somebody else has
/// changed it meanwhile. What is `null` goes back to what it is by itself (RFC 7396, at the
/// outermost level and in settings).
pub(super) async fn change<T: Defines>(
    api: &TenantApi,
    name: &str,
    changes: &Map<String, Value>,
) -> Result<Changed<T>, Problem> {
    change_by(api, name, |before| patched(before, changes)).await
}

/// Changes a definition as it is now, again if somebody else has changed it meanwhile.
pub(super) async fn change_by<T: Defines>(
    api: &TenantApi,
    name: &str,
    change: impl Fn(&T) -> Result<T, Problem>,
) -> Result<Changed<T>, Problem> {
    for _ in 0..ROUNDS_MAX {
        let found = api.store().definition(api.workspace(), T::KIND, name).await?;
        let standing = found.ok_or(Problem::NotFound)?;
        let before: T = read(&standing)?;
        let now = change(&before)?;
        now.check(Some(&before), api)?;
        let expected = Some(standing.revision);
        let text = write(&now);
        match api.store().define(api.workspace(), T::KIND, name, expected, &text).await? {
            Defined::Defined(revision) => return Ok(Changed { before, now, revision }),
            Defined::Conflict(_) => {}
        }
    }
    Err(Problem::conflict("it is being changed by others; try again"))
}

/// Which page of a list of definitions is asked for.
#[derive(Debug)]
pub(super) struct PageOf {
    pub(super) limit: PageSize,
    /// The name that the page before ended with.
    pub(super) after: Option<String>,
}

impl PageOf {
    pub(super) fn take(mut parameters: Parameters) -> Result<Self, Problem> {
        let limit = take_limit(&mut parameters)?.unwrap_or(PageSize::DEFAULT);
        let after = take_cursor::<String>(&mut parameters)?;
        if after.as_ref().is_some_and(|name| name.contains('\0')) {
            return Err(Problem::invalid("the parameter `cursor` is not a cursor of this list"));
        }
        parameters.finish()?;
        Ok(Self { limit, after })
    }
}

/// One page of the definitions of a kind, by their names.
pub(super) async fn page<T: Defines>(
    api: &TenantApi,
    PageOf { limit, after }: &PageOf,
) -> Result<List<(String, Revision, T)>, Problem> {
    let listed =
        api.store().definitions(api.workspace(), T::KIND, after.as_deref(), limit.one_more());
    let mut listed = listed.await?;
    let has_more = listed.len() > limit.get();
    listed.truncate(limit.get());
    let last = listed.last().filter(|_| has_more).map(|last| to_cursor(&last.name));
    let data = listed.into_iter().map(|definition| {
        let defined = read(&definition)?;
        Ok((definition.name, definition.revision, defined))
    });
    Ok(List { data: data.collect::<Result<_, Problem>>()?, next_cursor: last })
}

/// What is kept. What cannot be read is the operator's to see, not the caller's.
pub(super) fn read<T: Defines>(definition: &Definition) -> Result<T, Problem> {
    serde_json::from_str(&definition.text).map_err(|error| {
        tracing::error!(name = definition.name, %error, "a definition cannot be read");
        Problem::Unavailable(None)
    })
}

fn write<T: Defines>(defined: &T) -> String {
    serde_json::to_string(defined).expect("definitions have string keys only")
}

pub(super) fn patched<T: Defines>(before: &T, changes: &Map<String, Value>) -> Result<T, Problem> {
    let mut members = match serde_json::to_value(before) {
        Ok(Value::Object(members)) => members,
        _ => unreachable!("a definition is an object with string keys"),
    };
    merge(&mut members, changes, T::SETTINGS);
    of_members(members)
}

/// Changes the members that are given; of settings, which are objects, each by itself.
pub(super) fn merge(
    members: &mut Map<String, Value>,
    changes: &Map<String, Value>,
    settings: &[&str],
) {
    for (name, change) in changes {
        match (members.get_mut(name), change) {
            (Some(Value::Object(standing)), Value::Object(changes))
                if settings.contains(&name.as_str()) =>
            {
                changes.iter().for_each(|(name, change)| set(standing, name, change));
            }
            _ => set(members, name, change),
        }
    }
}

/// A `null` that nothing stands for is kept, and so is refused by its name.
fn set(members: &mut Map<String, Value>, name: &str, change: &Value) {
    if !(change.is_null() && members.remove(name).is_some()) {
        members.insert(name.to_owned(), change.clone());
    }
}
