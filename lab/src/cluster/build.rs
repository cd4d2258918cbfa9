//! Where the programs of a cluster come from: `KUBEBUILDER_ASSETS`, else Kubernetes' own Go modules,
//! built once and kept.
//!
//! No prebuilt binary is fetched. The Go module proxy has `k8s.io/kubernetes` and the modules it is
//! made of; outside of its repository its `go.mod` needs two changes (`go_mod`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::go::Go;
use super::release::{ETCD, Version};
use crate::progress::{eprint, say};

/// A program of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The API server's store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers: Deployments, Jobs, garbage collection, service accounts and the rest.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// What people talk to the API server with.
    Kubectl,
    /// What makes Services work on a node.
    Proxy,
    /// What runs the pods of a node.
    Kubelet,
}

impl Program {
    /// What a cluster without a node consists of.
    pub const CONTROL_PLANE: &[Self] =
        &[Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kubectl];
    /// What a node takes besides.
    pub const NODE: &[Self] = &[Self::Proxy, Self::Kubelet];

    /// The file's name, here and in `KUBEBUILDER_ASSETS`.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Proxy => "kube-proxy",
            Self::Kubelet => "kubelet",
        }
    }
}

/// The programs of one cluster, ready to be run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The version of the API server.
    pub version: Version,
    paths: BTreeMap<Program, PathBuf>,
}

impl Programs {
    /// Finds or builds `wanted`, for an API server of `version`.
    ///
    /// What the folder `KUBEBUILDER_ASSETS` has is taken from there, and its API server's version then
    /// counts instead. The rest is built, and kept in [`cache`].
    ///
    /// # Errors
    ///
    /// Go is missing or too old, the module proxy can't be reached, or the build fails; the message
    /// says which.
    pub fn provide(version: Version, wanted: &[Program]) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let mut version = version;
        if let Some(server) = assets.as_deref().map(|assets| assets.join("kube-apiserver"))
            && server.exists()
        {
            version = version_of(&server)?;
        }
        let mut paths = BTreeMap::new();
        for &program in wanted {
            let brought = assets.as_deref().map(|assets| assets.join(program.file_name()));
            let path = match brought {
                Some(path) if path.exists() => path,
                _ => build(program, version)?,
            };
            paths.insert(program, path);
        }
        Ok(Self { version, paths })
    }

    /// The path of a program that was asked for.
    ///
    /// # Errors
    ///
    /// It was not asked for.
    pub fn path(&self, program: Program) -> Result<&Path> {
        self.paths
            .get(&program)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} is not part of this cluster", program.file_name()))
    }
}

fn version_of(server: &Path) -> Result<Version> {
    let said = Command::new(server)
        .arg("--version")
        .output()
        .with_context(|| format!("KUBEBUILDER_ASSETS: {} does not run", server.display()))?;
    let said = String::from_utf8_lossy(&said.stdout);
    let version = said.trim().trim_start_matches("Kubernetes ");
    version.parse::<super::release::Wanted>()?.resolve()
}

/// The folder for what is built, outside of any checkout: `$XDG_CACHE_HOME/secret-handshake/kubernetes`.
///
/// # Errors
///
/// Neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("set HOME or XDG_CACHE_HOME: what is built from Kubernetes is kept there")?;
    Ok(base.join("secret-handshake").join("kubernetes"))
}

/// Builds one program, unless it is there already.
fn build(program: Program, server: Version) -> Result<PathBuf> {
    let (version, package) = match program {
        Program::Etcd => (ETCD.to_owned(), "go.etcd.io/etcd/server/v3".to_owned()),
        Program::Kubelet => (server.kubelet()?.to_string(), package_of(program)),
        _ => (server.to_string(), package_of(program)),
    };
    let folder = match program {
        Program::Etcd => cache()?.join(format!("etcd-{version}")),
        _ => cache()?.join(&version),
    };
    let binary = folder.join(program.file_name());
    if binary.exists() {
        return Ok(binary);
    }
    let go = Go::find()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _lock = lock(&folder)?;
    if binary.exists() {
        return Ok(binary);
    }

    let module = folder.join("module");
    fs::create_dir_all(&module)?;
    let flags = if program == Program::Etcd {
        let text = format!("module kubernetes.build\n\ngo 1.25\n\nrequire {package} v{version}\n");
        fs::write(module.join("go.mod"), text)?;
        "-s -w".to_owned()
    } else {
        kubernetes_module(&go, &module, &version)?
    };
    let partial = folder.join(format!("{}.partial", program.file_name()));
    let mut command = Command::new("go");
    command
        .args(["build", "-v", "-mod=mod", "-trimpath"])
        .arg(format!("-ldflags={flags}"))
        .arg("-o")
        .arg(&partial)
        .arg(&package)
        .current_dir(&module);
    watch_build(&format!("{} {version}", program.file_name()), program.file_name(), command)?;
    fs::rename(&partial, &binary)?;
    Ok(binary)
}

fn package_of(program: Program) -> String {
    format!("k8s.io/kubernetes/cmd/{}", program.file_name())
}

