//! An image as one tar file, from nothing but the program that goes into it.
//!
//! Two formats at once in the same file: an OCI image layout (`oci-layout`, `index.json`, `blobs/`;
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>), and the `manifest.json`
//! of `docker save` that names the same blobs. Docker itself has written its archives this way since
//! version 25.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::architecture::Architecture;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Clone, Debug)]
pub struct Spec {
    /// The reference by which it is run, with a tag: `name:tag` or `registry/name:tag`.
    pub name: String,
    pub architecture: Architecture,
    /// `uid:gid`, as numbers.
    pub user: String,
    /// The path of the one file in it, a static program that is its entry point.
    pub path: String,
    pub program: Vec<u8>,
    pub labels: BTreeMap<String, String>,
    /// The time in the configuration and on the file, in seconds since the epoch.
    pub created: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    pub name: String,
    /// `sha256:…` of its manifest or, from an engine that has none before a push, of its
    /// configuration.
    pub digest: String,
    /// Bytes of all files in it, uncompressed.
    pub size: u64,
}

/// Writes the image that `spec` describes to the file `to`, replacing what is there.
///
/// The same `spec` always gives the same bytes.
pub fn write(spec: &Spec, to: &Path) -> Result<Image> {
    let layer = layer(spec).context("packing the image's layer")?;
    let config = config(spec, &layer)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [index_entry(spec, &manifest)],
    });
    let docker = json!([{
        "Config": blob_path(&config),
        "RepoTags": [spec.name],
        "Layers": [blob_path(&layer)],
    }]);

    let file = std::fs::File::create(to).with_context(|| format!("creating {}", to.display()))?;
    let mut tar = tar::Builder::new(std::io::BufWriter::new(file));
    let mut add = |path: &str, content: &[u8]| append(&mut tar, path, 0o644, 0, content);
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .and_then(|()| add("index.json", index.to_string().as_bytes()))
        .and_then(|()| add("manifest.json", docker.to_string().as_bytes()))
        .and_then(|()| add(&blob_path(&manifest), &manifest))
        .and_then(|()| add(&blob_path(&config), &config))
        .and_then(|()| add(&blob_path(&layer), &layer))
        .and_then(|()| tar.into_inner()?.flush())
        .with_context(|| format!("writing {}", to.display()))?;

    Ok(Image {
        name: spec.name.clone(),
        digest: format!("sha256:{}", sha256(&manifest)),
        size: spec.program.len() as u64,
    })
}

fn layer(spec: &Spec) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, spec.path.trim_start_matches('/'), 0o755, spec.created, &spec.program)?;
    tar.into_inner()
}

/// Adds one file whose header says nothing about who packed it, and when.
fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    time: u64,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, content)
}

fn config(spec: &Spec, layer: &[u8]) -> Result<Vec<u8>> {
    let created = i64::try_from(spec.created)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .with_context(|| format!("{} is no time, in seconds since the epoch", spec.created))?;
    let config = json!({
        "created": created.to_string(),
        "architecture": spec.architecture.oci(),
        "os": "linux",
        "config": {
            "User": spec.user,
            "Entrypoint": [spec.path],
            "WorkingDir": "/",
            "Labels": spec.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
        "history": [{"created": created.to_string(), "created_by": "lab"}],
    });
    Ok(config.to_string().into_bytes())
}

/// The manifest's place in the index. containerd takes the name from an annotation of its own, and
/// wants it in full.
fn index_entry(spec: &Spec, manifest: &[u8]) -> Value {
    let tag = spec.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let mut entry = descriptor(MANIFEST, manifest);
    entry["platform"] = json!({"architecture": spec.architecture.oci(), "os": "linux"});
    entry["annotations"] = json!({
        "io.containerd.image.name": full_name(&spec.name),
        "org.opencontainers.image.ref.name": tag,
    });
    entry
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": format!("sha256:{}", sha256(blob)),
        "size": blob.len(),
    })
}

fn blob_path(blob: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(blob))
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The reference with the registry that Docker's short names leave out: what a kubelet makes of the
/// name in a pod before it looks for the image.
fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "secret-handshake-sidecar:0.1.0".to_owned(),
            architecture: Architecture::Arm64,
            user: "65532:65532".to_owned(),
            path: "/sidecar".to_owned(),
            program: b"\x7fELF".to_vec(),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            created: 1_700_000_000,
        }
    }

    fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    #[test]
    fn every_blob_is_where_its_digest_says_and_both_formats_name_the_same_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let image = write(&spec(), &path).unwrap();
        let files = unpack(&std::fs::read(&path).unwrap());
        let json = |name: &str| -> Value { serde_json::from_slice(&files[name]).unwrap() };
        let blob = |digest: &Value| {
            let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = &files[&format!("blobs/sha256/{hex}")];
            assert_eq!(sha256(content), hex);
            content.clone()
        };

        assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
        let entry = json("index.json")["manifests"][0].clone();
        assert_eq!(entry["digest"], image.digest);
        assert_eq!(
            entry["annotations"]["io.containerd.image.name"],
            "docker.io/library/secret-handshake-sidecar:0.1.0"
        );
        let manifest: Value = serde_json::from_slice(&blob(&entry["digest"])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"]["digest"])).unwrap();
        assert_eq!(config["architecture"], "arm64");
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/sidecar"]));
        assert_eq!(config["config"]["Labels"]["a"], "b");
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = blob(&manifest["layers"][0]["digest"]);
        assert_eq!(unpack(&layer), BTreeMap::from([("sidecar".to_owned(), b"\x7fELF".to_vec())]));
        assert_eq!(image.size, 4);

        let docker = json("manifest.json")[0].clone();
        assert_eq!(docker["RepoTags"], json!(["secret-handshake-sidecar:0.1.0"]));
        let hex = |digest: &Value| digest.as_str().unwrap().replace(':', "/");
        assert_eq!(docker["Config"], format!("blobs/{}", hex(&manifest["config"]["digest"])));
        assert_eq!(docker["Layers"][0], format!("blobs/{}", hex(&manifest["layers"][0]["digest"])));
    }

    #[test]
    fn the_same_spec_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        write(&spec(), &one).unwrap();
        write(&spec(), &two).unwrap();
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        for (short, full) in [
            ("a:1", "docker.io/library/a:1"),
            ("b/a:1", "docker.io/b/a:1"),
            ("localhost/a:1", "localhost/a:1"),
            ("registry.test/b/a:1", "registry.test/b/a:1"),
            ("registry:5000/a:1", "registry:5000/a:1"),
        ] {
            assert_eq!(full_name(short), full);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write(&spec(), Path::new("/nonexistent/image.tar")).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/image.tar"), "{error:#}");
    }
}
