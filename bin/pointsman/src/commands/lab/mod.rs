//! `pointsman lab`: a small cluster on one machine.
//!
//! A lab is one process, the holder, in namespaces of its own. It holds the network, the API and
//! the controllers, and runs one agent a node. What the outside needs of it lies in a folder
//! ([`folder`]): the kubeconfig, the log, and a socket that answers questions ([`control`]).

mod agents;
mod capture;
mod control;
mod enter;
mod folder;
mod hold;
mod lesson;
mod load;
mod replay;
mod up;

use anyhow::Result;

use crate::cli_lab::{LabArguments, LabCommand};

pub(crate) fn run(arguments: &LabArguments) -> Result<()> {
    match &arguments.command {
        LabCommand::Up(arguments) => up::up(arguments),
        LabCommand::Down(lab) => up::down(&lab.name),
        LabCommand::Status => up::status(),
        LabCommand::Exec(arguments) => {
            enter::exec(&arguments.lab.name, &arguments.place, &arguments.command)
        }
        LabCommand::Shell(arguments) => enter::shell(&arguments.lab.name, &arguments.place),
        LabCommand::Demo(arguments) => lesson::demo(arguments),
        LabCommand::Capture(arguments) => capture::capture(arguments),
        LabCommand::Replay(arguments) => replay::replay(arguments),
        LabCommand::Hold(arguments) => hold::hold(arguments),
    }
}
