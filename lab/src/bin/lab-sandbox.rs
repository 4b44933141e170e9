//! `lab-sandbox PROGRAM ARGUMENT…` runs a program in the surroundings that the tests and the demo
//! run in: no network but loopback, own mounts, and root's rights whoever starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: lab-sandbox PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    match lab::sandbox::status(lab::sandbox::command(program).args(words)) {
        // Ended by a signal: no code to hand on.
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into(),
        Err(error) => {
            eprintln!("lab-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}
