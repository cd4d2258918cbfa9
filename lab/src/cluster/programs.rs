//! Where the programs of a cluster come from: `KUBEBUILDER_ASSETS`, else Kubernetes' own Go modules,
//! built once and kept; and Helm, from its own.
//!
//! No prebuilt binary is fetched. The Go module proxy has `k8s.io/kubernetes` and the modules it is
//! made of; outside of its repository its `go.mod` needs a few changes (`edits`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::release::{ETCD, Version};
use crate::command::{command, read};
use crate::progress::{Steps, say};

/// What compiling one package costs on average, in seconds of one core; measured on Kubernetes 1.37.
const SECONDS_PER_PACKAGE: f64 = 0.4;

const GO_REMEDY: &str = "install Go 1.21 or newer (https://go.dev/dl/; it fetches the toolchain that \
                         Kubernetes asks for by itself), or put a cluster's programs into a folder and \
                         name it in KUBEBUILDER_ASSETS, or use a cluster that you have";

/// What a cluster without a node consists of: the names of programs, here and in `KUBEBUILDER_ASSETS`.
pub(super) const CONTROL_PLANE: &[&str] =
    &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
/// What a node takes besides.
pub(super) const NODE: &[&str] = &["kube-proxy", "kubelet"];

#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// The version of the API server.
    pub(super) version: Version,
    paths: BTreeMap<&'static str, PathBuf>,
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
    pub(super) fn provide(
        cache: &Path,
        mut version: Version,
        wanted: &[&'static str],
    ) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let brought = |program: &str| {
            let path = assets.as_ref()?.join(program);
            path.exists().then_some(path)
        };
        if let Some(server) = brought("kube-apiserver") {
            let said = read(&mut command(&server, ["--version"])).context("KUBEBUILDER_ASSETS")?;
            version = said.trim_start_matches("Kubernetes ").parse()?;
        }
        let mut paths = BTreeMap::new();
        // Programs of one version are built together: most of their packages are the same.
        let mut missing = BTreeMap::<Source, Vec<&str>>::new();
        for &program in wanted {
            let source = match program {
                "etcd" => Source::Etcd,
                "kubelet" => Source::Kubernetes(version.kubelet()?),
                _ => Source::Kubernetes(version),
            };
            let kept = cache.join("kubernetes").join(source.folder()).join(program);
            let path = brought(program).unwrap_or(kept);
            if !path.exists() {
                missing.entry(source).or_default().push(program);
            }
            paths.insert(program, path);
        }
        for (source, programs) in missing {
            build(&cache.join("kubernetes").join(source.folder()), source, &programs)?;
        }
        Ok(Self { version, paths })
    }

    pub(super) fn path(&self, program: &str) -> Result<&Path> {
        let path = self.paths.get(program).map(PathBuf::as_path);
        path.with_context(|| format!("{program} is not part of this cluster"))
    }
}

