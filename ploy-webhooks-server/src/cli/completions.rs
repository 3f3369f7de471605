//! `completions`: what a shell needs to complete commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::output::print_bytes;
use super::{Failure, Program};

#[derive(Debug, Args)]
#[command(after_help = "\
bash: ploy-webhooks completions bash > ~/.local/share/bash-completion/completions/ploy-webhooks
zsh:  ploy-webhooks completions zsh > a file `_ploy-webhooks` in a folder of $fpath
fish: ploy-webhooks completions fish > ~/.config/fish/completions/ploy-webhooks.fish")]
pub(super) struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    // Not to standard output at once: a reader that has gone away is no fault.
    let mut script = Vec::new();
    generate(args.shell, &mut Program::command(), "ploy-webhooks", &mut script);
    print_bytes(&script)
}
