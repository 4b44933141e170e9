//! Listing a kind by requests that end, page by page.

use super::kind::Watched;
use super::watch::{End, PAGE, Step, Watch};
use super::{Error, item};
use crate::wire::List;

impl<K: Watched> Watch<K> {
    /// Fetches all pages and hands on the list.
    ///
    /// # Errors
    /// Whatever keeps a page from coming; nothing is handed on then.
    pub(super) async fn list(&mut self) -> Result<End, Error> {
        let (mut facts, mut notices) = (Vec::new(), Vec::new());
        let mut next = None;
        loop {
            let query = self.list_query(next.as_deref());
            let answer = self.connection.get(K::KIND.path(), &query, self.timing.silence).await?;
            self.heard();
            let unreadable = answer.explain_unreadable();
            let body = answer.all().await?;
            let page: List<'_> =
                serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
            for raw in page.items.into_iter().flatten() {
                let item = item::read::<K>(raw, &mut self.names);
                facts.extend(item.fact);
                notices.extend(item.notices);
            }
            let metadata = page.metadata.into_option().unwrap_or_default();
            let more = metadata.next.text();
            if more.is_empty() {
                self.version = metadata.resource_version.text().to_owned();
                break;
            }
            next = Some(more.to_owned());
        }
        self.step = Step::Follow;
        let handed = self.hand_on_list(facts, notices).await;
        Ok(if handed { End::Listed } else { End::Unheard })
    }

    /// The first list takes whatever the server's cache holds; a later one must not go back behind
    /// what is known. Neither asks the store, which all nodes would do at once (kubernetes#85342).
    fn list_query(&self, next: Option<&str>) -> Vec<(&'static str, String)> {
        let mut query = K::KIND.selectors(&self.scope);
        let paged = self.step == Step::PagedList || self.version.is_empty();
        if let Some(next) = next {
            query.push(("limit", PAGE.into()));
            query.push(("continue", next.into()));
            return query;
        }
        if paged {
            // Servers with a cache answer a later list in pages only from the store.
            query.push(("limit", PAGE.into()));
        }
        if self.version.is_empty() {
            query.push(("resourceVersion", "0".into()));
        } else {
            query.push(("resourceVersion", self.version.clone()));
            query.push(("resourceVersionMatch", "NotOlderThan".into()));
        }
        query
    }
}
