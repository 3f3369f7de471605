//! `ploybooks`: defined from the shell.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{harmless_lines, print, sheet};
use super::page::{PageArgs, print_list};

#[derive(Debug, Subcommand)]
pub(super) enum PloybooksCommand {
    /// Define a Ploybook.
    Create {
        /// What triggers name it by.
        name: String,
        #[command(flatten)]
        terms: Terms,
        #[command(flatten)]
        means: Means,
    },
    /// List Ploybooks by their names.
    List(PageArgs),
    /// Show one Ploybook.
    Show { name: String },
    /// Change what is given of a Ploybook.
    Set {
        name: String,
        #[command(flatten)]
        terms: Terms,
        #[command(flatten)]
        means: Means,
    },
    /// Let it be run again.
    Enable { name: String },
    /// Have whatever is wired to it fail, and say so.
    Disable { name: String },
    /// Delete a Ploybook. Whatever is wired to it fails, and says so.
    Delete { name: String },
}

#[derive(Debug, Args)]
pub(super) struct Terms {
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// What whoever carries it out is told to do.
    #[arg(long, conflicts_with = "instructions_file")]
    instructions: Option<String>,
    /// The same, from a file.
    #[arg(long, value_name = "FILE")]
    instructions_file: Option<PathBuf>,
    /// How long one attempt may take.
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<u64>,
    /// How often it is tried, the first time included.
    #[arg(long, value_name = "N")]
    attempts: Option<u16>,
}

/// How it is run: a program, or a POST to an engine.
#[derive(Debug, Args)]
pub(super) struct Means {
    /// Run by a POST to this URL.
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    post: Option<String>,
    /// The environment variable of the server that has the secret which signs it (`whsec_…`).
    #[arg(long, value_name = "NAME", requires = "post", conflicts_with_all = ["command", "unsigned"])]
    secret_env: Option<String>,
    /// Nothing signs it, which is so where no secret is named; a change has to say so.
    #[arg(long, requires = "post", conflicts_with = "command")]
    unsigned: bool,
    /// Run by this program with these arguments, after `--`. The server must allow it
    /// (`allow_commands`).
    #[arg(last = true, value_name = "PROGRAM ARGUMENT")]
    command: Vec<String>,
}

const HEADER: [&str; 4] = ["NAME", "ENABLED", "RUN BY", "DESCRIPTION"];

/// What is shown of a Ploybook.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    enabled: bool,
    description: String,
    run: Value,
    instructions: String,
    time_limit_seconds: u64,
    retry: Retry,
}

#[derive(Debug, Deserialize)]
struct Retry {
    attempts_max: u16,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: PloybooksCommand,
) -> Result<(), Failure> {
    let answer = client.call(command.to_call()?).await?;
    match command {
        PloybooksCommand::Delete { .. } => Ok(()),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        PloybooksCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => parse::<Row>(&answer)?.print(),
    }
}

impl PloybooksCommand {
    fn to_call(&self) -> Result<Call<'_>, Failure> {
        let patch = |name, body| Call::new(Method::PATCH, ["ploybooks", name]).body(body);
        Ok(match self {
            Self::Create { name, terms, means } => {
                let mut body = form(terms, means)?;
                if !body.contains_key("run") {
                    return Err(Failure::Usage(
                        "say how it is run: `--post URL`, or `-- PROGRAM ARGUMENT…`".to_owned(),
                    ));
                }
                body.insert("name".to_owned(), name.as_str().into());
                Call::new(Method::POST, ["ploybooks"]).body(body.into())
            }
            Self::List(page) => Call::new(Method::GET, ["ploybooks"]).query(page.query()),
            Self::Show { name } => Call::new(Method::GET, ["ploybooks", name]),
            Self::Set {
                means: Means { post: Some(_), secret_env: None, unsigned: false, .. },
                ..
            } => {
                return Err(Failure::Usage(
                    "say what signs it: `--secret-env NAME`, or `--unsigned`".to_owned(),
                ));
            }
            Self::Set { name, terms, means } => patch(name, form(terms, means)?.into()),
            Self::Enable { name } => patch(name, json!({"enabled": true})),
            Self::Disable { name } => patch(name, json!({"enabled": false})),
            Self::Delete { name } => Call::new(Method::DELETE, ["ploybooks", name]),
        })
    }
}

/// What was given, and nothing else.
fn form(terms: &Terms, means: &Means) -> Result<Map<String, Value>, Failure> {
    let instructions = match &terms.instructions_file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            Failure::Failed(format!("cannot read {}: {error}", path.display()))
        })?),
        None => terms.instructions.clone(),
    };
    let run = match means {
        Means { post: Some(url), secret_env: Some(name), .. } => {
            Some(json!({"http": {"url": url, "secret_env": name}}))
        }
        Means { post: Some(url), .. } => Some(json!({"http": {"url": url}})),
        Means { command, .. } if !command.is_empty() => Some(json!({"command": {"argv": command}})),
        _ => None,
    };
    let members = [
        ("description", terms.description.clone().map(Value::from)),
        ("instructions", instructions.map(Value::from)),
        ("time_limit_seconds", terms.time_limit.map(Value::from)),
        ("retry", terms.attempts.map(|attempts| json!({"attempts_max": attempts}))),
        ("run", run),
    ];
    let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(given.collect())
}

impl Row {
    fn cells(self) -> [String; 4] {
        let (enabled, run) = (if self.enabled { "yes" } else { "no" }, self.run_by());
        [self.name, enabled.to_owned(), run, self.description]
    }

    fn run_by(&self) -> String {
        let words = self.run["command"]["argv"].as_array();
        match (&self.run["http"]["url"], &self.run["function"], words) {
            (Value::String(url), ..) => format!("POST {url}"),
            (_, Value::String(name), _) => format!("function {name}"),
            (.., Some(words)) => {
                words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            _ => self.run.to_string(),
        }
    }

    fn print(&self) -> Result<(), Failure> {
        let run_by = self.run_by();
        let lines = [
            ("name", self.name.clone()),
            ("enabled", self.enabled.to_string()),
            ("description", self.description.clone()),
            ("run by", run_by),
            ("time limit", format!("{} s", self.time_limit_seconds)),
            ("attempts", self.retry.attempts_max.to_string()),
        ];
        print(&sheet(lines.map(|(name, value)| [name.to_owned(), value])))?;
        match self.instructions.as_str() {
            "" => Ok(()),
            instructions => print(&format!("\n{}", harmless_lines(instructions))),
        }
    }
}
