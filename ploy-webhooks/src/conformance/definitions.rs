//! Promises about what operators define.

use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Fixture;
use super::scene::workspace;
use crate::endpoint::Revision;
use crate::id::WorkspaceId;
use crate::store::{Defined, Definition, DefinitionKind, DefinitionStore};

const PLOYBOOK: DefinitionKind = DefinitionKind::Ploybook;

/// Names and texts that are spoilt where they are taken for something else.
const NAMES: [&str; 6] =
    ["page", "Page", "Generate ABM page for prospect", "é", "a%_'\"\\{x}:*?[1]", "page 2"];
const TEXTS: [&str; 4] = ["", "{\"a\": 1 , \"a\":2}", "\u{0}\u{1}\n'\"\\ \u{1f4a9}", "null"];

/// A definition is what it was set to, to the letter, under its name, its kind and its workspace
/// alone, at the revision that its changes have counted. Deleted, it is gone, and may be set
/// afresh.
pub async fn definitions_are_kept_whole<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    for name in NAMES {
        assert_eq!(get(&*store, workspace, PLOYBOOK, name).await, None, "a definition never made");
        let mut expected = None;
        for text in TEXTS {
            let next = expected.map_or(Revision::FIRST, Revision::next);
            let defined = set(&*store, workspace, name, expected, text).await;
            assert_eq!(defined, Defined::Defined(next), "left: what came of a change");
            expected = Some(next);
            let shown = get(&*store, workspace, PLOYBOOK, name).await;
            let whole = Definition { name: name.to_owned(), revision: next, text: text.to_owned() };
            assert_eq!(shown, Some(whole), "left: the definition as it is shown");
        }
        let stale = Some(Revision::FIRST);
        for wrong in [None, stale, expected.map(Revision::next)] {
            let defined = set(&*store, workspace, name, wrong, "never").await;
            assert_eq!(defined, Defined::Conflict(expected), "left: a change of {wrong:?}");
        }
        let others = DefinitionKind::ALL.into_iter().filter(|kind| *kind != PLOYBOOK);
        let elsewhere = [(WorkspaceId::ROOT, PLOYBOOK), (super::scene::workspace(), PLOYBOOK)];
        for (workspace, kind) in others.map(|kind| (workspace, kind)).chain(elsewhere) {
            assert_eq!(get(&*store, workspace, kind, name).await, None, "shown elsewhere");
            assert!(!remove(&*store, workspace, kind, name).await, "deleted from elsewhere");
        }
        let shown = get(&*store, workspace, PLOYBOOK, name).await.expect("it is there");
        assert_eq!(shown.text, TEXTS[TEXTS.len() - 1], "left: the text after changes that failed");
    }
    assert!(remove(&*store, workspace, PLOYBOOK, NAMES[0]).await, "it was there");
    assert!(!remove(&*store, workspace, PLOYBOOK, NAMES[0]).await, "it was deleted before");
    assert_eq!(get(&*store, workspace, PLOYBOOK, NAMES[0]).await, None, "a deleted definition");
    let defined = set(&*store, workspace, NAMES[0], Some(Revision::FIRST), "never").await;
    assert_eq!(defined, Defined::Conflict(None), "left: a change of one that is deleted");
    let defined = set(&*store, workspace, NAMES[0], None, "afresh").await;
    assert_eq!(defined, Defined::Defined(Revision::FIRST), "left: one that is set afresh");
}

/// Definitions of one kind and workspace are listed by the bytes of their names, each once, in
/// pages of any size.
pub async fn lists_of_definitions_join_without_gap_or_repeat<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    let mut names: Vec<_> = NAMES.iter().map(ToString::to_string).collect();
    names.extend((0..40).map(|number| format!("n{number}")));
    for name in &names {
        assert_eq!(
            set(&*store, workspace, name, None, name).await,
            Defined::Defined(Revision::FIRST)
        );
    }
    let elsewhere = super::scene::workspace();
    assert_eq!(set(&*store, elsewhere, "o", None, "").await, Defined::Defined(Revision::FIRST));
    names.sort();
    for limit in [1, 7, 200] {
        let listed = list(&*store, workspace, PLOYBOOK, limit).await;
        let shown: Vec<_> = listed.iter().map(|definition| definition.name.clone()).collect();
        assert_eq!(
            shown, names,
            "left: the names listed, {limit} a page; right: those that are set"
        );
        for Definition { name, revision, text } in listed {
            assert_eq!(
                (revision, &text),
                (Revision::FIRST, &name),
                "left: a definition, as listed"
            );
        }
    }
    let others = list(&*store, workspace, DefinitionKind::Subscription, 50).await;
    assert_eq!(others, [], "left: the list of another kind");
}

/// Of sixteen changes that expect one revision, at the same time, one wins.
pub async fn of_simultaneous_definitions_one_wins<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    let mut expected = None;
    for _ in 0..8 {
        let start = Arc::new(Barrier::new(16));
        let mut changes = JoinSet::new();
        for number in 0..16 {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            changes.spawn(async move {
                start.wait().await;
                let text = number.to_string();
                (set(&*store, workspace, "page", expected, &text).await, text)
            });
        }
        let mut won = changes.join_all().await;
        won.retain(|(defined, _)| matches!(defined, Defined::Defined(_)));
        assert_eq!(won.len(), 1, "one change wins, and these did: {won:?}");
        let shown = get(&*store, workspace, PLOYBOOK, "page").await.expect("it is there");
        assert_eq!(shown.text, won[0].1, "left: the text that stands; right: the one that won");
        expected = Some(shown.revision);
    }
}

/// Definitions, and that some are deleted, are the same after a restart.
pub async fn definitions_survive_a_restart<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    for name in ["page", "gone"] {
        assert_eq!(
            set(&*store, workspace, name, None, name).await,
            Defined::Defined(Revision::FIRST)
        );
    }
    assert!(remove(&*store, workspace, PLOYBOOK, "gone").await, "it was there");
    let before = list(&*store, workspace, PLOYBOOK, 50).await;
    let store = fixture.reopen(store).await;
    let after = list(&*store, workspace, PLOYBOOK, 50).await;
    assert_eq!(after, before, "left: the definitions after a restart; right: before it");
}

async fn get<S: DefinitionStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    kind: DefinitionKind,
    name: &str,
) -> Option<Definition> {
    let found = store.definition(&workspace, kind, name).await;
    found.expect("a look-up of a definition gives no error")
}

async fn set<S: DefinitionStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    name: &str,
    expected: Option<Revision>,
    text: &str,
) -> Defined {
    let defined = store.define(&workspace, PLOYBOOK, name, expected, text).await;
    defined.expect("define gives no error")
}

async fn remove<S: DefinitionStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    kind: DefinitionKind,
    name: &str,
) -> bool {
    store.undefine(&workspace, kind, name).await.expect("undefine gives no error")
}

/// Every definition that is listed, page after page.
async fn list<S: DefinitionStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    kind: DefinitionKind,
    limit: u16,
) -> Vec<Definition> {
    let limit = NonZeroU16::new(limit).expect("at least one");
    let mut listed: Vec<Definition> = Vec::new();
    loop {
        let after = listed.last().map(|definition| definition.name.clone());
        let page = store.definitions(&workspace, kind, after.as_deref(), limit).await;
        let page = page.expect("a list of definitions gives no error");
        assert!(page.len() <= limit.get().into(), "a list of at most {limit} has {}", page.len());
        if page.is_empty() {
            return listed;
        }
        listed.extend(page);
    }
}
