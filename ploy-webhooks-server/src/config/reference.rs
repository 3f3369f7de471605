//! `docs/configuration.md`: every setting, from the settings themselves.

use std::path::Path;

use clap::{Args, Command};
use schemars::schema_for;
use serde_json::Value;

use super::{Config, Flags};

const HEAD: &str = "# Configuration

What `ploy-webhooks serve` may be told, made from its own settings: `UPDATE=1 cargo test -p
ploy-webhooks-server --lib reference` writes this page anew.

Settings come from defaults, the file given with `--config` (TOML), the environment, and flags; later
ones win. An unknown key in the file is an error that names it. `ploy-webhooks check` says whether all
that is set can be used. In the environment, lists have commas between their parts. What ends in `_ms`
is in milliseconds.

| key | environment | flag | default | |
| --- | --- | --- | --- | --- |
";

const TAIL: &str = "
## In the environment alone

| variable | |
| --- | --- |
| `PLOY_ROOT_TOKEN` | The root token: 32 or more visible ASCII characters. Otherwise the first start makes one, and prints it once. |
| `PLOY_MASTER_KEY` | The master key, in place of its file. |
| `PLOY_MASTER_KEY_PREVIOUS` | The one that it replaces. |
| `PLOY_URL`, `PLOY_TOKEN`, `PLOY_WORKSPACE` | For the commands that talk to a server: which one, the token for it, the workspace in which the root token acts. |
| `PLOY_KEY`, `PLOY_SECRET`, `PLOY_NEW_SECRET` | For `send`, and for commands that set a secret. |
";

fn page() -> String {
    let schema = schema_for!(Config).to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let flags = Flags::augment_args(Command::new("serve"));
    let flag = |key: &str| flags.get_arguments().find(|argument| argument.get_id() == key);
    let rows = schema["properties"].as_object().unwrap().iter().map(|(key, setting)| {
        let about = setting["description"].as_str().unwrap_or_else(|| panic!("{key}: what for?"));
        let flag = flag(key).map(|flag| format!("`--{}`", flag.get_long().unwrap()));
        format!(
            "| `{key}` | `PLOY_{}` | {} | {} | {} |\n",
            key.to_uppercase(),
            flag.unwrap_or_default(),
            shown(&defaults[key]),
            about.replace('\n', " "),
        )
    });
    HEAD.to_owned() + &rows.collect::<String>() + TAIL
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => String::new(),
        Value::Array(parts) if parts.is_empty() => "none".to_owned(),
        Value::Array(parts) => parts.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

#[test]
fn the_page_says_what_the_settings_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == checked_in,
        "docs/configuration.md is not as the settings say; write it anew by \
         UPDATE=1 cargo test -p ploy-webhooks-server --lib reference"
    );
}
