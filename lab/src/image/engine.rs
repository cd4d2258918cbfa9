//! The Dockerfiles, built by whatever engine is there.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::architecture::Architecture;
use super::archive::{Image, Spec, write};
use crate::command::{command, read, show, succeeds};

/// The programs that are known, in the order in which they are looked for: Docker, with the old builder or
/// BuildKit; Podman; containerd's nerdctl, with BuildKit; Buildah.
pub const ENGINES: [&str; 4] = [DOCKER, "podman", "nerdctl", BUILDAH];
const DOCKER: &str = "docker";
const BUILDAH: &str = "buildah";

/// A program that builds images from Dockerfiles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Engine {
    program: String,
    /// The socket of its daemon, where it isn't the one that the program finds by itself.
    host: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    pub name: &'a str,
    pub context: &'a Path,
    pub dockerfile: &'a str,
    pub architecture: Architecture,
    /// Handed on as `--build-arg NAME=VALUE`; `RUST_IMAGE=…` names another builder image.
    pub arguments: &'a [String],
    /// The network of the build (`host` where the engine has no bridge); the engine's own if none.
    pub network: Option<&'a str>,
}

impl Engine {
    /// The one of this name, which is one of [`ENGINES`].
    pub fn named(program: &str) -> Self {
        Self { program: program.to_owned(), host: None }
    }

    pub fn find() -> Option<Self> {
        ENGINES.into_iter().map(Self::named).find(Self::answers)
    }

    /// The Docker daemon that listens at `host`, such as `unix:///run/docker.sock`.
    pub fn docker_at(host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..Self::named(DOCKER) }
    }

    /// Whether it is installed, and its daemon, where it has one, can be reached.
    pub fn answers(&self) -> bool {
        // Docker's own client answers without its daemon, unless it is asked for something of it.
        let question: &[&str] = match self.program.as_str() {
            DOCKER => &["version", "--format={{.Server.Version}}"],
            _ => &["info"],
        };
        succeeds(&mut self.command(question))
    }

    /// A command to it, with nothing on its standard input.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let host = self.host.iter().map(|host| format!("--host={host}"));
        let mut command = command(&self.program, host);
        command.args(arguments);
        command
    }

    pub fn build(&self, build: &Build<'_>) -> Result<()> {
        let mut engine = self.command(["build", "--file", build.dockerfile]);
        engine.arg(format!("--tag={}", build.name));
        if build.architecture != Architecture::host() {
            let oci = build.architecture.oci();
            engine.arg(format!("--build-arg=TARGETARCH={oci}"));
            if self.knows_platforms() {
                engine.arg(format!("--platform=linux/{oci}"));
            }
        }
        for argument in build.arguments {
            engine.arg(format!("--build-arg={argument}"));
        }
        if let Some(network) = build.network {
            engine.arg(format!("--network={network}"));
        }
        show(engine.arg(".").current_dir(build.context))
    }

    /// Whether one build may have stages of two platforms. Docker's old builder, which is what there is
    /// without buildx, says that they don't match.
    pub fn knows_platforms(&self) -> bool {
        self.program != DOCKER
            || (std::env::var_os("DOCKER_BUILDKIT").is_none_or(|value| value != "0")
                && succeeds(&mut self.command(["buildx", "version"])))
    }

    pub fn load(&self, spec: &Spec) -> Result<()> {
        let archive = tempfile::NamedTempFile::new()?;
        write(spec, archive.path())?;
        let path = archive.path().display();
        read(&mut self.command(["load", &format!("--input={path}")])).map(drop)
    }

    pub fn inspect(&self, name: &str) -> Result<Image> {
        let arguments = match self.program.as_str() {
            BUILDAH => ["inspect", "--type=image", name],
            _ => ["image", "inspect", name],
        };
        let text = read(&mut self.command(arguments))?;
        let answer: Value = serde_json::from_str(&text)
            .with_context(|| format!("what {} says about {name}", self.program))?;
        let (id, size) = match self.program.as_str() {
            BUILDAH => (answer["FromImageID"].as_str(), self.size_by_buildah(name)),
            _ => (answer[0]["Id"].as_str(), answer[0]["Size"].as_u64()),
        };
        let (id, size) = id
            .zip(size)
            .with_context(|| format!("{} names no id or no size for {name}", self.program))?;
        let digest = if id.contains(':') { id.to_owned() } else { format!("sha256:{id}") };
        Ok(Image { name: name.to_owned(), digest, size })
    }

    /// Buildah prints sizes for people only, but it can also count the files.
    fn size_by_buildah(&self, name: &str) -> Option<u64> {
        let folder = tempfile::tempdir().ok()?;
        let archive = folder.path().join("image.tar");
        self.save(name, &archive).ok()?;
        let file = std::fs::File::open(&archive).ok()?;
        // A docker-archive's layers are plain tars; nothing else in it is worth counting.
        let mut size = 0;
        for entry in tar::Archive::new(file).entries().ok()? {
            let entry = entry.ok()?;
            if entry.path().ok()?.extension().is_some_and(|extension| extension == "tar") {
                for file in tar::Archive::new(entry).entries().ok()? {
                    size += file.ok()?.size();
                }
            }
        }
        Some(size)
    }

    /// Writes the image `name` to the file `to`, as an archive that `load` takes.
    pub fn save(&self, name: &str, to: &Path) -> Result<()> {
        let to = to.to_str().context("the archive's path isn't UTF-8")?;
        match self.program.as_str() {
            BUILDAH => {
                let archive = format!("docker-archive:{to}:{name}");
                show(&mut self.command(["push", "--quiet", name, &archive]))
            }
            _ => show(&mut self.command(["save", "--output", to, name])),
        }
    }

    /// The content of one file in an image, by way of a container that is never started.
    pub fn file(&self, name: &str, path: &str) -> Result<Vec<u8>> {
        let id = read(&mut self.command(["create", name]))?;
        let output = self.command(["cp", &format!("{id}:{path}"), "-"]).output();
        read(&mut self.command(["rm", &id]))?;
        let output = output.with_context(|| format!("copying {path} out of {name}"))?.stdout;
        let mut tar = tar::Archive::new(output.as_slice());
        let mut entry = tar.entries()?.next().with_context(|| format!("no {path} in {name}"))??;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        Ok(content)
    }
}
