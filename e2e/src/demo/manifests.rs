//! `deploy/demo` and the webhook's own configuration, read as `kubectl apply -k` would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a user applies: Legacy's own manifest, and what the kustomization adds to it.
#[derive(Debug)]
pub(crate) struct Manifests {
    pub(crate) namespace: Value,
    pub(crate) deployment: Value,
    pub(crate) secret: Secret,
}

#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) name: String,
    /// The file of each key: the demo never looks into them.
    pub(crate) files: BTreeMap<String, PathBuf>,
}

impl Manifests {
    /// Reads the kustomization in `folder` as far as the demo needs it: resources, merge patches and a
    /// Secret from files.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let kustomization: Value = one(&folder.join("kustomization.yaml"))?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut objects = Vec::<Value>::new();
        for resource in list(&kustomization["resources"]) {
            let file = folder.join(resource.as_str().context("a resource is no file")?);
            objects.append(&mut documents(&file)?);
        }
        for patch in list(&kustomization["patches"]) {
            let patch = patch["patch"].as_str().context("a patch without its text")?;
            let patch: Value = serde_saphyr::from_str(patch).context("a patch is not YAML")?;
            for object in &mut objects {
                let [one, other] =
                    [&*object, &patch].map(|it| (&it["kind"], &it["metadata"]["name"]));
                if one == other {
                    json_patch::merge(object, &patch);
                }
            }
        }
        let secret = &kustomization["secretGenerator"][0];
        let files = list(&secret["files"]).into_iter().filter_map(|file| {
            let file = file.as_str()?;
            let (key, file) = file.split_once('=').unwrap_or((file, file));
            Some((key.to_owned(), folder.join(file)))
        });
        let name = secret["name"].as_str().context("the kustomization generates no Secret")?;
        let find = |kind: &str| {
            let object = objects.iter().find(|object| object["kind"] == kind);
            object.cloned().with_context(|| format!("there is no {kind}"))
        };
        Ok(Self {
            namespace: find("Namespace")?,
            deployment: find("Deployment")?,
            secret: Secret { name: name.to_owned(), files: files.collect() },
        })
    }
}

pub(crate) fn configuration(folder: &Path) -> Result<MutatingWebhookConfiguration> {
    one(&folder.join("mutatingwebhookconfiguration.yaml"))
}

fn one<T: DeserializeOwned>(file: &Path) -> Result<T> {
    documents(file)?.pop().with_context(|| format!("{} is empty", file.display()))
}

fn documents<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("{shown} can't be read"))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{shown} is not what it should be"))
}
