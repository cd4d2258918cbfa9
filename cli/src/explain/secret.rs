//! Whether a Secret has a key. What the key holds is thrown away while it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::facts::KeyFound;
use crate::cluster::{Cluster, Unreadable};

/// A Secret without its values, and without its annotations: `kubectl apply` keeps a copy of the values there.
#[derive(Clone, Debug, Deserialize)]
struct Keys {
    #[serde(skip)]
    metadata: ObjectMeta,
    #[serde(default)]
    #[expect(clippy::zero_sized_map_values, reason = "read from a map, whose values go at once")]
    data: Option<BTreeMap<String, IgnoredAny>>,
}

pub(super) async fn key_found(
    cluster: &Cluster,
    namespace: &str,
    secret: &str,
    key: &str,
) -> Result<KeyFound, Unreadable> {
    let found = cluster.get::<Keys>(namespace, secret).await?;
    Ok(found.map_or(KeyFound::NoSecret, |found| found.has(key)))
}

impl Keys {
    fn has(&self, key: &str) -> KeyFound {
        let there = self.data.as_ref().is_some_and(|data| data.contains_key(key));
        if there { KeyFound::There } else { KeyFound::NoKey }
    }
}

impl Resource for Keys {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_known_and_nothing_of_their_values() {
        let json = r#"{
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "SGFsZg=="}},
            "data": {"half": "SGFsZg=="}
        }"#;
        let keys: Keys = serde_json::from_str(json).unwrap();
        assert_eq!(keys.has("half"), KeyFound::There);
        assert_eq!(keys.has("other"), KeyFound::NoKey);
        assert!(!format!("{keys:?}").contains("SGFsZg"));
        let empty: Keys = serde_json::from_str(r#"{"metadata": {"name": "s"}}"#).unwrap();
        assert_eq!(empty.has("half"), KeyFound::NoKey);
    }
}
