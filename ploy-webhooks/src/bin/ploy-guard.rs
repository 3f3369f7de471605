//! A guardian of programs, and nothing else: for apps whose own `main` cannot be one
//! (`ploy_webhooks::trigger::command::guard`).

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(unix)]
    if let Some(code) = ploy_webhooks::trigger::command::guard::guard_if_asked() {
        std::process::exit(code);
    }
    eprintln!("ploy-guard is started by an app that runs programs, not by hand");
    ExitCode::from(64)
}
