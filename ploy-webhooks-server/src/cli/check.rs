//! `check`: whether the server would start with these settings on its store, and what the store keeps.

use std::path::PathBuf;

use clap::Args;
use ploy_webhooks::store::{Format, Inspection};
use serde_json::{Map, Value, json};

use super::Failure;
use super::output::{print, sheet};
use crate::config::{self, Config, ConfigError, Flags, MasterKeys, StoreText};
use crate::log::{self, chain};
use crate::serve::keys::{self, Found, KeysError};
use crate::store::{KeptKeyring, OpenStore, StoreUrl};

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is made or changed without --migrate, and a server that runs on the store is not disturbed.
Exits with 1 if the server would not start, or would have to bring the store up to date first.")]
pub(super) struct CheckArgs {
    /// The store, as `serve` takes it.
    #[arg(long, value_name = "URL")]
    store: Option<StoreText>,
    /// Settings in TOML, as `serve` takes them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Make the store where there is none, and bring it up to date.
    #[arg(long)]
    migrate: bool,
    /// Print it in JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug)]
struct Findings {
    inspection: Inspection,
    key: Result<Found, KeysError>,
}

pub(super) async fn run(args: CheckArgs) -> Result<(), Failure> {
    let (config, url) = settings(&args).map_err(|error| Failure::Usage(chain(&error)))?;
    log::init(&config.log).map_err(|error| Failure::Usage(format!("`log`: {error}")))?;
    let keys = config::master_keys_from_env().map_err(|error| Failure::Usage(chain(&error)))?;
    if args.migrate {
        let open = OpenStore::open(&url).await;
        open.map_err(|error| Failure::Failed(chain(&error)))?.close().await;
    }
    let inspection = url.inspect().await.map_err(|error| Failure::Failed(chain(&error)))?;
    let key = match keys::find(&url, &keys, config.master_key_file.as_deref()) {
        Ok(found) => opening(found, &inspection, &url, &keys).await?,
        unusable => unusable,
    };
    let findings = Findings { inspection, key };
    match args.json {
        true => print(&findings.to_json().to_string())?,
        false => print(&sheet(findings.lines()))?,
    }
    let faults = findings.faults();
    faults.iter().for_each(|fault| eprintln!("error: {fault}"));
    if faults.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

/// What was found of the key, if it opens what the store keeps.
async fn opening(
    found: Found,
    inspection: &Inspection,
    url: &StoreUrl,
    keys: &MasterKeys,
) -> Result<Result<Found, KeysError>, Failure> {
    let is_readable =
        inspection.refusal.is_none() && matches!(inspection.format, Format::Current { .. });
    if !is_readable {
        return Ok(Ok(found));
    }
    let kept = url.inspect_keyring().await;
    Ok(match kept.map_err(|error| Failure::Failed(chain(&error)))? {
        KeptKeyring::Wrapped(keyring) => {
            keys::check_opens(&found, keys, &keyring).await.map(|()| found)
        }
        KeptKeyring::None | KeptKeyring::Unknown => Ok(found),
    })
}

fn settings(args: &CheckArgs) -> Result<(Config, StoreUrl), ConfigError> {
    let config = Config::load(args.config.as_deref(), &Flags::of_store(args.store.clone()))?;
    config.check()?;
    config::root_token_from_env()?;
    let url = config.store()?;
    Ok((config, url))
}

impl Findings {
    /// Why the server would not start as it is, each with what to do.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(self.inspection.refusal.as_ref().map(|refusal| chain(refusal)));
        match self.inspection.format {
            Format::Missing => faults.push(
                "there is no store yet: `check --migrate` makes it, as `serve` does".to_owned(),
            ),
            Format::Behind { version, needs } => faults.push(format!(
                "the store is of version {version}, and {needs} is needed: `check --migrate` brings \
                 it up to date, as `serve` does; older programs cannot use it after that"
            )),
            Format::Current { .. } => {}
        }
        faults.extend(self.key.as_ref().err().map(|error| chain(error)));
        faults
    }

    fn format(&self) -> String {
        match self.inspection.format {
            Format::Missing => "missing".to_owned(),
            Format::Behind { version, needs } => format!("version {version}, needs {needs}"),
            Format::Current { version } => format!("version {version}, up to date"),
        }
    }

    fn key(&self) -> String {
        match &self.key {
            Ok(Found::Given) => "in PLOY_MASTER_KEY".to_owned(),
            Ok(Found::File(path)) => format!("in {}", path.display()),
            Ok(Found::Nowhere(path)) => {
                format!("none yet: the first start makes {}", path.display())
            }
            Ok(Found::Unneeded) => "none is needed".to_owned(),
            Err(_) => "unusable".to_owned(),
        }
    }

    fn lines(&self) -> Vec<[String; 2]> {
        let Inspection { engine, settings, refusal, .. } = &self.inspection;
        let promises = if refusal.is_none() { "kept" } else { "not kept" };
        let mut lines = vec![
            ["engine".to_owned(), engine.clone()],
            ["format".to_owned(), self.format()],
            ["promises".to_owned(), promises.to_owned()],
        ];
        lines.extend(settings.iter().map(|(name, value)| [format!("  {name}"), value.clone()]));
        lines.push(["master key".to_owned(), self.key()]);
        lines.push(["settings".to_owned(), "valid".to_owned()]);
        lines
    }

    fn to_json(&self) -> Value {
        let Inspection { engine, format, settings, refusal } = &self.inspection;
        let settings: Map<_, _> =
            settings.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let format = match format {
            Format::Missing => json!({"state": "missing"}),
            Format::Behind { version, needs } => {
                json!({"state": "behind", "version": version, "needs": needs})
            }
            Format::Current { version } => json!({"state": "current", "version": version}),
        };
        json!({
            "engine": engine, "format": format, "promises_kept": refusal.is_none(),
            "engine_settings": settings, "master_key": self.key(), "faults": self.faults(),
        })
    }
}
