//! The keys that a person presses, one by one.

use std::io::{IsTerminal, Stdin, stdin};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// Keys of the terminal; where standard input is none, nobody ever presses one. The terminal is as
/// before when the value goes.
pub(crate) struct Keys {
    input: Stdin,
    before: Option<Termios>,
    /// The pipe that nobody writes to, and its other end.
    never: (OwnedFd, OwnedFd),
}

impl Keys {
    pub(crate) fn open() -> Result<Self> {
        let never = nix::unistd::pipe().context("no pipe")?;
        let mut before = None;
        if stdin().is_terminal() {
            let settings = tcgetattr(stdin()).context("the terminal's settings")?;
            let mut raw = settings.clone();
            // Key by key, unseen; Ctrl-C comes as a key too, so that the settings are put back.
            raw.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
            tcsetattr(stdin(), SetArg::TCSANOW, &raw).context("the terminal's settings")?;
            before = Some(settings);
        }
        Ok(Self { input: stdin(), before, never })
    }

    /// Whether the keys that were pressed by now ask for the end: q, Ctrl-C, Ctrl-D, or a terminal
    /// that is gone.
    pub(crate) fn wants_end(&self) -> Result<bool> {
        let mut pressed = [0; 64];
        let count = nix::unistd::read(stdin(), &mut pressed).context("read the terminal")?;
        let keys = pressed.get(..count).unwrap_or_default();
        Ok(keys.is_empty() || keys.iter().any(|key| matches!(key, b'q' | b'Q' | 3 | 4)))
    }
}

impl AsFd for Keys {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.before {
            Some(_) => self.input.as_fd(),
            None => self.never.0.as_fd(),
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no settings.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, before);
        }
    }
}
