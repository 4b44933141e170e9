//! `pointsman lab` as its user runs it, with the real kubectl.

#![allow(clippy::unwrap_used, clippy::panic)] // tests: helpers beside the test functions

mod lesson;
mod life;
mod places;
mod report;
mod scenarios;
mod stage;