/// Writes a module that can build the commands of Kubernetes, and gives the linker's flags for them.
fn kubernetes_module(go: &Go, module: &Path, version: &str) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Download {
        dir: PathBuf,
    }
    let release: Version = version.parse::<super::release::Wanted>()?.resolve()?;
    let said =
        go.run(module, &["mod", "download", "-json", &format!("k8s.io/kubernetes@v{version}")])?;
    let source = serde_json::from_str::<Download>(&said)?.dir;
    let original = fs::read_to_string(source.join("go.mod"))?;
    fs::write(module.join("go.mod"), go_mod(&original, release))?;
    fs::write(module.join("go.sum"), fs::read(source.join("go.sum"))?)?;
    // Without these the programs say that they are v0.0.0-master, and kubelet and API server refuse
    // to believe that they fit together.
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", format!("v{version}")),
            ("gitMajor", "1".to_owned()),
            ("gitMinor", release.minor.to_string()),
        ] {
            write!(flags, " -X {package}.{name}={value}")?;
        }
    }
    Ok(flags)
}

/// The `go.mod` with which the commands of Kubernetes can be built outside of its repository. There its
/// staging modules are required as `v0.0.0` and replaced by folders; here they are required and replaced
/// by what was released of them.
fn go_mod(original: &str, release: Version) -> String {
    let staging = release.of_staging_modules();
    let mut text = format!("module kubernetes.build\n\nrequire k8s.io/kubernetes v{release}\n");
    let mut replaced = String::new();
    let mut in_require = false;
    for line in original.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["go" | "godebug", ..] => text.extend(["\n", line, "\n"]),
            ["require", "("] => {
                in_require = true;
                text.push_str("\nrequire (\n");
            }
            [")"] if in_require => {
                in_require = false;
                text.push_str(")\n");
            }
            [module, "v0.0.0", ..] if in_require => {
                text.extend(["\t", module, " ", &staging, "\n"]);
            }
            _ if in_require => text.extend([line, "\n"]),
            [module, "=>", path] if path.starts_with("./staging/") => {
                replaced.extend(["\t", module, " => ", module, " ", &staging, "\n"]);
            }
            _ => {}
        }
    }
    format!("{text}\nreplace (\n{replaced})\n")
}

/// One build at a time in a folder; the others wait, and say so.
fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    if file.try_lock().is_err() {
        say("another run is building Kubernetes: waiting for it");
        file.lock()?;
    }
    Ok(file)
}

/// How long each program took the last time, in seconds, whatever its version was.
#[derive(Default, Serialize, Deserialize)]
struct Durations(BTreeMap<String, u64>);

impl Durations {
    fn path() -> Result<PathBuf> {
        Ok(cache()?.join("build-seconds.json"))
    }

    fn load() -> Self {
        let read = || -> Result<Self> { Ok(serde_json::from_slice(&fs::read(Self::path()?)?)?) };
        read().unwrap_or_default()
    }

    fn store(&mut self, name: &str, took: Duration) -> Result<()> {
        self.0.insert(name.to_owned(), took.as_secs());
        fs::write(Self::path()?, serde_json::to_vec_pretty(&self)?)?;
        Ok(())
    }
}

/// Runs `go build -v` and shows how far it is: it prints the name of each package as it compiles it.
fn watch_build(what: &str, name: &str, mut command: Command) -> Result<()> {
    let mut durations = Durations::load();
    let last = durations.0.get(name).map_or_else(
        || "the first time takes minutes".to_owned(),
        |s| format!("last time {}", clock(*s)),
    );
    say(&format!("building {what} ({last})"));
    let terminal = std::io::stderr().is_terminal();
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("go does not run")?;
    let output = child.stderr.take().context("go has no standard error")?;
    let mut tail = Vec::new();
    let mut packages = 0_u32;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.starts_with('#') || line.contains(": ") || line.starts_with('\t') {
            tail.push(line);
            continue;
        }
        packages += 1;
        if terminal {
            let clock = clock(started.elapsed().as_secs());
            eprint(&format!("\r\x1b[K  {clock}  {packages} packages, {}", shortened(&line, 60)));
        }
    }
    let status = child.wait()?;
    if terminal {
        eprint("\r\x1b[K");
    }
    let took = started.elapsed();
    if !status.success() {
        bail!("building {what} failed:\n{}", tail.join("\n"));
    }
    say(&format!("built {what} in {} ({packages} packages)", clock(took.as_secs())));
    // A build that found nearly everything in Go's cache says nothing about the next one.
    if packages > 100 || !durations.0.contains_key(name) {
        durations.store(name, took)?;
    }
    Ok(())
}

fn clock(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_requires_what_was_released_of_the_staging_modules() {
        let original = "\
// generated
module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
\tgithub.com/blang/semver/v4 v4.0.0
\tk8s.io/api v0.0.0
\tk8s.io/klog/v2 v2.140.0
)

require (
\tgithub.com/x/y v1.0.0 // indirect
\tk8s.io/code-generator v0.0.0 // indirect
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/code-generator => ./staging/src/k8s.io/code-generator
)
";
        let expected = "\
module kubernetes.build

require k8s.io/kubernetes v1.37.2

go 1.26.0

godebug default=go1.26

require (
\tgithub.com/blang/semver/v4 v4.0.0
\tk8s.io/api v0.37.2
\tk8s.io/klog/v2 v2.140.0
)

require (
\tgithub.com/x/y v1.0.0 // indirect
\tk8s.io/code-generator v0.37.2
)

replace (
\tk8s.io/api => k8s.io/api v0.37.2
\tk8s.io/code-generator => k8s.io/code-generator v0.37.2
)
";
        assert_eq!(go_mod(original, Version { minor: 37, patch: 2 }), expected);
    }

    #[test]
    fn times_are_written_as_people_say_them() {
        assert_eq!(clock(0), "0:00");
        assert_eq!(clock(271), "4:31");
    }
}
