//! The files that the server is installed by: they set nothing that it does not know.

use std::collections::BTreeSet;
use std::path::Path;

/// The variables of this program that a text names.
fn variables(text: &str) -> BTreeSet<&str> {
    let is_of_a_name = |char: char| char.is_ascii_uppercase() || char == '_';
    let names = text.match_indices("PLOY_").map(|(at, _)| {
        let name = &text[at..];
        &name[..name.find(|char| !is_of_a_name(char)).unwrap_or(name.len())]
    });
    names.filter(|name| *name != "PLOY_").collect()
}

#[test]
fn what_is_set_is_a_setting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let reference = read("docs/configuration.md");
    let known = variables(&reference);
    for name in ["Dockerfile", "deploy/compose.yaml", "deploy/ploy-webhooks.service"] {
        let text = read(name);
        let set = variables(&text);
        assert!(set.contains("PLOY_STORE"), "{name}: {set:?}");
        let unknown: Vec<_> = set.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}
