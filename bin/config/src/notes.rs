//! What is found wrong or odd, collected so that the operator hears all of it at once.

use crate::error::{Fault, Warning};
use crate::fields;

/// Faults and warnings of one reading.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Whether flags spoke and no file did: places are then named by flags.
    pub(crate) by_flags: bool,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Warning>,
}

impl Notes {
    /// A broken rule at a field.
    pub(crate) fn fault(&mut self, field: &str, problem: impl Into<String>) {
        let place = self.place(field);
        self.faults.push(Fault { place, problem: problem.into() });
    }

    /// Something odd at a field.
    pub(crate) fn warn(&mut self, field: &str, text: impl Into<String>) {
        let place = self.place(field);
        self.warnings.push(Warning { place, text: text.into() });
    }

    /// Something odd about a flag itself.
    pub(crate) fn warn_flag(&mut self, flag: &str, text: impl Into<String>) {
        self.warnings.push(Warning { place: format!("--{flag}"), text: text.into() });
    }

    /// A broken rule of a flag itself.
    pub(crate) fn fault_flag(&mut self, flag: &str, problem: impl Into<String>) {
        self.faults.push(Fault { place: format!("--{flag}"), problem: problem.into() });
    }

    /// The value, or a fault at the field.
    pub(crate) fn take<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.fault(field, problem)).ok()
    }

    fn place(&self, field: &str) -> String {
        match fields::flag_of(field).filter(|_| self.by_flags) {
            Some(flag) => format!("--{flag}"),
            None => field.into(),
        }
    }
}
