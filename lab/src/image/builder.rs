//! An image to build in, made of this machine's own files, for where no registry can be reached.
//!
//! It holds what the Dockerfiles expect of any `RUST_IMAGE`: the Rust toolchain that is in use here
//! with its targets, Debian's C compilers with all that they depend on, a shell and its tools, and the
//! certificates by which cargo trusts the registry.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::archive::hex;
use super::engine::Engine;
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

const CERTIFICATES: &str = "/etc/ssl";
/// Where the toolchain is in the image.
const TOOLCHAIN: &str = "usr/local/rust";

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
    // It is taken as a whole, and docker wants each path once.
    files.retain(|file| !file.starts_with(CERTIFICATES));
    let mut path = PATH.to_owned();
    for program in programs {
        let folder = program.parent().context("a program without a folder")?;
        path = format!("{path}:{}", folder.display());
        files.insert(program);
    }
    let mut list = tempfile::NamedTempFile::new()?;
    for file in files {
        list.write_all(&[file.as_os_str().as_encoded_bytes(), b"\n"].concat())?;
    }
    let moved = format!("--transform=flags=rhS;s,^{},{TOOLCHAIN},", toolchain.display());
    // Each file alone, but folders of which everything is wanted.
    let mut tar = command("tar", ["--create", "--absolute-names", "--no-recursion", &moved])
        .args([
            "--transform=flags=rhS;s,^/,,".as_ref(),
            "--files-from".as_ref(),
            list.path().as_os_str(),
        ])
        .arg("--recursion")
        .args([toolchain.join("bin"), toolchain.join("lib"), CERTIFICATES.into()])
        .stdout(Stdio::piped())
        .spawn()
        .context("can't run tar")?;
    let archive = tar.stdout.take().context("tar has no standard output")?;
    let environment = format!("--change=ENV PATH={path} HOME=/root");
    let imported = read(engine.command(["import", &environment, "-", &name]).stdin(archive));
    let packed = tar.wait()?;
    imported?;
    ensure!(packed.success(), "tar could not pack this machine's toolchain: {packed}");
    Ok(name)
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
fn files(packages: &[String]) -> Result<BTreeSet<PathBuf>> {
    let names = packages.iter().filter_map(|package| package.split('=').next());
    let listed = read(command("dpkg", ["--listfiles"]).args(names))?;
    let files = listed.lines().map(Path::new).chain(FILES.map(Path::new));
    Ok(files
        .filter(|file| !file.starts_with("/usr/share/doc") && !file.starts_with("/usr/share/man"))
        .filter_map(|file| Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?)))
        .filter(|file| file.symlink_metadata().is_ok())
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
