//! Where the programs of a cluster come from: `KUBEBUILDER_ASSETS`, else Kubernetes' own Go modules,
//! built once and kept.
//!
//! No prebuilt binary is fetched. The Go module proxy has `k8s.io/kubernetes` and the modules it is
//! made of; outside of its repository its `go.mod` needs two changes (`go_mod`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::go;
use super::release::{ETCD, Version, Wanted};
use crate::command::{command, read};
use crate::progress::{Steps, say};

/// What compiling one package costs on average, in seconds of one core; measured on Kubernetes 1.37.
const SECONDS_PER_PACKAGE: f64 = 0.4;

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
    /// counts instead. The rest is built, and kept in the folder `kubernetes` of `cache`.
    ///
    /// # Errors
    ///
    /// Go is missing or too old, the module proxy can't be reached, or the build fails; the message
    /// says which.
    pub fn provide(cache: &Path, mut version: Version, wanted: &[Program]) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let brought = |program: Program| {
            let path = assets.as_ref()?.join(program.file_name());
            path.exists().then_some(path)
        };
        if let Some(server) = brought(Program::ApiServer) {
            let said = read(&mut command(&server, ["--version"])).context("KUBEBUILDER_ASSETS")?;
            version = said.trim_start_matches("Kubernetes ").parse::<Wanted>()?.resolve()?;
        }
        let mut paths = BTreeMap::new();
        // Programs of one version are built together: most of their packages are the same.
        let mut missing = BTreeMap::<PathBuf, (Source, Vec<Program>)>::new();
        for &program in wanted {
            let source = match program {
                Program::Etcd => Source::Etcd,
                Program::Kubelet => Source::Kubernetes(version.kubelet()?),
                _ => Source::Kubernetes(version),
            };
            let folder = cache.join("kubernetes").join(source.folder());
            let path = brought(program).unwrap_or_else(|| folder.join(program.file_name()));
            if !path.exists() {
                missing.entry(folder).or_insert((source, Vec::new())).1.push(program);
            }
            paths.insert(program, path);
        }
        for (folder, (source, programs)) in missing {
            build(&folder, source, &programs)?;
        }
        Ok(Self { version, paths })
    }

    /// The path of a program that was asked for.
    pub fn path(&self, program: Program) -> Result<&Path> {
        self.paths
            .get(&program)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} is not part of this cluster", program.file_name()))
    }
}

/// A module that programs are built from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Etcd,
    Kubernetes(Version),
}

impl Source {
    fn folder(self) -> String {
        match self {
            Self::Etcd => format!("etcd-{ETCD}"),
            Self::Kubernetes(version) => version.to_string(),
        }
    }

    /// The Go package of one of its programs, and how `go build` calls the program.
    fn package(self, program: Program) -> (String, &'static str) {
        match self {
            Self::Etcd => ("go.etcd.io/etcd/server/v3".to_owned(), "server"),
            Self::Kubernetes(_) => {
                (format!("k8s.io/kubernetes/cmd/{}", program.file_name()), program.file_name())
            }
        }
    }

    /// Writes a module in which its programs can be built, and gives the linker's flags.
    fn module(self, module: &Path) -> Result<String> {
        match self {
            Self::Etcd => {
                let require = format!("require go.etcd.io/etcd/server/v3 v{ETCD}");
                let text = format!("module kubernetes.build\n\ngo 1.25\n\n{require}\n");
                fs::write(module.join("go.mod"), text)?;
                Ok("-s -w".to_owned())
            }
            Self::Kubernetes(version) => kubernetes_module(module, version),
        }
    }
}

/// Builds programs into `folder`. One process does so at a time; the others wait.
fn build(folder: &Path, source: Source, programs: &[Program]) -> Result<()> {
    go::check()?;
    let (module, partial) = (folder.join("module"), folder.join("partial"));
    for folder in [&module, &partial] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        say("another run is building Kubernetes: waiting for it");
        lock.lock()?;
    }
    let left: Vec<Program> = programs
        .iter()
        .copied()
        .filter(|program| !folder.join(program.file_name()).exists())
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let flags = source.module(&module)?;
    let packages: Vec<String> = left.iter().map(|program| source.package(*program).0).collect();
    let names: Vec<&str> = left.iter().map(|program| program.file_name()).collect();
    let mut go = command("go", ["build", "-v", "-mod=mod", "-trimpath"]);
    go.arg(format!("-ldflags={flags}")).arg("-o").arg(&partial).args(&packages);
    let listed = go_list(&module, &packages)?;
    watch_build(
        &format!("{} of {}", names.join(", "), source.folder()),
        listed,
        go.current_dir(&module),
    )?;
    for program in left {
        let built = partial.join(source.package(program).1);
        fs::rename(built, folder.join(program.file_name()))?;
    }
    Ok(())
}

/// How many packages these are made of.
fn go_list(module: &Path, packages: &[String]) -> Result<u64> {
    let mut arguments = vec!["list", "-mod=mod", "-deps"];
    arguments.extend(packages.iter().map(String::as_str));
    Ok(go::run(module, &arguments)?.lines().count() as u64)
}

/// Runs `go build -v`, which prints the name of each package that it compiles, and shows how far it is.
fn watch_build(what: &str, packages: u64, go: &mut Command) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "a rough guess")]
    let minutes = packages as f64 * SECONDS_PER_PACKAGE / cores as f64 / 60.0;
    say(&format!(
        "building {what}: {packages} packages, at most some {:.0} minutes on {cores} cores, once",
        minutes.ceil()
    ));
    let started = Instant::now();
    let mut child =
        go.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("go does not run")?;
    let output = child.stderr.take().context("go has no standard error")?;
    let mut errors = Vec::new();
    let mut steps = Steps::new("packages", packages);
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.starts_with(['#', '\t']) || line.contains(": ") {
            errors.push(line);
        } else {
            steps.next(&line);
        }
    }
    drop(steps);
    if !child.wait()?.success() {
        bail!("building {what} failed:\n{}", errors.join("\n"));
    }
    say(&format!("built {what} in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Writes a module that can build the commands of Kubernetes, and gives the linker's flags for them.
fn kubernetes_module(module: &Path, release: Version) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Download {
        dir: PathBuf,
    }
    let wanted = format!("k8s.io/kubernetes@v{release}");
    let downloaded = go::run(module, &["mod", "download", "-json", &wanted])?;
    let source = serde_json::from_str::<Download>(&downloaded)?.dir;
    let original = fs::read_to_string(source.join("go.mod"))?;
    fs::write(module.join("go.mod"), go_mod(&original, release))?;
    fs::write(module.join("go.sum"), fs::read(source.join("go.sum"))?)?;
    // Without these the programs say that they are v0.0.0-master, and kubelet and API server refuse
    // to believe that they fit together.
    let mut flags = "-s -w".to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", format!("v{release}")),
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
    let staging = format!("v0.{}.{}", release.minor, release.patch);
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
}
