//! An image to build in, made of this machine's own files, for where no registry can be reached.
//!
//! It holds what the Dockerfiles expect of any `RUST_IMAGE`: the Rust toolchain that is in use here
//! with its targets, Debian's C compilers with all that they depend on, a shell and its tools, and the
//! certificates by which cargo trusts the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::Engine;
use super::archive::hex;
use crate::command::{command, read};

/// Debian packages whose files go in, together with those that they depend on.
const PACKAGES: [&str; 10] = [
    "ca-certificates",
    "coreutils",
    "dash",
    "debianutils",
    "findutils",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "libc6-dev",
    "libc6-dev-arm64-cross",
    "sed",
];
const FILES: [&str; 8] = [
    "/bin",
    "/lib",
    "/lib64",
    "/sbin",
    "/etc/alternatives/cc",
    "/etc/group",
    "/etc/passwd",
    "/usr/bin/cc",
];

const PATH: &str = "/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin";

/// Makes the image, unless `engine` has it already, and returns its name.
pub fn builder(engine: &Engine) -> Result<String> {
    let toolchain = PathBuf::from(read(&mut command("rustc", ["--print=sysroot"]))?);
    let packages = packages()?;
    let programs = programs();
    let name = name(&toolchain, &packages, &programs)?;
    if engine.inspect(&name).is_ok() {
        return Ok(name);
    }
    let mut files = files(&packages)?;
    for part in ["bin", "lib"] {
        tree(&mut files, &toolchain.join(part), &Path::new("/usr/local/rust").join(part))?;
    }
    tree(&mut files, Path::new("/etc/ssl"), Path::new("/etc/ssl"))?;
    let mut path = PATH.to_owned();
    for program in programs {
        let folder = program.parent().context("a program without a folder")?;
        path = format!("{path}:{}", folder.display());
        files.insert(program.clone(), program);
    }
    import(engine, &name, &path, &files)?;
    Ok(name)
}

/// Makes the image of `files`, which are here under their values and in it under their keys.
fn import(
    engine: &Engine,
    name: &str,
    path: &str,
    files: &BTreeMap<PathBuf, PathBuf>,
) -> Result<()> {
    let mut import = engine
        .command(["import", &format!("--change=ENV PATH={path} HOME=/root"), "-", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("can't run docker import")?;
    let pipe = import.stdin.take().context("docker import has no standard input")?;
    let written = pack(files, pipe);
    let status = import.wait()?;
    if !status.success() {
        bail!("docker import failed: {status}");
    }
    written.context("writing to docker import")
}

fn pack(files: &BTreeMap<PathBuf, PathBuf>, pipe: impl Write) -> Result<()> {
    let mut tar = tar::Builder::new(std::io::BufWriter::new(pipe));
    tar.follow_symlinks(false);
    for (to, from) in files {
        tar.append_path_with_name(from, to.strip_prefix("/").unwrap_or(to))
            .with_context(|| format!("packing {}", from.display()))?;
    }
    Ok(tar.into_inner()?.flush()?)
}

fn packages() -> Result<Vec<String>> {
    let mut apt = command("apt-cache", ["depends", "--recurse", "--installed"]);
    for kind in ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"] {
        apt.arg(format!("--no-{kind}"));
    }
    let closure = read(apt.args(PACKAGES)).context("asking apt what the C compilers need")?;
    let names: BTreeSet<&str> = closure
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()))
        .collect();
    let mut query = command("dpkg-query", ["--show", "--showformat=${Package}=${Version}\n"]);
    // Names that are only provided by other packages are on stderr, and no loss.
    let output = query.args(names).output().context("can't run dpkg-query")?;
    let text = String::from_utf8(output.stdout).context("the output of dpkg-query")?;
    for package in PACKAGES {
        if !text.lines().any(|line| line.split('=').next() == Some(package)) {
            bail!("the Debian package {package} is not installed: apt-get install {package}");
        }
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// All that the packages own, but documentation, each path with no symbolic link above it.
fn files(packages: &[String]) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let names = packages.iter().filter_map(|package| package.split('=').next());
    let listed = read(command("dpkg", ["--listfiles"]).args(names))?;
    let files = listed.lines().map(Path::new).chain(FILES.map(Path::new));
    Ok(files
        .filter(|file| !file.starts_with("/usr/share/doc") && !file.starts_with("/usr/share/man"))
        .filter_map(|file| Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?)))
        .filter(|file| file.symlink_metadata().is_ok())
        .map(|file| (file.clone(), file))
        .collect())
}

/// Programs that the Dockerfiles would install otherwise. They are in the image where they are here:
/// cargo hashes the path of cargo-auditable, as of any wrapper of the compiler, into the names of all
/// symbols, and another order of these is another binary.
fn programs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("cargo-auditable"))
        .find(|program| program.is_file())
        .into_iter()
        .collect()
}

/// A name that changes with anything that goes in.
fn name(toolchain: &Path, packages: &[String], programs: &[PathBuf]) -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(read(&mut command("rustc", ["--version", "--verbose"]))?);
    digest.update(targets(toolchain)?);
    digest.update(packages.join("\n"));
    for program in programs {
        digest.update(program.as_os_str().as_encoded_bytes());
        digest.update(program.metadata()?.size().to_le_bytes());
    }
    let tag = hex(&digest.finalize()[..6]);
    Ok(format!("lab-rust:{tag}"))
}

fn targets(toolchain: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(toolchain.join("lib/rustlib"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join("\n"))
}

fn tree(files: &mut BTreeMap<PathBuf, PathBuf>, from: &Path, to: &Path) -> Result<()> {
    if from.symlink_metadata()?.is_dir() {
        let entries = std::fs::read_dir(from);
        for entry in entries.with_context(|| format!("reading {}", from.display()))? {
            let name = entry?.file_name();
            tree(files, &from.join(&name), &to.join(&name))?;
        }
    }
    files.insert(to.to_owned(), from.to_owned());
    Ok(())
}
