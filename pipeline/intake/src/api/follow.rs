//! Watching a kind: events, one a line, with the list before them where the server streams it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{NamespacedName, Notice};
use tokio::time::Instant;

use super::backoff::up_to;
use super::connection::Answer;
use super::item::{self, Item};
use super::kind::{Kind, Watched};
use super::watch::{End, Step, Watch};
use super::{Batch, Error};
use crate::wire::{EventKind, Status, WatchEvent};

/// A list that is still being streamed.
type Listing<F> = BTreeMap<NamespacedName, (Option<F>, Vec<Notice>)>;

/// What one event leads to.
enum Turn {
    GoOn,
    Unheard,
}

impl<K: Watched> Watch<K> {
    /// Watches until the server ends it.
    ///
    /// # Errors
    /// Whatever ends the watch otherwise; what was handed on stays valid, and a list that was not
    /// complete is not handed on.
    pub(super) async fn stream(&mut self) -> Result<End, Error> {
        let length = self.timing.watch_length + up_to(self.timing.watch_length);
        let query = self.watch_query(length);
        let mut listing = (self.step == Step::StreamList).then(Listing::new);
        let silence = match listing {
            Some(_) => self.timing.list_silence,
            None => self.timing.silence,
        };
        let mut answer = self.connection.get(K::KIND.path(), &query, silence).await?;
        let started = Instant::now();
        let mut spoke = false;
        self.state.change(|state| state.connected = true);
        while let Some(line) = answer.line(started + length + self.timing.overrun).await? {
            let event = read::<K>(line, &mut self.names);
            match event {
                Err(Unread::End(status)) => return Err(answer.ended(&status)),
                Err(Unread::Garbage(cause)) => return Err(answer.unreadable(cause)),
                Ok(event) => {
                    spoke = true;
                    self.heard();
                    if let Turn::Unheard = self.take(event, &mut listing, &mut answer).await {
                        return Ok(End::Unheard);
                    }
                }
            }
        }
        let soon = started.elapsed() < self.timing.short_watch;
        if !spoke && soon {
            return Ok(End::AtOnce);
        }
        if listing.is_some() {
            return Err(answer.cut());
        }
        self.short = 0;
        Ok(if soon { End::Soon } else { End::InTime })
    }

    fn watch_query(&self, length: Duration) -> Vec<(&'static str, String)> {
        let mut query = K::KIND.selectors(&self.scope);
        query.push(("watch", "true".into()));
        query.push(("allowWatchBookmarks", "true".into()));
        // In whole seconds, and 0 would mean the server's own choice.
        query.push(("timeoutSeconds", length.as_secs().max(1).to_string()));
        let version = if self.version.is_empty() { "0" } else { &self.version };
        query.push(("resourceVersion", version.into()));
        if self.step == Step::StreamList {
            query.push(("sendInitialEvents", "true".into()));
            query.push(("resourceVersionMatch", "NotOlderThan".into()));
        }
        query
    }

    async fn take(
        &mut self,
        (kind, item): (EventKind, Item<K::Fact>),
        listing: &mut Option<Listing<K::Fact>>,
        answer: &mut Answer,
    ) -> Turn {
        if kind == EventKind::Unknown {
            tracing::debug!(kind = %K::KIND, "a watch event of a type that is not known; skipped");
            return Turn::GoOn;
        }
        if kind == EventKind::Bookmark {
            if !item.version.is_empty() {
                self.version = item.version;
            }
            let ended = if item.ends_list { listing.take() } else { None };
            let Some(list) = ended else { return Turn::GoOn };
            answer.set_silence(self.timing.silence);
            self.step = Step::Follow;
            let (facts, notices): (Vec<_>, Vec<_>) = list.into_values().unzip();
            let facts = facts.into_iter().flatten().collect();
            let handed = self.hand_on_list(facts, notices.into_iter().flatten().collect()).await;
            return if handed { Turn::GoOn } else { Turn::Unheard };
        }
        match listing {
            Some(list) => {
                // Changes may come between the list's objects. Whatever has no name is only noted.
                let name = item.name.unwrap_or_else(|| NamespacedName::new("", ""));
                if kind == EventKind::Deleted {
                    list.remove(&name);
                } else if name.name.is_empty() {
                    list.entry(name).or_default().1.extend(item.notices);
                } else {
                    list.insert(name, (item.fact, item.notices));
                }
                Turn::GoOn
            }
            None => {
                if !item.version.is_empty() {
                    self.version.clone_from(&item.version);
                }
                let batch = self.batch(kind, item);
                if self.hand_on(batch).await { Turn::GoOn } else { Turn::Unheard }
            }
        }
    }

    /// One object's change. An object that can no longer be used is gone, as it is from a list.
    fn batch(&self, kind: EventKind, item: Item<K::Fact>) -> Batch {
        let mut notices = item.notices;
        let change = match item.fact {
            Some(fact) if kind != EventKind::Deleted => Some(K::put(fact)),
            _ => {
                if kind == EventKind::Deleted {
                    notices.clear();
                    if K::KIND == Kind::Node {
                        notices.push(self.node_missing("the Node was deleted"));
                    }
                }
                item.name.map(|name| K::gone(name))
            }
        };
        Batch { changes: change.into_iter().collect(), notices, listed: Vec::new() }
    }
}

/// Why a line is no event of an object.
enum Unread {
    /// The server ends the watch with a reason.
    End(Status),
    /// It cannot be read; what it was meant to say is lost.
    Garbage(serde_json::Error),
}

fn read<K: Watched>(
    line: &[u8],
    names: &mut crate::convert::Names,
) -> Result<(EventKind, Item<K::Fact>), Unread> {
    let event: WatchEvent<'_> = serde_json::from_slice(line).map_err(Unread::Garbage)?;
    if event.kind == EventKind::Error {
        return Err(Unread::End(serde_json::from_str(event.object.get()).unwrap_or_default()));
    }
    let item = item::read::<K>(event.object, names);
    Ok((event.kind, item))
}
