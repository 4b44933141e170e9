//! A seam for tests: what goes wrong between a program and the kernel, and cannot be made to go wrong
//! at a chosen moment.

use std::fmt;

use nix::errno::Errno;

/// What a fault can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A message is about to be sent; the error is the system call's.
    Send,
    /// An answer is about to be received; the error is the system call's.
    Receive,
    /// A batch is about to be sent; the error is the kernel's answer to its first message, so that
    /// nothing of the batch is taken.
    Batch,
}

/// Asked before each call: what it gives happens in the call's place.
pub type Fault = Box<dyn FnMut(Call) -> Option<Errno> + Send>;

/// The fault of a socket, if a test has given it one.
#[derive(Default)]
pub(super) struct Faults(Option<Fault>);

impl Faults {
    pub(super) fn set(&mut self, fault: Option<Fault>) {
        self.0 = fault;
    }

    /// Whether a call fails.
    pub(super) fn meet(&mut self, call: Call) -> Result<(), Errno> {
        match self.0.as_mut().and_then(|fault| fault(call)) {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.is_some()).finish()
    }
}
