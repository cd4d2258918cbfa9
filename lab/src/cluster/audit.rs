//! The API server's audit log: who did what, what was allowed, and which webhooks were called for it.
//! <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Clone, Debug)]
pub struct AuditLog(PathBuf);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `ResponseComplete`, or `ResponseStarted` for a watch.
    pub stage: String,
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub user: User,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(default)]
    pub response_status: Status,
    /// Notes of the admission plugins among others.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME` for a pod.
    pub username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectRef {
    pub resource: String,
    /// `status`, `eviction`; empty for the object itself.
    pub subresource: String,
    pub namespace: String,
    /// The name; empty for a create with `generateName` and for lists.
    pub name: String,
    pub api_group: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: u16,
}

/// One call of a mutating webhook.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Call {
    pub configuration: String,
    pub webhook: String,
    pub mutated: bool,
}

impl AuditLog {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The requests whose line contains `needle`, in their order.
    pub fn events(&self, needle: &str) -> Result<Vec<Event>> {
        self.events_from(0, needle)
    }

    /// How many bytes it has, for [`Self::events_from`].
    pub fn size(&self) -> Result<u64> {
        Ok(fs::metadata(&self.0)?.len())
    }

    /// The requests whose line contains `needle` and that were noted when the log was `offset` long
    /// already.
    pub fn events_from(&self, offset: u64, needle: &str) -> Result<Vec<Event>> {
        let mut file =
            File::open(&self.0).with_context(|| format!("no audit log: {}", self.0.display()))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        // The last line may be half written; it is whole at the next look.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter(|line| line.contains(needle))
            .map(|line| serde_json::from_str(line).context("an unreadable line in the audit log"))
            .collect()
    }
}

impl Event {
    /// The mutating webhooks that were called for this request, in their order, each reinvocation with
    /// its own entry.
    pub fn webhook_calls(&self) -> Result<Vec<Call>> {
        let mut calls = Vec::new();
        for (key, value) in &self.annotations {
            let Some(place) = key.strip_prefix("mutation.webhook.admission.k8s.io/round_") else {
                continue;
            };
            let (round, index) = place.split_once("_index_").context("an odd audit annotation")?;
            let place: (u32, u32) = (round.parse()?, index.parse()?);
            calls.push((place, serde_json::from_str::<Call>(value)?));
        }
        calls.sort_by_key(|(place, _)| *place);
        Ok(calls.into_iter().map(|(_, call)| call).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_in_the_order_of_rounds() {
        let line = r#"{"stage":"ResponseComplete","verb":"create","requestURI":"/x","user":{"username":"u"},
            "annotations":{
              "mutation.webhook.admission.k8s.io/round_1_index_0":"{\"configuration\":\"a\",\"webhook\":\"w\",\"mutated\":false}",
              "mutation.webhook.admission.k8s.io/round_0_index_10":"{\"configuration\":\"b\",\"webhook\":\"w\",\"mutated\":true}",
              "mutation.webhook.admission.k8s.io/round_0_index_2":"{\"configuration\":\"a\",\"webhook\":\"w\",\"mutated\":true}",
              "authorization.k8s.io/decision":"allow"}}"#;
        let event: Event = serde_json::from_str(&line.replace('\n', "")).unwrap();
        let calls = event.webhook_calls().unwrap();
        let seen: Vec<_> = calls.iter().map(|c| (c.configuration.as_str(), c.mutated)).collect();
        assert_eq!(seen, [("a", true), ("b", true), ("a", false)]);
    }
}
