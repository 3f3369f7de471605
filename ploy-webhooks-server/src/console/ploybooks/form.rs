//! A Ploybook as the API answers it, and as a form holds it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::console::fault::Fault;
use crate::console::form::{Fields, Members, number};
use crate::console::page;
use crate::console::text::{State, Text};

/// A Ploybook, as the API answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Ploybook {
    pub(super) name: Text,
    pub(super) description: Text,
    pub(super) enabled: bool,
    pub(super) run: Means,
    pub(super) instructions: Text,
    pub(super) time_limit_seconds: u64,
    #[serde(default)]
    pub(super) retry: Value,
    pub(super) takes_requests: bool,
}

/// How it is run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Means {
    Function(Text),
    Command {
        argv: Vec<Text>,
        #[serde(default)]
        folder: Option<Text>,
    },
    Http {
        url: Text,
        #[serde(default)]
        secret_env: Option<Text>,
        #[serde(default)]
        public_only: bool,
    },
}

impl Ploybook {
    pub(super) fn page(&self) -> String {
        page::url(&["ploybooks", self.name.raw()])
    }

    pub(super) fn state(&self) -> State {
        if self.enabled { "enabled".into() } else { "disabled".into() }
    }
}

impl Means {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Function(_) => "function",
            Self::Command { .. } => "command",
            Self::Http { .. } => "http",
        }
    }

    /// The one thing that says how it is run: a URL, a program a line an argument, a name.
    pub(super) fn target(&self) -> Text {
        match self {
            Self::Function(name) => name.clone(),
            Self::Http { url, .. } => url.clone(),
            Self::Command { argv, .. } => {
                argv.iter().map(Text::raw).collect::<Vec<_>>().join("\n").into()
            }
        }
    }
}

/// A Ploybook as a form holds it.
#[derive(Debug)]
pub(super) struct PloybookForm {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) enabled: bool,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) folder: String,
    pub(super) secret_env: String,
    /// What a tenant has made reaches no further because somebody else saves it.
    pub(super) public_only: bool,
    pub(super) instructions: String,
    pub(super) time_limit: String,
    pub(super) attempts: String,
    pub(super) takes_requests: bool,
}

impl PloybookForm {
    pub(super) fn empty() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            enabled: true,
            kind: "http".to_owned(),
            target: String::new(),
            folder: String::new(),
            secret_env: String::new(),
            public_only: false,
            instructions: String::new(),
            time_limit: "60".to_owned(),
            attempts: "4".to_owned(),
            takes_requests: true,
        }
    }

    pub(super) fn of(ploybook: &Ploybook) -> Self {
        let (folder, secret_env) = match &ploybook.run {
            Means::Command { folder, .. } => (folder.clone(), None),
            Means::Http { secret_env, .. } => (None, secret_env.clone()),
            Means::Function(_) => (None, None),
        };
        let text = |text: Option<Text>| text.unwrap_or_default().raw().to_owned();
        Self {
            name: ploybook.name.raw().to_owned(),
            description: ploybook.description.raw().to_owned(),
            enabled: ploybook.enabled,
            kind: ploybook.run.kind().to_owned(),
            target: ploybook.run.target().raw().to_owned(),
            folder: text(folder),
            secret_env: text(secret_env),
            public_only: matches!(ploybook.run, Means::Http { public_only: true, .. }),
            instructions: ploybook.instructions.raw().to_owned(),
            time_limit: ploybook.time_limit_seconds.to_string(),
            // Where gaps are listed, they say how often.
            attempts: ploybook.retry["attempts_max"]
                .as_u64()
                .map(|it| it.to_string())
                .unwrap_or_default(),
            takes_requests: ploybook.takes_requests,
        }
    }

    pub(super) fn filled(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            name: text("name"),
            description: text("description"),
            enabled: fields.has("enabled"),
            kind: text("run"),
            target: text("run.target"),
            folder: text("run.command.folder"),
            secret_env: text("run.http.secret_env"),
            public_only: fields.has("run.http.public_only"),
            instructions: text("instructions"),
            time_limit: text("time_limit_seconds"),
            attempts: text("retry.attempts_max"),
            takes_requests: fields.has("takes_requests"),
        }
    }

    pub(super) fn members(&self) -> Result<Members, Fault> {
        let mut members = Members::default();
        members.set("description", &self.description);
        members.set("enabled", self.enabled);
        members.set("run", self.run());
        members.set("instructions", &self.instructions);
        if let Some(seconds) = number("time_limit_seconds", &self.time_limit)? {
            members.set("time_limit_seconds", seconds);
        }
        if let Some(attempts) = number("retry.attempts_max", &self.attempts)? {
            members.set("retry", json!({ "attempts_max": attempts }));
        }
        members.set("takes_requests", self.takes_requests);
        Ok(members)
    }

    fn run(&self) -> Value {
        let target = self.target.trim();
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        match self.kind.as_str() {
            "function" => json!({ "function": target }),
            "command" => {
                let argv: Vec<_> = target.lines().collect();
                match some(&self.folder) {
                    Some(folder) => json!({"command": {"argv": argv, "folder": folder}}),
                    None => json!({"command": {"argv": argv}}),
                }
            }
            _ => {
                let mut http = json!({"url": target, "public_only": self.public_only});
                if let Some(name) = some(&self.secret_env) {
                    http["secret_env"] = name.into();
                }
                json!({ "http": http })
            }
        }
    }
}
