//! The program itself, under a name by which the tests of this package find it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ploy_webhooks_server::run(std::env::args_os())
}
