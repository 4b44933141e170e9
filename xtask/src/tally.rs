//! Counting what a test runner prints.

use std::fmt;

/// What became of the tests, by the lines of `cargo test`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    skipped_names: Vec<String>,
    // A test program has said how many tests it runs, but not yet how they went.
    running: bool,
}

impl Tally {
    /// Takes in one line of the runner's output.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.running = false;
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
            self.skipped += count(counts, " ignored");
        } else if line.starts_with("running ") && line.contains(" test") {
            self.program_ended();
            self.running = true;
        } else if let Some((name, fate)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
            && fate.starts_with("ignored")
        {
            let reason = fate.strip_prefix("ignored, ");
            self.skipped_names
                .push(reason.map_or_else(|| name.into(), |why| format!("{name} ({why})")));
        }
    }

    /// The runner has ended. A test program that said how many tests it runs and never how they
    /// went was killed, and so was one test at least.
    pub(crate) fn end(&mut self, success: bool) {
        self.program_ended();
        if !success && self.failed == 0 {
            self.failed += 1;
        }
    }

    /// Something was not run at all.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        self.skipped_names.push(format!("{name} ({why})"));
    }

    fn program_ended(&mut self) {
        if std::mem::take(&mut self.running) {
            self.failed += 1;
        }
    }

    /// Names of the tests that were not run, with the reason where the test gives one.
    pub(crate) fn skipped_names(&self) -> &[String] {
        &self.skipped_names
    }

    /// Whether no test ran.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed + self.failed == 0
    }

    /// Whether all is well; `strict` lets a skipped test count as failed. No test at all is not
    /// well either: it means that a filter fits nothing or that the output was not understood.
    pub(crate) fn is_good(&self, strict: bool) -> bool {
        self.failed == 0 && self.passed > 0 && !(strict && self.skipped > 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The number before a word, in `ok. 14 passed; 0 failed; …`.
fn count(text: &str, word: &str) -> u64 {
    let before = text.split(';').find_map(|part| part.strip_suffix(word));
    let number = before.and_then(|part| part.rsplit(' ').next());
    number.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_at_all_is_a_skip_with_its_reason() {
        let mut tally = tally("test result: ok. 3 passed; 0 failed; 0 ignored", true);
        assert!(tally.is_good(true));
        tally.skip("a", "no b");
        assert_eq!(tally.skipped_names(), ["a (no b)"]);
        assert!(tally.is_good(false) && !tally.is_good(true));
    }

    fn tally(text: &str, success: bool) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally.end(success);
        tally
    }

    const GOOD: &str = "
running 3 tests
test a ... ok
test b ... ignored
test c::d ... ignored, needs SCTP
test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 4.85s

running 12 tests
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s
";

    #[test]
    fn counts_are_summed_and_skips_named() {
        let good = tally(GOOD, true);
        assert_eq!(good.to_string(), "13 passed, 0 failed, 2 skipped");
        assert_eq!(good.skipped_names(), ["b", "c::d (needs SCTP)"]);
        assert!(good.is_good(false));
        assert!(!good.is_good(true), "a skip is a failure where that was asked for");
    }

    #[test]
    fn failures_count() {
        let text = GOOD.replace("ok. 12 passed; 0 failed", "FAILED. 10 passed; 2 failed");
        let bad = tally(&text, false);
        assert_eq!(bad.to_string(), "11 passed, 2 failed, 2 skipped");
        assert!(!bad.is_good(false));
    }

    #[test]
    fn a_killed_test_program_counts_as_a_failure() {
        for killed in [0, 1] {
            let cut = GOOD.split("test result: ").enumerate();
            let text: String = cut
                .map(
                    |(at, part)| {
                        if at == killed { part.into() } else { format!("{part}test result: ") }
                    },
                )
                .collect();
            assert!(!tally(&text, false).is_good(false), "{text}");
        }
        let text = "running 2 tests\ntest a ... ok\n\nrunning 1 test\n\
                    test result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(tally(text, true).to_string(), "1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn a_runner_that_fails_without_a_word_is_a_failure() {
        assert_eq!(tally(GOOD, false).to_string(), "13 passed, 1 failed, 2 skipped");
        assert!(!tally("", true).is_good(false), "nothing ran");
    }
}
