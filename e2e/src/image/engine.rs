//! The Dockerfiles, built by whatever engine is there.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use super::command::{command, read, show, succeeds};
use super::{Architecture, Image, Product, workspace};

/// A program that builds images from Dockerfiles.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Engine {
    /// Docker, with the old builder or BuildKit.
    Docker,
    /// Podman.
    Podman,
    /// containerd's nerdctl, with BuildKit.
    Nerdctl,
    /// Buildah.
    Buildah,
}

/// What is built, beside which image.
#[derive(Clone, Debug)]
pub struct Build {
    /// The reference that the image gets.
    pub name: String,
    /// What it is to run on.
    pub architecture: Architecture,
    /// Handed on as `--build-arg NAME=VALUE`; `RUST_IMAGE=…` names another builder image.
    pub arguments: Vec<String>,
    /// The network of the build (`host` where the engine has no bridge); the engine's own if none.
    pub network: Option<String>,
}

impl Engine {
    /// The first engine that is installed and answers.
    #[must_use]
    pub fn find() -> Option<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .find(|engine| engine.answers())
    }

    /// The program's name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
            Self::Buildah => "buildah",
        }
    }

    /// Whether it is installed, and its daemon, where it has one, can be reached.
    fn answers(self) -> bool {
        succeeds(&mut command(self.program(), ["info"]))
    }

    /// Builds `product` from its Dockerfile; progress goes to stderr.
    ///
    /// # Errors
    ///
    /// When the engine can't be run or the build fails.
    pub fn build(self, product: Product, build: &Build) -> Result<Image> {
        let mut engine = command(
            self.program(),
            [
                "build",
                "--file",
                product.dockerfile(),
                "--tag",
                build.name.as_str(),
            ],
        );
        if build.architecture != Architecture::host() {
            engine.arg(format!("--platform=linux/{}", build.architecture.oci()));
            // The old builder tells a Dockerfile nothing of the platform; for BuildKit this is no news.
            engine.arg(format!(
                "--build-arg=TARGETARCH={}",
                build.architecture.oci()
            ));
        }
        for argument in &build.arguments {
            engine.arg(format!("--build-arg={argument}"));
        }
        if let Some(network) = &build.network {
            engine.arg(format!("--network={network}"));
        }
        show(engine.arg(".").current_dir(workspace()))?;
        self.inspect(&build.name)
    }

    /// The image `name` as the engine has it.
    ///
    /// # Errors
    ///
    /// When there is no such image.
    pub fn inspect(self, name: &str) -> Result<Image> {
        let arguments = match self {
            Self::Buildah => ["inspect", "--type=image", name],
            _ => ["image", "inspect", name],
        };
        let text = read(&mut command(self.program(), arguments))?;
        let answer: Value = serde_json::from_str(&text)
            .with_context(|| format!("what {} says about {name}", self.program()))?;
        let (id, size) = match self {
            Self::Buildah => (answer["FromImageID"].as_str(), self.size_by_buildah(name)),
            _ => (answer[0]["Id"].as_str(), answer[0]["Size"].as_u64()),
        };
        let id = id.with_context(|| format!("{} names no id for {name}", self.program()))?;
        Ok(Image {
            name: name.to_owned(),
            digest: if id.contains(':') {
                id.to_owned()
            } else {
                format!("sha256:{id}")
            },
            size: size.with_context(|| format!("{} names no size for {name}", self.program()))?,
        })
    }

    /// Buildah prints sizes for people only, but it can also count the files.
    fn size_by_buildah(self, name: &str) -> Option<u64> {
        let folder = tempfile::tempdir().ok()?;
        let archive = folder.path().join("image.tar");
        self.save(name, &archive).ok()?;
        let file = std::fs::File::open(&archive).ok()?;
        // A docker-archive's layers are plain tars; nothing else in it is worth counting.
        let mut layers = 0;
        for entry in tar::Archive::new(file).entries().ok()? {
            let entry = entry.ok()?;
            let path = entry.path().ok()?.into_owned();
            if path.extension().is_some_and(|extension| extension == "tar") {
                let mut layer = tar::Archive::new(entry);
                for file in layer.entries().ok()? {
                    layers += file.ok()?.size();
                }
            }
        }
        Some(layers)
    }

    /// Writes the image `name` to the file `to`, as an archive that `load` takes.
    ///
    /// # Errors
    ///
    /// When the engine fails.
    pub fn save(self, name: &str, to: &Path) -> Result<()> {
        let to = to.to_str().context("the archive's path isn't UTF-8")?;
        match self {
            Self::Buildah => {
                let archive = format!("docker-archive:{to}:{name}");
                show(&mut command("buildah", ["push", "--quiet", name, &archive]))
            }
            _ => show(&mut command(self.program(), ["save", "--output", to, name])),
        }
    }
}