/// Builds Helm of a release such as `4.3.1`, or finds what was built before.
pub(super) fn helm(cache: &Path, release: &'static str) -> Result<PathBuf> {
    let source = Source::Helm(release);
    let folder = cache.join("kubernetes").join(source.folder());
    build(&folder, source, &["helm"])?;
    Ok(folder.join("helm"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Etcd,
    Helm(&'static str),
    Kubernetes(Version),
}

impl Source {
    fn folder(self) -> String {
        match self {
            Self::Etcd => format!("etcd-{ETCD}"),
            Self::Helm(release) => format!("helm-{release}"),
            Self::Kubernetes(version) => version.to_string(),
        }
    }

    /// The Go package of one of its programs, and how `go build` calls the program.
    fn package(self, program: &str) -> (String, &str) {
        match self {
            Self::Etcd => ("go.etcd.io/etcd/server/v3".to_owned(), "server"),
            Self::Helm(release) => (format!("{}/cmd/helm", helm_module(release)), "helm"),
            Self::Kubernetes(_) => (format!("k8s.io/kubernetes/cmd/{program}"), program),
        }
    }

    /// Writes a module in which its programs can be built, and gives the linker's flags.
    fn module(self, module: &Path) -> Result<String> {
        match self {
            Self::Etcd => plain_module(module, &format!("go.etcd.io/etcd/server/v3 v{ETCD}")),
            Self::Helm(release) => {
                plain_module(module, &format!("{} v{release}", helm_module(release)))
            }
            Self::Kubernetes(version) => kubernetes_module(module, version),
        }
    }
}

/// Helm's module has its major version in its path: <https://go.dev/ref/mod#major-version-suffixes>.
fn helm_module(release: &str) -> String {
    let major = release.split('.').next().unwrap_or_default();
    format!("helm.sh/helm/v{major}")
}

/// A module that requires nothing but the one whose program is built.
fn plain_module(module: &Path, requires: &str) -> Result<String> {
    let text = format!("module kubernetes.build\n\ngo 1.25\n\nrequire {requires}\n");
    fs::write(module.join("go.mod"), text)?;
    Ok("-s -w".to_owned())
}

/// Makes sure that there is a Go that fetches for itself the toolchain that a module asks for.
fn check_go() -> Result<()> {
    let Ok(version) = read(&mut command("go", ["env", "GOVERSION"])) else {
        bail!("Kubernetes is to be built, and there is no Go on this machine: {GO_REMEDY}");
    };
    let minor = version.strip_prefix("go1.").and_then(|rest| {
        rest.split(|other: char| !other.is_ascii_digit()).next()?.parse::<u32>().ok()
    });
    let fits = minor.is_some_and(|minor| minor >= 21);
    ensure!(fits, "Kubernetes is to be built, and Go here is {version}: {GO_REMEDY}");
    Ok(())
}

/// Builds those of the programs into `folder` that are not there. One process does so at a time; the others
/// wait.
fn build(folder: &Path, source: Source, programs: &[&str]) -> Result<()> {
    if programs.iter().all(|program| folder.join(program).exists()) {
        return Ok(());
    }
    check_go()?;
    let (module, partial) = (folder.join("module"), folder.join("partial"));
    for folder in [&module, &partial] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let lock = File::create(folder.join("lock"))?;
    if lock.try_lock().is_err() {
        say("another run is building Kubernetes: waiting for it");
        lock.lock()?;
    }
    let mut left = programs.to_vec();
    left.retain(|program| !folder.join(program).exists());
    if left.is_empty() {
        return Ok(());
    }
    let flags = source.module(&module)?;
    let packages: Vec<String> = left.iter().map(|program| source.package(program).0).collect();
    let mut list = command("go", ["list", "-mod=mod", "-deps"]);
    let listed = read(list.args(&packages).current_dir(&module))?.lines().count();
    let mut go = command("go", ["build", "-v", "-mod=mod", "-trimpath"]);
    go.arg(format!("-ldflags={flags}")).arg("-o").arg(&partial).args(&packages);
    let what = format!("{} of {}", left.join(", "), source.folder());
    watch_build(&what, listed as u64, go.current_dir(&module))?;
    for program in left {
        fs::rename(partial.join(source.package(program).1), folder.join(program))?;
    }
    Ok(())
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

/// Writes a module that can build the commands of Kubernetes, and gives the linker's flags for them: its
/// own, in which the staging modules are folders of its repository, with what was released of them instead.
fn kubernetes_module(module: &Path, release: Version) -> Result<String> {
    let go = |arguments: &[&str]| read(command("go", arguments).current_dir(module));
    let downloaded = go(&["mod", "download", "-json", &format!("k8s.io/kubernetes@v{release}")])?;
    let downloaded: Value = serde_json::from_str(&downloaded)?;
    let source = Path::new(downloaded["Dir"].as_str().context("go names no folder")?);
    for file in ["go.mod", "go.sum"] {
        fs::write(module.join(file), fs::read(source.join(file))?)?;
    }
    let edits = edits(&serde_json::from_str(&go(&["mod", "edit", "-json"])?)?, release);
    read(command("go", ["mod", "edit"]).args(edits).current_dir(module))?;
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

/// What `go mod edit` is to change in the `go.mod` of Kubernetes, which it has printed as JSON.
fn edits(go_mod: &Value, release: Version) -> Vec<String> {
    let mut edits = vec![
        "-module=kubernetes.build".to_owned(),
        format!("-require=k8s.io/kubernetes@v{release}"),
    ];
    for replaced in go_mod["Replace"].as_array().into_iter().flatten() {
        if let (Some(name), Some(path)) =
            (replaced["Old"]["Path"].as_str(), replaced["New"]["Path"].as_str())
            && path.starts_with("./staging/")
        {
            let Version { minor, patch } = release;
            edits.push(format!("-replace={name}={name}@v0.{minor}.{patch}"));
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn staging_modules_are_replaced_by_what_was_released_of_them() {
        let replaced = |name, path| json!({ "Old": { "Path": name }, "New": { "Path": path } });
        let go_mod = json!({ "Replace": [
            replaced("k8s.io/api", "./staging/src/k8s.io/api"),
            replaced("example.com/a", "example.com/b"),
        ] });
        let expected = [
            "-module=kubernetes.build",
            "-require=k8s.io/kubernetes@v1.37.2",
            "-replace=k8s.io/api=k8s.io/api@v0.37.2",
        ];
        assert_eq!(edits(&go_mod, Version { minor: 37, patch: 2 }), expected);
    }
}
