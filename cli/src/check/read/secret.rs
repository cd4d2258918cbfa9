//! Secrets, of which nothing is kept but what is there: the answer's bytes are read here alone, and are
//! overwritten when they have been.

use std::collections::BTreeMap;
use std::fmt;

use certs::secret::Content;
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::api::GetParams;
use kube::client::Body;
use kube::core::request::Request;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use zeroize::Zeroizing;

use super::super::certificates::CaSecret;
use super::super::pods::{HalfState, SecretKey};
use crate::cluster::{Cluster, Unreadable};
use crate::webhook::ServiceName;

const CA_SECRET: &str = "secret-handshake-ca";

/// An object in etcd has 1.5 MiB at most.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The CAs of the webhook that is behind this Service.
pub(super) async fn cas(
    cluster: &Cluster,
    service: Option<&ServiceName>,
    name: Option<&str>,
) -> CaSecret {
    let shipped = ServiceName::shipped();
    let namespace = service.unwrap_or(&shipped).namespace.clone();
    let name = name.unwrap_or(CA_SECRET).to_owned();
    let content = async {
        let Some(secret) = get(cluster, &namespace, &name).await? else { return Ok(None) };
        let content = Content::parse(&secret);
        content.map(Some).map_err(|error| Unreadable::Failed(error.to_owned()))
    };
    let content = content.await;
    CaSecret { namespace, name, content }
}

/// Whether a Secret has a key with something in it.
pub(super) async fn half(cluster: &Cluster, wanted: &SecretKey) -> Result<HalfState, Unreadable> {
    let SecretKey { namespace, secret, key } = wanted;
    match get(cluster, namespace, secret).await? {
        None => Ok(HalfState::NoSecret),
        Some(json) => state(&json, key),
    }
}

fn state(json: &[u8], key: &str) -> Result<HalfState, Unreadable> {
    #[derive(Deserialize)]
    struct Keys {
        data: Option<BTreeMap<String, IsEmpty>>,
    }
    let keys: Keys = serde_json::from_slice(json)
        .map_err(|_| Unreadable::Failed("the answer is not a Secret".to_owned()))?;
    Ok(match keys.data.unwrap_or_default().get(key) {
        None => HalfState::NoKey,
        Some(IsEmpty(true)) => HalfState::Empty,
        Some(IsEmpty(false)) => HalfState::There,
    })
}

/// Of a value, whether there is one.
struct IsEmpty(bool);

impl<'de> Deserialize<'de> for IsEmpty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = IsEmpty;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<IsEmpty, E> {
                Ok(IsEmpty(text.is_empty()))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Not by kube's own parser: its errors may show what it can't parse.
async fn get(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, Unreadable> {
    let failed =
        |reason: String| Unreadable::Failed(format!("Secret {namespace}/{name}: {reason}"));
    let url = Secret::url_path(&(), Some(namespace));
    let request = Request::new(url).get(name, &GetParams::default());
    let request = request.map_err(|error| failed(error.to_string()))?.map(Body::from);
    let response = cluster.client.send(request).await;
    let response = response.map_err(|error| failed(format!("{:#}", anyhow::Error::from(error))))?;
    match response.status().as_u16() {
        200 => {}
        404 => return Ok(None),
        403 => return Err(Unreadable::Forbidden(format!("get secrets in namespace {namespace}"))),
        status => return Err(failed(format!("the answer was status {status}"))),
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|_| failed("the answer is cut off or too long".to_owned()))?;
    Ok(Some(Zeroizing::new(Vec::from(body.to_bytes()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_only_what_is_there_is_told() {
        for (json, expected) in [
            (r#"{"data": {"half": "aGFsZg=="}}"#, Ok(HalfState::There)),
            (r#"{"data": {"half": ""}}"#, Ok(HalfState::Empty)),
            (r#"{"data": {"other": "aGFsZg=="}}"#, Ok(HalfState::NoKey)),
            (r#"{"data": null}"#, Ok(HalfState::NoKey)),
            ("{}", Ok(HalfState::NoKey)),
            (r#"{"data": {"half": 17}}"#, Err(())),
            ("aGFsZg==", Err(())),
        ] {
            let found = state(json.as_bytes(), "half");
            if let Err(error) = &found {
                assert_eq!(error.to_string(), "the answer is not a Secret");
            }
            assert_eq!(found.map_err(drop), expected, "{json}");
        }
    }
}
