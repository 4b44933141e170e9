//! Objects as the API has them, for who hands them on as they are.

use std::time::Duration;

use serde_json::Value;

use super::config::ApiOptions;
use super::connection::Connection;
use super::kind::Kind;
use crate::Error;

/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(15);

/// Objects a page.
const PAGE: &str = "500";

/// A way to ask an API server for whole objects, one list at a time.
pub struct Objects {
    connection: Connection,
}

impl Objects {
    /// Reads the configuration. Nothing is asked of the API server yet.
    ///
    /// # Errors
    /// As [`ApiSource::new`](super::ApiSource::new).
    pub async fn new(options: ApiOptions) -> Result<Self, Error> {
        Ok(Self { connection: Connection::open(options).await? })
    }

    /// All objects of a kind, each with its `apiVersion` and `kind`, in the server's order.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Refused`]. An answer that is no list has no objects.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>, Error> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = vec![("limit", PAGE.to_owned())];
            if !next.is_empty() {
                query.push(("continue", next));
            }
            let answer = self.connection.get(kind.path(), &query, SILENCE).await?;
            let body = answer.all().await?;
            let mut list: Value = serde_json::from_slice(&body).unwrap_or_default();
            let version = list["apiVersion"].clone();
            let name = list["kind"].as_str().and_then(|name| name.strip_suffix("List"));
            let name = name.map(str::to_owned);
            if let Some(items) = list["items"].as_array_mut() {
                for mut object in items.drain(..) {
                    object["apiVersion"] = version.clone();
                    object["kind"] = name.clone().into();
                    objects.push(object);
                }
            }
            next = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() {
                return Ok(objects);
            }
        }
    }
}
