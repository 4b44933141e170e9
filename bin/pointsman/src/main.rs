//! The `pointsman` program: parses what was said, runs one command, and turns its end into an exit
//! code. The only crate that wires the stages of the path together.

mod agent;
mod cli;
mod cli_lab;
mod cli_top;
mod commands;
mod dataplane;
mod flows;
mod journal;
mod left_out;
mod meters;
mod pace;
mod reload;
mod repair;
mod terminal;
mod tuning;
mod views;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse_from(config::normalize(std::env::args_os()));
    let outcome = match cli.command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Render(arguments) => commands::render::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Top(arguments) => commands::top::run(&arguments),
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

/// `pointsman render | head` ends the reader early; that is no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
