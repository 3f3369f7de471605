//! The command line: `serve`, and the commands that talk to a server.

mod backup;
mod check;
mod client;
mod completions;
mod destinations;
mod endpoints;
mod events;
mod export;
mod feed;
mod health;
mod listen;
mod mcp;
mod output;
mod pace;
mod page;
mod ploybooks;
mod publish;
mod record;
mod replay;
mod runs;
mod send;
mod subscriptions;
mod suggest;
mod tail;
mod tokens;
mod trigger;
mod workspaces;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ploy_webhooks::trigger::command::guard::guard_if_asked;

use self::client::Client;
use crate::config::{self, Config, Flags};
use crate::log;
use crate::serve::{self, ServeError};
use crate::url::HttpUrlError;

/// Webhook intake: a server that stores what is sent to it, and commands to work with it.
#[derive(Debug, Parser)]
#[command(name = "ploy-webhooks", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Ask whether a server is ready: the exit code says it.
    Health(health::HealthArgs),
    /// Say whether the server would start: its settings, its store, what that keeps.
    Check(check::CheckArgs),
    /// Print a script that has a shell complete commands and flags.
    Completions(completions::CompletionsArgs),
    /// Send events to an ingest URL, one a line.
    Send(send::SendArgs),
    /// Make, show and change endpoints.
    Endpoints {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: endpoints::EndpointsCommand,
    },
    /// Say where events are delivered to, try it, and have it confirmed.
    Destinations {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: destinations::DestinationsCommand,
    },
    /// Serve tools for AI agents over standard input and output (Model Context Protocol).
    Mcp(ServerArgs),
    /// Publish, find and show events.
    Events {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: events::EventsCommand,
    },
    /// Deliver events as they come to a program on this machine, while it is being written.
    Listen {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        args: listen::ListenArgs,
    },
    /// Set or clear what the events of an endpoint run.
    Trigger {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: trigger::TriggerCommand,
    },
    /// Show runs, try them again, call them off.
    Runs {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: runs::RunsCommand,
    },
    /// Define what triggers name.
    Ploybooks {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: ploybooks::PloybooksCommand,
    },
    /// Say which events run what, or are delivered where.
    Subscriptions {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: subscriptions::SubscriptionsCommand,
    },
    /// Make, bound and delete workspaces, with the root token.
    Workspaces {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: workspaces::WorkspacesCommand,
    },
    /// Have the server make a backup of its store, with the root token, and print where it is.
    Backup {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make and revoke tokens, with the root token.
    Tokens {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: tokens::TokensCommand,
    },
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
    /// Settings in TOML; the environment (PLOY_…) and flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which server a command talks to.
#[derive(Debug, Args)]
struct ServerArgs {
    /// The URL of the server.
    #[arg(long, env = "PLOY_URL", default_value = "http://127.0.0.1:8080", global = true)]
    url: String,
    /// A token for its management API. Better set in the environment, where others do not see it.
    #[arg(
        long,
        env = "PLOY_TOKEN",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    token: String,
    /// The workspace in which the root token acts. Any other token has one of its own.
    #[arg(long, env = "PLOY_WORKSPACE", value_name = "ID", global = true)]
    workspace: Option<String>,
    /// Print the answer of the API as it is, for programs.
    #[arg(long, global = true)]
    json: bool,
}

impl ServerArgs {
    /// The workspace that is named, if one is: a variable may be set to nothing.
    fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref().filter(|id| !id.is_empty())
    }
}

/// Why a command ends without success.
#[derive(Debug)]
enum Failure {
    /// It was called wrongly: exit code 2.
    Usage(String),
    /// It did not succeed: exit code 1.
    Failed(String),
    /// As `Failed`, and all is said already.
    Reported,
}

impl Failure {
    /// What it says, if it has not said it already.
    fn message(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::Reported => "",
        }
    }
}

impl From<HttpUrlError> for Failure {
    fn from(error: HttpUrlError) -> Self {
        Self::Usage(format!("`--url` cannot be used: {error}"))
    }
}

/// Runs the program with these arguments, the first of which is its name: what `main` does.
///
/// The exit code is 0 for done, 1 for failed, 2 for wrong usage.
///
/// It must be called first in `main`: the program is also the guardian of what Ploybooks run.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    if let Some(code) = guard_if_asked() {
        return u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    let program = match Program::try_parse_from(args) {
        Ok(program) => program,
        Err(error) => {
            // Fails where nobody reads any more, and then nobody misses it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match execute(program.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve(args).await,
            Command::Health(args) => health::health(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Completions(args) => completions::run(&args),
            Command::Mcp(server) => mcp::mcp(&server).await,
            Command::Send(args) => send::send(args).await,
            Command::Endpoints { server, command } => {
                endpoints::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Destinations { server, command } => {
                destinations::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Events { server, command } => {
                events::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Listen { server, args } => {
                listen::run(&Client::of(&server)?, server.json, args).await
            }
            Command::Trigger { server, command } => {
                trigger::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Runs { server, command } => {
                runs::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Ploybooks { server, command } => {
                ploybooks::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Subscriptions { server, command } => {
                subscriptions::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Workspaces { server, command } => {
                workspaces::run(&Client::of(&server)?, server.json, command).await
            }
            Command::Backup { server } => backup::run(&Client::of(&server)?, server.json).await,
            Command::Tokens { server, command } => {
                let client = Client::of(&server)?;
                tokens::run(&client, server.json, server.workspace(), command).await
            }
        }
    });
    // A thread that waits for standard input would be waited for otherwise.
    runtime.shutdown_background();
    outcome
}

async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let usage = |error: &dyn std::error::Error| Failure::Usage(log::chain(error));
    let config = Config::load(args.config.as_deref(), &args.flags);
    let config = config.map_err(|error| usage(&error))?;
    let root = config::root_token_from_env().map_err(|error| usage(&error))?;
    log::init(&config.log).map_err(|error| Failure::Usage(format!("`log`: {error}")))?;
    match serve::serve(&config, root).await {
        Ok(()) => Ok(()),
        Err(ServeError::Config(error)) => Err(usage(&error)),
        Err(error) => Err(Failure::Failed(log::chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_themselves() {
        Program::command().debug_assert();
    }
}
