//! What Pods said, for `kubectl logs`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// How many lines of a Pod are kept.
const KEPT: usize = 1000;

/// A line and its number, counted from 0 over all that the Pod ever said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) time: Timestamp,
    pub(crate) text: String,
}

/// The lines of every Pod, by uid.
#[derive(Debug)]
pub(crate) struct Logs {
    lines: Mutex<BTreeMap<String, VecDeque<Line>>>,
    /// Changes with every line.
    news: tokio::sync::watch::Sender<()>,
}

impl Logs {
    pub(crate) fn new() -> Self {
        Self { lines: Mutex::default(), news: tokio::sync::watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Line>>> {
        // Every line is put in whole.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, uid: &str, text: String) {
        let mut all = self.lock();
        let lines = all.entry(uid.to_owned()).or_default();
        let number = lines.back().map_or(0, |last| last.number + 1);
        lines.push_back(Line { number, time: Timestamp::now(), text });
        if lines.len() > KEPT {
            lines.pop_front();
        }
        drop(all);
        self.news.send_replace(());
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
        self.news.send_replace(());
    }

    /// The lines from a number on; `None` where nothing is known of the Pod.
    pub(crate) fn since(&self, uid: &str, number: u64) -> Option<Vec<Line>> {
        let all = self.lock();
        Some(all.get(uid)?.iter().filter(|line| line.number >= number).cloned().collect())
    }

    pub(crate) fn news(&self) -> tokio::sync::watch::Receiver<()> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_numbered_on() {
        let logs = Logs::new();
        assert_eq!(logs.since("a", 0), None);
        (0..KEPT + 5).for_each(|number| logs.say("a", number.to_string()));
        let kept = logs.since("a", 0).unwrap();
        assert_eq!((kept.len(), &*kept[0].text), (KEPT, "5"));
        let last = u64::try_from(KEPT + 4).unwrap();
        assert_eq!(logs.since("a", last).unwrap().len(), 1);
        logs.forget("a");
        assert_eq!(logs.since("a", 0), None);
    }
}
