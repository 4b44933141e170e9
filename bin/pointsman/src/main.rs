//! The `pointsman` program: parses what was said, runs one command, and turns its end into an exit
//! code. The only crate that wires the stages of the path together.

mod agent;
mod asked;
mod cli;
mod cli_can;
mod cli_capture;
mod cli_explain;
#[cfg(feature = "lab")]
mod cli_lab;
mod cli_lint;
mod cli_top;
mod commands;
mod dataplane;
mod denied;
mod existing;
mod flows;
mod journal;
mod left_out;
mod meters;
mod network_policy;
mod node_facts;
mod pace;
mod reload;
mod repair;
mod startup;
mod terminal;
mod totals;
mod traffic;
mod triggers;
mod tuning;
mod views;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let outcome = match cli.command {
        Command::Can(arguments) => {
            return answered(commands::can::run(&arguments), commands::explain::UNANSWERED);
        }
        Command::Explain(arguments) => {
            let outcome = commands::explain::run(&arguments);
            return answered(outcome, commands::explain::UNANSWERED);
        }
        Command::Lint(arguments) => {
            return answered(commands::lint::run(&arguments), commands::lint::UNREAD);
        }
        Command::Capture(arguments) => commands::capture::run(&arguments),
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Render(arguments) => commands::render::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Top(arguments) => commands::top::run(&arguments),
        #[cfg(feature = "lab")]
        Command::Lab(arguments) => commands::lab::run(&arguments),
        Command::Cleanup(arguments) => {
            journal::start(&journal::of_flags(&cli.log));
            commands::cleanup::run(&arguments)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell the person if even this fails.
            let _ = writeln!(std::io::stderr(), "pointsman: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was said. An arrow that reaches us as a word of its own is the word `to`: it looks like a
/// flag. Wrong usage of `explain` and `can` must not end with the code of one of their answers.
fn parse() -> Result<Cli, ExitCode> {
    let arrow = |word: OsString| if word == "->" { "to".into() } else { word };
    let words = config::normalize(std::env::args_os().map(arrow));
    let explains = words.iter().any(|word| word == "explain" || word == "can");
    Cli::try_parse_from(words).map_err(|error| {
        if error.use_stderr() && explains {
            let _ = error.print();
            return ExitCode::from(commands::explain::UNANSWERED);
        }
        error.exit()
    })
}

/// The end of a command whose exit codes are answers: a failure has a code of its own.
fn answered(outcome: anyhow::Result<ExitCode>, failed: u8) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        // Nothing is left to tell the person if even this fails.
        let _ = writeln!(std::io::stderr(), "pointsman: {error:#}");
        ExitCode::from(failed)
    })
}

/// `pointsman render | head` ends the reader early; that is no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
