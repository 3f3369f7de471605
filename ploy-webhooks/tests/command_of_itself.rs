//! A program that is the guardian of what it runs, as apps are: with a `main` of its own.

#[cfg(unix)]
fn main() {
    use ploy_webhooks::trigger::command::guard::{Guardian, NoGuardian, guard_if_asked};

    assert_eq!(Guardian::this_program().err(), Some(NoGuardian), "it has not asked yet");
    if let Some(code) = guard_if_asked() {
        std::process::exit(code);
    }
    let guardian = Guardian::this_program().expect("it has asked");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(scene::is_run_under(guardian));
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
#[path = "command/scene.rs"]
#[expect(dead_code, reason = "one test needs a part of it")]
mod scene;
