//! What is seen while events are sent: a bar, where standard error is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The bar, by the bytes of the input.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for an input of that size, or of an unknown one. Hidden where standard error is no
    /// terminal.
    pub(super) fn new(size: Option<u64>) -> Self {
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), "{bar:30} {percent:>3} % {msg} (ETA {eta})"),
            None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(super) fn read(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    pub(super) fn counted(&self, sent: u64, failed: u64) {
        if !self.0.is_hidden() {
            self.0.set_message(format!("sent {sent}, failed {failed}"));
        }
    }

    /// Prints a line to standard error, above the bar.
    pub(super) fn report(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
