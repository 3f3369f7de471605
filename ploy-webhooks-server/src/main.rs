//! The program `ploy-webhooks`: all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploy_webhooks_server::run(std::env::args_os())
}
